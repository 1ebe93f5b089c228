// Signing in and out, and the visitor who has no account yet.

/** @import { Ceremony, CodeTicket, SignIn } from './booking.js' */

import { forget, keep, request, resume, who } from './http.js';
import { language } from './i18n.js';
import { signed } from './passkeys.js';

/** A visitor without an account is a real, anonymous person: what they book stays theirs when they sign in later. */
export const isVisitor = () => who() === null || who()?.roles.every((role) => role === 'anonymous') === true;

export const isDoctor = () => who()?.roles.includes('doctor') === true;

/** Makes sure that requests go as somebody. */
export async function ensureSomebody() {
  if (await resume()) return;
  keep(await request('POST', '/v1/auth/anonymous', { body: { locale: language(), keep: 'cookie' }, anonymous: true }));
}

/** @param {string} email @param {string} password */
export const logIn = (email, password) => finish(request('POST', '/v1/auth/login', { body: { email, password, keep: 'cookie' }, anonymous: true }));

/** @param {string} email @returns {Promise<CodeTicket>} the code is on its way */
export const askForCode = (email) => request('POST', '/v1/auth/otp', { body: { email, locale: language() }, anonymous: true });

/** A visitor who enters a code keeps what they have booked. @param {string} ticket @param {string} code */
export async function enterCode(ticket, code) {
  const body = { ticket, code, keep: 'cookie' };
  const visiting = await resume() && isVisitor();
  return finish(visiting ? request('POST', '/v1/auth/upgrade', { body }) : request('POST', '/v1/auth/otp/verify', { body, anonymous: true }));
}

/** @param {string} ticket of the first factor @param {string} code */
export const enterSecondFactor = (ticket, code) => finish(request('POST', '/v1/auth/mfa/verify', { body: { ticket, code, keep: 'cookie' }, anonymous: true }));

/** With whichever passkey of this host the person picks; it is both factors in one. */
export async function enterPasskey() {
  /** @type {Ceremony} */
  const { id, options } = await request('POST', '/v1/auth/passkeys/login/start', { body: {}, anonymous: true });
  const credential = await signed(options);
  return finish(request('POST', '/v1/auth/passkeys/login/finish', { body: { id, credential, keep: 'cookie' }, anonymous: true }));
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

/** @param {Promise<SignIn>} answer @returns {Promise<SignIn>} */
async function finish(answer) {
  const signIn = await answer;
  if (signIn.state === 'signed_in') keep(signIn);
  return signIn;
}
