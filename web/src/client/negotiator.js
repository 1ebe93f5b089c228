// Renegotiation, one offer at a time: wishes that come while an offer is under way are gathered into the next one, which is
// made even when the first is refused, and what the lost socket swallowed is offered again after the resume: the same offer,
// unless something else was wished since, so that an ICE restart goes on with the ways that it has found. Being the only
// offerer, we never meet glare.

/** @import { Message } from './socket.js' */
/** @import { Source } from './index.js' */
/** @import { OfferedTrack, Peer } from './peer.js' */

import { ConnectionError, mayPass } from './errors.js';

export class Negotiator {
  #wanted = false;
  #restart = false;
  #restarting = false;
  /** What the server refused for now is offered once more, not with every step that follows. */
  #refused = false;
  /** What the lost socket swallowed. @type {{sdp: string, tracks: OfferedTrack[]} | null} */
  #unanswered = null;
  /** The offer under way, or the join that carries the first one: settles with it and never rejects. @type {Promise<void>} */
  #running = Promise.resolve();
  /** @type {Promise<void> | null} the offer behind that */
  #next = null;

  /**
   * @param {Peer} peer
   * @param {(source: Source) => boolean} isMuted
   * @param {(fields: Record<string, unknown>) => Promise<Message>} sendOffer
   * @param {(answer: Message) => void} onAnswer
   * @param {() => Promise<void>} beforeRestart
   */
  constructor(peer, isMuted, sendOffer, onAnswer, beforeRestart) {
    this.peer = peer;
    this.isMuted = isMuted;
    this.sendOffer = sendOffer;
    this.onAnswer = onAnswer;
    this.beforeRestart = beforeRestart;
  }

  get isRestarting() {
    return this.#restarting;
  }

  /** An offer waits to be made again as it is. */
  get isUnanswered() {
    return this.#unanswered !== null;
  }

  /** The first offer travels with the join: whatever is wished meanwhile waits for its answer. @param {Promise<void>} join */
  follow(join) {
    this.#running = join.catch(() => undefined);
  }

  /**
   * @param {{restart?: boolean}} [wish]
   * @returns {Promise<void>} when the wish is answered
   */
  negotiate({ restart = false } = {}) {
    this.#wanted = true;
    this.#restart ||= restart;
    this.#unanswered = null;
    return this.#soon();
  }

  #soon() {
    this.#next ??= this.#afterThis();
    return this.#next;
  }

  /** Offers again what has not been answered: after a resume, or at the next occasion. */
  async retry() {
    await (this.#next ?? this.#running).catch(() => undefined);
    if (this.#wanted) await this.#soon();
  }

  async #afterThis() {
    await this.#running;  // also without one under way: what is wished in one moment makes one offer
    this.#running = this.#next?.catch(() => undefined) ?? this.#running;  // who wished takes a refusal in before the next one
    this.#next = null;
    await this.#offer();
  }

  async #offer() {
    const restart = this.#restarting = this.#restart;
    this.#wanted = this.#restart = false;
    let offer = this.#unanswered;
    this.#unanswered = null;
    try {
      if (restart && !offer) await this.beforeRestart();
      offer = offer ? this.#asMutedNow(offer) : await this.peer.createOffer(restart, this.isMuted);
      const answer = await this.sendOffer({ ...offer, restart });
      this.onAnswer(answer);  // at once: pushes that come while it is being taken in are newer
      await this.peer.acceptAnswer(answer.sdp);
      this.#refused = false;
    } catch (error) {
      const lost = error instanceof ConnectionError;
      if (lost || mayPass(error) && !this.#refused) {
        this.#wanted = true;
        this.#restart ||= restart;
      }
      if (lost && !this.#next) this.#unanswered = offer;
      if (!lost) {
        this.#refused = true;
        await this.peer.rollback();
      }
      throw error;
    } finally {
      this.#restarting = false;
    }
  }

  /** @param {{sdp: string, tracks: OfferedTrack[]}} offer */
  #asMutedNow({ sdp, tracks }) {
    return { sdp, tracks: tracks.map((track) => ({ ...track, muted: this.isMuted(track.source) })) };
  }
}
