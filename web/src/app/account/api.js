// What the page of one's account asks of the server.

/** @import { Account, Care, Device, Enrolment, Passkey } from '../booking.js' */

import { refresh, request } from '../http.js';
import { made } from '../passkeys.js';

/** @returns {Promise<Account>} */
export const account = () => request('GET', '/v1/me');

/** @returns {Promise<Device[]>} where one is signed in */
export const devices = () => request('GET', '/v1/me/sessions');

/** @returns {Promise<Passkey[]>} */
export const passkeys = () => request('GET', '/v1/me/passkeys');

/** @param {string} name @returns {Promise<Account>} */
export const rename = (name) => request('PATCH', '/v1/me', { body: { name } });

/** @returns {Promise<Care[]>} for whom one may act */
export const dependants = () => request('GET', '/v1/me/dependants');

/** @returns {Promise<Care[]>} who may act for oneself */
export const caregivers = () => request('GET', '/v1/me/caregivers');

/** @param {{name: string, relation: import('../booking.js').Relation, birth_year: number | null}} person @returns {Promise<Care>} */
export const addDependant = (person) => request('POST', '/v1/me/dependants', { body: person });

/** They are asked by mail. @param {string} email @param {import('../booking.js').Relation} relation */
export const nameCaregiver = (email, relation) => request('POST', '/v1/me/caregivers', { body: { email, relation } });

/** In either direction. @param {string} id */
export const endCare = (id) => request('DELETE', '/v1/me/dependants/{id}', { path: { id } });

/** @param {string} password @param {string} current empty: a code has been entered lately */
export const setPassword = (password, current) => request('PUT', '/v1/me/password', { body: { password, current: current || null } });

/** @returns {Promise<Enrolment>} */
export const beginFactor = () => request('POST', '/v1/auth/mfa/totp');

/** @param {string} code of the app @returns {Promise<string[]>} recovery codes, which are shown once */
export async function confirmFactor(code) {
  const { recovery_codes: codes } = await request('POST', '/v1/auth/mfa/totp/confirm', { body: { code } });
  await refresh();  // roles that waited for it count from now on
  return codes;
}

/** @param {string} code */
export const removeFactor = (code) => request('POST', '/v1/auth/mfa/totp/remove', { body: { code } });

/** @param {string} code @returns {Promise<string[]>} the old ones are void */
export const newRecoveryCodes = async (code) => (await request('POST', '/v1/auth/mfa/recovery-codes', { body: { code } })).recovery_codes;

/** @param {string} label */
export async function addPasskey(label) {
  const { id, options } = await request('POST', '/v1/auth/passkeys/register/start');
  const credential = await made(options);
  await request('POST', '/v1/auth/passkeys/register/finish', { body: { id, credential, label } });
  await refresh();
}

/** @param {string} id */
export const removePasskey = (id) => request('DELETE', '/v1/me/passkeys/{id}', { path: { id } });

/** @param {string} id */
export const endDevice = (id) => request('DELETE', '/v1/me/sessions/{id}', { path: { id } });

export const endAll = () => request('POST', '/v1/auth/logout-all');
