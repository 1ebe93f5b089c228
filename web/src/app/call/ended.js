// The view after a call: what happened, and the way on. Of a visit, the visit itself says it (`visit-end.js`).

/** @import { CallPage } from './page.js' */
/** @import { AfterVisit } from './after-visit.js' */

import { html, nothing } from 'lit-html';
import { siteHeader } from '../frame.js';
import { duration, t } from '../i18n.js';
import { icon } from '../icons.js';
import { trouble } from '../site.js';
import { visitEnd } from '../visit-end-view.js';

/** Ends after which coming back with the same link makes sense. */
const RETURN = new Set(['left', 'connection_lost', 'refused', 'token_expired']);

/** @param {CallPage} page */
export const ended = (page) => html`
  ${siteHeader(() => page.draw())}
  ${page.after ? ofVisit(page, page.after) : ofCall(page)}`;

/** @param {CallPage} page */
function ofCall(page) {
  const { reason, seconds } = page.end;
  const calm = reason === 'left' || reason === 'room_closed';
  return html`
    <main class="ended" data-testid="ended" data-reason=${reason}>
      <section class="card">
        <span class="ended-icon ${calm ? '' : 'warn'}">${icon(calm ? 'check' : 'warning')}</span>
        <h1 id="ended-title" tabindex="-1">${t(`ended.${reason}`)}</h1>
        <p>${t(`ended.${reason}_text`)}</p>
        <p class="ended-duration">${t('ended.duration')} <strong>${duration(seconds)}</strong></p>
        ${RETURN.has(reason)
          ? html`<button class="button primary large" type="button" data-testid="rejoin" @click=${() => page.again()}>${icon('retry')}<span>${t('ended.again')}</span></button>`
          : nothing}
        <a class="button quiet" href="/">${t('ended.home')}</a>
      </section>
    </main>`;
}

/** @param {CallPage} page @param {AfterVisit} after */
function ofVisit(page, after) {
  const { outcome, visit } = after;
  return html`
    <main class="join" data-testid="ended" data-reason=${outcome?.reason ?? ''}>
      ${outcome === null ? html`<section class="card join-card" aria-busy="true"><h1 id="ended-title" tabindex="-1">${t('over.looking')}</h1>
          <p class="soft"><span class="spinner"></span> ${t('over.looking_text')}</p></section>`
        : visitEnd({ reason: outcome.reason, about: outcome.visit, seat: visit.seat, seconds: page.met ? page.end.seconds : 0, back: visit.back, titleId: 'ended-title', more: visit.host ? hostDeeds(after, outcome.reason) : nothing })}
    </main>`;
}

/** What only the doctor can do then. @param {AfterVisit} after @param {string} reason */
const hostDeeds = (after, reason) => html`
  ${['left', 'interrupted', 'connection_lost'].includes(reason) ? html`<button class="button secondary" type="button" data-testid="end-visit" aria-disabled=${String(after.busy)} @click=${() => after.endVisit()}>${t('ended.end_visit')}</button>` : nothing}
  ${reason === 'completed' ? html`<button class="button secondary" type="button" data-testid="call-again" aria-disabled=${String(after.busy)} @click=${() => after.callAgain()}>${icon('retry')}<span>${t('over.call_again')}</span></button>` : nothing}
  ${trouble(after.problem)}`;
