// One physical signalling socket: requests with answers, pushes, and a heartbeat of our own, because a browser tells a
// page about a dead TCP connection only after minutes. A socket lives once; resuming makes a new one (session.js).

/** @import { Environment } from './index.js' */

import { ConnectionError, SignallingError } from './errors.js';

export const SUBPROTOCOL = 'wadud.v1';

const OPEN_TIMEOUT_MS = 8000;
const ANSWER_TIMEOUT_MS = 10000;
/** Silence after which we ask for a sign of life, and how long we wait for it. */
const IDLE_MS = 10000;
const PONG_TIMEOUT_MS = 4000;

/** @typedef {{type: string} & Record<string, any>} Message one JSON text frame */
/** @typedef {{resolve: (answer: Message) => void, reject: (error: Error) => void, timer: unknown}} Waiting */

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
      const socket = new environment.WebSocket(this.url, SUBPROTOCOL);
      this.#socket = socket;
      const timer = environment.setTimeout(() => this.#lose(new ConnectionError('unreachable', 'socket did not open')),
        OPEN_TIMEOUT_MS);
      let opened = false;
      this.#onOpenFailure = reject;
      socket.onopen = () => {
        opened = true;
        environment.clearTimeout(timer);
        this.#onOpenFailure = null;
        this.#beat(IDLE_MS);
        resolve();
      };
      socket.onmessage = (event) => this.#receive(event.data);
      socket.onclose = (event) => {
        environment.clearTimeout(timer);
        this.#lose(this.refusal ?? new ConnectionError(opened ? 'socket_lost' : 'unreachable', `closed with ${event.code}`));
      };
    });
  }

  /** @type {((error: Error) => void) | null} */
  #onOpenFailure = null;

  get isOpen() {
    return !this.#closed && this.#socket?.readyState === 1;
  }

  /**
   * @param {string} type
   * @param {Record<string, unknown>} [fields]
   * @param {number} [timeout_ms]
   * @returns {Promise<Message>} the answer
   * @throws {SignallingError} the server answered with an error
   * @throws {ConnectionError} `socket_lost` or `timeout`
   */
  request(type, fields = {}, timeout_ms = ANSWER_TIMEOUT_MS) {
    if (!this.isOpen) return Promise.reject(new ConnectionError('socket_lost', `no socket for ${type}`));
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      const timer = this.environment.setTimeout(() => {
        this.#waiting.delete(id);
        reject(new ConnectionError('timeout', `no answer to ${type}`));
      }, timeout_ms);
      this.#waiting.set(id, { resolve, reject, timer });
      this.#socket?.send(JSON.stringify({ type, id, ...fields }));
    });
  }

  /**
   * Asks for a sign of life now, say after a network change.
   * @param {number} [timeout_ms]
   * @param {() => void} [lives]
   */
  probe(timeout_ms = PONG_TIMEOUT_MS, lives = () => {}) {
    if (!this.isOpen || this.#probing && timeout_ms === PONG_TIMEOUT_MS) return;
    this.#probing = true;
    this.request('ping', {}, timeout_ms).then(lives, (error) => {
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

  /** @param {unknown} data */
  #receive(data) {
    if (this.#closed) return;
    /** @type {Message} */
    let message;
    try {
      message = JSON.parse(String(data));
    } catch {
      this.#lose(new ConnectionError('protocol', 'the server sent no JSON'));
      return;
    }
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
