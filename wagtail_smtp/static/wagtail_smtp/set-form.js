/**
 * The form of a settings set: fills in a provider's preset and shows what to know about it,
 * proposes the port that goes with the encryption, and locks
 * the server's fields while the default credentials are chosen, since these may only go
 * to the site's own server. The server checks all of it again.
 */
(function () {
  const LOCKED = ['host', 'port', 'encryption', 'ca_certificates', 'username'];
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
      // After a mistake elsewhere in the form the preset is still chosen.
      this.showHint();
    }

    disconnect() {
      this.element.removeEventListener('change', this.onChange);
      this.hint.remove();
    }

    field(name) {
      return this.element.querySelector(`[name="${name}"]`);
    }

    update(changed) {
      if (changed.name === 'encryption') {
        const port = this.field('port');
        if (Object.values(PORTS).includes(port.value) && PORTS[changed.value]) {
          port.value = PORTS[changed.value];
        }
      }
      if (changed.name === 'preset') this.fill(this.preset());
      if (['authentication', 'transport'].includes(changed.name)) this.lock();
      if (changed.name === 'authentication') this.agree();
      this.showHint();
    }

    preset() {
      return this.presets[this.field('preset').value];
    }

    showHint() {
      const preset = this.preset();
      const byToken = this.field('authentication').value === 'oauth2';
      const hint = preset ? preset[byToken ? 'oauth_hint' : 'hint'] : '';
      if (this.hint.textContent !== hint) this.hint.textContent = hint;
    }

    /** OAuth 2 at the preset's own identity provider, whichever of both is chosen first. */
    agree() {
      const preset = this.preset();
      if (preset && preset.oauth_provider && this.field('authentication').value === 'oauth2') {
        this.field('oauth_provider').value = preset.oauth_provider;
      }
    }

    fill(preset) {
      if (!preset) return;
      // Unlock first, or the fields would be put back to what they were before.
      const authentication = this.field('authentication');
      if (authentication.value !== 'oauth2' || !preset.oauth_provider) {
        authentication.value = preset.authentication;
      }
      this.agree();
      this.lock();
      ['host', 'port', 'encryption'].forEach((name) => {
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
