/**
 * The form of a settings set: shows the fields that the chosen transport and login use, fills in
 * server presets, and locks the server's fields while default credentials are chosen.
 *
 * Without this script, all fields are shown. The server ignores hidden fields and checks the rest.
 */
(function () {
  /** Ports that the encryption changes, if the port is one of them. */
  const PORTS = { starttls: '587', ssl: '465' };

  class SetFormController extends window.StimulusModule.Controller {
    connect() {
      this.standard = JSON.parse(this.field('authentication').dataset.standard || '{}');
      this.presets = JSON.parse(this.field('preset').dataset.presets);
      this.flows = JSON.parse(this.field('oauth_provider').dataset.flows);
      this.flowOptions = [...this.field('oauth_flow').options];
      this.typed = null;
      this.hint = document.createElement('p');
      this.hint.className = 'help';
      // Screen readers read it when it changes.
      this.hint.setAttribute('role', 'status');
      this.field('preset').parentElement.append(this.hint);
      this.onChange = (event) => this.update(event.target);
      this.element.addEventListener('change', this.onChange);
      // After an error elsewhere in the form, the choices are as they were posted.
      this.refresh();
    }

    disconnect() {
      this.element.removeEventListener('change', this.onChange);
      this.hint.remove();
    }

    field(name) {
      return this.element.querySelector(`[name="${name}"]`);
    }

    value(name) {
      return this.field(name).value;
    }

    get isSMTP() {
      return this.value('transport') === 'smtp';
    }

    get isOAuth() {
      return this.value('authentication') === 'oauth2';
    }

    get preset() {
      return this.presets[this.value('preset')];
    }

    update(changed) {
      if (changed.name === 'encryption') this.changePort();
      if (changed.name === 'preset' && this.preset) this.fill(this.preset);
      if (changed.name === 'authentication') this.chooseProvider();
      this.refresh();
    }

    /** Shows and locks what goes with the choices in the form. */
    refresh() {
      this.lock();
      this.showHint();
      this.offerFlows();
      this.showFields();
      this.showSources();
    }

    changePort() {
      const port = this.field('port');
      const usual = PORTS[this.value('encryption')];
      if (usual && Object.values(PORTS).includes(port.value)) port.value = usual;
    }

    fill(preset) {
      const authentication = this.field('authentication');
      if (!this.isOAuth || !preset.oauth_provider) authentication.value = preset.authentication;
      this.chooseProvider();
      // Unlock first, or the previous values would be restored over those of the preset.
      this.lock();
      ['host', 'port', 'encryption'].forEach((name) => {
        this.field(name).value = preset[name];
      });
      if (preset.username) this.field('username').value = preset.username;
    }

    /** Chooses the identity provider of the preset. */
    chooseProvider() {
      if (this.isOAuth && this.preset && this.preset.oauth_provider) {
        this.field('oauth_provider').value = this.preset.oauth_provider;
      }
    }

    showHint() {
      const hint = this.preset ? this.preset[this.isOAuth ? 'oauth_hint' : 'hint'] : '';
      if (this.hint.textContent !== hint) this.hint.textContent = hint;
    }

    /** Shows the server and login of standard delivery, read-only, if they are chosen. */
    lock() {
      if (this.field('transport').disabled) return; // a file manages the set
      const names = Object.keys(this.standard);
      const isDefault = this.isSMTP && this.value('authentication') === 'default';
      const isLocked = isDefault && names.length > 0;
      if (isLocked && !this.typed) {
        this.typed = Object.fromEntries(names.map((name) => [name, this.value(name)]));
        this.restore(this.standard);
      } else if (!isLocked && this.typed) {
        this.restore(this.typed);
        this.typed = null;
      }
      [...names, 'password', 'password_source', 'password_name'].forEach((name) => {
        const field = this.field(name);
        if (field) field.disabled = isLocked;
      });
    }

    restore(values) {
      Object.entries(values).forEach(([name, value]) => {
        this.field(name).value = value;
      });
    }

    /** Offers only the login methods of the identity provider. */
    offerFlows() {
      const flows = this.flows[this.value('oauth_provider')];
      const select = this.field('oauth_flow');
      const chosen = select.value;
      select.replaceChildren(...this.flowOptions.filter((option) => flows.includes(option.value)));
      select.value = flows.includes(chosen) ? chosen : flows[0];
    }

    showFields() {
      const transport = this.value('transport');
      this.show('data-wsmtp-for', [transport]);
      const login = this.isSMTP ? this.value('authentication') : '';
      this.show('data-wsmtp-login', [login]);
      const provider = this.value('oauth_provider');
      const flow = this.value('oauth_flow');
      this.show('data-oauth-when', [provider, flow, `${provider}-${flow}`]);
    }

    /** Shows the input for each secret's source: the secret, or a variable's name or a path. */
    showSources() {
      this.element.querySelectorAll('[data-wsmtp-secret]').forEach((secret) => {
        this.show('data-wsmtp-source', [secret.querySelector('select').value], secret);
      });
    }

    /** Shows the elements whose attribute contains one of the values, and hides the others. */
    show(attribute, values, within = this.element) {
      within.querySelectorAll(`[${attribute}]`).forEach((element) => {
        const shown = element.getAttribute(attribute).split(' ');
        element.hidden = !values.some((value) => shown.includes(value));
      });
    }
  }

  window.wagtail.app.register('wsmtp-set-form', SetFormController);
})();
