// Signing in and out, and the visitor who has no account yet.

/** @import { Ceremony, CodeTicket, SignIn } from './booking.js' */

import { forget, isVisitor, keep, request, resume, visitorsToken, who } from './http.js';
import { language } from './i18n.js';
import { signed } from './passkeys.js';

export { isVisitor };

export const isDoctor = () => who()?.roles.includes('doctor') === true;

/** Makes sure that requests go as somebody: a visitor without an account is a real, anonymous person. */
export async function ensureSomebody() {
  if (await resume()) return;
  keep(await request('POST', '/v1/auth/anonymous', { body: { locale: language(), keep: 'cookie' }, anonymous: true }));
}

/** @param {string} email @param {string} password */
export const logIn = (email, password) => enter('/v1/auth/login', { email, password });

/** @param {string} email @returns {Promise<CodeTicket>} the code is on its way */
export const askForCode = (email) => request('POST', '/v1/auth/otp', { body: { email, locale: language() }, anonymous: true });

/** A visitor with a new contact stays the same person. @param {string} ticket @param {string} code */
export const enterCode = async (ticket, code) => enter(await visitorsToken() ? '/v1/auth/upgrade' : '/v1/auth/otp/verify', { ticket, code });

/** @param {string} ticket of the first factor @param {string} code */
export const enterSecondFactor = (ticket, code) => enter('/v1/auth/mfa/verify', { ticket, code });

/** With whichever passkey of this host the person picks; it is both factors in one. */
export async function enterPasskey() {
  /** @type {Ceremony} */
  const { id, options } = await request('POST', '/v1/auth/passkeys/login/start', { body: {}, anonymous: true });
  const credential = await signed(options);
  return enter('/v1/auth/passkeys/login/finish', { id, credential });
}

/** The page forgets at once; the server is told, and if it cannot be reached its cookie ends by itself. */
export async function logOut() {
  try {
    await request('POST', '/v1/auth/logout');
  } catch (error) {
    console.info('the server did not hear the sign-out', error);
  }
  forget();
}

/**
 * One step of a way in. A visitor keeps what they have booked, whichever way they come.
 * @param {string} path @param {object} proof @returns {Promise<SignIn>}
 */
async function enter(path, proof) {
  /** @type {SignIn} */
  const signIn = await request('POST', path, { body: { ...proof, keep: 'cookie' }, anonymous: true, bearer: await visitorsToken() });
  if (signIn.state === 'signed_in') keep(signIn);
  return signIn;
}
