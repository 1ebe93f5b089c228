// What the waiting room needs of the call, loaded by it only when somebody waits: the device check, which then goes into the
// call with its tracks, so that nobody is asked twice, and the call itself.

/** @import { Handover } from './visit.js' */

import '../shared.js';
import { html, nothing } from 'lit-html';
import { t } from '../i18n.js';
import { DeviceCheck } from './device-check.js';
import { permissionHelp } from './help.js';
import { meter, pickers, preview, showLevel } from './lobby.js';
import { CallPage } from './page.js';
import { handOver } from './visit.js';

const CHECKED = 'wadud.checked';

export class VisitEntry {
  /** @param {HTMLElement} root @param {() => void} changed */
  constructor(root, changed) {
    this.root = root;
    this.check = new DeviceCheck(changed);
    this.check.onLevel = (level) => showLevel(root, level);
    /** Settles when the browser has answered. */
    this.opened = this.check.start();
  }

  /** @param {'microphone' | 'camera'} source */
  toggle(source) {
    return this.check.toggle(source);
  }

  /** @param {string} name */
  view(name) {
    const page = { check: this.check, name, toggle: this.toggle.bind(this) };
    return html`
      <div class="entry" data-testid="entry" @pointerdown=${() => this.check.wake()} @keydown=${() => this.check.wake()}>
        ${preview(page)}
        ${meter(page)}
        ${permissionHelp(this.check)}
        ${this.check.asking ? nothing : html`<details class="entry-devices"><summary>${t('wait.choose_devices')}</summary><div>${pickers(page)}</div></details>`}
      </div>`;
  }

  /** Into the call, with what has been chosen here. @param {string} room @param {Omit<Handover, 'wanted'>} visit */
  async enter(room, visit) {
    await remember();
    const { microphone, camera } = this.check.wanted;
    handOver(room, { ...visit, wanted: { microphone, camera } });
    history.replaceState(null, '', `/call/${encodeURIComponent(room)}`);
    await new CallPage(this.root, room, this.check).join(false);
  }

  /** Leaves camera and microphone: nobody waits here any more. */
  close() {
    this.check.handOver({ microphone: null, camera: null });
  }
}

/** Which devices there are, empty where the browser does not say because it has not been allowed to use them. By name: ids change in some browsers with each page. */
async function known() {
  const devices = await navigator.mediaDevices?.enumerateDevices().catch(() => []) ?? [];
  return devices.some(({ label }) => label) ? devices.map(({ kind, label }) => `${kind} ${label}`).sort().join() : '';
}

const today = () => new Date().toDateString();

async function remember() {
  localStorage.setItem(CHECKED, JSON.stringify({ day: today(), devices: await known() }));
}

/** Whether the same devices have been looked at today, so that who is let in need not look again. */
export async function checkedToday() {
  const { day, devices } = JSON.parse(localStorage.getItem(CHECKED) ?? '{}');
  return day === today() && devices !== '' && devices === await known();
}
