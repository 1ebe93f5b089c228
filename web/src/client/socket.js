// One physical signalling socket: requests with answers, pushes, and a heartbeat of our own, because a browser tells a
// page about a dead TCP connection only after minutes. A socket lives once; resuming makes a new one (session.js).

/** @import { Environment } from './index.js' */

import { DEFLATE_FROM, canDeflate, deflate, inflate } from './deflate.js';
import { ConnectionError, SignallingError } from './errors.js';

export const SUBPROTOCOL = 'wadud.v1';
export const COMPRESSED = `${SUBPROTOCOL}.deflate`;

/** A thin link with losses takes long to set up a connection: 4 round trips and some kilobytes, each of them sent twice. */
const OPEN_TIMEOUT_MS = 20000;
/** A request is given up when nothing at all has moved on the socket for so long, and at last in any case. */
const STILL_MS = 15000;
const ANSWER_TIMEOUT_MS = 60000;
/** Silence after which we ask for a sign of life, and how long we wait for it. */
const IDLE_MS = 10000;
const PONG_TIMEOUT_MS = 4000;
/** On a slow link we wait so many times as long as answers took lately, but no longer than for other requests. */
const PATIENCE = 3;

/** @typedef {{type: string} & Record<string, any>} Message one JSON text frame */
/** @typedef {{resolve: (answer: Message) => void, reject: (error: Error) => void, since_ms: number, timer: unknown}} Waiting */

export class SignalSocket {
  /** @type {WebSocket | null} */
  #socket = null;
  #nextId = 1;
  /** @type {Map<number, Waiting>} */
  #waiting = new Map();
  /** @type {unknown} */
  #heartbeat = null;
  #probing = false;
  #closed = false;
  #compresses = false;
  /** Frames that have come in. */
  #received = 0;
  /** What answers took lately. */
  #slowest_ms = 0;
  /** What is packed or unpacked at the moment, and what has to wait for it, as messages keep their order. */
  #sending = new InTurn();
  #receiving = new InTurn();

  /** @type {(message: Message) => void} */
  onPush = () => {};
  /** @type {(error: ConnectionError | SignallingError) => void} told once, unless we closed it ourselves */
  onLost = () => {};

  /**
   * @param {string} url
   * @param {Environment} environment
   */
  constructor(url, environment) {
    this.url = url;
    this.environment = environment;
    /** @type {SignallingError | null} the fatal error that the server named before it closes */
    this.refusal = null;
  }

  /**
   * @returns {Promise<void>} when requests can be sent
   * @throws {ConnectionError} `unreachable`
   */
  open() {
    const { environment } = this;
    return new Promise((resolve, reject) => {
      const socket = new environment.WebSocket(this.url, canDeflate() ? [COMPRESSED, SUBPROTOCOL] : SUBPROTOCOL);
      socket.binaryType = 'arraybuffer';
      this.#socket = socket;
      const began_ms = environment.now();
      const timer = environment.setTimeout(() => this.#lose(new ConnectionError('unreachable', 'socket did not open')),
        OPEN_TIMEOUT_MS);
      let opened = false;
      this.#onOpenFailure = reject;
      socket.onopen = () => {
        opened = true;
        environment.clearTimeout(timer);
        this.#onOpenFailure = null;
        this.#compresses = socket.protocol === COMPRESSED;
        this.#slowest_ms = environment.now() - began_ms;
        this.#beat(IDLE_MS);
        resolve();
      };
      socket.onmessage = ({ data }) => {
        this.#receiving.run(typeof data === 'string' ? data : inflate(data), (text) => this.#receive(text), this.#onBadFrame);
      };
      socket.onclose = ({ code }) => this.#receiving.run(code, () => {  // what came before it may name the reason
        environment.clearTimeout(timer);
        this.#lose(this.refusal ?? new ConnectionError(opened ? 'socket_lost' : 'unreachable', `closed with ${code}`));
      }, this.#onBadFrame);
    });
  }

  /** @type {((error: Error) => void) | null} */
  #onOpenFailure = null;
  #onBadFrame = () => this.#lose(new ConnectionError('protocol', 'a frame could not be packed or unpacked'));

  get isOpen() {
    return !this.#closed && this.#socket?.readyState === 1;
  }

  /**
   * @param {string} type
   * @param {Record<string, unknown>} [fields]
   * @param {{still_ms?: number, most_ms?: number}} [patience] while nothing moves, and in all
   * @returns {Promise<Message>} the answer
   * @throws {SignallingError} the server answered with an error
   * @throws {ConnectionError} `socket_lost` or `timeout`
   */
  request(type, fields = {}, { still_ms = STILL_MS, most_ms = ANSWER_TIMEOUT_MS } = {}) {
    if (!this.isOpen) return Promise.reject(new ConnectionError('socket_lost', `no socket for ${type}`));
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      /** @type {Waiting} */
      const waiting = { resolve, reject, since_ms: this.environment.now(), timer: null };
      this.#waiting.set(id, waiting);
      const late = () => {
        this.#waiting.delete(id);
        reject(new ConnectionError('timeout', `no answer to ${type}`));
      };
      const text = JSON.stringify({ type, id, ...fields });
      /** @type {string | ArrayBuffer | Promise<string | ArrayBuffer>} */
      const frame = this.#compresses && text.length >= DEFLATE_FROM ? deflate(text) : text;
      this.#sending.run(frame, (data) => {
        if (this.isOpen) this.#socket?.send(data);
      }, this.#onBadFrame);
      this.#watch(waiting, still_ms, most_ms, late);
    });
  }

  /**
   * Long frames take long on thin links, and whatever waits behind them: nobody is late as long as bytes flow.
   * @param {Waiting} waiting
   * @param {number} still_ms
   * @param {number} most_ms
   * @param {() => void} late
   */
  #watch(waiting, still_ms, most_ms, late) {
    const { environment } = this;
    const received = this.#received;
    const unsent = this.#socket?.bufferedAmount ?? 0;
    const rest_ms = waiting.since_ms + most_ms - environment.now();
    waiting.timer = environment.setTimeout(() => {
      const drained = unsent - (this.#socket?.bufferedAmount ?? 0);
      const moved = this.#received > received || drained >= DEFLATE_FROM;  // a short frame leaves this buffer on a dead path too
      if (moved && rest_ms > still_ms) this.#watch(waiting, still_ms, most_ms, late);
      else late();
    }, Math.min(still_ms, rest_ms));
  }

  /**
   * Asks for a sign of life now, say after a network change.
   * @param {number} [timeout_ms] on a link that is not slow
   * @param {() => void} [lives]
   */
  probe(timeout_ms = PONG_TIMEOUT_MS, lives = () => {}) {
    if (!this.isOpen || this.#probing && timeout_ms === PONG_TIMEOUT_MS) return;
    this.#probing = true;
    const still_ms = Math.min(Math.max(timeout_ms, PATIENCE * this.#slowest_ms), STILL_MS);
    this.request('ping', {}, { still_ms }).then(lives, (error) => {
      if (error.code === 'timeout') this.#lose(new ConnectionError('socket_lost', 'no sign of life'));
    });
  }

  /** What is still being opened is not waited for: `unreachable`. */
  giveUp() {
    if (this.#onOpenFailure) this.#lose(new ConnectionError('unreachable', 'not waited for'));
  }

  /** Closes without telling anybody but who waits for an answer. @param {Error} [why] */
  close(why = new ConnectionError('closed', 'closed by us')) {
    this.#finish(why, 1000);
  }

  /** @param {string} text */
  #receive(text) {
    if (this.#closed) return;
    /** @type {Message} */
    let message;
    try {
      message = JSON.parse(text);
    } catch {
      this.#lose(new ConnectionError('protocol', 'the server sent no JSON'));
      return;
    }
    this.#received += 1;
    this.#beat(IDLE_MS);
    if (message.type === 'error') this.#refused(message);
    else if (message.re !== undefined) this.#settle(message.re)?.resolve(message);
    else this.onPush(message);
  }

  /** @param {Message} message */
  #refused(message) {
    const error = new SignallingError(message.code, message.message, Boolean(message.fatal));
    if (error.fatal) this.refusal = error;
    this.#settle(message.re)?.reject(error);
  }

  /**
   * @param {number | null} id
   * @returns {Waiting | undefined}
   */
  #settle(id) {
    if (id === null) return undefined;
    const waiting = this.#waiting.get(id);
    if (waiting) {
      this.#waiting.delete(id);
      this.environment.clearTimeout(waiting.timer);
      this.#slowest_ms = Math.max(this.environment.now() - waiting.since_ms, this.#slowest_ms / 2);
    }
    return waiting;
  }

  /** @param {number} delay_ms */
  #beat(delay_ms) {
    this.#probing = false;
    this.environment.clearTimeout(this.#heartbeat);
    this.#heartbeat = this.environment.setTimeout(() => this.probe(), delay_ms);
  }

  /** @param {ConnectionError | SignallingError} error */
  #lose(error) {
    if (this.#closed) return;
    const failOpen = this.#onOpenFailure;
    this.#finish(error, 1000);
    if (failOpen) failOpen(error);
    else this.onLost(error);
  }

  /**
   * @param {Error} error what waiting requests are told
   * @param {number} code
   */
  #finish(error, code) {
    if (this.#closed) return;
    this.#closed = true;
    this.environment.clearTimeout(this.#heartbeat);
    for (const { reject, timer } of this.#waiting.values()) {
      this.environment.clearTimeout(timer);
      reject(error);
    }
    this.#waiting.clear();
    const socket = this.#socket;
    if (socket) {
      socket.onopen = socket.onmessage = socket.onclose = null;
      socket.close(code);
    }
  }
}

/** Steps in the order of their beginning; one that has nothing to wait for happens at once. */
class InTurn {
  /** @type {Promise<void>} */
  #last = Promise.resolve();
  #waiting = 0;

  /**
   * @template T
   * @param {T | Promise<T>} value
   * @param {(value: T) => void} step
   * @param {(error: unknown) => void} failed
   */
  run(value, step, failed) {
    if (this.#waiting === 0 && !(value instanceof Promise)) {
      step(value);
      return;
    }
    this.#waiting += 1;
    const before = this.#last;
    this.#last = (async () => {
      try {
        const settled = await value;
        await before;
        step(settled);
      } catch (error) {
        failed(error);
      } finally {
        this.#waiting -= 1;
      }
    })();
  }
}
