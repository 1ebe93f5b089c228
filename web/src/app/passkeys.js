// What the browser does with passkeys (WebAuthn level 3, section 5.1): it reads our JSON and writes its own, so no bytes
// pass through our hands. A browser that cannot do that yet (before Chromium 129, Firefox 119, Safari 18.4) is offered none.

import { ApiError } from './http.js';

export const passkeysWork = () => typeof PublicKeyCredential !== 'undefined' && 'parseRequestOptionsFromJSON' in PublicKeyCredential;

/** @param {any} options of a sign-in @returns {Promise<Record<string, unknown>>} what the chosen passkey signed */
export const signed = (options) => asked(() => navigator.credentials.get({ publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(options) }));

/** @param {any} options of a new passkey @returns {Promise<Record<string, unknown>>} what the server keeps of it */
export const made = (options) => asked(() => navigator.credentials.create({ publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(options) }));

/**
 * @param {() => Promise<Credential | null>} ask
 * @throws {ApiError} `passkey_dismissed`: closed, or not answered in time; `passkey_known`: this device has one already
 */
async function asked(ask) {
  try {
    return /** @type {PublicKeyCredential} */ (await ask()).toJSON();
  } catch (error) {
    console.info('no passkey', error);
    const known = error instanceof DOMException && error.name === 'InvalidStateError';
    throw new ApiError(0, known ? 'passkey_known' : 'passkey_dismissed', String(error));
  }
}
