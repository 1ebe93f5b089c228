// Who should be seen when there are more videos than slots: who spoke last comes first, the others stay in order of arrival.
// Without I/O; the page sends the order when its head has changed.

/** @import { Participant, Speaker } from '../../client/index.js' */

/** Quieter than this does not move anybody to the front. */
const SPEAKS = 0.1;

export class Preference {
  /** @type {string[]} latest speaker first */
  #spoke = [];
  #told = '';

  /** @param {readonly Speaker[]} speakers loudest first */
  hear(speakers) {
    const loud = speakers.filter(({ level }) => level >= SPEAKS).map(({ participant }) => participant);
    this.#spoke = [...loud, ...this.#spoke.filter((id) => !loud.includes(id))];
  }

  /**
   * @param {readonly Participant[]} others
   * @param {number} slots how many of them can be seen
   * @returns {string[] | null} the order to ask for, or null when there is nothing new to ask
   */
  order(others, slots) {
    if (others.length <= slots) {
      this.#told = '';
      return null;
    }
    const ids = others.map(({ id }) => id);
    const spoke = this.#spoke.filter((id) => ids.includes(id));
    const order = [...spoke, ...ids.filter((id) => !spoke.includes(id))];
    const seen = order.slice(0, slots).sort().join(' ');
    if (seen === this.#told) return null;
    this.#told = seen;
    return order;
  }

  /** Behind a connection that was lost: it may have swallowed the order, or another session have begun, which knows none. */
  forget() { this.#told = ''; }
}
