// Signing in and out, and the visitor who has no account yet.

/** @import { SignIn } from './booking.js' */

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
export const logIn = async (email, password) => entered(await request('POST', '/v1/auth/login', {
  ...await asVisitor(), body: { email, password, keep: 'cookie' },
}));

/** @param {string} email the code is on its way */
export const askForCode = (email) => request('POST', '/v1/auth/otp', { body: { email, locale: language() }, anonymous: true });

/** A visitor with a new contact stays the same person. @param {string} ticket @param {string} code */
export async function enterCode(ticket, code) {
  const visitor = await asVisitor();
  const path = visitor.bearer ? '/v1/auth/upgrade' : '/v1/auth/otp/verify';
  return entered(await request('POST', path, { ...visitor, body: { ticket, code, keep: 'cookie' } }));
}

/** @param {string} ticket of the first factor @param {string} code */
export const enterSecondFactor = async (ticket, code) => entered(await request('POST', '/v1/auth/mfa/verify', {
  ...await asVisitor(), body: { ticket, code, keep: 'cookie' },
}));

/** With whichever passkey of this host the person picks; it is both factors in one. */
export async function enterPasskey() {
  const { id, options } = await request('POST', '/v1/auth/passkeys/login/start', { anonymous: true });
  const credential = await signed(options);
  return entered(await request('POST', '/v1/auth/passkeys/login/finish', { ...await asVisitor(), body: { id, credential, keep: 'cookie' } }));
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

/** How a way in is asked for: a visitor keeps what they have booked, whichever way they come. */
const asVisitor = async () => ({ anonymous: true, bearer: await visitorsToken() });

/** One step of a way in was taken. @param {SignIn} signIn */
function entered(signIn) {
  if (signIn.state === 'signed_in') keep(signIn);
  return signIn;
}
