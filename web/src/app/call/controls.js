// The bar of buttons under the call. Names say what a press will do; the shortcut stands in the tooltip.

/** @import { CallPage } from './page.js' */
/** @import { IconName } from '../icons.js' */

import { html, nothing } from 'lit-html';
import { number, t } from '../i18n.js';
import { icon } from '../icons.js';

/**
 * @typedef {object} Control
 * @property {string} testid
 * @property {IconName} shape
 * @property {string} label
 * @property {string} [short] text under the icon where there is room
 * @property {string} [shortcut]
 * @property {'on' | 'off' | 'active' | 'danger' | 'plain'} look
 * @property {() => void} press
 * @property {boolean} [expanded] for buttons that open a panel
 * @property {number} [count] badge
 * @property {boolean} [disabled]
 */

/** @param {Control} control */
const control = ({ testid, shape, label, short, shortcut, look, press, expanded, count, disabled }) => html`
  <button class="control" type="button" data-testid=${testid} data-look=${look} aria-label=${label} ?disabled=${disabled ?? false}
    title=${shortcut ? `${label} (${shortcut.toUpperCase()})` : label} aria-keyshortcuts=${shortcut ?? nothing}
    aria-expanded=${expanded === undefined ? nothing : String(expanded)} @click=${press}>
    <span class="control-face">${icon(shape)}${count ? html`<b class="count" data-count=${number(count)}></b>` : nothing}</span>
    ${short ? html`<span class="control-name" aria-hidden="true">${short}</span>` : nothing}
  </button>`;

/**
 * @param {'microphone' | 'camera'} source
 * @param {boolean} on
 * @param {() => void} press
 * @param {boolean} [named] with text under the icon
 */
export const captureButton = (source, on, press, named = false) => (source === 'microphone'
  ? control({
    testid: 'toggle-mic', shape: on ? 'mic' : 'micOff', label: t(on ? 'control.mute' : 'control.unmute'),
    short: named ? t(on ? 'control.mute_short' : 'control.unmute_short') : '', shortcut: 'm', look: on ? 'on' : 'off', press,
  })
  : control({
    testid: 'toggle-camera', shape: on ? 'camera' : 'cameraOff', label: t(on ? 'control.camera_off' : 'control.camera_on'),
    short: named ? t(on ? 'control.camera_off_short' : 'control.camera_on_short') : '', shortcut: 'v', look: on ? 'on' : 'off', press,
  }));

/** @param {CallPage} page */
export function controls(page) {
  const { publications } = page;
  const sharing = publications.has('screen');
  return html`
    <div class="controls" role="toolbar" aria-label=${t('control.toolbar')}>
      ${captureButton('microphone', !page.isMuted('microphone'), () => page.toggle('microphone'), true)}
      ${captureButton('camera', !page.isMuted('camera'), () => page.toggle('camera'), true)}
      ${page.canShareScreen ? control({
        testid: 'share-screen', shape: sharing ? 'screenStop' : 'screen', label: t(sharing ? 'control.stop_sharing' : 'control.share'),
        short: t(sharing ? 'control.stop_sharing_short' : 'control.share_short'), shortcut: 's', look: sharing ? 'active' : 'plain',
        press: () => page.toggleScreen(),
      }) : nothing}
      ${control({
        testid: 'people-toggle', shape: 'people', label: t('control.people', { count: page.others.length + 1 }), short: t('control.people_short'),
        shortcut: 'p', look: page.peopleOpen ? 'active' : 'plain', press: () => page.togglePeople(), expanded: page.peopleOpen,
        count: page.others.length + 1,
      })}
      ${control({
        testid: 'settings', shape: 'settings', label: t('control.settings'), short: t('control.settings_short'), look: 'plain',
        press: () => page.openSettings(),
      })}
      ${control({ testid: 'leave', shape: 'leave', label: t('control.leave'), short: t('control.leave_short'), look: 'danger', press: () => page.leave() })}
    </div>`;
}
