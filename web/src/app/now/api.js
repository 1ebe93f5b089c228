// What the page for a doctor now asks of the server.

/** @import { Account, InstantView } from '../booking.js' */

import { request } from '../http.js';

/** @returns {Promise<Account>} */
export const account = () => request('GET', '/v1/me');

/** @param {string} name */
export const rename = (name) => request('PATCH', '/v1/me', { body: { name } });

/** @param {{specialty: string, language: string, reason: string}} wish @returns {Promise<InstantView>} */
export const ask = (wish) => request('POST', '/v1/instant-requests', { body: wish });

/** @param {string} id @returns {Promise<InstantView>} */
export const read = (id) => request('GET', '/v1/instant-requests/{request}', { path: { request: id } });

/** @param {string} id */
export const cancel = (id) => request('POST', '/v1/instant-requests/{request}/cancel', { path: { request: id } });
