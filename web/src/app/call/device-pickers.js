// The three pickers, used by the device check and by the settings during a call.

import { html, nothing } from 'lit-html';
import { chooses } from '../dom.js';
import { t } from '../i18n.js';
import { icon } from '../icons.js';

/** Choosing the speaker is not possible in every browser. */
const CAN_CHOOSE_SPEAKER = 'setSinkId' in HTMLMediaElement.prototype;

/**
 * @typedef {object} Picker
 * @property {'camera' | 'microphone' | 'speaker'} what
 * @property {MediaDeviceInfo[]} devices
 * @property {string} chosen device id
 * @property {(id: string) => void} choose
 * @property {unknown} [extra] beside the list
 */

/** @param {Picker} picker */
export function devicePicker({ what, devices, chosen, choose, extra = nothing }) {
  const fixed = what === 'speaker' && !CAN_CHOOSE_SPEAKER;
  const known = devices.filter((device) => device.label !== '');
  const current = known.some((device) => device.deviceId === chosen) ? chosen : known[0]?.deviceId ?? '';
  return html`
    <div class="picker">
      <label for=${`${what}-select`}>${icon(what === 'microphone' ? 'mic' : what)}<span>${t(`device.${what}_label`)}</span></label>
      <div class="row">
        <select class="field" id=${`${what}-select`} data-testid=${`${what}-select`} ?disabled=${fixed || known.length === 0} ${chooses(fixed ? '' : current)}
          @change=${(/** @type {Event} */ event) => choose(/** @type {HTMLSelectElement} */ (event.target).value)}>
          ${fixed || known.length === 0 ? html`<option value="">${t(fixed || what === 'speaker' ? 'device.system_default' : 'device.none')}</option>` : nothing}
          ${fixed ? nothing : known.map((device) => html`<option value=${device.deviceId} ?selected=${device.deviceId === current}>${device.label}</option>`)}
        </select>
        ${extra}
      </div>
    </div>`;
}
