// Error classes with stable codes. Two families: the server or the person refused (SignallingError, DeviceError), or the
// way to the server failed (ConnectionError). StateError is the caller's own fault. Documented in index.d.ts.

/** @import { DeviceCode, Source } from './index.js' */

export class WadudError extends Error {
  /**
   * @param {string} code
   * @param {string} [message]
   * @param {ErrorOptions} [options]
   */
  constructor(code, message, options) {
    super(message || code, options);
    this.name = new.target.name;
    this.code = code;
  }
}

export class SignallingError extends WadudError {
  /**
   * @param {string} code
   * @param {string} [message]
   * @param {boolean} [fatal]
   */
  constructor(code, message, fatal = false) {
    super(code, message);
    this.fatal = fatal;
  }
}

export class ConnectionError extends WadudError {}

const PASSING = new Set(['rate_limited', 'draining', 'server_error']);

/** Whether it may pass by itself, so that trying again makes sense. @param {unknown} error */
export function mayPass(error) {
  return error instanceof ConnectionError || (error instanceof SignallingError && PASSING.has(error.code));
}

/** Whether the request fell with its socket: what is told anew behind a resume is no failure then. @param {unknown} error */
export function fellWithSocket(error) {
  return error instanceof ConnectionError || (error instanceof SignallingError && error.fatal);
}

export class StateError extends WadudError {}

export class DeviceError extends WadudError {
  /** @type {DeviceCode} */
  code;

  /**
   * @param {DeviceCode} code
   * @param {Source} source
   * @param {ErrorOptions} [options]
   */
  constructor(code, source, options) {
    super(code, `${source}: ${code}`, options);
    this.code = code;
    this.source = source;
  }
}
