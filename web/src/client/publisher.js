// Our own side of a call: one entry per source, its device, its mute. A muted microphone keeps its device (opening it takes
// hundreds of milliseconds in which words are lost); a muted camera gives its device back, so that its light goes off.

/** @import { CallOptions, Environment, Publication, Source } from './index.js' */
/** @import { Negotiator } from './negotiator.js' */
/** @import { Peer } from './peer.js' */

import { openDevice, openScreen } from './devices.js';
import { ConnectionError, DeviceError, StateError, WadudError, fellWithSocket } from './errors.js';

/** @typedef {'microphone' | 'camera'} Capture */
/** @typedef {{source: Source, muted: boolean, track: MediaStreamTrack | null, deviceId: string | null}} Entry */

/**
 * @typedef {object} PublisherHandlers
 * @property {(type: string, fields: Record<string, unknown>) => Promise<unknown>} request
 * @property {(publication: Publication) => void} changed
 * @property {(error: WadudError, source: Source) => void} problem
 */

export class Publisher {
  /** @type {Map<Source, Entry>} */
  #entries = new Map();
  /** @type {Map<Source, Promise<unknown>>} the last step per source: steps of one source never overlap */
  #steps = new Map();
  /** @type {Map<Source, boolean>} the newest wish, which may wait behind other steps @see setMuted */
  #wished = new Map();
  /** @type {Peer | null} */
  #peer = null;
  /** @type {Negotiator | null} */
  #negotiator = null;
  #stopped = false;
  /** Opened by `stop`: what waits for the browser's answer to an earlier step is through with it then. */
  #open = () => {};
  #end = new Promise((/** @type {(value?: undefined) => void} */ resolve) => { this.#open = resolve; });

  /**
   * @param {CallOptions} options
   * @param {Environment} environment
   * @param {PublisherHandlers} handlers
   */
  constructor(options, environment, handlers) {
    this.environment = environment;
    this.handlers = handlers;
    /** @type {(MediaStreamTrack | null | undefined)[]} */
    this.given = Object.values(options.tracks ?? {});
    if (options.publish === false) return;
    for (const source of /** @type {Capture[]} */ (['microphone', 'camera'])) {
      const track = options.tracks?.[source] ?? null;
      const entry = { source, muted: options.muted?.[source] ?? !track, track, deviceId: options.devices?.[source] || null };
      this.#entries.set(source, entry);
      if (entry.muted && source === 'camera') this.#release(entry);
      if (!entry.track) continue;
      this.#take(entry, entry.track);
      if (entry.muted) entry.track.enabled = false;
    }
  }

  /** @returns {ReadonlyMap<Source, Publication>} */
  get publications() {
    return new Map([...this.#entries].map(([source, entry]) => [source, view(entry)]));
  }

  /** @param {Source} source */
  isMuted = (source) => this.#entries.get(source)?.muted ?? true;

  /**
   * Publishes everything on a fresh connection, before its first offer.
   * @param {Peer} peer
   * @param {Negotiator} negotiator
   */
  async attach(peer, negotiator) {
    this.#peer = peer;
    this.#negotiator = negotiator;
    for (const { source, track } of this.#entries.values()) await peer.publish(source, track);
  }

  /** Tells the server every mute again: one may have been lost with the socket. */
  async repeatMutes() {
    await Promise.all([...this.#entries.values()].map((entry) => this.#tell(entry)));
  }

  /**
   * @param {Capture} source
   * @param {boolean} muted
   */
  setMuted(source, muted) {
    const now = this.#entries.get(source)?.track;
    this.#wished.set(source, muted);
    if (muted && now) now.enabled = false;  // at once: the step before may wait for the browser's question about another device
    return this.#step(source, async (entry) => {
      if (!muted && !entry.track) {
        this.#take(entry, await openDevice(source, entry.deviceId ?? true, this.environment));
        await this.#peer?.replaceTrack(source, entry.track);
      }
      entry.muted = muted;
      if (muted && source === 'camera') {
        this.#release(entry);
        await this.#peer?.replaceTrack(source, null);
      }
      this.#enable(entry);
      this.handlers.changed(view(entry));
      this.#tell(entry);  // in its order, but the next press does not wait for a slow server
    });
  }

  /**
   * @param {Capture} source
   * @param {string | MediaStreamTrack} device
   */
  async setDevice(source, device) {
    const step = this.#step(source, async (entry) => {
      if (typeof device === 'string' && source === 'camera') await this.#changeCamera(entry, device);
      else await this.#send(entry, typeof device === 'string' ? await openDevice(source, device, this.environment) : device);
    });
    try {
      await step;
    } catch (error) {
      if (this.#stopped && typeof device !== 'string') device.stop();
      throw error;
    }
  }

  /** @param {MediaStreamTrack} [given] */
  async shareScreen(given) {
    const track = given ?? await openScreen(this.environment);
    this.#release(this.#entries.get('screen'));
    /** @type {Entry} */
    const entry = { source: 'screen', muted: false, track: null, deviceId: null };
    this.#take(entry, track);
    this.#entries.set('screen', entry);
    await this.#peer?.publish('screen', track);
    try {
      await this.#negotiator?.negotiate();
    } catch (error) {
      if (!(error instanceof ConnectionError)) {  // a lost socket offers again by itself
        if (this.#entries.get('screen') === entry) await this.#dropScreen(entry);  // else another is shared by now
        throw error;
      }
    }
    if (entry.track) this.handlers.changed(view(entry));  // else it was put away meanwhile, in the browser's own bar say
  }

  async stopScreen() {
    const entry = this.#entries.get('screen');
    if (!entry) return;
    await this.#dropScreen(entry);
    this.handlers.changed({ source: 'screen', muted: true, track: null });
    await this.#negotiator?.negotiate().catch((error) => {
      if (!(error instanceof ConnectionError)) this.#report(error, 'screen');  // a lost socket offers again by itself
    });
  }

  /** Stops every device, and those that are just opening as soon as they do. */
  stop() {
    this.#stopped = true;
    this.#open();
    for (const entry of this.#entries.values()) this.#release(entry);
  }

  /** Of a call that did not come about: the tracks that it was given are their giver's again, those that it opened go off. */
  giveBack() {
    for (const entry of this.#entries.values()) {
      if (!entry.track || !this.given.includes(entry.track)) continue;
      entry.track.onended = null;
      entry.track = null;
    }
    this.stop();
  }

  /** @param {Entry} entry */
  async #dropScreen(entry) {
    this.#release(entry);
    this.#entries.delete('screen');
    await this.#peer?.unpublish('screen');
  }

  /**
   * @param {Source} source
   * @param {(entry: Entry) => Promise<void>} run
   */
  async #step(source, run) {
    const before = this.#steps.get(source)?.catch(() => undefined);
    const step = (async () => {
      await Promise.race([before, this.#end]);
      if (this.#stopped) throw new ConnectionError('closed', `the call has ended before ${source} was changed`);
      const entry = this.#entries.get(source);
      if (!entry) throw new StateError('not_published', `${source} is not published`);
      await run(entry);
    })();
    this.#steps.set(source, step);
    await step;
  }

  /** @param {Entry} entry */
  async #tell(entry) {
    const mid = this.#peer?.midOf(entry.source);
    if (!mid) return;
    try {
      await this.handlers.request('mute', { mid, muted: entry.muted });
    } catch (error) {
      if (!fellWithSocket(error)) this.#report(error, entry.source);
    }
  }

  /**
   * @param {unknown} error
   * @param {Source} source
   */
  #report(error, source) {
    if (!(error instanceof WadudError)) throw error;
    this.handlers.problem(error, source);
  }

  /**
   * @param {Entry} entry
   * @param {MediaStreamTrack} track
   * @throws {ConnectionError} `closed`: the call ended while the device was opening
   */
  #take(entry, track) {
    if (this.#stopped) {
      track.stop();
      throw new ConnectionError('closed', `the call has ended without the ${entry.source}`);
    }
    entry.track = track;
    entry.deviceId = track.getSettings?.().deviceId ?? null;
    track.onended = () => this.#lost(entry, track);
  }

  /** @param {Entry | undefined} entry */
  #release(entry) {
    if (!entry?.track) return;
    entry.deviceId = entry.track.getSettings?.().deviceId ?? entry.deviceId;
    entry.track.onended = null;
    entry.track.stop();
    entry.track = null;
  }

  /**
   * The device was pulled out, or the person stopped the sharing in the browser's own bar.
   * @param {Entry} entry
   * @param {MediaStreamTrack} track
   */
  async #lost(entry, track) {
    if (entry.track !== track) return;
    if (entry.source === 'screen') {
      await this.stopScreen();
      return;
    }
    const source = entry.source;
    this.handlers.problem(new DeviceError('track_ended', source), source);
    const [opened] = await Promise.allSettled([openDevice(source, true, this.environment)]);
    const step = this.#step(source, async () => {
      if (entry.track !== track) {  // switched off or replaced meanwhile, or the call has ended
        if (opened.status === 'fulfilled') opened.value.stop();
      } else if (opened.status === 'fulfilled') {
        await this.#send(entry, opened.value);
      } else {
        await this.#goOff(entry);
        entry.deviceId = null;
        this.#report(opened.reason, source);
      }
    });
    await step.catch((error) => {
      if (!this.#stopped) throw error;
      if (opened.status === 'fulfilled') opened.value.stop();
    });
  }

  /**
   * Many phones open one camera at a time, so the old one goes off first; where the new one fails, it is what a press opens again.
   * @param {Entry} entry
   * @param {string} id
   */
  async #changeCamera(entry, id) {
    const wasOn = entry.track !== null;
    this.#release(entry);
    const before = entry.deviceId;
    entry.deviceId = id;
    if (!wasOn) return;
    try {
      await this.#send(entry, await openDevice('camera', id, this.environment));
    } catch (error) {
      entry.deviceId = before;
      if (!this.#stopped) await this.#goOff(entry);
      throw error;
    }
  }

  /** @param {Entry} entry @param {MediaStreamTrack} track */
  async #send(entry, track) {
    this.#release(entry);
    this.#take(entry, track);
    this.#enable(entry);
    await this.#peer?.replaceTrack(entry.source, track);
    this.handlers.changed(view(entry));
  }

  /** Neither muted, nor about to be: a new device is not heard until the wish has its turn. @param {Entry} entry */
  #enable(entry) {
    if (entry.track) entry.track.enabled = !entry.muted && !this.#wished.get(entry.source);
  }

  /** What has no device is muted. @param {Entry} entry */
  async #goOff(entry) {
    this.#release(entry);
    entry.muted = true;
    await this.#peer?.replaceTrack(entry.source, null);
    this.handlers.changed(view(entry));
    this.#tell(entry);
  }
}

/**
 * @param {Entry} entry
 * @returns {Publication}
 */
function view({ source, muted, track }) {
  return { source, muted, track };
}
