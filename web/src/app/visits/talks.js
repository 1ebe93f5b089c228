// What the doctor or the front desk and those who wait write to each other: one conversation for everybody in the line, with a
// mark on what nobody here has read yet. Whatever has been answered, from whichever screen, counts as read.

/** @import { QueueEntry } from '../booking.js' */

import { Conversation } from '../conversation.js';
import * as api from './api.js';

const READ = 'wadud.read';

export class Talks {
  /** @type {Map<string, Conversation>} */
  #talks = new Map();
  /** By ticket the number of the last message that was read in this browser. @type {Record<string, number>} */
  #read = JSON.parse(sessionStorage.getItem(READ) ?? '{}');

  /** @param {() => void} changed */
  constructor(changed) {
    this.changed = changed;
  }

  /** @param {QueueEntry} entry */
  with(entry) {
    let talk = this.#talks.get(entry.ticket);
    if (!talk) {
      talk = new Conversation(this.changed, (body) => api.tell(entry.appointment ?? '', body, entry.patient));
      this.#talks.set(entry.ticket, talk);
    }
    talk.receive(entry.messages);
    return talk;
  }

  /** How many messages of the person nobody has read. @param {QueueEntry} entry */
  unread(entry) {
    const answered = entry.messages.findLast(({ own }) => own)?.seq ?? 0;
    const read = Math.max(answered, this.#read[entry.ticket] ?? 0);
    return entry.messages.filter(({ seq, own }) => !own && seq > read).length;
  }

  /** @param {QueueEntry} entry whose conversation is being looked at */
  read(entry) {
    const last = entry.messages.at(-1)?.seq ?? 0;
    if (last <= (this.#read[entry.ticket] ?? 0)) return;
    this.#read[entry.ticket] = last;
    sessionStorage.setItem(READ, JSON.stringify(this.#read));
  }

  /**
   * The line as it is now. @param {QueueEntry[]} before @param {QueueEntry[]} entries @returns {QueueEntry[]} who has written since
   */
  receive(before, entries) {
    for (const entry of entries) if (this.#talks.has(entry.ticket)) this.with(entry);
    const known = new Map(before.map((entry) => [entry.ticket, entry.messages.at(-1)?.seq ?? 0]));
    return entries.filter(({ ticket, messages }) => messages.some(({ seq, own }) => !own && seq > (known.get(ticket) ?? 0)));
  }
}
