// Who came and who left while the connection was being repaired. Behind a restart of the server everybody joins anew, one after
// the other and under another id: who left and came again under the same name has neither left nor come.

export class Comings {
  /** @type {Map<string, number>} by name: who came, less who left */
  #balance = new Map();
  /** @type {Set<string>} */
  #ids = new Set();

  /** @param {string} id @param {string} name */
  come(id, name) {
    this.#ids.add(id);
    this.#count(name, 1);
  }

  /** @param {string} name */
  leave(name) { this.#count(name, -1); }

  /** Whether somebody came of whom nothing has been told yet. @param {string} id */
  has(id) { return this.#ids.has(id); }

  /** Names, one for each person, in the order in which they were first counted. */
  get names() {
    const of = (/** @type {number} */ sign) => [...this.#balance].flatMap(([name, count]) => Array(Math.max(0, sign * count)).fill(name));
    return { came: of(1), left: of(-1) };
  }

  /** @param {string} name @param {number} by */
  #count(name, by) { this.#balance.set(name, (this.#balance.get(name) ?? 0) + by); }
}
