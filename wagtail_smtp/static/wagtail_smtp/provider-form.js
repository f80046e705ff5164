/**
 * The form of a settings set: shows the fields of the chosen transport alone. Without this script
 * all of them are there; the server heeds those of the chosen transport.
 */
(function () {
  class ProviderFormController extends window.StimulusModule.Controller {
    connect() {
      this.transport = this.element.querySelector('[name="transport"]');
      this.onChange = (event) => {
        if (event.target === this.transport) this.show();
      };
      this.element.addEventListener('change', this.onChange);
      this.show();
    }

    disconnect() {
      this.element.removeEventListener('change', this.onChange);
    }

    show() {
      const chosen = this.transport.value;
      this.element.querySelectorAll('[data-wsmtp-for]').forEach((panel) => {
        panel.hidden = !panel.dataset.wsmtpFor.split(' ').includes(chosen);
      });
    }
  }

  window.wagtail.app.register('wsmtp-provider-form', ProviderFormController);
})();
