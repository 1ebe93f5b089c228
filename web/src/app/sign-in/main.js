// Signing in: an e-mail address with a code or a password, and the second factor where there is one.

/** @import { SignIn } from '../booking.js' */

import { html, nothing, render } from '../../../vendor/lit-html/lit-html.js';
import { oncePerFrame } from '../dom.js';
import { problemText } from '../http.js';
import { preferredLanguage, setLanguage, t } from '../i18n.js';
import { icon } from '../icons.js';
import { askForCode, enterCode, enterSecondFactor, logIn } from '../session.js';
import { trouble, visitHeader } from '../site.js';

/** @typedef {'password' | 'email' | 'code' | 'factor'} Step */

const root = /** @type {HTMLElement} */ (document.getElementById('app'));
const state = { step: /** @type {Step} */ ('email'), email: '', ticket: '', problem: '', busy: false };
const draw = oncePerFrame(show);

/** Only a path of ours: a link elsewhere must not use our sign-in. */
function next() {
  const wished = new URL(new URLSearchParams(location.search).get('next') ?? '/visits', location.origin);
  return wished.origin === location.origin ? wished.pathname + wished.search + wished.hash : '/visits';
}

/** @param {Step} step @param {string} [ticket] */
function go(step, ticket = '') {
  Object.assign(state, { step, ticket, problem: '' });
  show();
  /** @type {HTMLElement | null} */ (root.querySelector('form .field'))?.focus();
}

/** @param {SignIn} signIn */
function done(signIn) {
  if (signIn.state === 'second_factor') go('factor', signIn.ticket ?? '');
  else location.assign(next());
}

/** @param {SubmitEvent} event */
async function submit(event) {
  event.preventDefault();
  if (state.busy) return;
  const given = new FormData(/** @type {HTMLFormElement} */ (event.target));
  const of = (/** @type {string} */ name) => String(given.get(name) ?? '').trim();
  state.email = of('email') || state.email;
  Object.assign(state, { busy: true, problem: '' });
  draw();
  try {
    if (state.step === 'email') go('code', (await askForCode(state.email)).ticket);
    else if (state.step === 'password') done(await logIn(state.email, String(given.get('password') ?? '')));
    else if (state.step === 'code') done(await enterCode(state.ticket, of('code')));
    else done(await enterSecondFactor(state.ticket, of('code')));
  } catch (error) {
    state.problem = problemText(error);
  }
  state.busy = false;
  draw();
}

/** @param {string} text */
const button = (text) => html`<button class="button primary large" data-testid="submit" type="submit" ?disabled=${state.busy}>
  ${state.busy ? html`<span class="spinner"></span>` : nothing}<span>${text}</span></button>`;

const email = () => html`<div class="form-field"><label for="email">${t('details.email')}</label>
  <input class="field" id="email" name="email" type="email" autocomplete="username" dir="ltr" required maxlength="254" data-testid="email-input" .value=${state.email}></div>`;

const code = () => html`<div class="form-field"><label for="code">${t(state.step === 'factor' ? 'signin.factor' : 'signin.code')}</label>
  <input class="field code-field" id="code" name="code" inputmode="numeric" autocomplete="one-time-code" dir="ltr" required maxlength="12" data-testid="code-input" aria-describedby="code-help">
  <p class="soft" id="code-help">${state.step === 'factor' ? t('signin.factor_help') : html`${t('signin.sent')} <bdi>${state.email}</bdi>`}</p></div>`;

const fields = () => ({
  email: () => html`${email()}${button(t('signin.send'))}
    <button class="button quiet" type="button" data-testid="with-password" @click=${() => go('password')}>${t('signin.with_password')}</button>`,
  password: () => html`${email()}
    <div class="form-field"><label for="password">${t('signin.password')}</label>
      <input class="field" id="password" name="password" type="password" autocomplete="current-password" dir="ltr" required maxlength="200" data-testid="password-input"></div>
    ${button(t('signin.enter'))}
    <button class="button quiet" type="button" @click=${() => go('email')}>${t('signin.with_code')}</button>`,
  code: () => html`${code()}${button(t('signin.enter'))}
    <button class="button quiet" type="button" @click=${() => go('email')}>${t('signin.again')}</button>`,
  factor: () => html`${code()}${button(t('signin.enter'))}`,
})[state.step]();

function show() {
  document.title = t('title.sign_in');
  render(html`
    ${visitHeader(draw)}
    <main class="join"><section class="card join-card" data-testid="sign-in" data-step=${state.step}>
      <h1>${t('signin.title')}</h1>
      <p class="soft">${t('signin.lead')}</p>
      <form class="join-form" @submit=${submit}>${trouble(state.problem)}${fields()}</form>
      <p class="fine">${icon('lock')}<span>${t('signin.private')}</span></p>
    </section></main>`, root);
}

await setLanguage(preferredLanguage());
show();
