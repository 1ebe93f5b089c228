// Reads the statistics of one connection once per second, and whether anything is heard twice. Which way media take is also
// read at once when a way was found, because a second is long for whoever waits for it.

/** @import { Environment, LocalStats, MediaPath } from './index.js' */
/** @import { Counters } from './quality.js' */

import { pathOf, selectedPair } from './media-path.js';
import { heardIn, readStats } from './quality.js';

const INTERVAL_MS = 500;
const HEARD_PER_SAMPLE = 2;

export class StatsReader {
  /** @type {Counters | null} */
  #counters = null;
  /** @type {unknown} */
  #timer = null;
  #rounds = 0;
  #closed = false;

  /**
   * @param {RTCPeerConnection} connection
   * @param {Environment} environment
   * @param {{sample: (stats: LocalStats) => void, heard: (heard: number | null) => void, path: (path: MediaPath | null) => void}} handlers
   *   `heard` grows with every sign of life on the path; null when there is no telling
   */
  constructor(connection, environment, handlers) {
    this.connection = connection;
    this.environment = environment;
    this.handlers = handlers;
  }

  start() {
    if (this.#closed) return;
    this.environment.clearTimeout(this.#timer);
    this.#timer = this.environment.setTimeout(() => this.#sample(), INTERVAL_MS);
  }

  async readPath() {
    const report = await this.connection.getStats();
    if (!this.#closed) this.handlers.path(pathOf(report, selectedPair(report)));
  }

  close() {
    this.#closed = true;
    this.environment.clearTimeout(this.#timer);
  }

  async #sample() {
    const report = await this.connection.getStats();
    if (this.#closed) return;
    this.handlers.heard(heardIn(selectedPair(report)));
    this.start();
    this.#rounds += 1;
    if (this.#rounds % HEARD_PER_SAMPLE) return;
    const { stats, counters } = readStats(report, this.#counters, this.environment.now());
    this.#counters = counters;
    this.handlers.path(stats.path);
    this.handlers.sample(stats);
  }
}
