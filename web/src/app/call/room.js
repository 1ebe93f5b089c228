// The view of a running call: head line, stage, panel of people, controls.

/** @import { CallPage } from './page.js' */

import { html, nothing } from 'lit-html';
import { repeat } from 'lit-html/directives/repeat.js';
import { duration, t } from '../i18n.js';
import { icon, logo } from '../icons.js';
import { controls } from './controls.js';
import { workaround } from './path.js';
import { peoplePanel } from './people.js';
import { qualityButton } from './quality.js';
import { settings } from './settings.js';
import { stage } from './tiles.js';

/** @param {CallPage} page */
export const room = (page) => html`
  <div class="call" data-people=${page.peopleOpen ? 'open' : 'closed'} data-state=${page.call?.state ?? 'ended'}>
    <header class="call-header">
      <div class="call-brand">${logo}<h1 id="call-title" tabindex="-1">${t('call.title')}</h1></div>
      <span class="call-clock" role="timer" aria-label=${t('call.duration')}>${duration(page.seconds)}</span>
      ${qualityButton(page)}
    </header>
    <main class="call-main" id="stage-box" aria-label=${t('stage.label')}>
      ${stage(page)}
      ${overlays(page)}
    </main>
    ${page.peopleOpen ? peoplePanel(page) : nothing}
    <footer class="call-footer">${controls(page)}</footer>
    ${settings(page)}
  </div>`;

/** @param {CallPage} page */
const overlays = (page) => html`
  <div class="overlays">
    ${workaround(page)}
    ${page.call?.state === 'reconnecting'
      ? html`<div class="banner warn" data-testid="banner-reconnecting"><span class="spinner"></span><span>${t('call.reconnecting')}</span></div>` : nothing}
    ${page.publications.has('screen')
      ? html`<div class="banner" data-testid="banner-sharing">${icon('screen')}<span>${t('call.sharing')}</span>
          <button class="button small primary" type="button" @click=${() => page.toggleScreen()}>${t('call.stop_sharing')}</button></div>` : nothing}
    ${page.sound.blocked
      ? html`<div class="banner"><span>${t('call.sound_blocked')}</span>
          <button class="button small primary" type="button" data-testid="unblock-sound" @click=${() => page.unblockSound()}>${icon('speaker')}<span>${t('call.sound_on')}</span></button></div>` : nothing}
    <div class="notes" aria-hidden="true">
      ${repeat(page.announcer.notes, ({ id }) => id, ({ text, urgent }) => html`<p class="note ${urgent ? 'danger' : ''}">${text}</p>`)}
    </div>
  </div>`;
