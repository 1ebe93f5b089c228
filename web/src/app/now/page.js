// A doctor now: what for and in which language, then it rings at those who are there, and the first who takes it is seen.
//
// A visitor needs no account, only a name for the doctor to say. The request's number is kept in this tab, so a reload goes
// on waiting; a press whose answer was lost finds the request that it made, because the server tells its number.

/** @import { InstantView } from '../booking.js' */

import { render } from 'lit-html';
import { announce } from '../announce.js';
import { specialties } from '../book/api.js';
import { playChime } from '../call/chime.js';
import { oncePerFrame } from '../dom.js';
import { ApiError, onWhoChanged, problemText, resume } from '../http.js';
import { language, t } from '../i18n.js';
import { Live } from '../live.js';
import { goTo } from '../navigation.js';
import { ensureSomebody } from '../session.js';
import { VisitSeat } from '../visit-seat.js';
import { SPOKEN } from '../when.js';
import * as api from './api.js';
import { nowView } from './views.js';

/** @typedef {'loading' | 'ask' | 'ringing' | 'accepted' | 'unanswered'} Phase */

const KEPT = 'wadud.now';

export class NowPage {
  /** @type {Phase} */
  phase = 'loading';
  /** @type {{code: string, name: string}[]} */
  specialties = [];
  form = { specialty: '', language: '', reason: '', name: '' };
  /** Whoever is signed in has a name already. */
  hasName = false;
  nameMissing = false;
  /** @type {InstantView | null} */
  view = null;
  connected = true;
  busy = false;
  entering = false;
  problem = '';
  /** @type {Live | null} */
  #live = null;

  /** @param {HTMLElement} root */
  constructor(root) {
    this.root = root;
    this.draw = oncePerFrame(() => this.#render());
    onWhoChanged(this.draw);
    setInterval(() => this.phase === 'ringing' && this.draw(), 1000);  // the seconds that are left
  }

  async start() {
    this.#show('loading');
    this.problem = '';
    this.form.language ||= SPOKEN.includes(language()) ? language() : SPOKEN[0];
    try {
      const [found, known] = await Promise.all([specialties(), resume()]);
      this.specialties = found;
      this.form.specialty ||= found[0]?.code ?? '';
      if (known) {
        this.hasName = (await api.account()).name !== '';
        const kept = sessionStorage.getItem(KEPT);
        if (kept && await this.#goOn(kept)) return;
      }
      this.#show('ask');
    } catch (error) {
      this.problem = problemText(error);
      this.#show('ask');
    }
  }

  /** @param {string} id of a request of before @returns {Promise<boolean>} whether it rings still, or was taken */
  async #goOn(id) {
    try {
      const view = await api.read(id);
      if (view.state !== 'ringing' && view.state !== 'accepted') return false;
      this.#watch(view);
      return true;
    } catch (error) {
      if (!(error instanceof ApiError && error.status === 404)) throw error;  // it was another person's
      sessionStorage.removeItem(KEPT);
      return false;
    }
  }

  /** Names of specialties come from the server in the page's language. */
  async relabel() {
    this.draw();
    this.specialties = await specialties().catch(() => this.specialties);
    this.draw();
  }

  get secondsLeft() { return Math.max(0, Math.ceil((Date.parse(this.view?.ring_until ?? '') - Date.now()) / 1000)); }

  /** @param {keyof typeof this.form} field @param {Event} event */
  write(field, event) {
    this.form[field] = /** @type {HTMLInputElement} */ (event.target).value;
    if (field === 'name' && this.nameMissing) {
      this.nameMissing = false;
      this.draw();
    }
  }

  async ask() {
    if (this.busy) return;
    const name = this.form.name.trim();
    if (!this.hasName && !name) {
      this.nameMissing = true;
      this.#render();
      document.getElementById('name')?.focus();
      return;
    }
    await this.#doing(async () => {
      await ensureSomebody();
      if (!this.hasName) {
        await api.rename(name);
        this.hasName = true;
      }
      const { specialty, language: spoken, reason } = this.form;
      try {
        this.#watch(await api.ask({ specialty, language: spoken, reason: reason.trim() }));
      } catch (error) {
        const asked = error instanceof ApiError && error.code === 'already_asking' && error.problem.request;
        if (!asked) throw error;
        this.#watch(await api.read(asked));
      }
    });
  }

  async cancel() {
    const { view } = this;
    if (!view) return;
    await this.#doing(async () => {
      try {
        await api.cancel(view.request);
      } catch (error) {
        if (!(error instanceof ApiError && error.code === 'not_ringing')) throw error;
        this.#receive(await api.read(view.request));  // somebody took it just now, or it has ended by itself
        return;
      }
      this.#leave();
      this.#show('ask');
    });
  }

  /** Once more, with what was typed. */
  again() {
    this.#show('ask');
  }

  /** Into the visit, which waits for nothing but this page. */
  async enter() {
    const appointment = this.view?.appointment;
    if (!appointment || this.entering) return;
    Object.assign(this, { entering: true, problem: '' });
    this.draw();
    try {
      await new VisitSeat(appointment, false).checkIn(true);  // the place is of whoever asked, and asked here
      goTo(`/visits/${appointment}`);
    } catch (error) {
      this.problem = problemText(error);
    }
    this.entering = false;
    this.#render();
  }

  /** @param {InstantView} view */
  #watch(view) {
    sessionStorage.setItem(KEPT, view.request);
    this.#receive(view);
    if (this.phase !== 'ringing') return;
    this.#live?.stop();
    this.#live = new Live({
      ticketPath: `/v1/instant-requests/${view.request}/live`,
      onPush: ({ instant }) => this.#receive(instant),
      onEnd: (reason) => this.#lost(reason),
      onState: (connected) => {
        this.connected = connected;
        this.draw();
      },
    });
  }

  /** @param {InstantView} view */
  #receive(view) {
    const before = this.view?.request === view.request ? this.view : null;
    this.view = view;
    if (view.state === 'ringing') {
      this.#show('ringing');
      if (before && before.ring !== view.ring) announce(t('now.say_next'));
    } else if (view.state === 'accepted') this.#accepted();
    else {
      this.#leave();
      this.#show(view.state === 'unanswered' ? 'unanswered' : 'ask');
    }
  }

  #accepted() {
    if (this.phase === 'accepted') return;
    this.#leave();
    this.#show('accepted');
    announce(t('now.accepted', { name: this.view?.doctor ?? '' }), { urgent: true });
    playChime('').catch((error) => console.info('no sound before a press on the page', error));
    if (document.visibilityState === 'visible') this.enter();
    else document.addEventListener('visibilitychange', () => this.enter(), { once: true });
  }

  /** @param {string} reason why the view is over */
  #lost(reason) {
    console.info('the request is watched no longer', reason);
    this.#leave();
    this.problem = t('problem.try_again');
    this.#show('ask');
  }

  /** The request has ended. */
  #leave() {
    sessionStorage.removeItem(KEPT);
    this.#live?.stop();
    this.#live = null;
    this.connected = true;
  }

  /** @param {() => Promise<void>} work */
  async #doing(work) {
    if (this.busy) return;
    Object.assign(this, { busy: true, problem: '' });
    this.draw();
    try {
      await work();
    } catch (error) {
      this.problem = problemText(error);
    }
    this.busy = false;
    this.#render();
  }

  /** @param {Phase} phase */
  #show(phase) {
    const moved = this.phase !== phase && this.phase !== 'loading';
    this.phase = phase;
    this.#render();
    if (moved) document.getElementById('now-title')?.focus();
  }

  #render() {
    document.title = t(this.phase === 'accepted' ? 'title.join_admitted' : 'title.now');
    render(nowView(this), this.root);
  }
}
