// One's seat in a visit, and what may be asked of the server with it. Somebody who came by a link has a pass (a cookie), and
// their requests go without any session that this browser may have: two ways in would be two devices.

/** @import { RoomToken, VisitView } from './booking.js' */

import { request } from './http.js';

export class VisitSeat {
  /** @param {string} appointment @param {boolean} byPass */
  constructor(appointment, byPass) {
    this.appointment = appointment;
    this.byPass = byPass;
  }

  /** @returns {Promise<VisitView>} */
  view() {
    return this.#ask('GET', '');
  }

  /** @param {boolean} take the seat over from another device @returns {Promise<{state: 'waiting' | 'admitted' | 'elsewhere'}>} */
  async checkIn(take) {
    return this.#ask('POST', '/check-in', { device_check: await devices(), switch: take });
  }

  /** @returns {Promise<RoomToken>} */
  token() {
    return this.#ask('GET', '/token');
  }

  /** @param {string} body @returns {Promise<{seq: number}>} */
  write(body) {
    return this.#ask('POST', '/messages', { body });
  }

  /** We go by our own wish; whoever was in may come back while the visit is on. */
  async leave() {
    await this.#ask('POST', '/leave').catch((error) => console.info('the seat ends by itself', error));
  }

  /** The doctor ends the visit for everybody. */
  end() {
    return this.#ask('POST', '/end');
  }

  /** The doctor opens the visit once more; the links that were sent work again. */
  callAgain() {
    return this.#ask('POST', '/call-again');
  }

  get liveTicket() {
    return { ticketPath: `/v1/visits/${this.appointment}/live`, anonymous: this.byPass };
  }

  /** @param {'GET' | 'POST'} method @param {string} what @param {unknown} [body] @returns {Promise<any>} */
  #ask(method, what, body) {
    return request(method, `/v1/visits/${this.appointment}${what}`, { body, anonymous: this.byPass });
  }
}

/** What this device has, as far as it says so without asking the person. @returns {Promise<Record<string, boolean>>} */
async function devices() {
  try {
    const found = await navigator.mediaDevices.enumerateDevices();
    return { camera: found.some(({ kind }) => kind === 'videoinput'), microphone: found.some(({ kind }) => kind === 'audioinput') };
  } catch {
    return {};  // no https, or a browser that says nothing
  }
}
