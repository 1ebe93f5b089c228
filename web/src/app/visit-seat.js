// One's seat in a visit, and what may be asked of the server with it. Somebody who came by a link has a pass (a cookie), and
// their requests go without any session that this browser may have: two ways in would be two devices.

import { request } from './http.js';

export class VisitSeat {
  /** @param {string} appointment @param {boolean} byPass */
  constructor(appointment, byPass) {
    this.appointment = appointment;
    this.byPass = byPass;
  }

  view() {
    return request('GET', '/v1/visits/{appointment}', this.#mine);
  }

  /** @param {boolean} take the seat over from another device */
  async checkIn(take) {
    return request('POST', '/v1/visits/{appointment}/check-in', { ...this.#mine, body: { device_check: await devices(), switch: take } });
  }

  token() {
    return request('GET', '/v1/visits/{appointment}/token', this.#mine);
  }

  /** @param {string} body */
  write(body) {
    return request('POST', '/v1/visits/{appointment}/messages', { ...this.#mine, body: { body } });
  }

  /** We go by our own wish; whoever was in may come back while the visit is on. */
  async leave() {
    const left = request('POST', '/v1/visits/{appointment}/leave', this.#mine);
    await left.catch((error) => console.info('the seat ends by itself', error));
  }

  /** The doctor ends the visit for everybody. */
  end() {
    return request('POST', '/v1/visits/{appointment}/end', this.#mine);
  }

  /** The doctor opens the visit once more; the links that were sent work again. */
  callAgain() {
    return request('POST', '/v1/visits/{appointment}/call-again', this.#mine);
  }

  get liveTicket() {
    return { ticketPath: `/v1/visits/${this.appointment}/live`, anonymous: this.byPass };
  }

  get #mine() {
    return { path: { appointment: this.appointment }, anonymous: this.byPass };
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
