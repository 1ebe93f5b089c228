// The free slots of one service, a month at a time, by the visitor's day.

/** @import { Offer, Slot } from '../booking.js' */

import { problemText } from '../http.js';
import { dayKey, ownZone, plusDays } from '../when.js';
import { slots } from './api.js';

/** Months that are looked at for a first free day before the person is asked. */
const LOOK_AHEAD = 2;

export class Calendar {
  month = '';
  day = '';
  loading = false;
  problem = '';
  /** @type {Map<string, Slot[]>} */
  byDay = new Map();
  #provider = '';
  /** @type {Offer | null} */
  #service = null;
  /** @type {Offer | null} whose slots are shown */
  #shown = null;
  #asked = 0;

  /** @param {() => void} changed */
  constructor(changed) {
    this.changed = changed;
  }

  get #today() { return dayKey(new Date(), ownZone()); }
  get #lastDay() { return plusDays(this.#today, this.#service?.horizon_days ?? 60); }
  get mayGoBack() { return this.month > this.#today.slice(0, 7); }
  get mayGoOn() { return this.month < this.#lastDay.slice(0, 7); }

  /** Shows the first month with a free day. @param {string} provider @param {Offer} service */
  async open(provider, service) {
    this.#provider = provider;
    this.#service = service;
    await this.#load(this.#today.slice(0, 7));
    for (let look = 1; look < LOOK_AHEAD && this.#service === service && !this.byDay.size && this.mayGoOn && !this.problem; look += 1) await this.#load(this.#month(1));
  }

  reload() {
    return this.#load(this.month);
  }

  /** @param {number} by months */
  turn(by) {
    return this.#load(this.#month(by));
  }

  /** @param {string} day */
  choose(day) {
    this.day = day;
    this.changed();
  }

  /** @param {number} by */
  #month(by) {
    const [year, month] = this.month.split('-').map(Number);
    return new Date(Date.UTC(year, month - 1 + by, 15)).toISOString().slice(0, 7);
  }

  /** @param {string} month */
  async #load(month) {
    if (!this.#service) return;
    const another = this.month !== month || this.#shown !== this.#service;
    this.month = month;
    this.loading = another;
    this.problem = '';
    if (another) this.byDay = new Map();
    this.#shown = this.#service;
    this.changed();
    const asked = ++this.#asked;
    const from = [this.#today, `${month}-01`].sort()[1];
    try {
      const found = await slots(this.#provider, this.#service.id, from, `${this.#month(1)}-01`);
      if (asked !== this.#asked) return;
      this.byDay = new Map();
      for (const slot of found) {
        const key = dayKey(slot.start, ownZone());
        this.byDay.set(key, [...this.byDay.get(key) ?? [], slot]);
      }
    } catch (error) {
      if (asked !== this.#asked) return;
      this.problem = problemText(error);
    }
    this.loading = false;
    if (!this.byDay.has(this.day)) this.day = [...this.byDay.keys()].sort()[0] ?? '';
    this.changed();
  }
}
