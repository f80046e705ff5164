/**
 * The fields of OAuth 2 in the form of a settings set: the section is shown while OAuth 2 is the
 * authentication, and each field for the provider and way to log in that it is for. What is hidden
 * is still posted and means nothing then; the server checks all of it.
 */
(function () {
  const FLOWS = {
    microsoft: ['client', 'consent'],
    google: ['service_account', 'consent'],
    other: ['client', 'consent'],
  };

  class OAuthFormController extends window.StimulusModule.Controller {
    connect() {
      this.form = this.element.closest('form');
      this.section = this.element.closest('section') || this.element;
      this.flows = [...this.field('oauth_flow').options];
      this.onChange = () => this.update();
      this.form.addEventListener('change', this.onChange);
      this.update();
    }

    disconnect() {
      this.form.removeEventListener('change', this.onChange);
    }

    field(name) {
      return this.form.querySelector(`[name="${name}"]`);
    }

    update() {
      const isSMTP = this.field('transport').value === 'smtp';
      const authentication = this.field('authentication').value;
      const isOn = isSMTP && authentication === 'oauth2';
      this.section.hidden = !isOn;
      this.hide('password', isOn || authentication === 'none');
      this.hide('username', authentication === 'none');
      const provider = this.field('oauth_provider').value;
      this.offer(FLOWS[provider]);
      const flow = this.field('oauth_flow').value;
      this.section.querySelectorAll('[data-oauth-when]').forEach((element) => {
        const when = element.dataset.oauthWhen.split(' ');
        element.hidden = ![provider, flow, `${provider}-${flow}`].some((one) => when.includes(one));
      });
    }

    hide(name, isHidden) {
      const field = this.field(name);
      const wrapper = field && field.closest('.w-panel__wrapper');
      if (wrapper) wrapper.hidden = isHidden;
    }

    /** Only the ways to log in that the provider has. */
    offer(flows) {
      const select = this.field('oauth_flow');
      const chosen = select.value;
      select.replaceChildren(...this.flows.filter((option) => flows.includes(option.value)));
      select.value = flows.includes(chosen) ? chosen : flows[0];
    }
  }

  window.wagtail.app.register('wsmtp-oauth-form', OAuthFormController);
})();
