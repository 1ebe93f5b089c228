// What the page for a doctor now shows: the question, the ringing, and its two ends.

/** @import { NowPage } from './page.js' */

import { html, nothing } from 'lit-html';
import { live } from 'lit-html/directives/live.js';
import { duration, t } from '../i18n.js';
import { icon } from '../icons.js';
import { trouble, visitHeader } from '../site.js';
import { SPOKEN, languageName } from '../when.js';

/** @param {NowPage} page */
export const nowView = (page) => html`
  ${visitHeader(() => page.relabel())}
  <main class="join"><section class="card join-card" data-testid="now" data-phase=${page.phase}>
    ${{ loading, ask, ringing, accepted, unanswered }[page.phase](page)}
  </section></main>`;

const loading = () => html`<p class="soft" role="status"><span class="spinner"></span> ${t('account.loading')}</p>`;

/** @param {NowPage} page */
const ask = (page) => html`
  <h1 id="now-title" tabindex="-1">${t('now.title')}</h1>
  <p class="soft">${t('now.lead')}</p>
  ${page.specialties.length ? form(page) : html`${trouble(page.problem)}
    <button class="button primary" type="button" data-testid="again" @click=${() => page.start()}>${icon('retry')}<span>${t('account.again')}</span></button>`}
  <p class="fine">${icon('warning')}<span>${t('now.emergency')}</span></p>`;

/** @param {NowPage} page */
const form = (page) => html`
  <form class="join-form" novalidate @submit=${(/** @type {SubmitEvent} */ event) => {
    event.preventDefault();
    page.ask();
  }}>
    ${trouble(page.problem)}
    ${page.hasName ? nothing : html`<div class="form-field"><label for="name">${t('details.name')}</label>
      <input class="field" id="name" autocomplete="name" maxlength="120" dir="auto" required data-testid="name-input" aria-invalid=${String(page.nameMissing)} aria-describedby="name-problem"
        .value=${live(page.form.name)} @input=${(/** @type {Event} */ event) => page.write('name', event)}>
      <p class="field-problem" id="name-problem" role="alert">${page.nameMissing ? t('details.name_missing') : nothing}</p></div>`}
    ${choice(page, 'specialty', page.specialties.map(({ code, name }) => [code, name]))}
    ${choice(page, 'language', SPOKEN.map((code) => [code, languageName(code)]))}
    <div class="form-field"><label for="reason">${t('details.reason')} <span class="soft">${t('details.optional')}</span></label>
      <textarea class="field" id="reason" rows="3" maxlength="2000" dir="auto" data-testid="reason-input" aria-describedby="reason-help" .value=${live(page.form.reason)}
        @input=${(/** @type {Event} */ event) => page.write('reason', event)}></textarea>
      <p class="soft" id="reason-help">${t('now.reason_help')}</p></div>
    <button class="button primary large" type="submit" data-testid="ask" ?disabled=${page.busy}>
      ${page.busy ? html`<span class="spinner"></span>` : icon('camera')}<span>${t('now.ask')}</span></button>
  </form>`;

/** @param {NowPage} page @param {'specialty' | 'language'} name @param {string[][]} options */
const choice = (page, name, options) => html`
  <div class="form-field"><label for=${name}>${t(`search.${name}`)}</label>
    <select class="field" id=${name} data-testid=${name} @change=${(/** @type {Event} */ event) => page.write(name, event)}>
      ${options.map(([code, text]) => html`<option value=${code} ?selected=${page.form[name] === code}>${text}</option>`)}
    </select></div>`;

/** @param {NowPage} page */
const ringing = (page) => html`
  <span class="ended-icon pulse">${icon('clock')}</span>
  <h1 id="now-title" tabindex="-1">${t('now.ringing')}</h1>
  <p class="countdown big" role="timer" aria-live="off"><bdi>${duration(page.secondsLeft)}</bdi></p>
  <p class="soft" role="status">${page.connected ? t((page.view?.ring ?? 1) > 1 ? 'now.ringing_others' : 'now.ringing_text') : html`<span class="spinner"></span> ${t('wait.reconnecting')}`}</p>
  ${trouble(page.problem)}
  <p class="fine">${icon('check')}<span>${t('now.stay')}</span></p>
  <button class="button secondary" type="button" data-testid="cancel" ?disabled=${page.busy} @click=${() => page.cancel()}>${t('now.cancel')}</button>`;

/** @param {NowPage} page */
const accepted = (page) => html`
  <span class="ended-icon">${icon('check')}</span>
  <h1 id="now-title" tabindex="-1">${t('now.accepted', { name: page.view?.doctor ?? '' })}</h1>
  ${trouble(page.problem)}
  <button class="button primary large" type="button" data-testid="enter" ?disabled=${page.entering} @click=${() => page.enter()}>
    ${page.entering ? html`<span class="spinner"></span>` : icon('camera')}<span>${t('wait.enter_call')}</span></button>`;

/** @param {NowPage} page */
const unanswered = (page) => html`
  <span class="ended-icon warn">${icon('clock')}</span>
  <h1 id="now-title" tabindex="-1">${t('now.unanswered')}</h1>
  <p>${t('now.unanswered_text')}</p>
  <a class="button primary large" href="/book">${icon('calendar')}<span>${t('nav.book')}</span></a>
  <button class="button secondary" type="button" data-testid="again" @click=${() => page.again()}>${icon('retry')}<span>${t('account.again')}</span></button>`;
