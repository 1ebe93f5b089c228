// The one RTCPeerConnection of a call. We always offer: first our own tracks (sendonly), then empty slots (recvonly) that
// the server fills and refills by message, so people come and go without renegotiation.

/** @import { CallOptions, Environment, Kind, Source } from './index.js' */

import { ConnectionError } from './errors.js';

/** Ceilings for one encoding; the browser's own estimate stays below them. */
const MAX_BITRATE_BPS = { camera: 1_700_000, screen: 2_500_000 };
const CONTENT_HINT = { microphone: 'speech', camera: 'motion', screen: 'detail' };

/**
 * @param {Source} source
 * @returns {Kind}
 */
export const kindOf = (source) => (source === 'microphone' ? 'audio' : 'video');

/** @typedef {{mid: string, source: Source, muted: boolean}} OfferedTrack */

export class Peer {
  /** @type {Map<Source, RTCRtpTransceiver>} */
  #senders = new Map();
  /** @type {RTCRtpTransceiver[]} */
  #slots = [];
  /** @type {Map<string, MediaStream>} */
  #streams = new Map();
  /** @type {RTCConfiguration} */
  #configuration;
  /** @type {(offer: RTCSessionDescriptionInit) => void} */
  #offered = () => {};
  /** @type {Promise<RTCSessionDescriptionInit>} */
  #firstOffer = new Promise((resolve) => { this.#offered = resolve; });
  /** @type {Promise<void> | null} */
  #gathering = null;
  /** @type {(error: ConnectionError) => void} */
  #closing = () => {};
  /** @type {Promise<never>} */
  #closed = new Promise((_, reject) => { this.#closing = reject; });

  /**
   * @param {CallOptions} options
   * @param {Environment} environment
   * @param {RTCIceServer[]} iceServers
   */
  constructor(options, environment, iceServers) {
    this.options = options;
    this.environment = environment;
    this.#configuration = {
      bundlePolicy: 'max-bundle',
      rtcpMuxPolicy: 'require',
      iceServers,
      iceTransportPolicy: options.iceTransportPolicy ?? 'all',
    };
    this.connection = new environment.RTCPeerConnection(this.#configuration);
    this.stream = new environment.MediaStream();
    this.#closed.catch(() => undefined);  // for those who wait for a step
  }

  /**
   * Opens (or opens again) the way for one of our sources; negotiation is the caller's next step.
   * @param {Source} source
   * @param {MediaStreamTrack | null} track
   */
  async publish(source, track) {
    const existing = this.#senders.get(source);
    if (track) hint(track, source);
    if (existing) {
      existing.direction = 'sendonly';
      await this.#send(existing, track);
      return;
    }
    const transceiver = this.connection.addTransceiver(track ?? kindOf(source), {
      direction: 'sendonly',
      streams: [this.stream],
      ...(source === 'microphone' ? {} : { sendEncodings: [{ maxBitrate: MAX_BITRATE_BPS[source] }] }),
    });
    if (source !== 'microphone') this.#preferCodec(transceiver);
    this.#senders.set(source, transceiver);
  }

  /** Closes the way of a source and keeps its m-line for the next time. @param {Source} source */
  async unpublish(source) {
    const transceiver = this.#senders.get(source);
    if (!transceiver) return;
    transceiver.direction = 'inactive';
    await this.#send(transceiver, null);
  }

  /**
   * @param {Source} source
   * @param {MediaStreamTrack | null} track
   */
  async replaceTrack(source, track) {
    if (track) hint(track, source);
    const transceiver = this.#senders.get(source);
    if (transceiver) await this.#send(transceiver, track);
  }

  /** The m-line of a source, once the server has answered it; not that of a screen of before. @param {Source} source */
  midOf(source) {
    const transceiver = this.#senders.get(source);
    return transceiver?.currentDirection === 'sendonly' ? transceiver.mid : null;
  }

  /**
   * @param {Kind} kind
   * @param {number} count
   */
  addSlots(kind, count) {
    for (let made = 0; made < count; made += 1) {
      this.#slots.push(this.connection.addTransceiver(kind, { direction: 'recvonly' }));
    }
  }

  /** @param {Kind} kind */
  slotCount(kind) {
    return this.#slots.filter(({ receiver }) => receiver.track.kind === kind).length;
  }

  /** @param {string} mid */
  streamOf(mid) {
    return this.#streams.get(mid) ?? null;
  }

  get audioStreams() {
    return [...this.#streams.values()].filter((stream) => stream.getAudioTracks().length > 0);
  }

  /**
   * The offer of the join, which can leave before the relay is known: it holds no candidates, and browsers look for them only
   * from `gather` on, with the servers that they know by then.
   * @param {(source: Source) => boolean} isMuted
   * @returns {Promise<{sdp: string, tracks: OfferedTrack[]}>}
   */
  async firstOffer(isMuted) {
    const offer = await this.whileOpen(this.connection.createOffer());
    this.#offered(offer);
    const { sdp = '' } = offer;
    // Transceivers are named only with the local description, in the order of a first offer (RFC 8829 section 5.2.1).
    const mids = [...sdp.matchAll(/^a=mid:(\S+)/gm)].map(([, mid]) => mid);
    const order = this.connection.getTransceivers();
    return { sdp, tracks: this.#tracks((transceiver) => mids[order.indexOf(transceiver)] ?? null, isMuted) };
  }

  /** Begins to look for candidates as soon as there is a first offer; once. @throws {ConnectionError} `closed` meanwhile */
  gather() {
    this.#gathering ??= this.whileOpen(this.#firstOffer.then((offer) => this.#describe(offer)));
    return this.#gathering;
  }

  get isGathering() {
    return this.#gathering !== null;
  }

  /** @param {RTCIceServer[]} iceServers from the next gathering on: the first one or an ICE restart */
  setIceServers(iceServers) {
    this.#configuration = { ...this.#configuration, iceServers };
    this.connection.setConfiguration(this.#configuration);
  }

  /**
   * @param {boolean} restart with new ICE credentials
   * @param {(source: Source) => boolean} isMuted
   * @returns {Promise<{sdp: string, tracks: OfferedTrack[]}>}
   * @throws {ConnectionError} `closed` meanwhile
   */
  async createOffer(restart, isMuted) {
    const offer = await this.whileOpen(this.connection.createOffer({ iceRestart: restart }));
    await this.whileOpen(this.#describe(offer));
    return { sdp: offer.sdp ?? '', tracks: this.#tracks(({ mid }) => mid, isMuted) };
  }

  /** @param {string} sdp @throws {ConnectionError} `closed` meanwhile */
  async acceptAnswer(sdp) {
    await this.whileOpen(this.connection.setRemoteDescription({ type: 'answer', sdp }));
  }

  /** Takes back an offer that the server refused. */
  async rollback() {
    if (this.connection.signalingState === 'have-local-offer') {
      await this.connection.setLocalDescription({ type: 'rollback' });
    }
  }

  close() {
    this.#closing(new ConnectionError('closed', 'the connection was closed'));
    this.connection.close();
  }

  /**
   * What a connection is at when it is closed never settles, and all that it is asked for later is refused (W3C WebRTC 4.4.1):
   * for those who wait both are the same error.
   * @template T
   * @param {Promise<T>} step
   * @returns {Promise<T>}
   */
  whileOpen(step) {
    return Promise.race([this.#closed, step]);
  }

  /**
   * Nothing to wait for when the connection is closed meanwhile: the next one begins with the track that there is then.
   * @param {RTCRtpTransceiver} transceiver
   * @param {MediaStreamTrack | null} track
   */
  async #send({ sender }, track) {
    await this.whileOpen(sender.replaceTrack(track)).catch((error) => {
      if (!(error instanceof ConnectionError)) throw error;
    });
  }

  /** @param {RTCSessionDescriptionInit} offer */
  async #describe(offer) {
    await this.connection.setLocalDescription(offer);
    for (const { mid, receiver } of this.#slots) {
      if (mid !== null && !this.#streams.has(mid)) {
        this.#streams.set(mid, new this.environment.MediaStream([receiver.track]));
      }
    }
  }

  /**
   * @param {(transceiver: RTCRtpTransceiver) => string | null} midOf
   * @param {(source: Source) => boolean} isMuted
   */
  #tracks(midOf, isMuted) {
    /** @type {OfferedTrack[]} */
    const tracks = [];
    for (const [source, transceiver] of this.#senders) {
      const mid = midOf(transceiver);
      if (mid !== null && transceiver.direction === 'sendonly') tracks.push({ mid, source, muted: isMuted(source) });
    }
    return tracks;
  }

  /** @param {RTCRtpTransceiver} transceiver */
  #preferCodec(transceiver) {
    // The answer keeps our order and nothing is transcoded. Safari would send H.264, which Firefox without OpenH264 cannot
    // decode; VP8 is in every browser.
    const wanted = this.options.videoCodec ?? 'VP8';
    // Only what can be received may be preferred, in sending too: Chrome on a Mac encodes more of H.264 than it decodes, and throws.
    const codecs = globalThis.RTCRtpReceiver?.getCapabilities?.('video')?.codecs;
    if (!codecs || !transceiver.setCodecPreferences) return;
    const mime = `video/${wanted}`.toLowerCase();
    const first = codecs.filter((codec) => codec.mimeType.toLowerCase() === mime);
    const rest = codecs.filter((codec) => codec.mimeType.toLowerCase() !== mime);
    transceiver.setCodecPreferences([...first, ...rest]);
  }
}

/**
 * @param {MediaStreamTrack} track
 * @param {Source} source
 */
function hint(track, source) {
  if ('contentHint' in track) track.contentHint = CONTENT_HINT[source];
}
