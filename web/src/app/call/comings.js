// Who came and who left while the connection was being repaired. Behind a restart of the server everybody joins anew, one after
// the other and under another id: who left and came again under the same name has neither left nor come.

export class Comings {
  /** @type {Map<string, number>} by name: who came, less who left */
  #balance = new Map();

  /** @param {string} name */
  come(name) { this.#count(name, 1); }

  /** @param {string} name */
  leave(name) { this.#count(name, -1); }

  /** @returns {{came: string[], left: string[]}} names, one for each person, in the order in which they were first counted */
  take() {
    const balance = [...this.#balance];
    this.#balance.clear();
    const times = (/** @type {number} */ sign) => balance.flatMap(([name, count]) => Array(Math.max(0, sign * count)).fill(name));
    return { came: times(1), left: times(-1) };
  }

  /** @param {string} name @param {number} by */
  #count(name, by) { this.#balance.set(name, (this.#balance.get(name) ?? 0) + by); }
}
