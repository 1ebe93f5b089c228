// The view of the device check: see and hear yourself, say your name, enter.

/** @import { CallPage } from './page.js' */

import { html, nothing } from 'lit-html';
import { live } from 'lit-html/directives/live.js';
import { cssVariables, initials, shows } from '../dom.js';
import { siteHeader } from '../frame.js';
import { t } from '../i18n.js';
import { icon } from '../icons.js';
import { devicePicker } from './device-pickers.js';
import { permissionHelp } from './help.js';
import { captureButton } from './controls.js';
import { workaround } from './path.js';
import { streamOfTrack } from './tiles.js';

const METER_BARS = 14;

/** @param {CallPage} page */
export const lobby = (page) => html`
  ${siteHeader(() => page.draw())}
  <main class="lobby" @pointerdown=${() => page.check.wake()} @keydown=${() => page.check.wake()}>
    <section class="lobby-preview" ?inert=${page.phase === 'joining'} aria-label=${t('lobby.preview')}>
      ${preview(page)}
      ${meter(page)}
      ${permissionHelp(page.check)}
    </section>
    <section class="lobby-form">
      <h1 id="lobby-title" tabindex="-1">${t('lobby.title')}</h1>
      <p class="lead">${t('lobby.lead')}</p>
      ${joinForm(page)}
    </section>
    <section class="lobby-devices card" ?inert=${page.phase === 'joining'} aria-labelledby="devices-title">
      <h2 id="devices-title">${t('lobby.devices')}</h2>
      ${pickers(page)}
    </section>
  </main>`;

/** What the views of a device check need of their page. @typedef {{check: import('./device-check.js').DeviceCheck, name: string, toggle(source: 'microphone' | 'camera'): unknown}} Checking */

/** @param {Checking} page */
export function preview(page) {
  const { check, name } = page;
  const { camera } = check.tracks;
  const mirrored = camera?.getSettings().facingMode !== 'environment';
  const empty = check.asking ? t('lobby.opening') : t(check.problems.camera ? 'lobby.no_camera' : 'lobby.camera_off');
  return html`
    <div class="preview" data-video=${camera ? 'on' : 'off'}>
      <video class=${mirrored ? 'mirrored' : ''} data-testid="preview-video" aria-label=${t('lobby.preview')}
        autoplay playsinline .muted=${true} ${shows(streamOfTrack(camera))}></video>
      ${camera ? nothing : html`<div class="preview-empty"><span class="avatar large" aria-hidden="true">${initials(name) || icon('person')}</span><p>${empty}</p></div>`}
      <div class="preview-controls">
        ${captureButton('microphone', check.wanted.microphone && !check.problems.microphone, () => page.toggle('microphone'))}
        ${captureButton('camera', check.wanted.camera && !check.problems.camera, () => page.toggle('camera'))}
      </div>
    </div>`;
}

/** @param {Checking} page */
export const meter = ({ check }) => html`
  <div class="meter-line">
    ${icon(check.tracks.microphone ? 'mic' : 'micOff')}
    <div class="meter" data-testid="mic-meter" role="meter" aria-label=${t('lobby.meter')} aria-valuemin="0" aria-valuemax="100" aria-valuenow="0">
      ${Array.from({ length: METER_BARS }, (_, index) => html`<i ${cssVariables({ at: index / METER_BARS })}></i>`)}
    </div>
    <span class="meter-hint">${check.tracks.microphone ? t('lobby.say_something') : t('lobby.no_sound')}</span>
  </div>`;

/**
 * Shows a level without drawing the page: it changes at every picture frame.
 * @param {HTMLElement} root
 * @param {number} level 0 to 1
 */
export function showLevel(root, level) {
  const element = /** @type {HTMLElement | null} */ (root.querySelector('[data-testid="mic-meter"]'));
  if (!element) return;
  element.style.setProperty('--level', level.toFixed(3));
  element.setAttribute('aria-valuenow', String(Math.round(level * 100)));
}

/** @param {CallPage} page */
function joinForm(page) {
  const busy = page.phase === 'joining';
  const silent = !page.check.tracks.microphone && !page.check.asking;
  const label = busy ? t('lobby.joining') : t(silent ? 'lobby.join_listening' : 'lobby.join');
  return html`
    <form class="join-form" novalidate @submit=${(/** @type {Event} */ event) => {
      event.preventDefault();
      page.join(false);
    }}>
      <label for="name">${t('lobby.name')}</label>
      <input class="field" id="name" data-testid="name-input" type="text" autocomplete="name" maxlength="60" required enterkeyhint="go"
        placeholder=${t('lobby.name_placeholder')} .value=${live(page.name)} aria-invalid=${String(page.nameMissing)} aria-describedby="name-problem"
        @input=${(/** @type {Event} */ event) => page.rename(/** @type {HTMLInputElement} */ (event.target).value)}>
      <p class="field-problem" id="name-problem" role="alert">${page.nameMissing ? t('lobby.name_missing') : nothing}</p>
      ${page.joinProblem ? html`<p class="notice danger" role="alert" data-testid="join-problem">${icon('warning')}<span>${page.joinProblem}</span></p>` : nothing}
      ${workaround(page)}
      <button class="button primary large" data-testid="join-button" type="submit" ?disabled=${busy}>
        ${busy ? html`<span class="spinner"></span>` : nothing}<span>${label}</span>
      </button>
      ${silent ? nothing : html`
        <button class="button quiet" data-testid="join-audio-only" type="button" ?disabled=${busy} @click=${() => page.join(true)}>
          ${icon('mic')}<span>${t('lobby.join_audio_only')}</span>
        </button>`}
      <p class="fine">${icon('lock')}<span>${t('lobby.private')}</span></p>
    </form>`;
}

/** @param {Checking} page */
export const pickers = ({ check }) => [
  devicePicker({
    what: 'camera', devices: check.devices.cameras, chosen: check.tracks.camera?.getSettings().deviceId ?? check.chosen.camera,
    choose: (id) => check.choose('camera', id),
  }),
  devicePicker({
    what: 'microphone', devices: check.devices.microphones, chosen: check.tracks.microphone?.getSettings().deviceId ?? check.chosen.microphone,
    choose: (id) => check.choose('microphone', id),
  }),
  devicePicker({
    what: 'speaker', devices: check.devices.speakers, chosen: check.chosen.speaker, choose: (id) => check.chooseSpeaker(id),
    extra: html`
      <button class="button secondary" data-testid="speaker-test" type="button" ?disabled=${check.testingSpeaker} @click=${() => check.testSpeaker()}>
        ${icon('speaker')}<span>${t(check.testingSpeaker ? 'lobby.testing' : 'lobby.test')}</span>
      </button>`,
  }),
];
