// What a link asks of the server before there is a seat.

/** @import { Exchanged, Looked } from '../booking.js' */

import { request } from '../http.js';

/** Spends nothing. @param {string} token @returns {Promise<Looked>} */
export const look = (token) => request('POST', '/v1/join/look', { body: { token }, anonymous: true });

/**
 * The click. Only a doctor's link wants the session too.
 * @param {{token: string, gesture: string, switch: boolean, birth_year?: number}} wish
 * @param {boolean} asDoctor
 * @returns {Promise<Exchanged>}
 */
export const exchange = (wish, asDoctor) => request('POST', '/v1/join/exchange', { body: wish, anonymous: !asDoctor });
