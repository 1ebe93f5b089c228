// A call that belongs to a visit. The visit page hands over which visit it is, in this tab only; tokens are then fetched as
// whoever may be in it, and fetched anew while the call lasts: that is what keeps the person's seat, and a refusal says
// that they may not stay. With it comes what the person has chosen to be seen and heard with, so that whoever is let in,
// or loads the page again, is in the call without a question.

/** @import { EndReason } from '../../client/index.js' */

import { ApiError } from '../http.js';
import { outcomeOf } from '../visit-end.js';
import { VisitSeat } from '../visit-seat.js';

/**
 * `back`: the visit page. `wanted`: which devices are on.
 * @typedef {{appointment: string, byPass: boolean, back: string, host: boolean, seat: string, name: string, wanted: {microphone: boolean, camera: boolean}}} Handover
 */

const HANDED = 'wadud.visit.';
const RETRY_MS = 5000;

/** @param {string} room @param {Handover} visit */
export const handOver = (room, visit) => sessionStorage.setItem(HANDED + room, JSON.stringify(visit));

/** @param {string} room @param {(code: string) => void} onRefused @returns {VisitCall | null} null: a call of its own */
export function visitOf(room, onRefused) {
  const visit = JSON.parse(sessionStorage.getItem(HANDED + room) ?? 'null');
  return visit && new VisitCall(room, visit, onRefused);
}

export class VisitCall {
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  /** Whoever has stopped while a token was on its way does not keep the seat with it. */
  #stops = 0;
  #seat;
  #room;
  #handed;

  /** @param {string} room @param {Handover} handed @param {(code: string) => void} onRefused the server says that we may not stay */
  constructor(room, handed, onRefused) {
    this.#room = room;
    this.#handed = handed;
    this.#seat = new VisitSeat(handed.appointment, handed.byPass);
    this.onRefused = onRefused;
    this.back = handed.back;
    this.host = handed.host;
    this.seat = handed.seat ?? (handed.host ? 'doctor' : 'patient');
    this.name = handed.name;
    this.wanted = handed.wanted ?? { microphone: true, camera: true };
  }

  /** For a reload. @param {'microphone' | 'camera'} source @param {boolean} on */
  want(source, on) {
    this.wanted = { ...this.wanted, [source]: on };
    handOver(this.#room, { ...this.#handed, wanted: this.wanted });
  }

  /** What has become of the visit that the call belonged to. @param {EndReason} call how that ended */
  outcome(call) {
    return outcomeOf(this.#seat, call);
  }

  /** @returns {Promise<string>} a token to join with; the next one is fetched by itself until `stop` */
  async token() {
    const stops = this.#stops;
    const { token, refresh_after_s } = await this.#seat.token();
    this.#renewIn(refresh_after_s * 1000, stops);
    return token;
  }

  /** @param {number} delay_ms @param {number} stops as they were before the seat was asked for */
  #renewIn(delay_ms, stops) {
    if (stops !== this.#stops) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#renew(), delay_ms);
  }

  async #renew() {
    const stops = this.#stops;
    try {
      await this.token();
    } catch (error) {
      if (stops !== this.#stops) return;
      if (error instanceof ApiError && error.status >= 400 && error.status < 500 && error.status !== 429) this.onRefused(error.code);
      else this.#renewIn(RETRY_MS, stops);
    }
  }

  stop() {
    this.#stops += 1;
    clearTimeout(this.#timer);
  }

  leave() {
    this.stop();
    return this.#seat.leave();
  }

  end() {
    this.stop();
    return this.#seat.end();
  }

  callAgain() {
    return this.#seat.callAgain();
  }
}
