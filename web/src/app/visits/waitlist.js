// What one waits for: times that may come free, and those that are offered, which have an end.

/** @import { Appointment, WaitlistEntry } from '../booking.js' */

import { html, nothing } from 'lit-html';
import { repeat } from 'lit-html/directives/repeat.js';
import { announce } from '../announce.js';
import { newKey } from '../http.js';
import { duration, t } from '../i18n.js';
import { icon } from '../icons.js';
import { face } from '../site.js';
import { dayAndClock, ownZone, shortDay } from '../when.js';
import * as api from './api.js';

/** An offer may come at any time; it is mailed too. */
const LOOK_MS = 30_000;

export class Waitlist {
  /** @type {WaitlistEntry[]} */
  entries = [];
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #looking;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #ticking;
  /** @type {Map<string, string>} one key for each wish to take an offer */
  #keys = new Map();

  /**
   * @param {() => void} changed
   * @param {(name: string, work: () => Promise<void>) => Promise<void>} doing one thing at a time
   * @param {{busy: () => string, doctor: (provider: string, service: string) => {doctor: string, service: string}, taken: (appointment: Appointment) => void}} page
   */
  constructor(changed, doing, page) {
    this.changed = changed;
    this.doing = doing;
    this.page = page;
  }

  async load() {
    await this.#look();
    clearInterval(this.#looking);
    if (this.entries.length) this.#looking = setInterval(() => document.visibilityState === 'visible' && this.#look(), LOOK_MS);
  }

  async #look() {
    try {
      this.#receive(await api.waits());
    } catch (error) {
      console.info('the waiting list is looked at again later', error);
    }
  }

  /** @param {WaitlistEntry[]} entries */
  #receive(entries) {
    const before = new Set(this.entries.filter(({ state }) => state === 'offered').map(({ offer }) => offer));
    const fresh = entries.some(({ state, offer }) => state === 'offered' && !before.has(offer));
    if (fresh && this.entries.length) announce(t('waitlist.say_offer'), { urgent: true });
    this.entries = entries;
    clearInterval(this.#ticking);
    if (entries.some(({ state }) => state === 'offered')) this.#ticking = setInterval(this.changed, 1000);  // the time that is left
    this.changed();
  }

  /** @param {WaitlistEntry} entry */
  accept(entry) {
    const key = this.#keys.get(entry.offer ?? '') ?? newKey();
    this.#keys.set(entry.offer ?? '', key);
    return this.doing(`${entry.id} accept`, async () => {
      try {
        this.page.taken(await api.takeOffer(entry.id, key));
        announce(t('waitlist.say_taken'));
      } finally {
        await this.#look();
      }
    });
  }

  /** @param {WaitlistEntry} entry */
  leave(entry) {
    return this.doing(`${entry.id} leave`, async () => {
      await api.waitNoMore(entry.id);
      await this.#look();
      document.getElementById('visits-title')?.focus();
    });
  }

  view() {
    if (!this.entries.length) return nothing;
    return html`
      <section aria-labelledby="waits-title" data-testid="waits">
        <h2 id="waits-title">${t('waitlist.title')}</h2>
        <ul class="visit-list">${repeat(this.entries, ({ id }) => id, (entry) => html`<li>${this.#card(entry)}</li>`)}</ul>
      </section>`;
  }

  /** @param {WaitlistEntry} entry */
  #card(entry) {
    const { id, state, provider, service, earliest, latest, ahead, offer_start: start, offer_until: until } = entry;
    const names = this.page.doctor(provider, service);
    const offered = state === 'offered' && start !== null && until !== null;
    const left_s = Math.max(0, Math.ceil((Date.parse(until ?? '') - Date.now()) / 1000));
    const busy = this.page.busy() !== '';
    return html`
      <article class="card visit-card" data-testid="wait" data-state=${state} aria-labelledby=${`wait-${id}`}>
        <div class="visit-head">${face(names.doctor, 'small')}
          <div><h3 id=${`wait-${id}`} tabindex="-1"><bdi>${names.doctor || t('visits.doctor')}</bdi></h3><p class="soft"><span dir="auto">${names.service}</span></p></div>
          <span class="status" data-status=${offered ? 'confirmed' : 'requested'}>${t(offered ? 'waitlist.offered' : 'waitlist.waiting')}</span></div>
        ${offered ? html`
          <p class="when"><time datetime=${start}><bdi>${dayAndClock(start, ownZone())}</bdi></time></p>
          <p class="fact">${icon('clock')}<span>${t('waitlist.until')} <bdi class="countdown" role="timer" aria-live="off">${duration(left_s)}</bdi></span></p>`
          : html`<p class="soft">${t('waitlist.between')} <bdi>${shortDay(earliest, ownZone())}</bdi> – <bdi>${shortDay(new Date(Date.parse(latest) - 1), ownZone())}</bdi>${ahead ? html` · ${t('waitlist.ahead', { count: ahead })}` : nothing}</p>`}
        <div class="row wrap">
          ${offered ? html`<button class="button primary small" type="button" data-testid="take-offer" ?disabled=${busy || left_s === 0} @click=${() => this.accept(entry)}>${icon('check')}<span>${t('waitlist.take')}</span></button>` : nothing}
          <button class="button secondary small" type="button" data-testid="wait-no-more" ?disabled=${busy} @click=${() => this.leave(entry)}>${t('waitlist.leave')}</button>
        </div>
      </article>`;
  }
}
