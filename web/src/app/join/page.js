// The visit page, from a link or from one's own account: look, one button, waiting room, and into the call.
//
// Camera and microphone are looked at while one waits; who is let in goes on in this very page with the devices as they are,
// so nobody is asked twice. Who is let in without waiting looks at them first, once a day. The link's token is taken out of the address bar at once, so that it is in no history and on no screenshot; it stays in
// this tab. Nothing is spent by looking: the button is the gesture. What the waiting room shows is always the whole state
// that the server pushed last, so a lost connection, a reload or another tab need no repair.

/** @import { Exchanged, Looked, VisitView } from '../booking.js' */
/** @import { VisitEntry } from '../call/visit-entry.js' */

import { render } from 'lit-html';
import { announce } from '../announce.js';
import { calendarText, saveFile } from '../calendar-file.js';
import { playChime } from '../call/chime.js';
import { Conversation } from '../conversation.js';
import { oncePerFrame } from '../dom.js';
import { ApiError, problemText, resume } from '../http.js';
import { LANGUAGES, language, languageChosen, setLanguage, t } from '../i18n.js';
import { Live } from '../live.js';
import { goTo, signInPage } from '../navigation.js';
import { endTitle, reasonOf, reasonOfLink, reasonOfRefusal } from '../visit-end.js';
import { VisitSeat } from '../visit-seat.js';
import * as api from './api.js';
import { joinView } from './views.js';

/**
 * What the page shows.
 * @typedef {'loading' | 'look' | 'early' | 'elsewhere' | 'waiting' | 'ready' | 'admitted' | 'call' | 'over' | 'problem'} Phase
 */

const TOKEN = 'wadud.link.';
const SEAT = 'wadud.seat.';
const LONGEST_TIMEOUT_MS = 2 ** 31 - 1;

export class JoinPage {
  /** @type {Phase} */
  phase = 'loading';
  /** @type {Looked | null} */
  looked = null;
  /** @type {VisitView | null} */
  visit = null;
  /** Why nobody can go on: a code of `over.*`. */
  reason = '';
  problem = '';
  busy = false;
  connected = true;
  asksBirthYear = false;
  birthYear = '';
  leaving = false;
  conversation = new Conversation(() => this.draw(), (body) => this.#seat.write(body));
  /** The device check, as soon as somebody waits. @type {VisitEntry | null} */
  entry = null;

  #token = '';
  #seat = new VisitSeat('', false);
  /** @type {Live | null} */
  #live = null;
  #said = { position: /** @type {number | null} */ (null), delay: 0, doctorHere: false };
  #wasHere = false;
  /** @type {Promise<typeof import('../call/visit-entry.js')> | null} */
  #entering = null;
  #goingIn = false;
  /** @type {WakeLockSentinel | null} */
  #awake = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #opening;

  /** @param {HTMLElement} root */
  constructor(root) {
    this.root = root;
    this.draw = oncePerFrame(() => this.#render());
    document.addEventListener('visibilitychange', () => this.#cameBack());
    addEventListener('hashchange', () => location.hash.length > 1 && location.reload());  // another link into the same tab
  }

  async start() {
    this.#render();
    const own = /^\/visits\/([0-9a-f-]{36})\/?$/.exec(location.pathname)?.[1];
    if (own !== undefined) {
      this.#seat = new VisitSeat(own, false);
      await this.#open();
      return;
    }
    const place = location.pathname.replace(/\/+$/, '');
    this.#token = location.hash.slice(1) || (sessionStorage.getItem(TOKEN + place) ?? '');
    if (location.hash) history.replaceState(history.state, '', location.pathname + location.search);
    if (this.#token) sessionStorage.setItem(TOKEN + place, this.#token);
    await this.look();
  }

  get byLink() { return this.#token !== ''; }

  // By a link.

  async look() {
    if (!this.#token) {
      this.#stop('unknown_link');
      return;
    }
    try {
      const looked = this.looked = await api.look(this.#token);
      if (looked.language !== language() && looked.language in LANGUAGES && !languageChosen()) await setLanguage(looked.language);
      this.asksBirthYear = looked.needs_birth_year;
      if (looked.state === 'early') this.#waitForOpening(looked.opens_at ?? '');
      else if (looked.state !== 'open') this.#stop(reasonOfLink(looked));
      else if (await this.#seatedBefore()) return;
      else this.#show('look');
    } catch (error) {
      this.#failed(error);
    }
  }

  /** A reload of the waiting room goes on waiting, without another click. */
  async #seatedBefore() {
    const appointment = sessionStorage.getItem(SEAT + this.#token);
    if (!appointment) return false;
    this.#seat = this.#seatOf(appointment);
    try {
      this.#receive(await this.#seat.view());
    } catch (error) {
      sessionStorage.removeItem(SEAT + this.#token);
      console.info('the seat of before is gone', error);
      return false;
    }
    if (this.visit?.state === 'left' || this.phase === 'over') return this.phase === 'over';
    this.#watch();
    return true;
  }

  /** @param {string} appointment */
  #seatOf(appointment) {
    return new VisitSeat(appointment, this.looked?.seat !== 'doctor');
  }

  /** The one button. @param {boolean} [take] the seat over from another device */
  async join(take = false) {
    if (this.busy) return;
    Object.assign(this, { busy: true, problem: '' });
    this.draw();
    try {
      if (this.byLink && !await this.#exchange(take)) return;
      const { state } = await this.#seat.checkIn(take);
      if (state === 'elsewhere') {
        this.#show('elsewhere');
        return;
      }
      this.#receive(await this.#seat.view());
      this.#watch();
    } catch (error) {
      this.#failed(error);
    } finally {
      this.busy = false;
      this.draw();
    }
  }

  /** @param {boolean} take @returns {Promise<boolean>} whether this device has the seat */
  async #exchange(take) {
    const year = this.asksBirthYear ? { birth_year: Number(this.birthYear) } : {};
    const wish = { token: this.#token, gesture: this.looked?.gesture ?? '', switch: take, ...year };
    const asDoctor = this.looked?.seat === 'doctor';
    let answer = /** @type {Exchanged | null} */ (null);
    try {
      answer = await api.exchange(wish, asDoctor);
    } catch (error) {
      if (!(error instanceof ApiError && error.code === 'not_a_click')) throw error;
      this.looked = await api.look(this.#token);  // the page was open for longer than a gesture lives
      answer = await api.exchange({ ...wish, gesture: this.looked.gesture ?? '' }, asDoctor);
    }
    if (answer.state === 'seated' && answer.appointment) {
      this.#seat = this.#seatOf(answer.appointment);
      sessionStorage.setItem(SEAT + this.#token, answer.appointment);
      return true;
    }
    if (answer.state === 'elsewhere') this.#show('elsewhere');
    else if (answer.state === 'early') this.#waitForOpening(answer.opens_at ?? '');
    else this.#stop(answer.state);
    return false;
  }

  // By one's own account.

  async #open() {
    try {
      await resume();
      const visit = await this.#seat.view();
      this.#receive(visit);
      const decided = visit.seat === 'doctor' && location.hash === '#enter';  // a press on the board was the press
      if (decided) history.replaceState(history.state, '', location.pathname);
      if (this.phase === 'early') this.#waitForOpening(visit.opens_at);
      else if (this.phase === 'look' && decided) await this.join();
      else if (visit.state === 'waiting' || visit.state === 'admitted') this.#watch();
    } catch (error) {
      this.#failed(error);
    }
  }

  // The waiting room.

  #watch() {
    this.#live?.stop();
    this.#live = new Live({
      ...this.#seat.liveTicket,
      after: () => this.conversation.last,
      onPush: ({ visit }) => this.#receive(visit),
      onEnd: (reason) => this.#ended(reason),
      onState: (connected) => {
        if (this.connected !== connected) announce(t(connected ? 'wait.connected' : 'wait.reconnecting'));
        this.connected = connected;
        this.draw();
      },
    });
    this.#stayAwake();
  }

  /** @param {VisitView} visit the whole state */
  #receive(visit) {
    this.visit = visit;
    const fresh = this.conversation.receive(visit.messages);
    // who has left by their own wish is not told so: we stop listening when we go
    if (visit.end !== null || visit.state === 'denied' || visit.state === 'left' && this.#wasHere) this.#stop(reasonOf(visit, ''));
    else if (visit.state === 'admitted') this.#admitted();
    else if (visit.state === 'waiting') {
      this.#wasHere = true;
      this.#show('waiting');
      this.#sayChanges(visit, fresh);
      this.#prepare();
    } else this.#show(Date.parse(visit.opens_at) > Date.now() ? 'early' : 'look');
  }

  /** @param {VisitView} visit @param {import('../booking.js').WaitingMessage[]} fresh */
  #sayChanges(visit, fresh) {
    const said = this.#said;
    if (visit.position !== null && visit.position !== said.position) announce(t('wait.say_position', { position: visit.position }));
    if (visit.delay_minutes !== said.delay) announce(visit.delay_minutes ? t('wait.delay', { count: visit.delay_minutes }) : t('wait.delay_over'));
    if (visit.doctor_here && !said.doctorHere) announce(t('wait.say_doctor_here', { name: visit.doctor }));
    for (const { from_seat, own, body } of fresh) if (!own) announce(`${t(`wait.from_${from_seat}`)}: ${body}`);
    this.#said = { position: visit.position, delay: visit.delay_minutes, doctorHere: visit.doctor_here };
  }

  /** Camera and microphone, of which the call is made. */
  async #prepare() {
    this.#entering ??= import('../call/visit-entry.js');
    const { VisitEntry } = await this.#entering;
    if (!['waiting', 'ready', 'admitted'].includes(this.phase)) return null;
    this.entry ??= new VisitEntry(this.root, () => this.draw());
    this.draw();
    return this.entry;
  }

  /** Into the call; who looks elsewhere is called first, and goes in when they come back. */
  async #admitted() {
    if (this.phase === 'admitted' || this.phase === 'ready' || this.phase === 'call') return;
    const waited = this.#wasHere;
    this.#show('admitted');
    if (waited) announce(t('wait.admitted', { name: this.visit?.doctor ?? '' }), { urgent: true });
    if (document.visibilityState === 'hidden') {
      playChime('').catch((error) => console.info('no sound before a press on the page', error));
      return;
    }
    await this.#goIn();
  }

  /** Who has looked at their devices, while waiting or today, need not do so again. */
  async #goIn() {
    try {
      this.#entering ??= import('../call/visit-entry.js');
      if (this.#wasHere || await (await this.#entering).checkedToday()) await this.enter();
      else {
        this.#show('ready');
        await this.#prepare();
      }
    } catch (error) {
      this.#failed(error);
    }
  }

  /** The call goes on in this page: what is loaded and allowed stays so. */
  async enter() {
    if (this.#goingIn) return;
    this.#goingIn = true;
    Object.assign(this, { busy: true, problem: '' });
    this.draw();
    try {
      const entry = await this.#prepare();
      if (!entry) return;
      const { room, role, name } = await this.#seat.token();
      this.#live?.stop();
      this.#awake?.release();
      const { appointment, byPass } = this.#seat;
      const seat = this.visit?.seat ?? this.looked?.seat ?? 'patient';
      this.phase = 'call';
      await entry.enter(room, { appointment, byPass, seat, back: location.pathname, host: role === 'host', name });
    } catch (error) {
      this.#failed(error);
    } finally {
      this.#goingIn = this.busy = false;
      this.draw();
    }
  }

  /** @param {boolean} asked */
  askLeave(asked) {
    this.leaving = asked;
    this.#render();
    document.getElementById(asked ? 'leave-title' : 'leave-button')?.focus();
  }

  async leave() {
    this.leaving = false;
    this.#live?.stop();
    this.#closeEntry();
    await this.#seat.leave();
    this.#wasHere = false;
    this.#show('look');
  }

  saveCalendar() {
    const about = this.looked ?? this.visit;
    if (!about?.starts_at || !about.ends_at) return;
    const url = this.byLink ? `${location.origin}${location.pathname}#${this.#token}` : location.href;
    const entry = { uid: `${about.starts_at}-${location.host}`, starts_at: about.starts_at, ends_at: about.ends_at, summary: t('join.calendar_summary'), description: t('join.calendar_text'), url };
    saveFile(new Blob([calendarText(entry, new Date())], { type: 'text/calendar' }), 'visit.ics');
  }

  // Ends and other turns.

  /** @param {string} reason of the live view */
  #ended(reason) {
    if (reason === 'replaced' && !this.byLink) this.#open();
    else if (reason === 'moved') this.#elsewhere();
    else if (reason === 'gone') this.#askWhy();
    else if (this.byLink && reason === 'not_open') this.look();
    else this.#stop(reason);
  }

  #elsewhere() {
    this.#closeEntry();
    this.#show('elsewhere');
  }

  /** The socket only says that there is nothing to see any more; the refusal of a look says why. */
  async #askWhy() {
    try {
      const visit = await this.#seat.view();
      this.visit = visit;
      this.#stop(reasonOf(visit, ''));
    } catch (error) {
      this.#stop(reasonOfRefusal(error) || 'gone');
    }
  }

  #closeEntry() {
    this.entry?.close();
    this.entry = null;
  }

  /** @param {unknown} error */
  #failed(error) {
    const code = error instanceof ApiError ? error.code : '';
    if (code === 'sign_in' || (error instanceof ApiError && error.status === 401)) {
      goTo(signInPage(location.pathname));
    } else if (code === 'device_moved') this.#elsewhere();
    else if (reasonOfRefusal(error)) this.#stop(reasonOfRefusal(error));
    else if (code === 'not_open') this.#closedMeanwhile();
    else {
      this.problem = problemText(error);
      if (code.startsWith('birth_year')) this.asksBirthYear = true;
      if (this.phase === 'loading') this.#show('problem');
      this.draw();
    }
  }

  /** The visit lets nobody in, for a reason that a new look tells. */
  async #closedMeanwhile() {
    if (this.byLink) await this.look();
    else await this.#open();
    if (this.phase !== 'look') return;
    this.problem = t('problem.not_open');
    this.draw();
  }

  /** @param {string} reason */
  #stop(reason) {
    const told = this.#wasHere && this.phase !== 'over';
    this.#live?.stop();
    this.#closeEntry();
    this.reason = reason;
    this.#awake?.release();
    this.#show('over');
    if (told) announce(endTitle(reason, this.visit?.seat ?? this.looked?.seat ?? '', { doctor: this.visit?.doctor ?? '' }), { urgent: true });
  }

  /** @param {string} opens_at */
  #waitForOpening(opens_at) {
    this.#show('early');
    clearTimeout(this.#opening);
    const wait_ms = Date.parse(opens_at) - Date.now() + 500;
    this.#opening = setTimeout(() => (this.byLink ? this.look() : this.#open()), Math.min(Math.max(wait_ms, 1000), LONGEST_TIMEOUT_MS));
    this.#countDown();
  }

  #countDown() {
    if (this.phase !== 'early') return;
    this.draw();
    setTimeout(() => this.#countDown(), 1000);
  }

  #cameBack() {
    if (document.visibilityState !== 'visible') return;
    if (this.phase === 'admitted') this.#goIn();
    else if (this.phase === 'waiting') this.#stayAwake();
  }

  /** The screen of a phone stays on while somebody waits. */
  async #stayAwake() {
    try {
      this.#awake = await navigator.wakeLock?.request('screen') ?? null;
    } catch (error) {
      console.info('no wake lock', error);  // low battery: the system knows better
    }
  }

  /** @param {Phase} phase */
  #show(phase) {
    const moved = phase !== this.phase;
    this.phase = phase;
    this.#render();
    if (moved) document.getElementById('join-title')?.focus({ preventScroll: true });
  }

  #render() {
    if (this.phase === 'call') return;  // the call has the page
    document.title = this.phase === 'waiting' && this.visit?.position ? t('title.waiting', { position: this.visit.position }) : t(`title.join_${this.phase}`);
    document.body.dataset.phase = this.phase;
    render(joinView(this), this.root);
  }
}
