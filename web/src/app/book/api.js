// What booking asks of the server, each call in one place.

/** @import { Appointment, Care, Profile, ProviderPage, Slot, WaitlistEntry } from '../booking.js' */

import { newKey, request } from '../http.js';
import { language } from '../i18n.js';
import { ownZone } from '../when.js';

/**
 * What to search for. `within`: free in so many days, as the select holds it.
 * @typedef {{q: string, specialty: string, language: string, kind: string, within: string, sort: string}} Wanted
 */

const DAY_MS = 86_400_000;

/** @param {Wanted} wanted @param {string | null} cursor @param {AbortSignal} signal @returns {Promise<ProviderPage>} */
export function search(wanted, cursor, signal) {
  const { within, ...asked } = wanted;
  const query = Object.fromEntries(Object.entries(asked).filter(([, value]) => value));
  const available_before = within ? new Date(Date.now() + Number(within) * DAY_MS).toISOString() : undefined;
  return request('GET', '/v1/providers', {
    signal, anonymous: true, query: { locale: language(), limit: 12, ...query, available_before, cursor: cursor ?? undefined },
  });
}

/** @returns {Promise<{code: string, name: string}[]>} */
export const specialties = () => request('GET', '/v1/specialties', { query: { locale: language() }, anonymous: true });

/** @param {string} slug @returns {Promise<Profile>} */
export const profile = (slug) => request('GET', '/v1/providers/{reference}', {
  path: { reference: slug }, query: { locale: language() }, anonymous: true,
});

/** Free slots of a service. @param {string} provider @param {string} service @param {string} from day of the visitor's zone @param {string} to day after the last @returns {Promise<Slot[]>} */
export async function slots(provider, service, from, to) {
  const { slots: found } = await request('GET', '/v1/providers/{provider}/slots', {
    path: { provider }, query: { service, from, to, tz: ownZone() }, anonymous: true,
  });
  return found;
}

/** For whom one may book besides oneself. @returns {Promise<Care[]>} */
export const patients = async () => (await request('GET', '/v1/me/dependants')).filter(({ rights }) => rights.includes('book'));

/** @param {string} service @param {string} start @param {string} patient empty: oneself @returns {Promise<Appointment>} held */
export const hold = (service, start, patient) => request('POST', '/v1/holds', { key: newKey(), body: { service, start, timezone: ownZone(), patient: patient || null } });

/** @param {string} id @returns {Promise<Appointment>} held for longer */
export const extend = (id) => request('POST', '/v1/holds/{hold_id}/extend', { path: { hold_id: id }, key: newKey() });

/** @param {string} id */
export const release = (id) => request('DELETE', '/v1/holds/{hold_id}', { path: { hold_id: id } });

/** @param {string} held @param {string} reason @param {string} key @returns {Promise<Appointment>} */
export const book = (held, reason, key) => request('POST', '/v1/appointments', { key, body: { hold: held, reason, timezone: ownZone() } });

/** How the visitor is called, and how we write to them. @param {string} name */
export const introduce = (name) => request('PATCH', '/v1/me', { body: { name, locale: language(), timezone: ownZone() } });

/** Any start in these days will do. @param {string} service @param {Date} earliest @param {Date} latest @param {string} patient empty: oneself @param {string} key @returns {Promise<WaitlistEntry>} */
export const wait = (service, earliest, latest, patient, key) => request('POST', '/v1/waitlist', {
  key, body: { service, earliest: earliest.toISOString(), latest: latest.toISOString(), timezone: ownZone(), patient: patient || null },
});

/** What it will cost to cancel what is held or booked. @param {string} id @returns {Promise<import('../booking.js').Terms>} */
export const terms = (id) => request('GET', '/v1/appointments/{appointment}/terms', { path: { appointment: id } });
