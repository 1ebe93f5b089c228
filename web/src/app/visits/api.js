// What the list of visits and the board of the day ask of the server.

/** @import { Appointment, QueueView, WaitlistEntry } from '../booking.js' */

import { ApiError, newKey, request } from '../http.js';

/** @param {string} from @param {string | null} cursor @returns {Promise<{items: Appointment[], next?: string | null}>} */
export function appointments(from, cursor) {
  return request('GET', '/v1/appointments', { query: { mine: true, from, limit: 50, cursor: cursor ?? undefined } });
}

/** @param {string} id @returns {Promise<import('../booking.js').Terms>} */
export const terms = (id) => request('GET', '/v1/appointments/{appointment}/terms', { path: { appointment: id } });

/** @param {string} id @param {'accept' | 'decline' | 'cancel'} action @returns {Promise<Appointment>} */
export async function change(id, action) {
  const one = { path: { appointment: id }, key: newKey() };
  if (action === 'cancel') return (await request('POST', '/v1/appointments/{appointment}/cancel', { ...one, body: {} })).appointment;
  return request('POST', action === 'accept' ? '/v1/appointments/{appointment}/accept' : '/v1/appointments/{appointment}/decline', one);
}

/** @param {string} id @param {string} start @returns {Promise<Appointment>} */
export const move = (id, start) => request('POST', '/v1/appointments/{appointment}/reschedule', { path: { appointment: id }, body: { start }, key: newKey() });

/** @returns {Promise<QueueView>} one's own line as the doctor */
export const line = () => request('GET', '/v1/queue');

/** @returns {Promise<{appointment: string}>} who was let in */
export const admitNext = () => request('POST', '/v1/queue/next', { body: {} });

/** @param {string} visit */
export const admit = (visit) => request('POST', '/v1/visits/{appointment}/admit', { path: { appointment: visit }, body: {} });

/** @param {string} visit @param {string} holder a third person, asked in */
export const admitCompanion = (visit, holder) => request('POST', '/v1/visits/{appointment}/admit', { path: { appointment: visit }, body: { seat: 'third', holder } });

/** @param {string} visit */
export const noShow = (visit) => request('POST', '/v1/visits/{appointment}/no-show', { path: { appointment: visit } });

/** @param {string} visit */
export const endVisit = (visit) => request('POST', '/v1/visits/{appointment}/end', { path: { appointment: visit } });

/** The links that were sent work again for an hour. @param {string} visit */
export const callAgain = (visit) => request('POST', '/v1/visits/{appointment}/call-again', { path: { appointment: visit } });

/** @param {string} visit @param {string} body @param {string} patient @returns {Promise<{seq: number}>} */
export const tell = (visit, body, patient) => request('POST', '/v1/visits/{appointment}/desk-messages', { path: { appointment: visit }, body: { body, patient } });

/** @param {number} minutes 0 takes it back */
export const delay = (minutes) => request('POST', '/v1/queue/delay', { body: { minutes } });

/** Until when a doctor takes requests. @param {string} provider @returns {Promise<{online_until: string | null}>} */
export const practice = (provider) => request('GET', '/v1/providers/{provider}/profile', { path: { provider } });

/** @param {string} provider @param {number} minutes @returns {Promise<{online_until: string | null}>} */
export const goOnline = (provider, minutes) => request('PUT', '/v1/providers/{provider}/online', { path: { provider }, body: { minutes } });

/** @param {string} provider */
export const goOffline = (provider) => request('DELETE', '/v1/providers/{provider}/online', { path: { provider } });

/** The first to take a request has it; whose answer was lost finds their visit in the refusal. @param {string} id @returns {Promise<{appointment: string}>} */
export const takeRequest = (id) => request('POST', '/v1/instant-requests/{request}/accept', { path: { request: id } }).catch((error) => {
  if (error instanceof ApiError && error.problem.appointment) return { appointment: String(error.problem.appointment) };
  throw error;
});

/** @param {string} id */
export const leaveRequest = (id) => request('POST', '/v1/instant-requests/{request}/decline', { path: { request: id } });

/** @returns {Promise<WaitlistEntry[]>} what one waits for, and what is offered */
export const waits = () => request('GET', '/v1/waitlist');

/** @param {string} id @param {string} key @returns {Promise<Appointment>} */
export const takeOffer = (id, key) => request('POST', '/v1/waitlist/{entry_id}/accept', { path: { entry_id: id }, key });

/** @param {string} id */
export const waitNoMore = (id) => request('DELETE', '/v1/waitlist/{entry_id}', { path: { entry_id: id } });
