// Watches the media path and asks for an ICE restart early: browsers wait up to half a minute before they say "failed", a
// patient who walks out of the Wi-Fi does not. Four signs: ICE says disconnected for half a second, ICE says failed, the
// network changed, or the selected pair has been silent. A restart that did not help is repeated. Whatever shows that the
// path is dead lets signalling look after its own: they share the network.
//
// Where media flow all the time, a second of silence is a sign; where it was none, because the path went on by itself, the
// next one has to be longer, for a restart is a burden on a poor network.

/** @import { Environment } from './index.js' */

const DISCONNECTED_MS = 500;
const REPEAT_MS = 6000;
const SILENT_MS = 5000;
// Who neither sends nor sees anybody hears the answers to checks of consent only: in Firefox every 4 to 6 s (RFC 7675 section 5.1).
const CHECKS_ONLY_MS = 7500;
/** A browser may tell a change of network twice, as `change` and as `online`. */
const ONE_CHANGE_MS = 1000;
const SUDDEN_MS = 900;
const FLOWS_MS = 3000;  // so long there was no pause of
const PAUSE_MS = 2000;
/** So long a restart is waited for before the next one: Chromium learns of a network's end, and of a new one, 2 s later. */
const RESTARTING_MS = 3000;
/** Less is no sound and no pictures, but reports about them, which come each second. */
const MEDIA_BYTES_PER_S = 1200;

export class PathWatch {
  /** @type {'new' | 'connected' | 'lost'} */
  health = 'new';
  /** @type {unknown} */
  #timer = null;
  #closed = false;
  #changed_ms = -Infinity;
  #networkType;
  #heard = { bytes: -1, at_ms: 0 };
  /** Samples of the last `FLOWS_MS`, oldest first, each with more than the one before. @type {{bytes: number, at_ms: number}[]} */
  #flow = [];
  /** Of silence, where media have flowed all the time. */
  #patience_ms = SUDDEN_MS;
  #suspected = false;
  #restarted_ms = -Infinity;
  /** @type {number | null} since when there are ICE and DTLS */
  #wholeSince_ms = null;

  /**
   * @param {RTCPeerConnection} connection
   * @param {Environment} environment
   * @param {{restart: () => void, networkChanged: () => void, changed: () => void, broken: () => void}} handlers
   *   `networkChanged`: perhaps; `broken`: as `isBroken`
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
   * Bytes and checks answered on the selected pair so far, told twice per second; null: the browser names no such pair, so
   * its silence means nothing.
   * @param {number | null} bytes
   */
  hear(bytes) {
    const now_ms = this.environment.now();
    const heard = this.#heard;
    if (bytes === null) {
      this.#heard = { ...heard, at_ms: now_ms };
      this.#flow = [];
      return;
    }
    const silence_ms = now_ms - heard.at_ms;
    if (bytes !== heard.bytes) {
      // A pair that is new begins to count anew.
      if (this.#suspected && bytes > heard.bytes) this.#patience_ms = Math.min(2 * this.#patience_ms, SILENT_MS);
      this.#suspected = false;
      if (silence_ms >= PAUSE_MS || bytes < heard.bytes) this.#flow = [];
      this.#heard = { bytes, at_ms: now_ms };
      this.#flow.push(this.#heard);
      while (this.#flow.length > 1 && now_ms - this.#flow[1].at_ms >= FLOWS_MS) this.#flow.shift();
      return;
    }
    const first = this.#flow[0] ?? heard;
    const flowed_ms = heard.at_ms - first.at_ms;
    const suddenly = flowed_ms >= FLOWS_MS && heard.bytes - first.bytes >= MEDIA_BYTES_PER_S * flowed_ms / 1000;
    const most_ms = suddenly ? this.#patience_ms : flowed_ms >= FLOWS_MS ? SILENT_MS : CHECKS_ONLY_MS;
    if (this.health === 'connected' && silence_ms > most_ms && now_ms - this.#restarted_ms >= RESTARTING_MS) {
      this.#suspected = suddenly;
      this.#heard = { bytes, at_ms: now_ms };
      this.#flow = [];  // what comes now may be checks only
      this.handlers.networkChanged();
      this.restart();
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
        this.handlers.networkChanged();
        this.#arm(DISCONNECTED_MS);
        break;
      case 'failed':
        this.#become('lost');
        this.restart();
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
    this.restart();
  };

  /** `change` also fires for new bandwidth guesses: only another kind of network counts. */
  #onNetwork = () => {
    const type = this.environment.network?.type;
    if (type === this.#networkType) return;
    this.#networkType = type;
    if (type !== 'none') this.#onOnline();
  };

  /** Now, and again while it does not help. */
  restart() {
    if (this.#closed || this.health === 'new' && this.connection.iceConnectionState === 'new') return;
    this.#restarted_ms = this.environment.now();
    this.handlers.restart();
    if (this.health === 'lost') this.#arm(REPEAT_MS);
  }

  /** @param {number | null} delay_ms */
  #arm(delay_ms) {
    this.environment.clearTimeout(this.#timer);
    if (delay_ms !== null) this.#timer = this.environment.setTimeout(() => this.restart(), delay_ms);
  }

  /** @param {'connected' | 'lost'} health */
  #become(health) {
    if (this.health === health) return;
    this.health = health;
    this.handlers.changed();
  }
}
