// A live view of a visit or a line: the whole state now and after every change (subprotocol wadud.visits.v1).
//
// The socket itself knows nobody: a ticket, fetched over HTTP by whoever may see the thing, opens the view. A socket that is
// lost is opened again with a new ticket and the version of the state that the page has: what comes first is the state as it
// is, or the word that it is still that one, so nothing has to be replayed.

import { Backoff } from '../client/backoff.js';
import { ApiError, ask } from './http.js';

const SUBPROTOCOL = 'wadud.visits.v1';
/** A browser tells about a dead connection only after minutes, so we ask. */
const PING_MS = 12_000;
/** On a thin link with losses a connection takes many round trips, and what gets lost twice comes seconds later. */
const OPENING_MS = 20_000;
const PATIENCE_MS = 12_000;

/**
 * @typedef {object} Watcher
 * @property {string} ticketPath where a ticket is asked for
 * @property {unknown} [ticketBody]
 * @property {boolean} [anonymous] asked for by a pass, without the session
 * @property {() => number} [after] number of the last message that the page has
 * @property {(push: any) => void} onPush a whole state
 * @property {(reason: string) => void} onEnd the view is over: moved, replaced, gone, or the code of a refusal
 * @property {(connected: boolean) => void} [onState]
 */

export class Live {
  /** @type {WebSocket | null} */
  #socket = null;
  #backoff = new Backoff(Math.random);
  #stopped = false;
  /** A ticket is on its way. */
  #opening = false;
  /** What was pushed last. @type {{version?: string} | undefined} */
  #last;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #onOnline = () => this.#hurry();

  /** @param {Watcher} watcher */
  constructor(watcher) {
    this.watcher = watcher;
    addEventListener('online', this.#onOnline);
    this.#open();
  }

  stop() {
    this.#stopped = true;
    clearTimeout(this.#timer);
    removeEventListener('online', this.#onOnline);
    this.#socket?.close();
  }

  async #open() {
    let ticket;
    this.#opening = true;
    try {
      const { ticketPath, ticketBody: body, anonymous } = this.watcher;
      ({ ticket } = await ask('POST', ticketPath, { body, anonymous }));
    } catch (error) {
      if (error instanceof ApiError && error.status >= 400 && error.status < 500 && error.status !== 429) this.#end(error.code);
      else this.#later();
      return;
    } finally {
      this.#opening = false;
    }
    if (this.#stopped) return;
    const scheme = location.protocol === 'https:' ? 'wss' : 'ws';
    const socket = new WebSocket(`${scheme}://${location.host}/v1/visits/live`, SUBPROTOCOL);
    this.#socket = socket;
    this.#expect(OPENING_MS);
    socket.onopen = () => {
      const { version } = this.#last ?? {};
      socket.send(JSON.stringify({ type: 'watch', id: 1, ticket, after: this.watcher.after?.() ?? 0, version }));
    };
    socket.onmessage = (event) => this.#receive(JSON.parse(String(event.data)));
    socket.onclose = () => this.#lost(socket);
  }

  /** @param {{type: string, reason?: string, version?: string}} message */
  #receive(message) {
    this.#beat();
    if (message.type === 'pong') return;
    if (message.type === 'error') {  // after it the server closes; an older one does not know versions
      this.#last = undefined;
      return;
    }
    if (message.type === 'bye' && message.reason === 'failed') {  // the server's fault
      if (this.#socket) this.#lost(this.#socket);
      return;
    }
    if (message.type === 'bye') {
      this.#end(message.reason ?? 'gone');
      return;
    }
    this.#backoff.reset();
    this.watcher.onState?.(true);
    if (message.type !== 'unchanged') this.#last = message;
    this.watcher.onPush(this.#last);
  }

  #beat() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#socket?.send('{"type":"ping","id":1}');
      this.#expect(PATIENCE_MS);
    }, PING_MS);
  }

  /** @param {number} patience_ms */
  #expect(patience_ms) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#socket && this.#lost(this.#socket), patience_ms);
  }

  /** @param {WebSocket} socket */
  #lost(socket) {
    if (this.#stopped || socket !== this.#socket) return;
    this.#socket = null;
    socket.close();
    this.watcher.onState?.(false);
    this.#later();
  }

  #later() {
    clearTimeout(this.#timer);
    if (!this.#stopped) this.#timer = setTimeout(() => this.#open(), this.#backoff.next());
  }

  /** The network is back: no reason to wait. */
  #hurry() {
    if (this.#stopped || this.#opening || this.#socket !== null) return;
    this.#backoff.reset();
    this.#later();
  }

  /** @param {string} reason */
  #end(reason) {
    this.stop();
    this.watcher.onEnd(reason);
  }
}
