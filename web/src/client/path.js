// Watches the media path and asks for an ICE restart early: browsers wait up to half a minute before they say "failed", a
// patient who walks out of the Wi-Fi does not. Four signs: ICE says disconnected for 2.5 s, ICE says failed, the network
// changed, or the selected pair has been silent. A restart that did not help is repeated.

/** @import { Environment } from './index.js' */

const DISCONNECTED_MS = 2500;
const REPEAT_MS = 6000;
const SILENT_MS = 5000;
// Who neither sends nor sees anybody hears the answers to checks of consent only: in Firefox every 4 to 6 s (RFC 7675 section 5.1).
const CHECKS_ONLY_MS = 7500;
/** A browser may tell a change of network twice, as `change` and as `online`. */
const ONE_CHANGE_MS = 1000;
const FLOWS = 3;  // samples, a second apart, that brought something each

export class PathWatch {
  /** @type {'new' | 'connected' | 'lost'} */
  health = 'new';
  /** @type {unknown} */
  #timer = null;
  #closed = false;
  #changed_ms = -Infinity;
  #networkType;
  #heard = { bytes: -1, at_ms: 0, inARow: 0 };
  /** @type {number | null} since when there are ICE and DTLS */
  #wholeSince_ms = null;

  /**
   * @param {RTCPeerConnection} connection
   * @param {Environment} environment
   * @param {{restart: () => void, networkChanged: () => void, changed: () => void, broken: () => void}} handlers `broken`:
   *   as `isBroken`
   */
  constructor(connection, environment, handlers) {
    this.connection = connection;
    this.environment = environment;
    this.handlers = handlers;
    this.#networkType = environment.network?.type;
    connection.addEventListener('iceconnectionstatechange', this.#onIce);
    connection.addEventListener('connectionstatechange', this.#onConnection);
    environment.events?.addEventListener('online', this.#onOnline);
    environment.network?.addEventListener('change', this.#onNetwork);
  }

  close() {
    this.#closed = true;
    this.environment.clearTimeout(this.#timer);
    this.connection.removeEventListener('iceconnectionstatechange', this.#onIce);
    this.connection.removeEventListener('connectionstatechange', this.#onConnection);
    this.environment.events?.removeEventListener('online', this.#onOnline);
    this.environment.network?.removeEventListener('change', this.#onNetwork);
  }

  /**
   * Bytes and checks answered on the selected pair so far, told once per second; null: the browser names no such pair, so
   * its silence means nothing.
   * @param {number | null} bytes
   */
  hear(bytes) {
    const now_ms = this.environment.now();
    if (bytes === null) {
      this.#heard = { ...this.#heard, at_ms: now_ms, inARow: 0 };
      return;
    }
    const { at_ms, inARow } = this.#heard;
    const silence_ms = now_ms - at_ms;
    if (bytes !== this.#heard.bytes) {
      this.#heard = { bytes, at_ms: now_ms, inARow: silence_ms < 2000 ? inARow + 1 : 0 };
    } else if (this.health === 'connected' && silence_ms > (inARow < FLOWS ? CHECKS_ONLY_MS : SILENT_MS)) {
      this.#heard = { bytes, at_ms: now_ms, inARow: 0 };  // what comes now may be checks only: it proves no flow
      this.handlers.restart();
    }
  }

  #onIce = () => {
    switch (this.connection.iceConnectionState) {
      case 'connected':
      case 'completed':
        this.#arm(null);
        this.#become('connected');
        if (this.isBroken) this.handlers.broken();  // DTLS may have failed meanwhile, of which nothing more is told
        break;
      case 'disconnected':
        this.#become('lost');
        this.#arm(DISCONNECTED_MS);
        break;
      case 'failed':
        this.#become('lost');
        this.#restart();
        break;
    }
  };

  /** The DTLS association failed: only a new connection helps. */
  get isBroken() {
    const { connectionState, iceConnectionState } = this.connection;
    return connectionState === 'failed' && iceConnectionState !== 'failed' && iceConnectionState !== 'disconnected';
  }

  /** How long there have been ICE and DTLS, 0 before. */
  get held_ms() {
    return this.#wholeSince_ms === null ? 0 : this.environment.now() - this.#wholeSince_ms;
  }

  #onConnection = () => {
    if (this.connection.connectionState === 'connected') this.#wholeSince_ms ??= this.environment.now();
    if (this.isBroken) this.handlers.broken();
  };

  #onOnline = () => {
    this.handlers.networkChanged();
    const now_ms = this.environment.now();
    if (now_ms - this.#changed_ms < ONE_CHANGE_MS) return;
    this.#changed_ms = now_ms;
    this.#restart();
  };

  /** `change` also fires for new bandwidth guesses: only another kind of network counts. */
  #onNetwork = () => {
    const type = this.environment.network?.type;
    if (type === this.#networkType) return;
    this.#networkType = type;
    if (type !== 'none') this.#onOnline();
  };

  #restart() {
    if (this.#closed || this.health === 'new' && this.connection.iceConnectionState === 'new') return;
    this.handlers.restart();
    if (this.health === 'lost') this.#arm(REPEAT_MS);
  }

  /** @param {number | null} delay_ms */
  #arm(delay_ms) {
    this.environment.clearTimeout(this.#timer);
    if (delay_ms !== null) this.#timer = this.environment.setTimeout(() => this.#restart(), delay_ms);
  }

  /** @param {'connected' | 'lost'} health */
  #become(health) {
    if (this.health === health) return;
    this.health = health;
    this.handlers.changed();
  }
}
