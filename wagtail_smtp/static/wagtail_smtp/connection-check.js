/**
 * Tests a settings set and shows each stage when it is completed. It tests the values in the form
 * or, on a page without the form, the stored set.
 *
 * The response is newline-delimited JSON, see admin/connection_check/check.py. Everything in it is
 * shown as text.
 */
(function () {
  class ConnectionCheckController extends window.StimulusModule.Controller {
    static targets = [
      'panel',
      'title',
      'result',
      'addressForm',
      'alert',
      'stages',
      'notes',
      'cancel',
      'buttons',
      'trigger',
      'stageTemplate',
      'causeTemplate',
      'problemTemplate',
      'errorTemplate',
    ];

    static values = { url: String };

    connect() {
      this.form = this.element.querySelector('[data-edit-form]');
      this.running = null;
      this.buttonsTarget.hidden = false;
      if (!this.form && this.hasAddressFormTarget) this.panelTarget.hidden = false;
    }

    disconnect() {
      this.cancel();
    }

    testOnly() {
      this.run('connection');
    }

    async testAndSave() {
      const before = this.typed();
      if (!(await this.run('connection', { saves: true }))) return;
      if (this.typed() === before) {
        this.form.requestSubmit();
      } else {
        this.fail(this.text('changed'));
      }
    }

    askForAddress() {
      if (this.running) return;
      this.clear();
      this.announce('ask');
      this.addressFormTarget.hidden = false;
      this.addressFormTarget.querySelector('input').focus();
    }

    sendEmail(event) {
      event.preventDefault();
      const fields = new FormData(this.addressFormTarget);
      this.run('email', { address: fields.get('test_address').trim() });
    }

    cancel() {
      if (this.running) this.running.abort();
    }

    /** Returns whether the test succeeded. A second click does nothing while a test is running. */
    async run(kind, { saves = false, address = '' } = {}) {
      if (this.running) return false;
      this.running = new AbortController();
      this.clear();
      if (kind !== 'email' && this.form && this.hasAddressFormTarget) {
        this.addressFormTarget.hidden = true;
      }
      this.announce('running');
      this.titleTarget.focus();
      this.lock(true);
      let end = null;
      try {
        end = await this.request(kind, address);
        if (!end) throw new TypeError('The response is incomplete.');
      } catch (error) {
        if (error.name === 'AbortError') {
          this.announce('cancelled');
          this.note(this.text('cancelledText'));
        } else {
          this.announce('notRun');
          this.fail(this.text('network'));
        }
      } finally {
        this.running = null;
        this.lock(false);
      }
      return this.finish(end, saves);
    }

    finish(end, saves) {
      const isOk = Boolean(end && end.ok);
      if (end && end.kind === 'end') {
        this.announce(isOk ? 'done' : 'failed');
        if (isOk) this.resultTarget.textContent = end.text;
        else if (!this.alertTarget.hasChildNodes()) this.fail(end.text);
        end.notes.forEach((text) => this.note(text));
      }
      if (this.form && end) this.note(this.text(isOk && saves ? 'saving' : 'notSaved'));
      return isOk;
    }

    /** Returns the last line of the response; the other lines are shown when they arrive. */
    async request(kind, address) {
      const data = this.form ? new FormData(this.form) : new FormData();
      data.set('test', kind);
      data.set('test_address', address);
      const token = this.element.querySelector('[name=csrfmiddlewaretoken]').value;
      const response = await fetch(this.urlValue, {
        method: 'POST',
        body: data,
        credentials: 'same-origin',
        headers: { 'X-CSRFToken': token, 'X-Requested-With': 'XMLHttpRequest' },
        signal: this.running.signal,
      });
      if (!(response.headers.get('Content-Type') || '').includes('ndjson')) {
        this.announce('notRun');
        this.fail(this.text('loggedOut'));
        return { kind: 'problem', ok: false };
      }
      return this.read(response.body.getReader());
    }

    async read(reader) {
      const decoder = new TextDecoder();
      let rest = '';
      let last = null;
      for (;;) {
        const { done, value } = await reader.read();
        rest += decoder.decode(value, { stream: !done });
        const lines = rest.split('\n');
        rest = lines.pop();
        lines.filter(Boolean).forEach((line) => {
          const content = JSON.parse(line);
          if (content.kind === 'stage') this.stage(content);
          if (content.kind === 'problem') this.problem(content);
          if (content.kind !== 'stage') last = content;
        });
        if (done) return last;
      }
    }

    stage(line) {
      const row = this.copy(this.stageTemplateTarget, line);
      row.querySelector('[data-mark=ok]').hidden = !line.ok;
      row.querySelector('[data-mark=bad]').hidden = line.ok;
      row.querySelector('[data-part=outcome]').textContent = this.text(line.ok ? 'ok' : 'bad');
      this.stagesTarget.append(row);
      if (line.cause) {
        const cause = this.copy(this.causeTemplateTarget, line.cause);
        cause.querySelector('a').href = line.cause.url;
        this.alertTarget.replaceChildren(cause);
      }
    }

    problem(line) {
      this.announce('notRun');
      this.fail(line.text);
      let first = null;
      Object.entries(line.errors).forEach(([name, messages]) => {
        const field = this.fieldOf(name);
        const wrapper = field && field.closest('[data-field]');
        if (!wrapper) {
          this.note(messages.join(' '));
          return;
        }
        this.mark(field, wrapper, messages.join(' '));
        first = first || field;
      });
      if (first) this.show(first);
    }

    fieldOf(name) {
      const named = `[name="${CSS.escape(name)}"]`;
      const form = name === 'test_address' ? this.addressFormTarget : this.form;
      return form && form.querySelector(named);
    }

    /** Shows an error like Wagtail does. */
    mark(field, wrapper, message) {
      const errors = wrapper.querySelector('[data-field-errors]');
      errors.replaceChildren(this.copy(this.errorTemplateTarget, { text: message }));
      wrapper.classList.add('w-field--error');
      field.setAttribute('aria-invalid', 'true');
      if (errors.id) {
        const known = (field.getAttribute('aria-describedby') || '').split(' ').filter(Boolean);
        field.setAttribute('aria-describedby', [...new Set([...known, errors.id])].join(' '));
      }
    }

    /** Focuses a field, and opens its panel if that is collapsed. */
    show(field) {
      const panel = field.closest('[data-panel]');
      const toggle = panel && panel.querySelector('[data-panel-toggle]');
      if (toggle && toggle.getAttribute('aria-expanded') === 'false') toggle.click();
      field.focus();
    }

    clear() {
      this.resultTarget.textContent = '';
      this.alertTarget.replaceChildren();
      this.stagesTarget.replaceChildren();
      this.notesTarget.replaceChildren();
      this.element.querySelectorAll('[data-wsmtp-error]').forEach((error) => {
        const wrapper = error.closest('[data-field]');
        wrapper.classList.remove('w-field--error');
        wrapper
          .querySelectorAll('[aria-invalid]')
          .forEach((f) => f.removeAttribute('aria-invalid'));
        error.remove();
      });
      this.panelTarget.hidden = false;
    }

    announce(name) {
      this.panelTarget.hidden = false;
      this.titleTarget.hidden = false;
      this.titleTarget.textContent = this.text(name);
      this.panelTarget.dataset.state = name;
    }

    note(text) {
      const line = document.createElement('p');
      line.textContent = text;
      this.notesTarget.append(line);
    }

    fail(text) {
      this.alertTarget.replaceChildren(this.copy(this.problemTemplateTarget, { text }));
    }

    /** Buttons keep the focus while a test is running, but do nothing; aria-disabled says so. */
    lock(isRunning) {
      this.triggerTargets.forEach((button) => {
        if (isRunning) button.setAttribute('aria-disabled', 'true');
        else button.removeAttribute('aria-disabled');
      });
      const hadFocus = document.activeElement === this.cancelTarget;
      this.cancelTarget.hidden = !isRunning;
      if (hadFocus) this.titleTarget.focus();
    }

    copy(template, parts) {
      const copied = template.content.firstElementChild.cloneNode(true);
      copied.querySelectorAll('[data-part]').forEach((part) => {
        const value = parts[part.dataset.part];
        part.textContent = Array.isArray(value) ? value.join(' · ') : value || '';
      });
      return copied;
    }

    typed() {
      return JSON.stringify([...new FormData(this.form).entries()]);
    }

    text(name) {
      return this.panelTarget.dataset[name];
    }
  }

  window.wagtail.app.register('wsmtp-test', ConnectionCheckController);
})();
