// Renegotiation, one offer at a time: wishes that come while an offer is under way are gathered into the next one, and what
// the lost socket swallowed is offered again after the resume. Being the only offerer, we never meet glare.

/** @import { Message } from './socket.js' */
/** @import { Source } from './index.js' */
/** @import { Peer } from './peer.js' */

import { ConnectionError } from './errors.js';

export class Negotiator {
  #wanted = false;
  #restart = false;
  /** @type {Promise<void> | null} */
  #running = null;

  /**
   * @param {Peer} peer
   * @param {(source: Source) => boolean} isMuted
   * @param {(fields: Record<string, unknown>) => Promise<Message>} sendOffer
   * @param {(answer: Message) => void} onAnswer
   */
  constructor(peer, isMuted, sendOffer, onAnswer) {
    this.peer = peer;
    this.isMuted = isMuted;
    this.sendOffer = sendOffer;
    this.onAnswer = onAnswer;
  }

  /**
   * @param {{restart?: boolean}} [wish]
   * @returns {Promise<void>} when the wish is answered
   */
  negotiate({ restart = false } = {}) {
    this.#wanted = true;
    this.#restart ||= restart;
    this.#running ??= this.#run().finally(() => { this.#running = null; });
    return this.#running;
  }

  /** After a resume: offers again what has not been answered. */
  async retry() {
    await this.#running?.catch(() => undefined);
    if (this.#wanted) await this.negotiate();
  }

  async #run() {
    while (this.#wanted) {
      const restart = this.#restart;
      this.#wanted = this.#restart = false;
      try {
        const offer = await this.peer.createOffer(restart, this.isMuted);
        const answer = await this.sendOffer({ ...offer, restart });
        await this.peer.acceptAnswer(answer.sdp);
        this.onAnswer(answer);
      } catch (error) {
        if (error instanceof ConnectionError) {
          this.#wanted = true;
          this.#restart ||= restart;
        } else {
          await this.peer.rollback();
        }
        throw error;
      }
    }
  }
}
