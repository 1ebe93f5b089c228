// What the visit page shows in each phase. Reasons are said in neutral words: others may see the screen.

/** @import { JoinPage } from './page.js' */

import { html, nothing } from 'lit-html';
import { live } from 'lit-html/directives/live.js';
import { languageSelect } from '../frame.js';
import { duration, number, t } from '../i18n.js';
import { icon, logo } from '../icons.js';
import { conversationView } from '../conversation.js';
import { bothZones, face, trouble } from '../site.js';
import { visitEnd } from '../visit-end-view.js';
import { clock, ownZone } from '../when.js';

/** @param {JoinPage} page */
export const joinView = (page) => html`
  <header class="site-header">
    <a class="brand" href="/">${logo}<span>${t('brand')}</span></a>
    ${languageSelect(() => page.draw())}
  </header>
  <main class="join" data-testid="join" data-phase=${page.phase}>${{
    loading, look, early, elsewhere, waiting, ready, admitted, call: loading, over, problem,
  }[page.phase](page)}</main>`;

const loading = () => html`<section class="card join-card"><h1 id="join-title" tabindex="-1">${t('join.loading')}</h1><span class="spinner"></span></section>`;

/** @param {JoinPage} page */
const problem = (page) => html`
  <section class="card join-card"><h1 id="join-title" tabindex="-1">${t('join.failed')}</h1>${trouble(page.problem)}
    <button class="button primary large" type="button" @click=${() => page.start()}>${icon('retry')}<span>${t('join.try_again')}</span></button></section>`;

/** Who and when. @param {JoinPage} page */
function about(page) {
  const known = page.visit ?? page.looked;
  if (!known) return nothing;
  return html`
    <p class="clinic"><bdi>${known.clinic}</bdi></p>
    ${known.doctor ? html`<div class="about-doctor">${face(known.doctor)}<p><span class="soft">${t(known.seat === 'doctor' ? 'join.as_doctor' : 'join.with')}</span><strong><bdi>${known.doctor}</bdi></strong></p></div>` : nothing}
    ${known.starts_at ? html`<div class="summary-when">${icon('calendar')}<div>${bothZones(known.starts_at, known.timezone ?? ownZone())}</div></div>` : nothing}`;
}

/** @param {JoinPage} page */
const look = (page) => html`
  <section class="card join-card">
    <h1 id="join-title" tabindex="-1">${t('join.title')}</h1>
    ${about(page)}
    ${page.visit?.state === 'left' ? html`<p class="soft">${t('join.left')}</p>` : nothing}
    <form class="join-form" novalidate @submit=${(/** @type {Event} */ event) => {
      event.preventDefault();
      page.join();
    }}>
      ${page.asksBirthYear ? html`<div class="form-field"><label for="birth-year">${t('join.birth_year')}</label>
        <input class="field" id="birth-year" inputmode="numeric" autocomplete="bday-year" maxlength="4" dir="ltr" aria-describedby="birth-help" .value=${live(page.birthYear)}
          @input=${(/** @type {Event} */ event) => { page.birthYear = /** @type {HTMLInputElement} */ (event.target).value; }}>
        <p class="soft" id="birth-help">${t('join.birth_year_help')}</p></div>` : nothing}
      ${trouble(page.problem)}
      <button class="button primary large" data-testid="enter-visit" type="submit" ?disabled=${page.busy}>
        ${page.busy ? html`<span class="spinner"></span>` : icon('camera')}<span>${t(page.looked?.needs_sign_in || page.visit?.seat === 'doctor' ? 'join.enter_doctor' : 'join.enter')}</span></button>
    </form>
    <p class="fine">${icon('lock')}<span>${t('join.private')}</span></p>
  </section>`;

/** @param {JoinPage} page */
function early(page) {
  const opens = page.visit?.opens_at ?? page.looked?.opens_at ?? '';
  const left = Math.max(0, (Date.parse(opens) - Date.now()) / 1000);
  return html`
    <section class="card join-card">
      <span class="ended-icon">${icon('clock')}</span>
      <h1 id="join-title" tabindex="-1">${t('join.early')}</h1>
      ${about(page)}
      <p>${t('join.opens', { time: clock(opens, ownZone()) })}</p>
      <p class="countdown big" role="timer" data-testid="countdown"><bdi>${left > 86_400 ? t('join.days', { count: Math.floor(left / 86_400) }) : duration(left)}</bdi></p>
      <button class="button secondary" type="button" data-testid="add-to-calendar" @click=${() => page.saveCalendar()}>${icon('calendar')}<span>${t('booked.calendar')}</span></button>
      <p class="soft">${t('join.early_help')}</p>
    </section>`;
}

/** @param {JoinPage} page */
const elsewhere = (page) => html`
  <section class="card join-card" role="group" aria-labelledby="join-title">
    <span class="ended-icon warn">${icon('device')}</span>
    <h1 id="join-title" tabindex="-1">${t('join.elsewhere')}</h1>
    <p class="soft">${t('join.elsewhere_help')}</p>
    ${trouble(page.problem)}
    <button class="button primary large" type="button" data-testid="switch-device" ?disabled=${page.busy} @click=${() => page.join(true)}>${t('join.switch')}</button>
    <p class="soft">${t('join.stay')}</p>
  </section>`;

/** @param {JoinPage} page */
function waiting(page) {
  const { visit } = page;
  if (!visit) return nothing;
  return html`
    <div class="waiting-room">
      <section class="card join-card">
        <h1 id="join-title" tabindex="-1">${t('wait.title')}</h1>
        ${page.connected ? nothing : html`<p class="notice warn" data-testid="reconnecting"><span class="spinner"></span><span>${t('wait.reconnecting')}</span></p>`}
        ${visit.delay_minutes ? html`<p class="notice warn" data-testid="delay">${icon('clock')}<span>${t('wait.delay', { count: visit.delay_minutes })}</span></p>` : nothing}
        ${about(page)}
        <div class="place" data-testid="place">
          ${visit.position === null ? html`<p>${t('wait.no_position')}</p>`
            : html`<p class="place-number"><span class="soft">${t('wait.position')}</span><strong data-testid="position">${number(visit.position)}</strong></p>
              <p>${visit.position === 1 ? t('wait.next') : waitText(visit.wait)}</p>`}
        </div>
        <p class="soft">${visit.doctor_here ? html`<span class="dot"></span>${t('wait.doctor_here')}` : t('wait.doctor_away')}
          ${visit.arrived_at ? html` · ${t('wait.arrived', { time: clock(visit.arrived_at, ownZone()) })}` : nothing}</p>
        <p class="fine start">${icon('check')}<span>${t('wait.keeps')}</span></p>
        ${page.leaving ? html`
          <div class="confirm" role="group" aria-labelledby="leave-title"><p id="leave-title" tabindex="-1"><strong>${t('wait.leave_sure')}</strong></p>
            <div class="row wrap"><button class="button danger" type="button" data-testid="leave-yes" @click=${() => page.leave()}>${t('wait.leave_yes')}</button>
              <button class="button secondary" type="button" @click=${() => page.askLeave(false)}>${t('wait.leave_no')}</button></div></div>`
          : html`<button class="button quiet" id="leave-button" type="button" data-testid="leave-room" @click=${() => page.askLeave(true)}>${t('wait.leave')}</button>`}
      </section>
      <div class="waiting-side">${devices(page)}${chat(page)}</div>
    </div>`;
}

/** @param {{low_min: number, high_min: number} | null} wait nothing is promised where nothing is known */
const waitText = (wait) => (wait === null ? t('wait.unknown') : t('wait.range', { low: wait.low_min, high: wait.high_min }));

/** @param {JoinPage} page */
const devices = (page) => (page.entry ? html`
  <section class="card entry-card" aria-labelledby="devices-title">
    <h2 id="devices-title">${t('wait.devices')}</h2>
    <p class="fine start">${icon('lock')}<span>${t('wait.devices_text')}</span></p>
    ${page.entry.view('')}
  </section>` : nothing);

/** @param {JoinPage} page */
const chat = (page) => html`
  <section class="card chat" aria-labelledby="chat-title">
    <h2 id="chat-title">${t('wait.messages')}</h2>
    ${trouble(page.problem)}
    ${conversationView(page.conversation, { id: 'message', label: t('wait.write'), whose: ({ from_seat }) => t(`wait.from_${from_seat}`), empty: t('wait.no_messages') })}
  </section>`;

/** Let in without having waited: the one look at camera and microphone. @param {JoinPage} page */
const ready = (page) => html`
  <section class="card join-card">
    <h1 id="join-title" tabindex="-1">${t('wait.ready')}</h1>
    <p class="soft">${page.visit?.seat === 'doctor' ? t('wait.ready_doctor_text') : t('wait.ready_text', { name: page.visit?.doctor ?? '' })}</p>
    ${page.entry ? page.entry.view('') : html`<span class="spinner"></span>`}
    ${trouble(page.problem)}
    <button class="button primary large" type="button" data-testid="enter-call" ?disabled=${page.busy || !page.entry} @click=${() => page.enter()}>${page.busy ? html`<span class="spinner"></span>` : icon('camera')}<span>${t('wait.enter_call')}</span></button>
    <p class="fine">${icon('lock')}<span>${t('lobby.private')}</span></p>
  </section>`;

/** @param {JoinPage} page */
const admitted = (page) => html`
  <section class="card join-card">
    <span class="ended-icon">${icon('check')}</span>
    <h1 id="join-title" tabindex="-1">${page.visit?.seat === 'doctor' ? t('wait.entering') : t('wait.admitted', { name: page.visit?.doctor ?? '' })}</h1>
    <p class="soft">${t('wait.entering')}</p>
    ${page.problem ? html`${trouble(page.problem)}
      <button class="button primary large" type="button" data-testid="enter-call" @click=${() => page.enter()}>${icon('camera')}<span>${t('wait.enter_call')}</span></button>` : html`<span class="spinner"></span>`}
  </section>`;

/** @param {JoinPage} page */
const over = (page) => visitEnd({
  reason: page.reason, seat: page.visit?.seat ?? page.looked?.seat ?? 'patient', about: page.visit ?? page.looked, back: location.pathname, titleId: 'join-title',
});
