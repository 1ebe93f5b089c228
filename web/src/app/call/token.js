// The token that a call joins with. A server that is just starting anew, or a network that is gone for a moment, is no refusal:
// the client tries again by itself, as it does with its socket.

/** @import { VisitCall } from './visit.js' */

import { ConnectionError } from '../../client/index.js';
import { fetchToken } from '../api.js';
import { ApiError } from '../http.js';

/** @param {ApiError} error */
const isOutage = ({ status }) => status === 0 || status === 429 || status >= 500;

/**
 * @param {VisitCall | null} visit
 * @param {string} room
 * @param {string} name
 * @returns {Promise<string>}
 * @throws {ConnectionError} what may pass, with the server's own words as its cause
 */
export async function tokenFor(visit, room, name) {
  try {
    return await (visit?.token() ?? fetchToken(room, name));
  } catch (error) {
    if (error instanceof ApiError && isOutage(error)) throw new ConnectionError('unreachable', error.message, { cause: error });
    throw error;
  }
}
