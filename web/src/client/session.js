// The logical session over successive sockets: join once, then resume with session, secret and the last push seen. A newer
// socket replaces the older one on the server (generations), so a late close of the old one means nothing here either.

/** @import { EndReason, Environment } from './index.js' */
/** @import { Message } from './socket.js' */

import { Backoff } from './backoff.js';
import { ConnectionError, SignallingError, WadudError, mayPass } from './errors.js';
import { SignalSocket } from './socket.js';

/** How long a first join is tried again over a bad network before the person is told. */
const JOIN_GIVE_UP_MS = 30000;
const LEAVE_TIMEOUT_MS = 1500;
/** A server that cut us off for a reason is left alone for so long. */
const REFUSED_MS = 3000;
/** After a network change an old socket is usually dead: wait only this long for its answer. */
const NETWORK_CHANGE_PROBE_MS = 2000;
/** So often a new one is opened beside it, while it keeps silent. */
const OVERTAKE_MS = 1000;

/** Server's fatal codes that have an end reason of their own. */
const END_BY_CODE = /** @type {Record<string, EndReason>} */ ({ token_expired: 'token_expired', token_revoked: 'revoked' });

/** How a call ends that such an error ended. @param {unknown} error @returns {EndReason} */
export function endReasonOf(error) {
  if (error instanceof ConnectionError) return 'connection_lost';
  return error instanceof SignallingError ? END_BY_CODE[error.code] ?? 'refused' : 'refused';
}

/**
 * @typedef {object} SessionHandlers
 * @property {(message: Message) => void} push a push that was not seen before
 * @property {() => void} lost the socket is gone, resuming has begun
 * @property {(answer: Message) => void} resumed
 * @property {() => void} expired the server has forgotten us: join anew
 * @property {(reason: EndReason, error: WadudError | null) => void} ended
 */

export class Session {
  /** @type {'idle' | 'open' | 'lost' | 'ended'} */
  #phase = 'idle';
  /** @type {SignalSocket | null} */
  #socket = null;
  /** @type {Promise<SignalSocket> | null} */
  #prepared = null;
  /** @type {{session: string, secret: string} | null} */
  #identity = null;
  #seen = 0;
  /** @type {(() => void) | null} ends the current wait between two tries */
  #wake = null;
  /** Before the next join. */
  #pause_ms = 0;
  /** @type {SignalSocket | null} the newest */
  #opening = null;
  #openingSince_ms = 0;
  #nudged = false;
  /** The newest try to overtake. @type {{old: SignalSocket, at_ms: number, lives: boolean} | null} */
  #overtaking = null;

  /**
   * @param {{url: string, giveUp_ms: number}} options
   * @param {Environment} environment
   * @param {SessionHandlers} handlers
   */
  constructor(options, environment, handlers) {
    this.options = options;
    this.environment = environment;
    this.handlers = handlers;
  }

  get isOpen() {
    return this.#phase === 'open';
  }

  prepare() {
    this.#prepared ??= this.#connect();
    this.#prepared.catch(() => { this.#prepared = null; });
  }

  /**
   * @param {() => Promise<Record<string, unknown>>} fields of the join message
   * @param {number} [giveUp_ms]
   * @returns {Promise<Message>} `joined`
   */
  async join(fields, giveUp_ms = JOIN_GIVE_UP_MS) {
    const { environment } = this;
    const started = environment.now();
    const backoff = new Backoff(environment.random);
    const pause_ms = this.#pause_ms;
    this.#pause_ms = 0;
    if (pause_ms > 0) await this.#sleep(pause_ms);
    if (this.#isEnded()) throw new ConnectionError('closed', 'left before the join');
    for (;;) {
      let socket = null;
      try {
        socket = await this.#preparedOrNew();
        const message = await this.#within(giveUp_ms - (environment.now() - started), fields());
        if (this.#isEnded()) throw new ConnectionError('closed', 'left before the join');
        const answer = await socket.request('join', message);
        if (this.#isEnded()) {
          await this.#sayGoodbye(socket);
          throw new ConnectionError('closed', 'left while joining');
        }
        this.#identity = { session: answer.session, secret: answer.secret };
        this.#seen = 0;
        this.#adopt(socket);
        return answer;
      } catch (error) {
        socket?.close();
        if (this.#isEnded()) throw new ConnectionError('closed', 'left while joining', { cause: error });
        const late = environment.now() - started >= giveUp_ms;
        if (!mayPass(error) || late) throw error;
        await this.#sleep(backoff.next());
      }
    }
  }

  /**
   * @param {string} type
   * @param {Record<string, unknown>} [fields]
   */
  request(type, fields) {
    if (this.#phase !== 'open' || !this.#socket) {
      return Promise.reject(new ConnectionError('socket_lost', `no session for ${type}`));
    }
    return this.#socket.request(type, fields);
  }

  /** Gives the session up in favour of a new join, because its media cannot be repaired. @param {number} pause_ms before it */
  abandon(pause_ms) {
    if (this.#phase !== 'open') return;
    this.#socket?.request('leave').catch(() => undefined);  // its answer may come or not: we are gone
    this.#pause_ms = pause_ms;
    this.#expire();
  }

  /** The network may have changed: try at once instead of waiting. */
  nudge() {
    if (this.#phase === 'open') this.#overtake();
    else this.#hasten();
  }

  /** What is being opened since before the change leads into the old network, where nobody may answer. */
  #hasten() {
    if (this.environment.now() - this.#openingSince_ms > OVERTAKE_MS) {
      this.#nudged = true;
      this.#opening?.giveUp();
    }
    this.#wake?.();
  }

  /**
   * An old socket is usually dead then, which nobody tells: it is asked for a sign of life, and a new one is opened beside it.
   * What comes first stays; an answer takes one round trip and a new socket several.
   */
  async #overtake() {
    const { environment } = this;
    const old = this.#socket;
    const before = this.#overtaking;
    if (!old || before?.old === old && !before.lives && environment.now() - before.at_ms < OVERTAKE_MS) return;
    const overtaking = { old, at_ms: environment.now(), lives: false };
    this.#overtaking = overtaking;
    old.probe(NETWORK_CHANGE_PROBE_MS, () => { overtaking.lives = true; });
    const backoff = new Backoff(environment.random);
    let socket = null;
    while (!socket) {
      socket = await this.#connect().catch(() => null);  // browsers break off what they are about to open when the network changes
      if (overtaking.lives || this.#phase !== 'open' || this.#socket !== old) {
        socket?.close();
        return;
      }
      if (!socket) await new Promise((resolve) => { environment.setTimeout(() => resolve(undefined), backoff.next()); });
    }
    this.#prepared = Promise.resolve(socket);
    const error = new ConnectionError('socket_lost', 'overtaken by a new one');
    old.close(error);
    this.#lost(error);
  }

  /** Says goodbye (the message leaves before this function returns its promise) and closes. */
  async leave() {
    const socket = this.#phase === 'open' ? this.#socket : null;
    this.#phase = 'ended';
    this.#wake?.();
    if (socket) await this.#sayGoodbye(socket);
    this.#closeSockets();
  }

  /** The message leaves at once. No answer: the server notices the close itself. @param {SignalSocket} socket */
  async #sayGoodbye(socket) {
    await socket.request('leave', {}, { most_ms: LEAVE_TIMEOUT_MS }).catch(() => undefined);
  }

  #isEnded() {
    return this.#phase === 'ended';
  }

  #closeSockets() {
    this.#socket?.close();
    this.#prepared?.then((socket) => socket.close(), () => undefined);
  }

  async #connect() {
    const socket = new SignalSocket(this.options.url, this.environment);
    this.#opening = socket;
    this.#openingSince_ms = this.environment.now();
    await socket.open();
    return socket;
  }

  async #preparedOrNew() {
    const prepared = await this.#prepared?.catch(() => null);
    this.#prepared = null;
    return prepared?.isOpen ? prepared : this.#connect();
  }

  /** @param {SignalSocket} socket */
  #adopt(socket) {
    this.#socket = socket;
    this.#phase = 'open';
    socket.onPush = (message) => this.#push(message);
    socket.onLost = (error) => this.#lost(error);
  }

  /** @param {Message} message */
  #push(message) {
    if (this.#isEnded()) return;
    if (message.seq !== undefined) {
      if (message.seq <= this.#seen) return;
      this.#seen = message.seq;
    }
    if (message.type !== 'bye') {
      this.handlers.push(message);
    } else if (message.reason === 'draining') {
      this.#expire();
    } else {
      this.#end(message.reason, null);
    }
  }

  /** @param {WadudError} error */
  #lost(error) {
    if (this.#isEnded()) return;
    this.#phase = 'lost';
    this.handlers.lost();
    this.#resume(error instanceof SignallingError ? REFUSED_MS : 0);  // an error ends no session
  }

  /** @param {number} pause_ms before the first try */
  async #resume(pause_ms) {
    const { environment } = this;
    const started = environment.now();
    const backoff = new Backoff(environment.random);
    if (pause_ms > 0) await this.#sleep(pause_ms);
    while (this.#phase === 'lost') {
      if (!this.#prepared && !this.#nudged) await this.#sleep(backoff.next());
      this.#nudged = false;
      if (this.#phase !== 'lost') return;
      let socket = null;
      try {
        socket = await this.#preparedOrNew();
        const answer = await socket.request('resume', { ...this.#identity, seen: this.#seen });
        if (this.#isEnded()) {
          await this.#sayGoodbye(socket);
          socket.close();
          return;
        }
        this.#adopt(socket);
        this.handlers.resumed(answer);
        return;
      } catch (error) {
        socket?.close();
        if (this.#isEnded()) return;
        if (error instanceof SignallingError && error.code === 'unknown_session') {
          this.#expire();
        } else if (error instanceof SignallingError && !mayPass(error)) {
          this.#refuse(error);
        } else if (environment.now() - started > this.options.giveUp_ms) {
          this.#end('connection_lost', new ConnectionError('gave_up', 'could not reach the server again'));
        }
      }
    }
  }

  /**
   * @template T
   * @param {number} patience_ms
   * @param {Promise<T>} step of others, which may never end: of an application that fetches tokens
   */
  async #within(patience_ms, step) {
    let timer;
    const late = new Promise((/** @type {(value: never) => void} */ _, reject) => {
      timer = this.environment.setTimeout(() => reject(new ConnectionError('unreachable', 'no token in time')), patience_ms);
    });
    try {
      return await Promise.race([step, late]);
    } finally {
      this.environment.clearTimeout(timer);
    }
  }

  #expire() {
    this.#socket?.close(new ConnectionError('socket_lost', 'the session is over'));
    this.#phase = 'idle';
    this.handlers.expired();
  }

  /** @param {SignallingError} error */
  #refuse(error) {
    this.#end(endReasonOf(error), error);
  }

  /**
   * @param {EndReason} reason
   * @param {WadudError | null} error
   */
  #end(reason, error) {
    if (this.#phase === 'ended') return;
    this.#phase = 'ended';
    this.#closeSockets();
    this.handlers.ended(reason, error);
  }

  /** @param {number} delay_ms */
  #sleep(delay_ms) {
    return new Promise((/** @type {(value?: undefined) => void} */ resolve) => {
      const wake = () => {
        this.environment.clearTimeout(timer);
        this.#wake = null;
        resolve();
      };
      const timer = this.environment.setTimeout(wake, delay_ms);
      this.#wake = wake;
    });
  }
}
