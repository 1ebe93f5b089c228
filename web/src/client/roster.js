// Who is in the room and which slot carries which track: the client's copy of the server's state, without I/O. Messages go
// in, events come out. A replay after a resume may repeat what a snapshot already told, so every step is idempotent.

/** @import { CallEvents, Participant, Track } from './index.js' */
/** @import { Message } from './socket.js' */

/** @typedef {Pick<Participant, 'id' | 'name' | 'role' | 'connection'> & {tracks: WireTrack[]}} WireParticipant */
/** @typedef {Pick<Track, 'id' | 'source' | 'kind' | 'muted'>} WireTrack */
/** @typedef {{mid: string, kind: 'audio' | 'video', track: string | null, participant: string | null, source: string | null}} Slot */
/**
 * @template {keyof CallEvents} K
 * @typedef {{type: K, detail: CallEvents[K]}} EventOf
 */
/** @typedef {EventOf<'participantjoined'> | EventOf<'participantleft'> | EventOf<'participantupdated'> | EventOf<'mediachange'>} RosterEvent */

export class Roster {
  /** @type {Map<string, WireParticipant>} */
  #people = new Map();
  /** @type {Slot[]} */
  #slots = [];
  /** Our own id, empty before the first join. */
  selfId = '';

  /** @param {(mid: string) => MediaStream | null} streamOf what arrives in a slot */
  constructor(streamOf) {
    this.streamOf = streamOf;
  }

  /** Takes our id of a new join; the entry of an older one goes silently. @param {string} id */
  become(id) {
    if (this.selfId !== id) this.#people.delete(this.selfId);
    this.selfId = id;
  }

  get self() {
    return this.selfId ? this.#view(this.selfId) : null;
  }

  get others() {
    return [...this.#people.keys()].filter((id) => id !== this.selfId).map((id) => /** @type {Participant} */ (this.#view(id)));
  }

  get slots() {
    return this.#slots;
  }

  /**
   * What others could be seen or heard of: videos that are on, but every microphone, as a first word comes too soon for a new offer.
   * @param {'audio' | 'video'} kind
   */
  countOnOffer(kind) {
    let count = 0;
    for (const { id, tracks } of this.#people.values()) {
      if (id !== this.selfId) count += tracks.filter((track) => track.kind === kind && !(kind === 'video' && track.muted)).length;
    }
    return count;
  }

  /**
   * Takes a full snapshot from `joined` or `resumed`.
   * @param {WireParticipant[]} people
   * @param {Slot[]} slots
   * @returns {RosterEvent[]} how it differs from before
   */
  reset(people, slots) {
    /** @type {RosterEvent[]} */
    const events = [];
    const present = new Set(people.map(({ id }) => id));
    for (const id of this.#people.keys()) {
      if (!present.has(id)) events.push(...this.#leave(id, 'left'));
    }
    for (const person of people) events.push(...this.#put(person));
    events.push(...this.setSlots(slots));
    return events;
  }

  /**
   * @param {Slot[]} slots
   * @returns {RosterEvent[]}
   */
  setSlots(slots) {
    this.#slots = slots;
    return [{ type: 'mediachange', detail: {} }];
  }

  /**
   * @param {Message} push
   * @returns {RosterEvent[]}
   */
  apply(push) {
    switch (push.type) {
      case 'participant_joined': return this.#put(push.participant);
      case 'participant_updated': return this.#people.has(push.participant.id) ? this.#put(push.participant) : [];
      case 'participant_left': return this.#leave(push.participant, push.reason);
      case 'slots': return this.setSlots(push.slots);
      default: return [];
    }
  }

  /**
   * @param {WireParticipant} person
   * @returns {RosterEvent[]}
   */
  #put(person) {
    const previous = this.#view(person.id);
    this.#people.set(person.id, person);
    const participant = /** @type {Participant} */ (this.#view(person.id));
    if (previous) return [{ type: 'participantupdated', detail: { participant, previous } }];
    return person.id === this.selfId ? [] : [{ type: 'participantjoined', detail: { participant } }];
  }

  /**
   * @param {string} id
   * @param {string} reason
   * @returns {RosterEvent[]}
   */
  #leave(id, reason) {
    const participant = this.#view(id);
    if (!participant || id === this.selfId) return [];
    this.#people.delete(id);
    return [{ type: 'participantleft', detail: { participant, reason } }];
  }

  /**
   * @param {string} id
   * @returns {Participant | null}
   */
  #view(id) {
    const person = this.#people.get(id);
    if (!person) return null;
    const tracks = person.tracks.map((track) => ({ ...track, stream: this.#streamOfTrack(track.id) }));
    return { ...person, tracks, self: id === this.selfId };
  }

  /** @param {string} track */
  #streamOfTrack(track) {
    const slot = this.#slots.find((candidate) => candidate.track === track);
    return slot ? this.streamOf(slot.mid) : null;
  }
}
