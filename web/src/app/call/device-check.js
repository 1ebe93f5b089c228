// The device check before a call: opens what the person wants, remembers the choice, tells what is wrong, and tries again by
// itself when a permission is given or a device is plugged in.

/** @import { DeviceError, DeviceList } from '../../client/index.js' */

import { listDevices, openDevices, watchDevices } from '../../client/index.js';
import { playChime } from './chime.js';
import { AudioMeter } from './meter.js';

/** @typedef {'microphone' | 'camera'} Capture */

const CAPTURES = /** @type {Capture[]} */ (['microphone', 'camera']);
const STORED = 'wadud.devices';

export class DeviceCheck {
  /** True while the browser asks the person. */
  asking = false;
  /** @type {Record<Capture, MediaStreamTrack | null>} */
  tracks = { microphone: null, camera: null };
  /** @type {{microphone?: DeviceError, camera?: DeviceError}} */
  problems = {};
  /** @type {Record<Capture, boolean>} what the person wants to enter with */
  wanted = { microphone: true, camera: true };
  /** @type {DeviceList} */
  devices = { microphones: [], cameras: [], speakers: [] };
  /** @type {{microphone: string, camera: string, speaker: string}} device ids, empty for the default */
  chosen = { microphone: '', camera: '', speaker: '', ...JSON.parse(localStorage.getItem(STORED) ?? '{}') };
  testingSpeaker = false;
  level = 0;

  #meter;
  /** @type {(() => void)[]} */
  #stops = [];

  /** @param {() => void} changed */
  constructor(changed) {
    this.changed = changed;
    this.#meter = new AudioMeter((level) => {
      this.level = level;
      this.onLevel(level);
    });
  }

  /** @type {Promise<void>} settles when the browser has answered */
  answered = Promise.resolve();
  /** @type {(source: Capture, track: MediaStreamTrack) => void} told when a device opens after the check was handed over */
  onLate = (_, track) => track.stop();
  /** @type {Record<Capture, MediaStreamTrack | null> | null} what the call took over */
  #given = null;
  /** @type {Map<Capture, string>} asked for since the browser has been asked, so that a refusal is not asked again */
  #asked = new Map();

  /** @type {(level: number) => void} told at every picture frame, so it should not draw the page */
  onLevel = () => {};

  async start() {
    this.#stops.push(watchDevices(() => this.#devicesChanged()));
    for (const source of CAPTURES) this.#watchPermission(source);
    await this.open();
  }

  /** Opens what is wanted and missing; what is pressed while the browser asks is done behind its answer. */
  async open() {
    if (this.asking) return;
    this.answered = this.#open();
    await this.answered;
  }

  async #open() {
    const asked = this.#asked = new Map();
    const isChosen = (/** @type {Capture} */ source) => this.wanted[source] && asked.get(source) === this.chosen[source];
    const missing = () => CAPTURES.filter((source) => this.wanted[source] && !this.tracks[source] && !this.#given?.[source] && !isChosen(source));
    this.asking = true;
    this.changed();
    for (let sources = missing(); sources.length > 0; sources = missing()) {
      for (const source of sources) asked.set(source, this.chosen[source]);
      const { problems, ...opened } = await openDevices(Object.fromEntries(sources.map((source) => [source, this.chosen[source] || true])));
      for (const source of sources) {
        delete this.problems[source];
        if (problems[source]) this.problems[source] = problems[source];
        const track = opened[source];
        if (!track) continue;
        if (!isChosen(source)) {  // thought better of it meanwhile, and perhaps better again
          track.stop();
          asked.delete(source);
        } else if (this.#given) this.onLate(source, track);
        else this.#take(source, track);
      }
    }
    this.asking = false;
    await this.#refreshList();
  }

  /** @param {Capture} source */
  async toggle(source) {
    const failed = this.problems[source] !== undefined;  // its button says that it is off
    this.wanted[source] = failed || !this.wanted[source];
    if (this.wanted[source]) await this.#openAgain(source);
    else this.#release(source);
    this.changed();
  }

  /** @param {Capture} source @param {string} id */
  async choose(source, id) {
    this.#remember(source, id);
    this.#release(source);
    this.wanted[source] = true;
    await this.open();
  }

  /** @param {Capture} source asked for once more, also when the browser is just being asked about another */
  async #openAgain(source) {
    if (!this.tracks[source] && this.problems[source]) this.#asked.delete(source);
    await this.open();
  }

  /** @param {string} id */
  chooseSpeaker(id) {
    this.#remember('speaker', id);
    this.changed();
  }

  async testSpeaker() {
    if (this.testingSpeaker) return;
    this.testingSpeaker = true;
    this.changed();
    try {
      await playChime(this.chosen.speaker);
    } finally {
      this.testingSpeaker = false;
      this.changed();
    }
  }

  /** Lets a held-back meter run; call it from any touch of the page. */
  wake() {
    this.#meter.resume();
  }

  /**
   * Ends the check and leaves its tracks to the call.
   * @param {Record<Capture, MediaStreamTrack | null>} given what the call has already; what has opened since comes late
   */
  handOver(given) {
    this.#given = given;
    const { tracks } = this;
    this.tracks = { microphone: null, camera: null };
    for (const source of CAPTURES) {
      const track = tracks[source];
      if (track && track !== given[source]) this.onLate(source, track);
    }
    this.#meter.watch(null);
    for (const stop of this.#stops.splice(0)) stop();
  }

  /** Looks after its tracks again behind a call that did not come about, and opens those anew that ended with it. */
  async takeBack() {
    for (const source of CAPTURES) {
      const track = this.tracks[source];
      if (track?.readyState === 'live') this.#take(source, track);
      else this.tracks[source] = null;
    }
    if (CAPTURES.some((source) => this.wanted[source] && !this.tracks[source] && !this.problems[source])) await this.open();
  }

  /** @param {Capture} source @param {MediaStreamTrack} track */
  #take(source, track) {
    this.tracks[source] = track;
    track.onended = () => {
      this.tracks[source] = null;
      this.#meterFollows();
      this.#asked.delete(source);
      this.open();
    };
    this.#meterFollows();
  }

  /** @param {Capture} source */
  #release(source) {
    const track = this.tracks[source];
    if (track) track.onended = null;
    track?.stop();
    this.tracks[source] = null;
    delete this.problems[source];
    this.#meterFollows();
  }

  #meterFollows() {
    this.#meter.watch(this.tracks.microphone);
  }

  /** @param {'microphone' | 'camera' | 'speaker'} what @param {string} id */
  #remember(what, id) {
    this.chosen[what] = id;
    localStorage.setItem(STORED, JSON.stringify(this.chosen));
  }

  async #devicesChanged() {
    await this.#refreshList();
    const { microphones, cameras } = this.devices;
    const back = (this.problems.microphone?.code === 'not_found' && microphones.length > 0)
      || (this.problems.camera?.code === 'not_found' && cameras.length > 0);
    if (back) await this.open();
  }

  async #refreshList() {
    this.devices = await listDevices();
    this.changed();
  }

  /** @param {Capture} source */
  async #watchPermission(source) {
    let status;
    try {
      status = await navigator.permissions.query({ name: /** @type {PermissionName} */ (/** @type {string} */ (source)) });
    } catch {
      return;  // this browser does not tell
    }
    const changed = () => {
      if (status.state === 'granted' && this.problems[source]) this.#openAgain(source);
    };
    status.addEventListener('change', changed);
    this.#stops.push(() => status.removeEventListener('change', changed));
  }
}
