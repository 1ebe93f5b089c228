// Help for each state of permission and device: what happened, in words for a patient, and the next step.

/** @import { DeviceCheck } from './device-check.js' */

import { html, nothing } from 'lit-html';
import { t } from '../i18n.js';
import { icon } from '../icons.js';

/** States in which asking the browser again can help. */
const RETRY = new Set(['dismissed', 'in_use', 'not_found', 'unknown', 'system_denied', 'track_ended', 'denied']);

/** @returns {'safari' | 'firefox' | 'chrome'} whose settings the steps describe */
function browserFamily() {
  const agent = navigator.userAgent;
  if (/firefox|fxios/i.test(agent)) return 'firefox';
  return /safari/i.test(agent) && !/chrome|chromium|crios|edg/i.test(agent) ? 'safari' : 'chrome';
}

/** @param {DeviceCheck} check */
export function permissionHelp(check) {
  if (check.asking) return card('prompt', 'both', nothing);
  const { microphone, camera } = check.problems;
  if (microphone && camera && microphone.code === camera.code) return card(camera.code, 'both', retry(check, camera.code));
  return [
    camera ? card(camera.code, 'camera', retry(check, camera.code)) : nothing,
    microphone ? card(microphone.code, 'microphone', retry(check, microphone.code)) : nothing,
  ];
}

/** @param {string} state @param {string} device @param {unknown} action */
function card(state, device, action) {
  const asks = state === 'prompt';
  return html`
    <section class="help ${asks ? 'asks' : ''}" data-testid="permission-help" data-state=${state} data-device=${device} role=${asks ? 'status' : 'alert'}>
      ${icon(asks ? 'lock' : 'warning')}
      <div>
        <h2>${t(`help.${state}.title`, { device: t(`device.${device}`) })}</h2>
        <p>${t(`help.${state}.text`, { device: t(`device.${device}`) })}</p>
        ${state === 'denied' ? html`<p>${t(`help.denied.${browserFamily()}`)}</p>` : nothing}
        ${action}
      </div>
    </section>`;
}

/** @param {DeviceCheck} check @param {string} code */
const retry = (check, code) => (RETRY.has(code)
  ? html`<button class="button secondary small" data-testid="retry-devices" type="button" @click=${() => check.open()}>${icon('retry')}<span>${t('help.retry')}</span></button>`
  : nothing);
