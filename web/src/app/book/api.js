// What booking asks of the server, each call in one place.

/** @import { Appointment, Profile, ProviderPage, Slot } from '../booking.js' */

import { request } from '../http.js';
import { language } from '../i18n.js';
import { ownZone } from '../when.js';

/**
 * What to search for. `within`: free in so many days, as the select holds it.
 * @typedef {{q: string, specialty: string, language: string, kind: string, within: string, sort: string}} Wanted
 */

const DAY_MS = 86_400_000;

/** @param {Wanted} wanted @param {string | null} cursor @param {AbortSignal} signal @returns {Promise<ProviderPage>} */
export function search(wanted, cursor, signal) {
  const query = new URLSearchParams({ locale: language(), limit: '12' });
  for (const name of /** @type {const} */ (['q', 'specialty', 'language', 'kind', 'sort'])) if (wanted[name]) query.set(name, wanted[name]);
  if (wanted.within) query.set('available_before', new Date(Date.now() + Number(wanted.within) * DAY_MS).toISOString());
  if (cursor) query.set('cursor', cursor);
  return request('GET', `/v1/providers?${query}`, { signal, anonymous: true });
}

/** @returns {Promise<{code: string, name: string}[]>} */
export const specialties = () => request('GET', `/v1/specialties?locale=${language()}`, { anonymous: true });

/** @param {string} slug @returns {Promise<Profile>} */
export const profile = (slug) => request('GET', `/v1/providers/${encodeURIComponent(slug)}?locale=${language()}`, { anonymous: true });

/** Free slots of a service. @param {string} provider @param {string} service @param {string} from instant @param {string} to instant @returns {Promise<Slot[]>} */
export async function slots(provider, service, from, to) {
  const query = new URLSearchParams({ service, from, to, tz: ownZone() });
  const { slots: found } = await request('GET', `/v1/providers/${provider}/slots?${query}`, { anonymous: true });
  return found;
}

/** @typedef {{id: string, hold_until: string}} Hold */

/** @param {string} service @param {string} starts_at @param {string} key @returns {Promise<Hold>} */
export const hold = (service, starts_at, key) => request('POST', '/v1/holds', { key, body: { service, starts_at, timezone: ownZone() } });

/** @param {string} id @returns {Promise<Hold>} */
export const extend = (id) => request('POST', `/v1/holds/${id}/extend`);

/** @param {string} id */
export const release = (id) => request('DELETE', `/v1/holds/${id}`);

/** @param {{hold: string, reason: string, name?: string, email?: string}} wish @param {string} key @returns {Promise<Appointment>} */
export const book = (wish, key) => request('POST', '/v1/appointments', { key, body: { ...wish, locale: language() } });
