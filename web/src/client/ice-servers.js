// Addresses and credentials of the relay, from POST /v1/ice-servers. They are asked for beside the join and never hold it up
// for long: on an open network the server's own candidates are enough. An allocation keeps the credentials that it was made
// with, so new ones come ahead of the end, and before an ICE restart when the old ones are as good as over.

/** @import { CallOptions, Environment } from './index.js' */

/** How long a join or an ICE restart waits for an answer. */
export const PATIENCE_MS = 1500;
const TIMEOUT_MS = 20_000;
/** How long before their end credentials are renewed; short-lived ones at half of their life. */
const AHEAD_MS = 120_000;
/** An ICE restart begins with credentials that live for at least this long, where there are any. */
const SOON_MS = 60_000;
/** Credentials that end no later than this after the ones before are no reason to move a call. */
const SAME_MS = 15_000;
const FIRST_RETRY_MS = 5000;
const MOST_RETRY_MS = 60_000;

/**
 * @typedef {object} IceServersHandlers
 * @property {() => Promise<string>} token the newest room token
 * @property {(servers: RTCIceServer[]) => void} changed the first ones, or some that live longer
 */

/** The server has none to give and will have none for this token. */
class Refused extends Error {}

export class IceServers {
  /** @type {RTCIceServer[]} */
  #servers;
  #fixed;
  /** The server has answered, if only that it has no relay. */
  #known = false;
  #endsAt_ms = -Infinity;
  /** @type {Promise<void> | null} */
  #asking = null;
  #askedAt_ms = -Infinity;
  #failures = 0;
  #closed = false;
  /** @type {unknown} */
  #timer = null;
  /** @type {AbortController | null} */
  #abort = null;

  /**
   * @param {CallOptions} options
   * @param {Environment} environment
   * @param {IceServersHandlers} handlers
   */
  constructor(options, environment, handlers) {
    this.environment = environment;
    this.handlers = handlers;
    this.#fixed = options.iceServers !== undefined;
    this.#servers = options.iceServers ?? [];
    const url = new URL('ice-servers', new URL(options.url, globalThis.location?.href));
    url.protocol = url.protocol.replace(/^ws/, 'http');
    this.url = url.href;
  }

  get servers() { return this.#servers; }
  /** Nothing more is waited for. */
  get isKnown() { return this.#fixed || this.#known; }

  /** Forgets what belonged to the join before: a server that was started anew has another secret. */
  reset() {
    this.#asking = null;  // whatever that one answers
    this.#abort?.abort();
    this.#known = false;
    this.#endsAt_ms = -Infinity;
    if (!this.#fixed) this.#servers = [];
  }

  /** Asks unless that is under way, done or not our business. @param {string} token */
  ask(token) {
    if (!this.isKnown) this.#begin(async () => token);
  }

  /** Settles with the answer, and after `PATIENCE_MS` without one. Never rejects. */
  async ready() {
    if (!this.#asking) return;
    const rest_ms = this.#askedAt_ms + PATIENCE_MS - this.environment.now();
    if (rest_ms > 0) await this.#atMost(this.#asking, rest_ms);
  }

  /** As `ready`, for an ICE restart: asks again when the credentials are missing or end soon. */
  async refresh() {
    const none = this.#fixed || this.#closed || this.#known && this.#servers.length === 0;
    if (none || this.#endsAt_ms - this.environment.now() > SOON_MS) return;
    this.#begin(this.handlers.token);
    await this.ready();
  }

  close() {
    this.#closed = true;
    this.environment.clearTimeout(this.#timer);
    this.#abort?.abort();
  }

  /** @param {() => Promise<string>} token */
  #begin(token) {
    if (this.#asking || this.#closed) return;
    this.environment.clearTimeout(this.#timer);
    this.#askedAt_ms = this.environment.now();
    const newest = () => asking === this.#asking;
    /** @type {Promise<void>} */
    const asking = this.#asking = this.#request(token)
      .then((answer) => { if (newest()) this.#take(answer); })
      .catch((error) => { if (newest()) this.#failed(error); })
      .finally(() => { if (newest()) this.#asking = null; });
  }

  /**
   * @param {() => Promise<string>} token
   * @returns {Promise<{ice_servers: RTCIceServer[], lifetime_s: number}>}
   */
  async #request(token) {
    const { environment } = this;
    const abort = this.#abort = new AbortController();
    const timer = environment.setTimeout(() => abort.abort(), TIMEOUT_MS);
    try {
      const headers = { Authorization: `Bearer ${await token()}` };
      const { signal } = abort;
      const answer = await environment.fetch(this.url, { method: 'POST', headers, credentials: 'omit', cache: 'no-store', signal });
      if (!answer.ok) {
        const final = answer.status >= 400 && answer.status < 500 && answer.status !== 429;
        throw final ? new Refused(`HTTP ${answer.status}`) : new Error(`HTTP ${answer.status}`);
      }
      return await answer.json();
    } finally {
      environment.clearTimeout(timer);
    }
  }

  /** @param {{ice_servers: RTCIceServer[], lifetime_s: number}} answer */
  #take({ ice_servers: servers, lifetime_s }) {
    if (this.#closed) return;
    const now_ms = this.environment.now();
    const lifetime_ms = lifetime_s * 1000;
    const longer = !this.#known || now_ms + lifetime_ms > this.#endsAt_ms + SAME_MS;
    this.#failures = 0;
    this.#known = true;
    if (longer) {
      this.#servers = servers;
      this.#endsAt_ms = now_ms + lifetime_ms;
    }
    // A token that was fetched a moment ago may be the one of before: then the next try comes when half of the rest is over.
    if (servers.length > 0 && lifetime_ms > SAME_MS) this.#later(lifetime_ms - Math.min(AHEAD_MS, lifetime_ms / 2));
    if (longer) this.handlers.changed(servers);
  }

  /** Nobody is told: the call goes on by the ways that it has. @param {unknown} error */
  #failed(error) {
    if (error instanceof Refused || this.#closed) return;
    this.#failures += 1;
    this.#later(Math.min(MOST_RETRY_MS, FIRST_RETRY_MS * 2 ** (this.#failures - 1)));
  }

  /** @param {number} delay_ms */
  #later(delay_ms) {
    this.environment.clearTimeout(this.#timer);
    this.#timer = this.environment.setTimeout(() => this.#begin(this.handlers.token), delay_ms);
  }

  /**
   * @param {Promise<unknown>} step
   * @param {number} delay_ms
   */
  async #atMost(step, delay_ms) {
    /** @type {unknown} */
    let timer;
    const over = new Promise((resolve) => { timer = this.environment.setTimeout(() => resolve(undefined), delay_ms); });
    await Promise.race([step, over]);
    this.environment.clearTimeout(timer);
  }
}
