// Waiting for a time to come free, where none of those that are free fits: the days that would do, and who waits longest is
// offered first. An offer is told by mail and stands on the page of one's visits, so whoever waits has an account.

/** @import { Offer, WaitlistEntry } from '../booking.js' */

import { html, nothing } from 'lit-html';
import { announce } from '../announce.js';
import { newKey, problemText } from '../http.js';
import { t } from '../i18n.js';
import { icon } from '../icons.js';
import { signInPage } from '../navigation.js';
import { isVisitor } from '../session.js';
import { trouble } from '../site.js';
import { dayAndClock, dayKey, ownZone, plusDays } from '../when.js';
import * as api from './api.js';

const DAYS = 14;
/** The longest that one may wait, in days. */
const LONGEST = 89;

export class Wait {
  from = '';
  to = '';
  busy = false;
  problem = '';
  /** @type {WaitlistEntry | null} */
  entry = null;
  /** @type {Offer | null} */
  #service = null;
  #key = newKey();

  /** @param {() => void} changed @param {() => string} patient for whom, empty: for oneself */
  constructor(changed, patient) {
    this.changed = changed;
    this.patient = patient;
  }

  /** @param {Offer} service that is looked at */
  of(service) {
    if (this.#service === service) return;
    const today = dayKey(new Date(), ownZone());
    Object.assign(this, { from: today, to: plusDays(today, DAYS), problem: '', entry: null });
    this.#service = service;
    this.#key = newKey();
  }

  /** @param {'from' | 'to'} end @param {Event} event */
  #set(end, event) {
    this[end] = /** @type {HTMLInputElement} */ (event.target).value;
    this.#key = newKey();  // another wish
    this.problem = '';
    this.changed();
  }

  /** @param {SubmitEvent} event */
  async #join(event) {
    event.preventDefault();
    if (this.busy || !this.#service) return;
    Object.assign(this, { busy: true, problem: '' });
    this.changed();
    try {
      this.entry = await api.wait(this.#service.id, new Date(`${this.from}T00:00`), new Date(`${plusDays(this.to, 1)}T00:00`), this.patient(), this.#key);
      announce(t(this.entry.state === 'offered' ? 'waitlist.free_now' : 'waitlist.joined'));
    } catch (error) {
      this.problem = problemText(error);
      this.#key = newKey();
    }
    this.busy = false;
    this.changed();
  }

  view() {
    if (!this.#service || this.#service.capacity > 1) return nothing;  // a class has places, and no line
    return html`
      <details class="card waitlist" data-testid="waitlist">
        <summary>${icon('clock')}<span>${t('waitlist.ask')}</span></summary>
        ${this.entry ? this.#joined(this.entry) : isVisitor() ? html`
          <p>${t('waitlist.sign_in')}</p>
          <a class="button secondary" data-testid="waitlist-sign-in" href=${signInPage(location.pathname)}>${t('nav.sign_in')}</a>` : this.#form()}
      </details>`;
  }

  #form() {
    const today = dayKey(new Date(), ownZone());
    const day = (/** @type {'from' | 'to'} */ end, /** @type {string} */ least) => html`
      <div class="form-field"><label for=${`wait-${end}`}>${t(`waitlist.${end}`)}</label>
        <input class="field" id=${`wait-${end}`} type="date" required min=${least} max=${plusDays(today, LONGEST)} data-testid=${`wait-${end}`} .value=${this[end]} @change=${(/** @type {Event} */ event) => this.#set(end, event)}></div>`;
    return html`
      <form @submit=${(/** @type {SubmitEvent} */ event) => this.#join(event)}>
        <p>${t('waitlist.text')}</p>
        ${trouble(this.problem)}
        <div class="row wrap waitlist-days">${day('from', today)}${day('to', this.from)}</div>
        <button class="button primary" type="submit" data-testid="waitlist-join" ?disabled=${this.busy}>${this.busy ? html`<span class="spinner"></span>` : nothing}<span>${t('waitlist.join')}</span></button>
      </form>`;
  }

  /** @param {WaitlistEntry} entry */
  #joined({ state, offer_start: start }) {
    return html`<p role="status" data-testid="waitlist-joined">${state === 'offered' && start
      ? html`<strong>${t('waitlist.free_now')}</strong> <bdi>${dayAndClock(start, ownZone())}</bdi>` : t('waitlist.joined')}</p>
      <a class="button secondary" href="/visits">${icon('calendar')}<span>${t('nav.visits')}</span></a>`;
  }
}
