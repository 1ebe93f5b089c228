// One's own account: name, second factor, passkeys, password, and where one is signed in.
//
// What weakens or strengthens an account wants a sign-in of the last quarter of an hour. Where the server says so, the
// sign-in stands on this page, and what was asked for goes on by itself behind it. The session that it replaces is ended,
// or each proof would leave one more device in the list.

/** @import { Account, Care, Device, Enrolment, Passkey } from '../booking.js' */

import { render } from 'lit-html';
import { announce } from '../announce.js';
import { oncePerFrame } from '../dom.js';
import { CopyButton } from '../frame.js';
import { ApiError, forget, problemText, resume, who } from '../http.js';
import { t } from '../i18n.js';
import { goTo, replaceWith, signInPage, wishedNext } from '../navigation.js';
import { isVisitor } from '../session.js';
import { SignInForm } from '../sign-in/form.js';
import * as api from './api.js';
import { accountView } from './views.js';

/** @typedef {'name' | 'people' | 'factor' | 'passkeys' | 'password' | 'devices'} Section */
/** What waits for a code of the app, or for a second press. @typedef {'' | 'remove-factor' | 'new-codes' | 'end-all' | `passkey ${string}` | `care ${string}`} Question */

export class AccountPage {
  /** @type {Account | null} */
  account = null;
  /** @type {Device[]} */
  devices = [];
  /** @type {Passkey[]} */
  passkeys = [];
  /** For whom they act. @type {Care[]} */
  dependants = [];
  /** Who acts for them. @type {Care[]} */
  caregivers = [];
  /** An authenticator app that has not shown a code yet. @type {Enrolment | null} */
  enrolment = null;
  /** Shown once. @type {string[]} */
  recoveryCodes = [];
  /** @type {Question} */
  question = '';
  /** Where something is under way. @type {Section | ''} */
  busy = '';
  /** @type {{section: Section | '', text: string}} */
  problem = { section: '', text: '' };
  /** A sign-in that what was asked for waits for. @type {{section: Section, form: SignInForm} | null} */
  proof = null;

  /** @param {HTMLElement} root */
  constructor(root) {
    this.root = root;
    this.draw = oncePerFrame(() => this.#render());
    this.copyButton = new CopyButton(this.draw);
  }

  async start() {
    this.#render();
    try {
      if (!await resume() || isVisitor()) {
        replaceWith(signInPage(location.pathname + location.search));
        return;
      }
      await this.#load();
      this.problem = { section: '', text: '' };
    } catch (error) {
      this.problem = { section: '', text: problemText(error) };
    }
    this.#render();
  }

  async #load() {
    [this.account, this.devices, this.passkeys, this.dependants, this.caregivers] = await Promise.all([
      api.account(), api.devices(), api.passkeys(), api.dependants(), api.caregivers(),
    ]);
  }

  /** A role of theirs counts only once there is a second factor. */
  get factorDue() { return who()?.factorDue === true; }

  /** Where they wanted to go: an address of ours, or none. */
  get next() {
    return new URLSearchParams(location.search).has('next') ? wishedNext('/visits') : '';
  }

  // What the person asks for.

  /** @param {string} name */
  rename(name) {
    return this.#run('name', async () => { this.account = await api.rename(name); }, 'account.saved');
  }

  /** @param {{name: string, relation: import('../booking.js').Relation, birth_year: number | null}} person without an account of their own */
  addDependant(person) {
    return this.#run('people', async () => {
      await api.addDependant(person);
      this.#clear('[data-testid="add-person"] form');
    }, 'people.added', '#people-title');
  }

  /** @param {string} email @param {import('../booking.js').Relation} relation */
  nameCaregiver(email, relation) {
    return this.#run('people', async () => {
      await api.nameCaregiver(email, relation);
      this.#clear('[data-testid="section-people"] > form');
    }, 'people.asked', '#people-title');
  }

  /** @param {string} id */
  endCare(id) {
    return this.#run('people', () => api.endCare(id), 'people.ended', '#people-title');
  }

  beginFactor() {
    return this.#run('factor', async () => { this.enrolment = await api.beginFactor(); }, '', '#factor-code');
  }

  /** @param {string} code */
  confirmFactor(code) {
    return this.#run('factor', async () => {
      this.recoveryCodes = await api.confirmFactor(code);
      this.enrolment = null;
    }, 'account.factor_on', '#recovery-title');
  }

  /** @param {string} code */
  removeFactor(code) {
    return this.#run('factor', () => api.removeFactor(code), 'account.factor_removed', '#factor-title');
  }

  /** @param {string} code */
  newRecoveryCodes(code) {
    return this.#run('factor', async () => { this.recoveryCodes = await api.newRecoveryCodes(code); }, '', '#recovery-title');
  }

  /** They have been written down. */
  hideRecoveryCodes() {
    this.recoveryCodes = [];
    this.#render();
    document.getElementById('factor-title')?.focus();
  }

  /** @param {string} label */
  addPasskey(label) {
    return this.#run('passkeys', () => api.addPasskey(label), 'account.passkey_added', '#passkeys-title');
  }

  /** @param {string} id */
  removePasskey(id) {
    return this.#run('passkeys', () => api.removePasskey(id), 'account.passkey_removed', '#passkeys-title');
  }

  /** @param {string} password @param {string} current */
  setPassword(password, current) {
    return this.#run('password', async () => {
      await api.setPassword(password, current);
      this.#clear('[data-testid="section-password"] form');
    }, 'account.password_set', '#password-title');
  }

  /** @param {string} id */
  endDevice(id) {
    return this.#run('devices', () => api.endDevice(id), 'account.device_ended', '#devices-title');
  }

  async endAll() {
    await this.#run('devices', async () => {
      await api.endAll();
      forget();
      goTo('/sign-in');
    });
  }

  /** @param {Question} question empty to think better of it */
  ask(question) {
    const before = this.question;
    this.question = question;
    this.enrolment = null;
    this.problem = { section: '', text: '' };
    this.#render();
    const selector = question ? '.confirm :is(.field, [tabindex])' : `[data-asks="${before}"]`;
    /** @type {HTMLElement | null} */ (this.root.querySelector(selector))?.focus();
  }

  leaveEnrolment() {
    this.enrolment = null;
    this.#render();
    document.getElementById('factor-title')?.focus();
  }

  leaveProof() {
    this.proof = null;
    this.draw();
  }

  /**
   * @param {Section} section
   * @param {() => Promise<unknown>} work
   * @param {string} [said] key of what is said when it is done
   * @param {string} [focus] what gets the focus then
   */
  async #run(section, work, said = '', focus = '') {
    if (this.busy) return;
    this.busy = section;
    this.problem = { section: '', text: '' };
    this.draw();
    let done = false;
    try {
      await work();
      done = true;
      this.question = '';
      if (who() !== null) await this.#load();
    } catch (error) {
      if (!done && error instanceof ApiError && error.code === 'sign_in_again') this.#prove(section, () => this.#run(section, work, said, focus));
      else this.problem = { section, text: problemText(error) };
    }
    this.busy = '';
    this.#render();
    if (!done) return;
    if (said) announce(t(said));
    if (focus) /** @type {HTMLElement | null} */ (this.root.querySelector(focus))?.focus();
  }

  /** @param {string} form whose wish has been granted */
  #clear(form) {
    /** @type {HTMLFormElement | null} */ (this.root.querySelector(form))?.reset();
  }

  /** @param {Section} section @param {() => Promise<void>} goOn */
  #prove(section, goOn) {
    const email = this.account?.contacts.find(({ kind }) => kind === 'email')?.value ?? '';
    const before = this.devices.find(({ current }) => current)?.id;
    this.proof = { section, form: new SignInForm(() => this.#render(), async (signIn) => {
      this.proof = null;
      if (signIn.person !== this.account?.id) {  // somebody else: their account, not what was asked for
        location.reload();
        return;
      }
      if (before) await api.endDevice(before).catch((error) => console.info('the session before stays', error));
      await goOn();
    }, email) };
  }

  #render() {
    document.title = t('title.account');
    render(accountView(this), this.root);
  }
}
