// One's visits: what is ahead, what was. A doctor also has the board of the day above it: who waits, since when, and every
// button that moves the line. The board is always the whole line as the server pushed it last.

/** @import { Appointment, Profile, QueueEntry, QueueView, Terms } from '../booking.js' */

import { render } from 'lit-html';
import { announce } from '../announce.js';
import { Calendar } from '../book/calendar.js';
import * as discovery from '../book/api.js';
import { saveFile } from '../calendar-file.js';
import { playChime } from '../call/chime.js';
import { oncePerFrame } from '../dom.js';
import { ApiError, download, onWhoChanged, problemText, resume, who } from '../http.js';
import { t } from '../i18n.js';
import { Live } from '../live.js';
import { goTo } from '../navigation.js';
import { isDoctor } from '../session.js';
import { costText } from '../terms.js';
import { clock, longDay, ownZone } from '../when.js';
import * as api from './api.js';
import { Requests } from './requests.js';
import { Talks } from './talks.js';
import { visitsView } from './views.js';
import { Waitlist } from './waitlist.js';

/** How far back the list goes. */
const PAST_MS = 30 * 86_400_000;
const CLOCK_MS = 20_000;

export class VisitsPage {
  loading = true;
  problem = '';
  /** @type {Appointment[]} */
  appointments = [];
  /** @type {string | null} */
  cursor = null;
  /** Doctors by number, as far as they are listed. @type {Map<string, Profile>} */
  profiles = new Map();
  /** @type {Map<string, Promise<Profile | null>>} */
  #profiles = new Map();

  /** What is being asked about: a visit's id with what would be done. */
  asking = { id: '', what: /** @type {'' | 'cancel' | 'move' | 'no-show' | 'message' | 'decline'} */ ('') };
  busy = '';
  /** Of the visit that is being asked about. @type {Terms | null} */
  terms = null;

  // A visit that is moved.
  calendar;
  /** @type {string | null} */
  doctorZone = null;
  holding = '';
  /** @type {string[]} */
  alternatives = [];

  // The board.
  /** @type {QueueView | null} */
  board = null;
  connected = true;
  /** @type {Requests | null} */
  requests = null;
  talks = new Talks(() => this.draw());
  /** @type {Set<string>} */
  #waiting = new Set();

  /** @param {HTMLElement} root */
  constructor(root) {
    this.root = root;
    this.draw = oncePerFrame(() => this.#render());
    this.calendar = new Calendar(this.draw);
    this.waitlist = new Waitlist(this.draw, (name, work) => this.#doing(name, work), {
      busy: () => this.busy,
      doctor: (provider, service) => this.#named(provider, service),
      taken: (appointment) => { this.appointments = [...this.appointments.filter(({ id }) => id !== appointment.id), appointment]; },
    });
    onWhoChanged(this.draw);
    setInterval(this.draw, CLOCK_MS);  // 'for 5 min' grows
  }

  async start() {
    this.#render();
    try {
      if (!await resume()) {
        this.loading = false;
        this.draw();
        return;
      }
      if (isDoctor()) this.#watch();
      await this.load();
    } catch (error) {
      this.#failed(error);
    }
  }

  get signedIn() { return who() !== null; }
  get doctor() { return isDoctor(); }

  /** @param {boolean} [more] */
  async load(more = false) {
    this.loading = !this.appointments.length;
    this.draw();
    try {
      const from = new Date(Date.now() - PAST_MS).toISOString();
      const page = await api.appointments(from, more ? this.cursor : null);
      this.appointments = [...more ? this.appointments : [], ...page.items];
      this.cursor = page.next ?? null;
      if (!more) await this.waitlist.load();
      this.#learnNames();
    } catch (error) {
      this.problem = problemText(error);
    }
    this.loading = false;
    this.draw();
  }

  /** An appointment names its doctor by number only; the profile has the rest. */
  async #learnNames() {
    for (const { provider } of [...this.appointments, ...this.waitlist.entries]) {
      if (!this.#profiles.has(provider)) this.#profiles.set(provider, discovery.profile(provider).catch(() => null));
      const profile = await this.#profiles.get(provider);
      if (profile) this.profiles.set(provider, profile);
    }
    this.draw();
  }

  /** @param {Appointment} visit @returns {{doctor: string, service: string}} */
  namesOf(visit) {
    const { doctor, service } = this.#named(visit.provider, visit.service);
    return { doctor: visit.doctor_name ?? doctor, service: visit.service_name ?? (service || t(`kind.${visit.kind}`)) };
  }

  /** By the profile, as far as it is known. @param {string} provider @param {string} service */
  #named(provider, service) {
    const profile = this.profiles.get(provider);
    return { doctor: profile ? `${profile.card.title} ${profile.card.name}`.trim() : '', service: profile?.services.find(({ id }) => id === service)?.name ?? '' };
  }

  /** @param {string} id @param {typeof this.asking.what} what empty to think better of it */
  ask(id, what) {
    this.asking = { id: what ? id : '', what };
    this.problem = '';
    this.alternatives = [];
    this.terms = null;
    const entry = this.board?.entries.find(({ ticket }) => ticket === id);
    if (what === 'message' && entry) this.talks.read(entry);
    if (what === 'move') this.#openCalendar(id);
    if (what === 'move' || what === 'cancel') this.#askTerms(id);
    this.#render();
    document.getElementById(what === 'message' ? `message-${id}` : what ? `ask-${id}` : `visit-${id}`)?.focus();
  }

  /** Whoever cancels knows the price before. @param {string} id */
  async #askTerms(id) {
    const terms = await api.terms(id).catch(() => null);  // the server decides anyhow, and says why not
    if (this.asking.id !== id || !terms) return;
    this.terms = terms;
    this.#render();
    if (this.asking.what === 'cancel') announce(costText(terms));
  }

  // The list.

  /** @param {Appointment} appointment @param {'accept' | 'decline' | 'cancel'} action */
  async change(appointment, action) {
    await this.#doing(`${appointment.id} ${action}`, async () => {
      this.#replace(await api.change(appointment.id, action));
      this.asking = { id: '', what: '' };
      announce(t(`visits.say_${action}`));
    });
    document.getElementById(`visit-${appointment.id}`)?.focus();
  }

  /** The doctor opens a visit that is over once more, and goes in. @param {Appointment} appointment */
  async callAgain({ id }) {
    await this.#doing(`${id} call-again`, async () => {
      await api.callAgain(id);
      goTo(`/visits/${id}#enter`);
    });
  }

  /** @param {string} id */
  async #openCalendar(id) {
    const appointment = this.appointments.find((each) => each.id === id);
    if (!appointment) return;
    try {
      const profile = this.profiles.get(appointment.provider) ?? await discovery.profile(appointment.provider);
      const service = profile.services.find((each) => each.id === appointment.service);
      this.doctorZone = profile.timezone;
      if (service) await this.calendar.open(profile.card.id, service);
      else this.problem = t('visits.cannot_move');
    } catch (error) {
      this.problem = problemText(error);
    }
    this.draw();
  }

  /** @param {number} by */
  turnMonth(by) { this.calendar.turn(by); }

  /** @param {string} day */
  chooseDay(day) {
    this.calendar.choose(day);
    announce(t('slots.free', { count: this.calendar.byDay.get(day)?.length ?? 0 }));
  }

  /** The new time of the visit that is moved. @param {string} starts_at */
  async choose(starts_at) {
    const { id } = this.asking;
    this.holding = starts_at;
    await this.#doing(`${id} move`, async () => {
      this.#replace(await api.move(id, starts_at));
      this.asking = { id: '', what: '' };
      announce(t('visits.say_moved', { day: longDay(starts_at, ownZone()), time: clock(starts_at, ownZone()) }));
    });
    this.holding = '';
    if (this.problem) this.calendar.reload();
    this.draw();
  }

  /** @param {Appointment} changed */
  #replace(changed) {
    this.appointments = this.appointments.map((each) => (each.id === changed.id ? { ...each, ...changed } : each));
  }

  /** @param {string} id */
  async saveCalendar(id) {
    await this.#doing(`${id} ics`, async () => saveFile(await download(`/v1/appointments/${id}.ics`), 'visit.ics'));
  }

  // The board.

  #watch() {
    this.requests = new Requests(this.draw, (name, work) => this.#doing(name, work), () => this.busy);
    new Live({
      ticketPath: '/v1/queue/live',
      ticketBody: {},
      onPush: ({ queue }) => this.#receive(queue),
      onEnd: (reason) => console.info('no board', reason),
      onState: (connected) => {
        this.connected = connected;
        this.draw();
      },
    });
  }

  /** @param {QueueView} queue */
  #receive(queue) {
    const waiting = new Set(queue.entries.filter(({ state, here }) => state === 'waiting' && here).map(({ ticket }) => ticket));
    const arrived = queue.entries.filter(({ ticket }) => waiting.has(ticket) && !this.#waiting.has(ticket));
    if (this.board && arrived.length) {
      announce(t('board.say_arrived', { name: arrived[0].name || t('person.nameless') }));
      playChime('').catch((error) => console.info('no sound before a press on the page', error));
    }
    const wrote = this.talks.receive(this.board?.entries ?? queue.entries, queue.entries);
    this.#waiting = waiting;
    this.board = queue;
    const open = queue.entries.find(({ ticket }) => this.asking.what === 'message' && ticket === this.asking.id);
    if (open) this.talks.read(open);
    for (const entry of wrote) announce(entry === open ? `${entry.name}: ${entry.messages.at(-1)?.body}` : t('board.say_message', { name: entry.name || t('person.nameless') }));
    if (wrote.length) playChime('').catch((error) => console.info('no sound before a press on the page', error));
    this.requests?.of(queue.provider);
    this.draw();
  }

  /** @param {QueueEntry} entry */
  async admit(entry) {
    await this.#doing(`${entry.ticket} admit`, async () => {
      await api.admit(entry.appointment ?? '');
      goTo(`/visits/${entry.appointment}#enter`);
    });
  }

  /** The board stays: the patient is let in with a press of their own. @param {QueueEntry} entry @param {string} holder @param {string} name */
  async admitCompanion(entry, holder, name) {
    await this.#doing(`${entry.ticket} ${holder}`, async () => {
      await api.admitCompanion(entry.appointment ?? '', holder);
      announce(t('board.say_let_in', { name }));
    });
    document.getElementById(`visit-${entry.ticket}`)?.focus();
  }

  async admitNext() {
    await this.#doing('next', async () => {
      const { appointment } = await api.admitNext();
      goTo(`/visits/${appointment}#enter`);
    });
  }

  /** @param {QueueEntry} entry @param {'no-show' | 'end'} what */
  async close(entry, what) {
    await this.#doing(`${entry.ticket} ${what}`, async () => {
      await (what === 'end' ? api.endVisit : api.noShow)(entry.appointment ?? '');
      this.asking = { id: '', what: '' };
      this.load();
    });
  }

  /** @param {number} minutes */
  async late(minutes) {
    await this.#doing('late', async () => {
      await api.delay(minutes);
      announce(t(minutes ? 'board.say_late' : 'board.say_on_time', { count: minutes }));
    });
  }

  /** One thing at a time; its button shows it. @param {string} name @param {() => Promise<void>} work */
  async #doing(name, work) {
    if (this.busy) return;
    Object.assign(this, { busy: name, problem: '' });
    this.draw();
    try {
      await work();
    } catch (error) {
      this.#failed(error);
    }
    this.busy = '';
    this.#render();
  }

  /** @param {unknown} error */
  #failed(error) {
    this.loading = false;
    this.problem = problemText(error);
    if (error instanceof ApiError && error.code === 'slot_taken') this.problem = t('slots.taken_none');
    this.draw();
  }

  #render() {
    const waiting = this.board?.entries.filter(({ state, here }) => state === 'waiting' && here).length ?? 0;
    document.title = waiting ? t('title.board', { count: waiting }) : t('title.visits');
    render(visitsView(this), this.root);
  }
}
