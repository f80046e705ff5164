/**
 * The form of a settings set: fills in a provider's preset and shows what to know about it,
 * proposes the port that goes with the security, and locks
 * the server's fields while the default credentials are chosen, since these may only go
 * to the site's own server. The server checks all of it again.
 */
(function () {
  const LOCKED = ['host', 'port', 'security', 'ca_certificates', 'username'];
  const PORTS = { starttls: '587', ssl: '465' };

  class SetFormController extends window.StimulusModule.Controller {
    connect() {
      this.typed = null;
      this.standard = JSON.parse(this.field('authentication').dataset.standard || 'null');
      this.presets = JSON.parse(this.field('preset').dataset.presets);
      this.hint = document.createElement('p');
      this.hint.className = 'help';
      // Screen readers read it when it changes.
      this.hint.setAttribute('role', 'status');
      this.field('preset').parentElement.append(this.hint);
      this.onChange = (event) => this.update(event.target);
      this.element.addEventListener('change', this.onChange);
      this.lock();
    }

    disconnect() {
      this.element.removeEventListener('change', this.onChange);
      this.hint.remove();
    }

    field(name) {
      return this.element.querySelector(`[name="${name}"]`);
    }

    update(changed) {
      if (changed.name === 'security') {
        const port = this.field('port');
        if (Object.values(PORTS).includes(port.value) && PORTS[changed.value]) {
          port.value = PORTS[changed.value];
        }
      }
      if (changed.name === 'preset') this.fill(this.presets[changed.value]);
      if (['authentication', 'transport'].includes(changed.name)) this.lock();
    }

    fill(preset) {
      this.hint.textContent = preset ? preset.hint : '';
      if (!preset) return;
      // Unlock first, or the fields would be put back to what they were before.
      const authentication = this.field('authentication');
      authentication.value = preset.authentication;
      this.lock();
      ['host', 'port', 'security'].forEach((name) => {
        this.field(name).value = preset[name];
      });
      if (preset.username) this.field('username').value = preset.username;
    }

    lock() {
      // A provider has no such credentials, but may share the field of the certificates.
      const isSMTP = this.field('transport').value === 'smtp';
      const isDefault = this.field('authentication').value === 'default';
      const locked = isSMTP && isDefault && this.standard;
      if (locked && !this.typed) {
        this.typed = Object.fromEntries(LOCKED.map((name) => [name, this.field(name).value]));
        LOCKED.forEach((name) => {
          this.field(name).value = this.standard[name];
        });
      } else if (!locked && this.typed) {
        LOCKED.forEach((name) => {
          this.field(name).value = this.typed[name];
        });
        this.typed = null;
      }
      [...LOCKED, 'password'].forEach((name) => {
        this.field(name).disabled = Boolean(locked);
      });
    }
  }

  window.wagtail.app.register('wsmtp-set-form', SetFormController);
})();
