// Exponential backoff with jitter: the first try comes almost at once, since most losses are short, and later ones spread
// out so that a restarted server is not met by everybody in the same instant.

const FIRST_MS = 250;
const MOST_MS = 5000;

export class Backoff {
  #tries = 0;

  /** @param {() => number} random uniform in [0, 1) */
  constructor(random) {
    this.random = random;
  }

  /** @returns {number} milliseconds to wait before the next try */
  next() {
    const ceiling = Math.min(MOST_MS, FIRST_MS * 2 ** this.#tries);
    const floor = this.#tries === 0 ? 0 : ceiling / 2;
    this.#tries += 1;
    return floor + this.random() * (ceiling - floor);
  }

  reset() {
    this.#tries = 0;
  }
}
