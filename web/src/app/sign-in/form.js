// The way in, wherever a page needs it: an e-mail address with a code or a password, a passkey, and the second factor
// where there is one.

/** @import { SignIn } from '../booking.js' */

import { html, nothing } from 'lit-html';
import { problemText } from '../http.js';
import { t } from '../i18n.js';
import { icon } from '../icons.js';
import { passkeysWork } from '../passkeys.js';
import { askForCode, enterCode, enterPasskey, enterSecondFactor, logIn } from '../session.js';
import { trouble } from '../site.js';

/** @typedef {'password' | 'email' | 'code' | 'factor'} Step */

export class SignInForm {
  /** @type {Step} */
  step = 'email';
  #ticket = '';
  #problem = '';
  #busy = false;

  /**
   * @param {() => void} draw draws the page, at once
   * @param {(signIn: SignIn) => void | Promise<void>} done somebody is signed in
   * @param {string} [email] whose way in this is: nobody else's will do
   */
  constructor(draw, done, email = '') {
    this.draw = draw;
    this.done = done;
    this.email = email;
    this.isFixed = email !== '';
  }

  /** @param {Step} step @param {string} [ticket] */
  #go(step, ticket = '') {
    this.step = step;
    this.#ticket = ticket;
    this.#problem = '';
    this.draw();
    /** @type {HTMLElement | null} */ (document.querySelector('.sign-in-form .field:not([readonly])'))?.focus();
  }

  /** @param {SignIn} signIn */
  async #enter(signIn) {
    if (signIn.state === 'second_factor') this.#go('factor', signIn.ticket ?? '');
    else await this.done(signIn);
  }

  /** @param {() => Promise<void>} work */
  async #run(work) {
    if (this.#busy) return;
    this.#busy = true;
    this.#problem = '';
    this.draw();
    try {
      await work();
    } catch (error) {
      this.#problem = problemText(error);
    }
    this.#busy = false;
    this.draw();
    if (this.#problem && document.activeElement === document.body) this.#lastField()?.focus();  // the pressed button was disabled meanwhile
  }

  /** What was wrong is typed again there: the code, or the password. */
  #lastField() {
    return /** @type {HTMLElement | undefined} */ ([...document.querySelectorAll('.sign-in-form .field:not([readonly])')].at(-1));
  }

  /** @param {SubmitEvent} event */
  #submit(event) {
    event.preventDefault();
    const given = new FormData(/** @type {HTMLFormElement} */ (event.target));
    const of = (/** @type {string} */ name) => String(given.get(name) ?? '').trim();
    return this.#run(async () => {
      this.email = of('email') || this.email;
      if (this.step === 'email') this.#go('code', (await askForCode(this.email)).ticket);
      else if (this.step === 'password') await this.#enter(await logIn(this.email, String(given.get('password') ?? '')));
      else if (this.step === 'code') await this.#enter(await enterCode(this.#ticket, of('code')));
      else await this.#enter(await enterSecondFactor(this.#ticket, of('code')));
    });
  }

  view() {
    return html`<form class="join-form sign-in-form" data-step=${this.step} @submit=${(/** @type {SubmitEvent} */ event) => this.#submit(event)}>
      ${trouble(this.#problem)}${this.#fields()}</form>`;
  }

  #fields() {
    switch (this.step) {
      case 'email':
        return html`${this.#address()}${this.#button(t('signin.send'))}
          <button class="button quiet" type="button" data-testid="with-password" @click=${() => this.#go('password')}>${t('signin.with_password')}</button>
          ${this.isFixed ? nothing : html`<p class="fine start" data-testid="no-sms">${icon('message')}<span>${t('signin.no_sms')}</span></p>`}
          ${passkeysWork() ? html`<button class="button secondary" type="button" data-testid="with-passkey" ?disabled=${this.#busy}
            @click=${() => this.#run(async () => this.#enter(await enterPasskey()))}>${icon('key')}<span>${t('signin.with_passkey')}</span></button>` : nothing}`;
      case 'password':
        return html`${this.#address()}
          <div class="form-field"><label for="password">${t('signin.password')}</label>
            <input class="field" id="password" name="password" type="password" autocomplete="current-password" dir="ltr" required maxlength="200" data-testid="password-input"></div>
          ${this.#button(t('signin.enter'))}
          <button class="button quiet" type="button" @click=${() => this.#go('email')}>${t('signin.with_code')}</button>`;
      case 'code':
        return html`${this.#code(t('signin.code'), html`${t('signin.sent')} <bdi>${this.email}</bdi>`)}${this.#button(t('signin.enter'))}
          <button class="button quiet" type="button" @click=${() => this.#go('email')}>${t(this.isFixed ? 'signin.new_code' : 'signin.again')}</button>`;
      case 'factor':
        return html`${this.#code(t('signin.factor'), t('signin.factor_help'))}${this.#button(t('signin.enter'))}`;
    }
  }

  #address() {
    return html`<div class="form-field"><label for="email">${t('details.email')}</label>
      <input class="field" id="email" name="email" type="email" autocomplete="username" dir="ltr" required maxlength="254" data-testid="email-input" ?readonly=${this.isFixed} .value=${this.email}></div>`;
  }

  /** @param {string} label @param {unknown} help */
  #code(label, help) {
    return html`<div class="form-field"><label for="code">${label}</label>
      <input class="field code-field" id="code" name="code" inputmode=${this.step === 'factor' ? 'text' : 'numeric'} autocomplete="one-time-code" dir="ltr" required maxlength="40" data-testid="code-input" aria-describedby="code-help">
      <p class="soft" id="code-help">${help}</p></div>`;
  }

  /** @param {string} text */
  #button(text) {
    return html`<button class="button primary large" data-testid="submit" type="submit" ?disabled=${this.#busy}>
      ${this.#busy ? html`<span class="spinner"></span>` : nothing}<span>${text}</span></button>`;
  }
}
