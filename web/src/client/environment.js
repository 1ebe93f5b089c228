// What the library takes from the browser, gathered in one record so that tests run it in fake time without one.

/** @import { Environment } from './index.js' */

/**
 * @param {Partial<Environment>} [replaced]
 * @returns {Environment}
 */
export function environmentOf(replaced = {}) {
  const { navigator } = globalThis;
  return {
    WebSocket: globalThis.WebSocket,
    RTCPeerConnection: globalThis.RTCPeerConnection,
    MediaStream: globalThis.MediaStream,
    mediaDevices: navigator?.mediaDevices,
    fetch: (...request) => globalThis.fetch(...request),
    setTimeout: (run, delay_ms) => globalThis.setTimeout(run, delay_ms),
    clearTimeout: (timer) => globalThis.clearTimeout(/** @type {number} */ (timer)),
    now: () => performance.now(),
    random: () => Math.random(),
    events: typeof globalThis.addEventListener === 'function' ? /** @type {EventTarget} */ (globalThis) : undefined,
    network: /** @type {any} */ (navigator)?.connection,
    ...replaced,
  };
}
