// WadudCall puts the parts together: session (socket and resume), peer (one RTCPeerConnection), publisher (our devices),
// roster (the room), path (ICE repair), ice-servers (the relay). Three clocks run apart from each other: signalling, ICE and media; only when both the
// session and its repair fail is the person told that the call is lost. Documented in index.d.ts.

/** @import { CallEvents, CallOptions, CallState, EndReason, MediaPath, Participant, Quality, Right, Speaker } from './index.js' */
/** @import { RosterEvent } from './roster.js' */
/** @import { Message } from './socket.js' */
/** @import { OfferedTrack } from './peer.js' */

import { Breaks } from './breaks.js';
import { environmentOf } from './environment.js';
import { ConnectionError, StateError, WadudError } from './errors.js';
import { IceServers } from './ice-servers.js';
import { Negotiator } from './negotiator.js';
import { PathWatch } from './path.js';
import { Peer, kindOf } from './peer.js';
import { Publisher } from './publisher.js';
import { Roster } from './roster.js';
import { Session, endReasonOf } from './session.js';
import { StatsReader } from './stats-reader.js';

/** The first offer has what two people need, since each slot is a page of text on its way through a thin link. */
const FIRST_AUDIO_SLOTS = 2;
const FIRST_VIDEO_SLOTS = 2;
const MAX_AUDIO_SLOTS = 3;
const MAX_VIDEO_SLOTS = 26;
/** Slots are added in steps, so that a filling room does not re-offer for every guest. */
const VIDEO_SLOT_STEP = 4;
const GIVE_UP_MS = 300_000;

/** @typedef {{peer: Peer, negotiator: Negotiator, path: PathWatch, stats: StatsReader}} Media one RTCPeerConnection and its keepers */

/** @param {CallOptions} options */
export async function connect(options) {
  const call = new WadudCall(options);
  await call.connect();
  return call;
}

export class WadudCall extends EventTarget {
  /** @type {CallState} */
  #state = 'new';
  /** @type {Media | null} */
  #media = null;
  #signallingLost = false;
  /** @type {Promise<void> | null} the newest join, until its answer is taken in */
  #joining = null;
  /** @type {Speaker[]} */
  #speakers = [];
  /** @type {Map<string, Quality>} */
  #qualities = new Map();
  /** @type {Right[]} */
  #rights = [];
  #room = '';
  /** @type {MediaPath | null} */
  #path = null;
  /** Several may wait for one step that fails. @type {WeakSet<object>} */
  #told = new WeakSet();

  /** @param {CallOptions} options */
  constructor(options) {
    super();
    const environment = environmentOf(options.environment);
    this.#options = options;
    this.#environment = environment;
    this.#roster = new Roster((mid) => this.#media?.peer.streamOf(mid) ?? null);
    this.#publisher = new Publisher(options, environment, {
      request: (type, fields) => this.#session.request(type, fields),
      changed: (publication) => this.#emit('localchange', { publication }),
      problem: (error, source) => this.#emit('problem', { error, source }),
    });
    this.#session = new Session({ url: options.url, giveUp_ms: options.giveUp_ms ?? GIVE_UP_MS }, environment, {
      push: (message) => this.#onPush(message),
      lost: () => this.#setSignallingLost(true),
      resumed: (answer) => this.#onResumed(answer),
      expired: () => this.#rejoin(),
      ended: (reason, error) => this.#end(reason, error),
    });
    this.#breaks = new Breaks(environment, options.giveUp_ms ?? GIVE_UP_MS);
    this.#iceServers = new IceServers(options, environment, {
      token: () => this.#fetchToken(), changed: (servers) => this.#onIceServers(servers),
    });
  }

  #options;
  #environment;
  #roster;
  #publisher;
  #session;
  #breaks;
  #iceServers;

  get state() { return this.#state; }
  get room() { return this.#room; }
  get self() { return this.#roster.self ?? this.#describeSelf(); }
  get participants() { return this.#roster.others; }
  get speakers() { return this.#speakers; }
  get qualities() { return this.#qualities; }
  get rights() { return this.#rights; }
  get path() { return this.#path; }
  get publications() { return this.#publisher.publications; }
  get audioStreams() { return this.#media?.peer.audioStreams ?? []; }
  get peerConnection() { return this.#media?.peer.connection ?? null; }
  get health() {
    return {
      signalling: /** @type {'open' | 'lost'} */ (this.#session.isOpen ? 'open' : 'lost'),
      media: this.#media?.path.health ?? 'new',
    };
  }

  prepare() {
    if (this.#state !== 'new') return;
    this.#session.prepare();
    if (typeof this.#options.token === 'string') this.#iceServers.ask(this.#options.token);
  }

  async connect() {
    if (this.#state !== 'new') throw new StateError('already_connected', `connect() in state ${this.#state}`);
    this.#session.prepare();
    this.#become('connecting');
    try {
      this.#join();
      await this.#newestJoin();
    } catch (error) {
      this.#session.leave();  // the room must not keep us when what failed came after the join
      this.#closeMedia();
      this.#iceServers.close();
      this.#publisher.giveBack();
      this.#become('ended');
      throw error;
    }
  }

  async leave() {
    if (this.#state === 'ended') return;
    const goodbye = this.#session.leave();
    this.#end('left', null);
    await goodbye;
  }

  /**
   * @param {'microphone' | 'camera'} source
   * @param {boolean} muted
   */
  setMuted(source, muted) { return this.#publisher.setMuted(source, muted); }

  /** @param {string | MediaStreamTrack} device */
  setMicrophone(device) { return this.#publisher.setDevice('microphone', device); }

  /** @param {string | MediaStreamTrack} device */
  setCamera(device) { return this.#publisher.setDevice('camera', device); }

  /** @param {MediaStreamTrack} [track] */
  shareScreen(track) { return this.#publisher.shareScreen(track); }

  stopScreen() { return this.#publisher.stopScreen(); }

  /** @param {readonly string[]} participants */
  async prefer(participants) { await this.#session.request('prefer', { participants }); }

  /** @param {string} participant */
  async remove(participant) { await this.#session.request('remove', { participant }); }

  async getStats() { return await this.#media?.peer.connection.getStats() ?? null; }

  /**
   * @template {keyof CallEvents} K
   * @param {K} type
   * @param {(detail: CallEvents[K]) => void} listener
   */
  on(type, listener) {
    const heard = (/** @type {Event} */ event) => listener(/** @type {CustomEvent} */ (event).detail);
    this.addEventListener(type, heard);
    return () => this.removeEventListener(type, heard);
  }

  /**
   * @template {keyof CallEvents} K
   * @param {K} type
   * @param {CallEvents[K]} detail
   */
  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  /** The server lists the others; our own entry we know best ourselves. @returns {Participant | null} */
  #describeSelf() {
    const id = this.#roster.selfId;
    if (!id) return null;
    const tracks = [...this.publications.values()].map(({ source, muted, track }) => ({
      id: `${id}/${source}`, source, kind: kindOf(source), muted,
      stream: track ? new this.#environment.MediaStream([track]) : null,
    }));
    const connection = this.#state === 'reconnecting' ? 'reconnecting' : 'connected';
    const role = this.#rights.includes('moderate') ? 'host' : 'guest';
    return { id, name: this.#options.name ?? '', role, connection, tracks, self: true };
  }

  #join() {
    const media = this.#openMedia();
    const joining = this.#joining = this.#joinWith(media);
    media.negotiator.follow(joining);
    return joining;
  }

  /** A server that drains sends us to another before the first join is through: then it is the second that counts. */
  async #newestJoin() {
    const joining = this.#joining;
    await joining?.catch((error) => {
      if (joining === this.#joining) throw error;
    });
    if (this.#joining && joining !== this.#joining) await this.#newestJoin();
  }

  /**
   * The fast path: token, offer and socket are prepared side by side, then travel in one message, and the relay is asked for
   * beside it. Only the search for candidates waits for the relay's answer, and they are of no use before the server's own.
   * @param {Media} media
   */
  async #joinWith(media) {
    const { audioSlots = FIRST_AUDIO_SLOTS, videoSlots = FIRST_VIDEO_SLOTS, client = 'wadud-web' } = this.#options;
    /** @type {Promise<string> | null} */
    let token = this.#fetchToken();
    token.then((fetched) => this.#iceServers.ask(fetched), () => undefined);  // reported by the message that needs it
    const offer = this.#publisher.attach(media.peer, media.negotiator).then(() => {
      media.peer.addSlots('audio', audioSlots);
      media.peer.addSlots('video', videoSlots);
      return media.peer.firstOffer(this.#publisher.isMuted);
    });
    offer.catch(() => undefined);  // likewise
    /** @type {OfferedTrack[]} */
    let told = [];
    if (this.#iceServers.isKnown) media.peer.gather().catch(() => undefined);  // reported below, where it is waited for
    const fields = async () => {
      token ??= this.#fetchToken();
      const fetched = await media.peer.whileOpen(token).catch((error) => {
        token = null;
        throw error;
      });
      this.#iceServers.ask(fetched);
      const { sdp, tracks } = await offer;
      told = tracks.map((track) => ({ ...track, muted: this.#publisher.isMuted(track.source) }));
      return { token: fetched, offer: sdp, tracks: told, client };
    };
    const patience_ms = this.#state === 'reconnecting' ? this.#options.giveUp_ms ?? GIVE_UP_MS : undefined;
    const answer = await this.#session.join(fields, patience_ms);
    // The snapshot at once: who comes and goes from here on is told by pushes, and what follows may wait long for the relay.
    this.#room = answer.room;
    this.#rights = answer.rights;
    this.#roster.become(answer.participant);
    this.#signallingLost = false;
    this.#forgetSpeakers();
    this.#emitAll(this.#roster.reset(answer.participants, answer.slots));
    await this.#iceServers.ready();
    await media.peer.gather();
    await media.peer.acceptAnswer(answer.answer);
    if (this.#media !== media) throw new ConnectionError('closed', 'ended while joining');
    this.#emit('mediachange', {});  // the streams have come since
    this.#joining = null;
    this.#refreshState();
    this.#growSlots();
    if (told.some(({ source, muted }) => muted !== this.#publisher.isMuted(source))) this.#publisher.repeatMutes();
    media.stats.start();
  }

  async #fetchToken() {
    const { token } = this.#options;
    try {
      return typeof token === 'function' ? await token() : token;
    } catch (error) {
      if (error instanceof TypeError) throw new ConnectionError('unreachable', 'token not fetched', { cause: error });
      throw error;
    }
  }

  async #rejoin() {
    this.#closeMedia();
    this.#iceServers.reset();
    this.#setPath(null);
    this.#setSignallingLost(true);
    let joining = null;
    try {
      joining = this.#join();
      await joining;
    } catch (error) {
      if (joining && joining !== this.#joining) return;  // another join has taken its place
      this.#session.leave();
      this.#end(endReasonOf(error), error instanceof WadudError ? error : new WadudError('rejoin_failed', String(error), { cause: error }));
    }
  }

  #openMedia() {
    const peer = new Peer(this.#options, this.#environment, this.#iceServers.servers);
    const negotiator = new Negotiator(peer, this.#publisher.isMuted, (fields) => this.#session.request('offer', fields),
      (answer) => this.#emitAll(this.#roster.setSlots(answer.slots)), () => this.#iceServers.refresh());
    const path = new PathWatch(peer.connection, this.#environment, {
      restart: () => this.#negotiate({ restart: true }),
      networkChanged: () => this.#session.nudge(),
      changed: () => {
        this.#refreshState();
        if (path.health === 'connected') stats.readPath();
      },
      broken: () => this.#replaceMedia(),
    });
    const stats = new StatsReader(peer.connection, this.#environment, {
      sample: (sample) => this.#emit('stats', { stats: sample }),
      heard: (heard) => path.hear(heard),
      path: (found) => this.#setPath(found),
    });
    this.#media = { peer, negotiator, path, stats };
    return this.#media;
  }

  /** By a new join: these are broken for good. */
  #replaceMedia() {
    if (!this.#session.isOpen || !this.#media) return;  // the resume looks again
    this.#breaks.ended(this.#media.path.held_ms);
    const pause_ms = this.#breaks.next();
    if (pause_ms !== null) {
      this.#session.abandon(pause_ms);
      return;
    }
    this.#session.leave();
    this.#end('connection_lost', new ConnectionError('gave_up', 'media break whenever they are set up'));
  }

  #closeMedia() {
    const path = this.#media?.path;
    if (path && !path.isBroken) this.#breaks.ended(path.held_ms);  // those that broke have been counted
    this.#media?.stats.close();
    this.#media?.path.close();
    this.#media?.peer.close();
    this.#media = null;
  }

  /** @param {RTCIceServer[]} servers */
  #onIceServers(servers) {
    const media = this.#media;
    if (!media) return;
    try {
      media.peer.setIceServers(servers);
    } catch (error) {  // an address that this browser does not understand: the call goes on without a relay
      this.#backgroundFailure(error);
    }
    if (!media.peer.isGathering) {
      media.peer.gather().catch(() => undefined);  // reported by the join, which waits for it
    } else if (servers.length > 0 && !media.negotiator.isRestarting && (media.path.health !== 'connected' || this.#path?.kind === 'relay')) {
      this.#negotiate({ restart: true });
    }
  }

  /** @param {{restart?: boolean}} [wish] */
  #negotiate(wish) {
    this.#media?.negotiator.negotiate(wish).catch((error) => this.#backgroundFailure(error));
  }

  /** @param {unknown} error of a step that nobody awaits */
  #backgroundFailure(error) {
    if (error instanceof ConnectionError || this.#state === 'ended') return;  // the resume repeats it
    if (error instanceof Object && this.#told.has(error)) return;
    if (error instanceof Object) this.#told.add(error);
    this.#emit('problem', { error: error instanceof WadudError ? error : new WadudError('media', String(error), { cause: error }) });
  }

  /** @param {Message} push */
  #onPush(push) {
    switch (push.type) {
      case 'speakers':
        this.#speakers = push.speakers;
        this.#emit('speakers', { speakers: push.speakers });
        break;
      case 'quality':
        for (const quality of push.participants) this.#qualities.set(quality.participant, quality);
        this.#emit('quality', { participants: this.#qualities });
        break;
      default:
        if (push.type === 'participant_left') this.#qualities.delete(push.participant);
        this.#emitAll(this.#roster.apply(push));
        this.#growSlots();
    }
  }

  /** The room of a new session tells them anew. */
  #forgetSpeakers() {
    if (this.#speakers.length) this.#emit('speakers', { speakers: this.#speakers = [] });
    if (!this.#qualities.size) return;
    this.#qualities.clear();
    this.#emit('quality', { participants: this.#qualities });
  }

  /** @param {Message} answer */
  #onResumed(answer) {
    this.#emitAll(this.#roster.reset(answer.participants, answer.slots));
    if (this.#media?.path.isBroken) {
      this.#replaceMedia();
      return;
    }
    this.#setSignallingLost(false);
    this.#publisher.repeatMutes();
    if (this.#media?.path.health === 'lost' && !this.#media.negotiator.isUnanswered) this.#media.path.restart();
    this.#growSlots();
  }

  /** Offers what is missing: slots for more people, or what was offered and not answered. */
  #growSlots() {
    if (!this.#media) return;
    const { peer, negotiator } = this.#media;
    const { maxVideoSlots = MAX_VIDEO_SLOTS } = this.#options;
    const voices = Math.min(MAX_AUDIO_SLOTS, this.#roster.countOnOffer('audio')) - peer.slotCount('audio');
    const videos = this.#roster.countOnOffer('video') > peer.slotCount('video')
      ? Math.min(maxVideoSlots, Math.ceil(this.#roster.countOnOffer('video') / VIDEO_SLOT_STEP) * VIDEO_SLOT_STEP) - peer.slotCount('video') : 0;
    if (voices > 0 || videos > 0) {
      peer.addSlots('audio', voices);
      peer.addSlots('video', videos);
      this.#negotiate();
    } else {
      negotiator.retry().catch((error) => this.#backgroundFailure(error));
    }
  }

  /** @param {RosterEvent[]} events */
  #emitAll(events) {
    for (const { type, detail } of events) this.#emit(type, detail);
  }

  /** @param {boolean} lost */
  #setSignallingLost(lost) {
    this.#signallingLost = lost;
    this.#refreshState();
  }

  #refreshState() {
    if (this.#state === 'ended' || this.#joining) return;
    const broken = this.#signallingLost || this.#media?.path.health === 'lost';
    this.#become(broken ? 'reconnecting' : 'connected');
  }

  /** @param {CallState} state */
  #become(state) {
    const previous = this.#state;
    if (state === previous) return;
    this.#state = state;
    this.#emit('statechange', { state, previous });
  }

  /**
   * @param {EndReason} reason
   * @param {WadudError | null} error
   */
  #end(reason, error) {
    if (this.#state === 'ended') return;
    this.#closeMedia();
    this.#iceServers.close();
    this.#publisher.stop();
    this.#become('ended');
    this.#emit('ended', { reason, error });
  }

  /** @param {MediaPath | null} path */
  #setPath(path) {
    const previous = this.#path;
    if (path?.kind === previous?.kind && path?.protocol === previous?.protocol && path?.family === previous?.family) return;
    this.#path = path;
    this.#emit('pathchange', { path, previous });
  }
}
