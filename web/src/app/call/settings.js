// The settings during a call: devices, language, keyboard.

/** @import { CallPage } from './page.js' */

import { html } from 'lit-html';
import { live } from 'lit-html/directives/live.js';
import { languageSelect } from '../frame.js';
import { t } from '../i18n.js';
import { icon } from '../icons.js';
import { devicePicker } from './device-pickers.js';

/** [key, text] */
const SHORTCUTS = [['M', 'shortcut.mic'], ['V', 'shortcut.camera'], ['S', 'shortcut.share'], ['P', 'shortcut.people'], ['?', 'shortcut.settings']];

/** @param {CallPage} page */
export const settings = (page) => html`
  <dialog class="dialog" data-testid="settings-dialog" aria-labelledby="settings-title"
    @click=${(/** @type {Event} */ event) => { if (event.target === event.currentTarget) page.closeSettings(); }}>
    <div class="dialog-body">
      <header>
        <h2 id="settings-title">${t('settings.title')}</h2>
        <button class="icon-button" type="button" data-testid="settings-close" aria-label=${t('settings.close')} @click=${() => page.closeSettings()}>${icon('close')}</button>
      </header>
      ${devicePicker({
        what: 'camera', devices: page.devices.cameras, chosen: page.deviceInUse('camera'), choose: (id) => page.chooseDevice('camera', id),
      })}
      ${devicePicker({
        what: 'microphone', devices: page.devices.microphones, chosen: page.deviceInUse('microphone'),
        choose: (id) => page.chooseDevice('microphone', id),
      })}
      ${devicePicker({
        what: 'speaker', devices: page.devices.speakers, chosen: page.sound.speakerId, choose: (id) => page.chooseSpeaker(id),
      })}
      <h3>${t('settings.language')}</h3>
      ${languageSelect(() => page.draw())}
      <h3>${t('settings.keyboard')}</h3>
      <label class="switch">
        <input type="checkbox" data-testid="shortcuts-switch" .checked=${live(page.shortcuts.enabled)}
          @change=${(/** @type {Event} */ event) => page.shortcuts.enable(/** @type {HTMLInputElement} */ (event.target).checked)}>
        <span>${t('settings.shortcuts')}</span>
      </label>
      <dl class="shortcuts">
        ${SHORTCUTS.map(([key, text]) => html`<div><dt><kbd>${key}</kbd></dt><dd>${t(text)}</dd></div>`)}
      </dl>
    </div>
  </dialog>`;
