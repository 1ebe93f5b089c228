// The call page: which of its four screens is shown, and what each press does. Views are functions of this object.

/** @import { EndReason, LocalStats, Participant, Publication, Source, WadudError } from '../../client/index.js' */

import { render } from 'lit-html';
import { ConnectionError, DeviceError, WadudCall, listDevices } from '../../client/index.js';
import { oncePerFrame } from '../dom.js';
import { CopyButton } from '../frame.js';
import { ApiError } from '../http.js';
import { t } from '../i18n.js';
import { AfterVisit } from './after-visit.js';
import { Announcer } from './announcer.js';
import { listen } from './call-events.js';
import { DeviceCheck } from './device-check.js';
import { ended } from './ended.js';
import { entering } from './entering.js';
import { joinProblem } from './join-problem.js';
import { lobby, showLevel } from './lobby.js';
import { room } from './room.js';
import { Shortcuts } from './shortcuts.js';
import { Sound } from './sound.js';
import { tokenFor } from './token.js';
import { visitOf } from './visit.js';

/** @typedef {'microphone' | 'camera'} Capture */

const NAME = 'wadud.name';
/** How long a join waits for the answer to the browser's question about devices; they can follow later. */
const PATIENCE_MS = 3000;
const DOUBLE_PRESS_MS = 500;

export class CallPage {
  /** @type {'check' | 'joining' | 'call' | 'ended'} */
  phase = 'check';
  name = sessionStorage.getItem(NAME) ?? '';
  nameMissing = false;
  joinProblem = '';
  /** @type {WadudCall | null} */
  call = null;
  /** @type {import('../../client/index.js').DeviceList} */
  devices = { microphones: [], cameras: [], speakers: [] };
  peopleOpen = false;
  qualityOpen = false;
  /** @type {AfterVisit | null} */
  after = null;
  /** Somebody else has been here. */
  met = false;
  /** Whom the host is about to remove. */
  removing = '';
  calledAt_ms = 0;
  stageSize = { width: 0, height: 0 };
  /** @type {LocalStats | null} */
  stats = null;
  /** @type {{reason: EndReason, seconds: number}} */
  end = { reason: 'left', seconds: 0 };

  #startedAt_ms = 0;
  /** @type {WakeLockSentinel | null} */
  #awake = null;
  /** Wishes that are under way: the button follows the finger, the device follows after. @type {Map<Source, boolean>} */
  #pendingMute = new Map();
  /** Devices that are being changed to, likewise. @type {Map<Capture, string>} */
  #pendingDevice = new Map();
  /** What the person has decided in the call: what the lobby still waits for comes too late for that. @type {Set<Capture>} */
  #decided = new Set();
  #askingScreen = false;
  #screenStopped_ms = -Infinity;
  /** @type {EndReason | null} why the server gives no further token */
  #seatLost = null;
  #askingAwake = false;
  #observer = new ResizeObserver(([entry]) => {
    const { width, height } = entry.contentRect;
    this.stageSize = { width, height };
    this.draw();
  });

  /** @param {HTMLElement} root @param {string} roomName @param {DeviceCheck | null} [check] of the waiting room, with its tracks */
  constructor(root, roomName, check = null) {
    this.root = root;
    this.roomName = roomName;
    this.link = `${location.origin}/call/${roomName}`;
    this.draw = oncePerFrame(() => this.#render());
    this.announcer = new Announcer(this.draw);
    this.copyButton = new CopyButton(this.draw);
    this.sound = new Sound(this.draw);
    /** The visit that this call belongs to, null for a call of its own. */
    this.visit = visitOf(roomName, (code) => this.#refused(code));
    this.name = this.visit?.name || this.name;
    this.check = this.#adopt(check ?? new DeviceCheck(() => {}));
    if (this.visit && !check) this.check.wanted = { ...this.visit.wanted };
    this.shortcuts = new Shortcuts({
      m: () => this.toggle('microphone'),
      v: () => this.toggle('camera'),
      s: () => this.phase === 'call' && this.canShareScreen && this.toggleScreen(),
      p: () => this.phase === 'call' && this.togglePeople(),
      '?': () => this.phase === 'call' && this.openSettings(),
    });
    addEventListener('keydown', (event) => {
      if (event.key === 'Escape') this.#escape();
      else if (this.phase === 'check' || this.phase === 'call') this.shortcuts.handle(event);
    });
    addEventListener('pagehide', () => this.call?.leave());
  }

  /** Who was let into a visit goes in; everybody else looks at themselves first. */
  async start() {
    this.#render();
    const started = this.check.start();
    if (this.visit) await this.join(false);
    await started;
  }

  // What the views ask.

  get self() { return this.call?.self ?? null; }
  get others() { return this.call?.participants ?? []; }
  get qualities() { return this.call?.qualities ?? new Map(); }
  /** @returns {ReadonlyMap<Source, Publication>} */
  get publications() { return this.call?.publications ?? new Map(); }
  get canRemove() { return this.call?.rights.includes('moderate') ?? false; }
  get canShareScreen() {
    return navigator.mediaDevices?.getDisplayMedia !== undefined && (this.call?.rights.includes('share_screen') ?? false);
  }
  /** A phone shows fewer videos, and its network carries fewer. */
  get videosAtOnce() { return Math.min(screen.width, screen.height) < 600 ? 8 : 26; }
  get seconds() { return (Date.now() - this.#startedAt_ms) / 1000; }

  /** What the server says about us, else our own measurement. */
  get ownScore() {
    const told = this.qualities.get(this.self?.id ?? '')?.score;
    return told ?? this.stats?.score;
  }

  /** @param {Participant} participant */
  nameOf(participant) {
    return participant.name || (participant.self ? this.name : t('person.nameless'));
  }

  /** @param {string} id */
  isSpeaking(id) {
    return this.call?.speakers.some(({ participant, level }) => participant === id && level > 0.02) ?? false;
  }

  /** @param {Capture} source */
  isMuted(source) {
    return this.#pendingMute.get(source) ?? this.publications.get(source)?.muted ?? true;
  }

  /** @param {Capture} source */
  deviceInUse(source) {
    return this.#pendingDevice.get(source) ?? this.publications.get(source)?.track?.getSettings().deviceId ?? this.check.chosen[source];
  }

  // Before the call.

  /** @param {string} name */
  rename(name) {
    this.name = name;
    this.nameMissing = false;
    sessionStorage.setItem(NAME, name);
    this.draw();
  }

  /** @param {boolean} audioOnly */
  async join(audioOnly) {
    if (this.phase !== 'check') return;
    if (!this.name.trim()) {
      this.nameMissing = true;
      this.#render();
      document.getElementById('name')?.focus();
      return;
    }
    this.phase = 'joining';
    this.joinProblem = '';
    this.draw();
    if (audioOnly && this.check.wanted.camera) this.check.toggle('camera');
    const patience = new Promise((resolve) => setTimeout(resolve, PATIENCE_MS));
    await Promise.race([this.check.answered, patience]);
    const { microphone, camera } = this.check.tracks;
    const name = this.name.trim();
    const call = new WadudCall({
      url: `${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}/v1/signal`,
      token: () => tokenFor(this.visit, this.roomName, name),
      name,
      tracks: { microphone, camera },
      devices: this.check.chosen,
      videoCodec: /** @type {any} */ (new URLSearchParams(location.search).get('codec')?.toUpperCase()),
      maxVideoSlots: this.videosAtOnce,
      client: 'wadud-web page',
    });
    this.call = call;
    this.calledAt_ms = Date.now();
    /** @type {any} */ (window).wadud = call;
    const stop = listen(this, call);
    /** @type {EndReason | null} */
    let over = null;
    call.on('ended', ({ reason }) => { over = reason; });
    try {
      await call.connect();
    } catch (error) {
      stop();
      this.visit?.stop();
      if (over && over !== 'left') {  // put out before the join was through
        this.check.handOver({ microphone, camera });
        this.#begin();
        this.finish(over);
        return;
      }
      this.call = null;
      if (this.visit && error instanceof ApiError && error.status < 500 && ![0, 404, 429].includes(error.status)) {  // the visit says why
        this.check.handOver({ microphone: null, camera: null });
        this.#begin();
        this.finish('revoked');
        return;
      }
      this.phase = 'check';
      this.joinProblem = joinProblem(error);
      console.error('join failed', error);
      this.check.takeBack();
      this.#render();
      this.#keepFocus('[data-testid="join-button"]');  // which was disabled meanwhile
      return;
    }
    this.check.onLate = (source, track) => this.#startLate(call, source, track);
    this.check.handOver({ microphone, camera });
    this.#enter();
  }

  /**
   * The browser's question was answered only after the person had joined. A call that is over stops what it is given.
   * @param {WadudCall} call @param {Capture} source @param {MediaStreamTrack} track
   */
  async #startLate(call, source, track) {
    if (this.#decided.has(source)) {
      track.stop();
      return;
    }
    try {
      await (source === 'camera' ? call.setCamera(track) : call.setMicrophone(track));
      await call.setMuted(source, false);
    } catch (error) {
      track.stop();
      this.report(error);
    }
  }

  #begin() {
    this.phase = 'call';
    this.#startedAt_ms = Date.now();
    this.#pendingMute = new Map();
    this.#pendingDevice = new Map();
    this.#decided = new Set();
    this.#askingScreen = false;
    this.#seatLost = null;
    this.met = this.others.length > 0;
  }

  #enter() {
    this.#begin();
    this.sound.choose(this.check.chosen.speaker);
    this.#render();
    this.sound.play(this.call?.audioStreams ?? []);
    const stage = document.getElementById('stage-box');
    if (stage) this.#observer.observe(stage);
    document.getElementById('call-title')?.focus();
    this.announcer.say(t('say.entered', { count: this.others.length }), { quiet: true });
    this.refreshDevices();
    this.keepAwake();
  }

  // During the call.

  /** @param {Capture} source */
  async toggle(source) {
    if (this.phase === 'check') {
      await this.check.toggle(source);
      return;
    }
    const call = this.phase === 'call' ? this.call : null;
    const pending = this.#pendingMute;
    if (!call || pending.has(source)) return;
    const muted = !this.isMuted(source);
    this.#decided.add(source);
    pending.set(source, muted);
    this.draw();
    try {
      await call.setMuted(source, muted);
      this.visit?.want(source, !muted);
      this.announcer.say(t(`say.${source}_${muted ? 'off' : 'on'}`), { quiet: true });
    } catch (error) {
      this.report(error);
    } finally {
      pending.delete(source);
      this.draw();
    }
  }

  async toggleScreen() {
    const call = this.call;
    if (!call) return;
    const sharing = call.publications.has('screen');
    if (!sharing && this.#askingScreen) return;
    if (!sharing && Date.now() - this.#screenStopped_ms < DOUBLE_PRESS_MS) return;  // meant the stop, not another screen
    if (sharing) this.#screenStopped_ms = Date.now();
    else this.#askingScreen = true;
    try {
      await (sharing ? call.stopScreen() : call.shareScreen());
      this.announcer.say(t(sharing ? 'say.screen_off' : 'say.screen_on'), { quiet: true });
    } catch (error) {
      if (!(error instanceof DeviceError && error.code === 'dismissed')) this.report(error);
    } finally {
      if (!sharing && call === this.call) this.#askingScreen = false;
    }
    if (!sharing || this.phase !== 'call') return;
    this.#render();
    this.#keepFocus('[data-testid="share-screen"]');  // the button of the banner is gone
  }

  unblockSound() {
    this.sound.unblock();
    this.#render();
    this.#keepFocus('#call-title');
  }

  togglePeople() {
    this.peopleOpen = !this.peopleOpen;
    this.removing = '';
    this.#render();
    if (this.peopleOpen) document.getElementById('people-title')?.focus();
    else /** @type {HTMLElement | null} */ (this.root.querySelector('[data-testid="people-toggle"]'))?.focus();
  }

  toggleQuality() {
    this.qualityOpen = !this.qualityOpen;
    this.draw();
  }

  /** @param {string} id empty to think better of it */
  askRemove(id) {
    const before = this.removing;
    this.removing = id;
    this.#render();
    this.#keepFocus(id ? '.person-confirm button' : `[data-participant="${before}"] [data-testid="remove"]`);
  }

  /** @param {Participant} participant */
  async remove(participant) {
    this.removing = '';
    this.#render();
    this.#keepFocus('#people-title');
    try {
      await this.call?.remove(participant.id);
    } catch (error) {
      this.report(error);
    }
  }

  /** The browser itself gives the focus back on closing; doing it in `close`, which comes late, would take it from where the person went since. */
  openSettings() {
    this.#dialog()?.showModal();
    this.refreshDevices();
  }

  closeSettings() {
    this.#dialog()?.close();
  }

  /** @param {Capture} source @param {string} id */
  async chooseDevice(source, id) {
    const pending = this.#pendingDevice.set(source, id);
    this.#decided.add(source);
    try {
      await (source === 'camera' ? this.call?.setCamera(id) : this.call?.setMicrophone(id));
    } catch (error) {
      this.report(error);
    }
    if (pending.get(source) === id) pending.delete(source);
    this.draw();
  }

  /** @param {string} id */
  chooseSpeaker(id) {
    this.sound.choose(id);
    this.check.chooseSpeaker(id);
  }

  async refreshDevices() {
    this.devices = await listDevices();
    this.draw();
  }

  async leave() {
    await this.call?.leave();
    await this.visit?.leave();
  }

  /** The server gives no further token: the visit is over, or the person's seat in it. @param {string} code */
  #refused(code) {
    console.info('the visit is over for us', code);
    this.#seatLost = code === 'device_moved' ? 'replaced' : 'room_closed';
    this.call?.leave();
  }

  /** @param {unknown} error of something the person asked for */
  report(error) {
    if (error instanceof ConnectionError && error.code === 'closed') return;  // the call has ended, and the page says so
    console.error(error);
    const key = error instanceof DeviceError ? `problem.device_${error.code}` : `problem.${/** @type {WadudError} */ (error).code ?? 'unknown'}`;
    const text = t(key, { device: t(`device.${error instanceof DeviceError ? error.source : 'camera'}`) });
    this.announcer.say(text === key ? t('problem.unknown') : text, { urgent: true });
  }

  // After the call.

  /** @param {EndReason} reason */
  finish(reason) {
    if (this.phase !== 'call') return;
    this.end = { reason: reason === 'left' && this.#seatLost || reason, seconds: this.seconds };
    this.phase = 'ended';
    this.#observer.disconnect();
    this.#sleep();
    this.visit?.stop();
    this.sound.play([]);
    this.peopleOpen = this.qualityOpen = false;
    this.after = this.visit && new AfterVisit(this.visit, () => this.#render());
    this.#render();
    document.getElementById('ended-title')?.focus();
    this.after?.learn(this.end.reason);
  }

  /** Back to the device check, with the same wishes. */
  async again() {
    this.call = null;
    this.stats = null;
    this.phase = 'check';
    const { wanted } = this.check;
    this.check = this.#adopt(new DeviceCheck(() => {}));
    this.check.wanted = wanted;
    const started = this.start();
    document.getElementById('lobby-title')?.focus();
    await started;
  }

  /** The screen of a phone stays on during a call and no longer, also after the person has looked at something else. */
  async keepAwake() {
    if (this.phase !== 'call' || document.visibilityState !== 'visible') return;
    if (this.#askingAwake || this.#awake && !this.#awake.released) return;
    this.#askingAwake = true;
    try {
      this.#awake = await navigator.wakeLock?.request('screen') ?? null;
      if (this.phase !== 'call') this.#sleep();
    } catch (error) {
      console.info('no wake lock', error);  // low battery: the system knows better
    }
    this.#askingAwake = false;
  }

  #sleep() {
    this.#awake?.release();
    this.#awake = null;
  }

  /** @param {DeviceCheck} check */
  #adopt(check) {
    check.changed = () => this.draw();
    check.onLevel = (level) => showLevel(this.root, level);
    return check;
  }

  /** What had the focus may have gone with the last drawing. @param {string} instead */
  #keepFocus(instead) {
    if (document.activeElement && document.activeElement !== document.body) return;
    /** @type {HTMLElement | null} */ (this.root.querySelector(instead))?.focus();
  }

  #dialog() {
    return /** @type {HTMLDialogElement | null} */ (this.root.querySelector('[data-testid="settings-dialog"]'));
  }

  #escape() {
    if (this.qualityOpen) this.toggleQuality();
    else if (this.peopleOpen && !this.#dialog()?.open) this.togglePeople();
  }

  #render() {
    document.title = t(`title.${this.phase}`, { count: this.others.length + 1 });
    document.body.dataset.phase = this.phase;
    const before = this.visit ? entering : lobby;
    const view = { check: before, joining: before, call: room, ended }[this.phase];
    render(view(this), this.root);
  }
}
