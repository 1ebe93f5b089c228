// The booking page: search, doctor, details, booked. Views are functions of this object. Each step has an address, so back
// and forward work; what was typed and the slot that is held are kept in the tab, so a reload loses nothing.

/** @import { Appointment, Care, CodeTicket, Offer, Profile } from '../booking.js' */

import { html, render } from 'lit-html';
import { announce } from '../announce.js';
import { saveFile } from '../calendar-file.js';
import { oncePerFrame } from '../dom.js';
import { ApiError, download, newKey, onWhoChanged, problemText, resume } from '../http.js';
import { duration, t } from '../i18n.js';
import { goTo, signInPage } from '../navigation.js';
import { askForCode, ensureSomebody, enterCode, isVisitor } from '../session.js';
import { visitHeader } from '../site.js';
import { dayAndClock, ownZone } from '../when.js';
import * as api from './api.js';
import { bookedView } from './booked.js';
import { Calendar } from './calendar.js';
import { detailsView } from './details.js';
import { doctorView } from './doctor.js';
import { Finder } from './finder.js';
import { searchView } from './search.js';
import { Wait } from './wait.js';

/** @typedef {'search' | 'doctor' | 'details' | 'booked'} Step */

const STEPS = /** @type {const} */ (['search', 'doctor', 'details', 'booked']);
const PENDING = 'wadud.booking';
const EMAIL = /^[^\s@]+@[^\s@]+\.[^\s@]+$/;
/** The countdown is said aloud at these moments only. */
const SAY_AT_S = [300, 120, 60];

export class BookPage {
  /** @type {Step} */
  step = 'search';
  problem = '';

  // The doctor and the slot.
  /** @type {Profile | null} */
  profile = null;
  /** @type {Offer | null} */
  service = null;
  /** The start of the slot that is being asked for. */
  holding = '';
  /** The start of the slot that is held. */
  slot = '';
  /** @type {Appointment | null} */
  held = null;
  /** What it will cost to cancel the slot that is held. @type {import('../booking.js').CancelStep[]} */
  terms = [];
  /** @type {string[]} */
  alternatives = [];

  // The person.
  /** For whom one may book besides oneself. @type {Care[]} */
  patients = [];
  /** For whom this is, empty: oneself. */
  patient = '';
  form = { name: '', email: '', reason: '' };
  /** Where a code for the visitor's address waits. @type {CodeTicket | null} */
  ticket = null;
  code = '';
  /** @type {Set<string>} */
  missing = new Set();
  booking = false;
  /** @type {Appointment | null} */
  booked = null;

  #slug = '';
  #bookKey = newKey();
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #ticking;

  /** @param {HTMLElement} root */
  constructor(root) {
    this.root = root;
    this.draw = oncePerFrame(() => this.#render());
    this.calendar = new Calendar(this.draw);
    this.finder = new Finder(this.draw);
    this.wait = new Wait(this.draw, () => this.patient);
    onWhoChanged(() => this.#learnPatients());
    addEventListener('popstate', () => this.#arrive());
  }

  async start() {
    const arrived = this.#arrive();
    resume().catch((error) => console.info('not signed in', error));
    await arrived;
  }

  /** A carer books for somebody else as well. */
  async #learnPatients() {
    this.draw();
    this.patients = isVisitor() ? [] : await api.patients().catch(() => []);
    if (!this.patients.some(({ person }) => person === this.patient)) this.patient = '';
    this.draw();
  }

  /** @param {string} person */
  choosePatient(person) {
    this.patient = person;
    this.draw();
  }

  get doctorZone() { return this.profile?.timezone ?? null; }

  get secondsLeft() { return Math.max(0, Math.round((Date.parse(this.held?.hold_until ?? '0') - Date.now()) / 1000)); }

  // Where we are.

  /** The address has changed, or the page was just opened. */
  async #arrive() {
    const slug = /^\/doctors\/([^/]+)/.exec(location.pathname)?.[1];
    if (slug === undefined) {
      const found = this.finder.open(location.search);  // on its way while the page is drawn
      this.#show('search');
      await found;
      return;
    }
    await this.#load(decodeURIComponent(slug));
    const pending = this.#pending();
    if (this.profile && location.hash === '#details' && pending?.slug === this.#slug) {
      const service = this.profile.services.find(({ id }) => id === pending.service);
      Object.assign(this, { held: pending.held, slot: pending.slot, form: pending.form, service: service ?? this.service, patient: pending.patient ?? '' });
      if (this.secondsLeft === 0) {
        this.#show('doctor');
        await this.choose(pending.slot);
        return;
      }
      this.#show('details');
      this.#learnTerms();
      this.#tick();
    } else if (this.step !== 'booked') this.#show('doctor');
  }

  /** @param {Step} step */
  #show(step) {
    const moved = this.step !== step;
    this.step = step;
    this.#render();
    if (!moved) return;
    scrollTo({ top: 0 });
    document.getElementById('step-title')?.focus({ preventScroll: true });
  }

  /** @param {MouseEvent} event @param {string} slug */
  follow(event, slug) {
    if (event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
    event.preventDefault();
    history.pushState({ inside: true }, '', `/doctors/${slug}`);
    this.#arrive();
  }

  /** @param {MouseEvent} event */
  backToSearch(event) {
    if (!history.state?.inside) return;
    event.preventDefault();
    history.back();
  }

  // The doctor.

  /** @param {string} slug */
  async #load(slug) {
    if (this.#slug === slug && this.profile) return;
    Object.assign(this, { profile: null, service: null, problem: '', alternatives: [] });
    this.#slug = slug;
    this.#show('doctor');
    try {
      this.profile = await api.profile(slug);
    } catch (error) {
      this.problem = problemText(error);
      this.draw();
      return;
    }
    const wished = new URLSearchParams(location.search).get('service');
    const service = this.profile.services.find(({ id }) => id === wished) ?? this.profile.services[0];
    if (service) this.chooseService(service);
  }

  /** @param {Offer} service */
  chooseService(service) {
    this.service = service;
    this.alternatives = [];
    this.problem = '';
    this.wait.of(service);
    if (this.profile) this.calendar.open(this.profile.card.id, service);
    this.draw();
  }

  /** @param {string} day */
  chooseDay(day) {
    this.calendar.choose(day);
    announce(t('slots.free', { count: this.calendar.byDay.get(day)?.length ?? 0 }));
  }

  /** @param {number} by */
  turnMonth(by) {
    this.calendar.turn(by);
  }

  /** Holds a slot; whoever was faster leaves us the next free ones. @param {string} starts_at */
  async choose(starts_at) {
    if (!this.service || this.holding) return;
    Object.assign(this, { holding: starts_at, problem: '' });
    this.draw();
    try {
      await ensureSomebody();
      const before = this.held;
      this.held = await api.hold(this.service.id, starts_at, this.patient);
      if (before) api.release(before.id).catch((error) => console.info('the old hold ends by itself', error));
      Object.assign(this, { slot: starts_at, alternatives: [] });
      this.#bookKey = newKey();
      this.#keep();
      history.pushState({ inside: true }, '', `${location.pathname}#details`);
      this.#show('details');
      this.#learnTerms();
      announce(`${t('details.chosen')} ${dayAndClock(starts_at, ownZone())}`);
      this.#tick();
    } catch (error) {
      this.#notHeld(error);
    } finally {
      this.holding = '';
      this.draw();
    }
  }

  /** Nobody books without having seen what cancelling costs. */
  async #learnTerms() {
    const id = this.held?.id ?? '';
    const terms = await api.terms(id).catch((error) => console.info('terms not known', error));
    if (this.held?.id !== id) return;
    this.terms = terms?.steps ?? [];
    this.draw();
  }

  /** @param {unknown} error */
  #notHeld(error) {
    if (!(error instanceof ApiError && ['slot_taken', 'slot_not_offered', 'hold_expired'].includes(error.code))) {
      this.problem = problemText(error);
      return;
    }
    this.alternatives = error.problem.alternatives ?? [];
    this.problem = t(this.alternatives.length ? 'slots.taken' : 'slots.taken_none');
    this.calendar.reload();
    if (this.step === 'details') history.replaceState(history.state, '', location.pathname);
    this.#show('doctor');
    document.querySelector('[data-testid="slot-taken"]')?.scrollIntoView({ block: 'center' });
  }

  // The person.

  /** @param {'name' | 'email' | 'reason'} field @param {Event} event */
  write(field, event) {
    this.form[field] = /** @type {HTMLInputElement} */ (event.target).value;
    this.missing.delete(field);
    this.#bookKey = newKey();  // another wish
    this.#keep();
    this.draw();
  }

  async extend() {
    if (!this.held) return;
    try {
      this.held = await api.extend(this.held.id);
      this.problem = '';
      this.#keep();
      announce(t('details.extended', { time: duration(this.secondsLeft) }));
    } catch (error) {
      this.problem = problemText(error);
    }
    this.draw();
  }

  /** Whoever signs in is somebody else than the visitor who holds the slot: it is let go, and taken again after. */
  async signIn() {
    const { held } = this;
    this.held = null;
    this.#keep();
    if (held) await api.release(held.id).catch((error) => console.info('the hold ends by itself', error));
    goTo(signInPage(`${location.pathname}#details`));
  }

  otherTime() {
    if (this.held) api.release(this.held.id).catch((error) => console.info('the hold ends by itself', error));
    this.#drop();
    this.calendar.reload();
    history.replaceState(history.state, '', location.pathname);
    this.#show('doctor');
  }

  async book() {
    if (!this.held || this.booking || !this.#complete()) return;
    Object.assign(this, { booking: true, problem: '' });
    this.draw();
    try {
      if (this.secondsLeft === 0) this.held = await api.hold(this.service?.id ?? '', this.slot, this.patient);
      if (!await this.#introduced()) return;
      this.booked = await api.book(this.held.id, this.form.reason.trim(), this.#bookKey);
      this.#drop();
      history.replaceState({}, '', `/visits?booked=${this.booked.id}`);
      this.#show('booked');
    } catch (error) {
      this.#notBooked(error);
    } finally {
      this.booking = false;
      this.draw();
      if (this.problem && document.activeElement === document.body) document.getElementById('code')?.focus();  // the pressed button was disabled
    }
  }

  /** @param {unknown} error */
  #notBooked(error) {
    if (error instanceof ApiError && error.status === 409) this.#notHeld(error);
    else this.problem = problemText(error);
  }

  /**
   * A visitor says their name; who also gives an address proves it with a code, since the link goes there.
   * @returns {Promise<boolean>} false: the code is asked for first
   */
  async #introduced() {
    if (!isVisitor()) return true;
    const email = this.form.email.trim();
    if (this.ticket === null) await api.introduce(this.form.name.trim());
    if (!email) return true;
    if (this.ticket === null) {
      this.ticket = await askForCode(email);
      this.draw();
      announce(t('details.code_sent'));
      await Promise.resolve();
      this.#render();
      document.getElementById('code')?.focus();
      return false;
    }
    const { state } = await enterCode(this.ticket.ticket, this.code.trim());
    if (state === 'second_factor') {
      this.ticket = null;  // it is spent; the way to sign in stands in its place
      throw new ApiError(401, 'second_factor', t('details.second_factor'));
    }
    return true;
  }

  /** Another address, or none: the code for the old one is worth nothing. */
  otherAddress() {
    Object.assign(this, { ticket: null, code: '', problem: '' });
    this.#render();
    document.getElementById('email')?.focus();
  }

  #complete() {
    const { name, email } = this.form;
    this.missing = new Set(isVisitor() ? [...name.trim() ? [] : ['name'], ...!email.trim() || EMAIL.test(email.trim()) ? [] : ['email']] : []);
    this.#render();
    document.getElementById([...this.missing][0] ?? '')?.focus();
    return this.missing.size === 0;
  }

  async saveCalendar() {
    try {
      saveFile(await download(`/v1/appointments/${this.booked?.id}.ics`), 'visit.ics');
    } catch (error) {
      this.problem = problemText(error);
      this.draw();
    }
  }

  // What is kept in the tab.

  #keep() {
    const { held, slot, form, service, patient } = this;
    sessionStorage.setItem(PENDING, JSON.stringify({ slug: this.#slug, service: service?.id, held, slot, form, patient }));
  }

  #pending() {
    return JSON.parse(sessionStorage.getItem(PENDING) ?? 'null');
  }

  #drop() {
    clearInterval(this.#ticking);
    sessionStorage.removeItem(PENDING);
    this.held = null;
  }

  #tick() {
    clearInterval(this.#ticking);
    this.#ticking = setInterval(() => {
      const left = this.secondsLeft;
      if (SAY_AT_S.includes(left)) announce(t('details.time_left', { time: duration(left) }));
      if (left === 0) clearInterval(this.#ticking);
      this.draw();
    }, 1000);
  }

  #render() {
    document.title = this.step === 'doctor' && this.profile
      ? t('title.doctor', { name: `${this.profile.card.title} ${this.profile.card.name}`.trim() }) : t(`title.book_${this.step}`);
    const view = { search: searchView, doctor: doctorView, details: detailsView, booked: bookedView }[this.step];
    render(html`
      ${visitHeader(() => this.#relabel())}
      <nav class="steps" aria-label=${t('steps.label')}><ol>${STEPS.map((step, index) => html`
        <li aria-current=${step === this.step ? 'step' : 'false'} data-done=${String(index < STEPS.indexOf(this.step))}><span>${t(`steps.${step}`)}</span></li>`)}</ol></nav>
      ${view(this)}`, this.root);
  }

  /** Names of specialties and services come from the server in the page's language. */
  async #relabel() {
    this.draw();
    if (this.step === 'search') await this.finder.open(location.search);
    else if (this.profile) {
      this.profile = await api.profile(this.#slug).catch(() => this.profile);
      this.draw();
    }
  }
}

