// Media that broke for good are set up again by a new join. A way on which none can be set up (somebody in between changes or
// swallows DTLS) shall not be joined on for ever: each join after such a break waits longer, and after our patience comes the
// end. Media that held for a while begin a new count.

/** @import { Environment } from './index.js' */

import { Backoff } from './backoff.js';

const HELD_MS = 15_000;

export class Breaks {
  /** @type {{since_ms: number, backoff: Backoff} | null} a row of connections that did not hold */
  #row = null;

  /** @param {Environment} environment @param {number} giveUp_ms */
  constructor(environment, giveUp_ms) {
    this.environment = environment;
    this.giveUp_ms = giveUp_ms;
  }

  /** A connection is at its end. @param {number} held_ms how long its media held */
  ended(held_ms) {
    if (held_ms >= HELD_MS) this.#row = null;
  }

  /** @returns {number | null} milliseconds to wait before media are set up again; null to give up */
  next() {
    const { now, random } = this.environment;
    if (!this.#row) {
      this.#row = { since_ms: now(), backoff: new Backoff(random) };
      return 0;
    }
    return now() - this.#row.since_ms > this.giveUp_ms ? null : this.#row.backoff.next();
  }
}
