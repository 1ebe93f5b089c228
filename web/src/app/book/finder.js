// The search: what is wanted, and who was found. What is wanted stands in the address, so that it can be shared and come
// back to.

/** @import { Card } from '../booking.js' */
/** @import { Wanted } from './api.js' */

import { problemText } from '../http.js';
import * as api from './api.js';

/** @type {Wanted} */
const ANYTHING = { q: '', specialty: '', language: '', kind: '', within: '', sort: 'relevance' };
const TYPING_MS = 350;

export class Finder {
  wanted = { ...ANYTHING };
  problem = '';
  /** @type {{code: string, name: string}[]} */
  specialties = [];
  /** @type {Card[]} */
  cards = [];
  /** @type {string | null} */
  cursor = null;
  similar = false;
  searching = false;
  filtersOpen = matchMedia('(min-width: 720px)').matches;
  /** @type {AbortController | null} */
  #search = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #typing;

  /** @param {() => void} changed */
  constructor(changed) {
    this.changed = changed;
  }

  get filterCount() { return [this.wanted.specialty, this.wanted.language, this.wanted.kind, this.wanted.within].filter(Boolean).length; }

  /** @param {string} query of the address */
  async open(query) {
    const given = new URLSearchParams(query);
    const known = Object.keys(ANYTHING).filter((name) => given.has(name)).map((name) => [name, given.get(name)]);
    this.wanted = { ...ANYTHING, ...Object.fromEntries(known) };
    if (this.specialties.length > 0) this.#loadSpecialties();  // in another language
    await this.find();
  }

  /** @param {boolean} open the filters; what they offer is fetched when they are first seen */
  show(open) {
    this.filtersOpen = open;
    if (open && this.specialties.length === 0) this.#loadSpecialties();
  }

  async #loadSpecialties() {
    this.specialties = await api.specialties().catch(() => []);
    this.changed();
  }

  /** @param {Partial<Wanted>} change @param {{later?: boolean}} [how] `later`: somebody still types */
  want(change, { later = false } = {}) {
    Object.assign(this.wanted, change);
    clearTimeout(this.#typing);
    if (later) this.#typing = setTimeout(() => this.find(), TYPING_MS);
    else this.find();
  }

  wantAnything() {
    this.wanted = { ...ANYTHING };
    this.find();
  }

  async find() {
    clearTimeout(this.#typing);
    const given = Object.entries(this.wanted).filter(([name, value]) => value && value !== ANYTHING[/** @type {keyof Wanted} */ (name)]);
    const query = new URLSearchParams(given).toString();
    history.replaceState(history.state, '', query ? `/book?${query}` : '/book');
    this.cursor = null;
    await this.#ask([]);
  }

  findMore() {
    return this.#ask(this.cards);
  }

  /** @param {Card[]} before */
  async #ask(before) {
    this.#search?.abort();
    const search = this.#search = new AbortController();
    Object.assign(this, { searching: true, problem: '' });
    this.changed();
    try {
      const page = await api.search(this.wanted, this.cursor, search.signal);
      Object.assign(this, { cards: [...before, ...page.items], cursor: page.next ?? null, similar: page.similar });
    } catch (error) {
      if (search.signal.aborted) return;
      this.problem = problemText(error);
      this.cards = before;
    }
    this.searching = false;
    this.changed();
  }
}
