// The view after a call: what happened, and the way back.

/** @import { CallPage } from './page.js' */

import { html, nothing } from '../../../vendor/lit-html/lit-html.js';
import { siteHeader } from '../frame.js';
import { duration, t } from '../i18n.js';
import { icon } from '../icons.js';

/** Ends after which coming back with the same link makes sense. */
const RETURN = new Set(['left', 'connection_lost', 'refused', 'token_expired']);

/** @param {CallPage} page */
export function ended(page) {
  const { reason, seconds } = page.end;
  const calm = reason === 'left' || reason === 'room_closed';
  return html`
    ${siteHeader(() => page.draw())}
    <main class="ended" data-testid="ended" data-reason=${reason}>
      <section class="card">
        <span class="ended-icon ${calm ? '' : 'warn'}">${icon(calm ? 'check' : 'warning')}</span>
        <h1 id="ended-title" tabindex="-1">${t(`ended.${reason}`)}</h1>
        <p>${t(`ended.${reason}_text`)}</p>
        <p class="ended-duration">${t('ended.duration')} <strong>${duration(seconds)}</strong></p>
        ${page.visit ? backToVisit(page) : RETURN.has(reason)
          ? html`<button class="button primary large" type="button" data-testid="rejoin" @click=${() => page.again()}>${icon('retry')}<span>${t('ended.again')}</span></button>`
          : nothing}
        <a class="button quiet" href="/">${t('ended.home')}</a>
      </section>
    </main>`;
}

/** The visit page knows what has become of the visit, and is the way in again. @param {CallPage} page */
const backToVisit = (page) => html`
  ${page.visitEnded ? html`<p role="status" id="visit-ended" tabindex="-1">${t('ended.visit_ended')}</p>`
    : html`<a class="button primary large" data-testid="back-to-visit" href=${page.visit?.back ?? '/visits'}>${icon('retry')}<span>${t('ended.visit')}</span></a>`}
  ${page.visit?.host && !page.visitEnded ? html`<button class="button secondary" type="button" data-testid="end-visit" aria-disabled=${String(page.endingVisit)} @click=${() => page.endVisit()}>${t('ended.end_visit')}</button>
    ${page.endProblem ? html`<p class="notice danger" role="alert" data-testid="problem">${icon('warning')}<span>${page.endProblem}</span></p>` : nothing}` : nothing}
  ${page.visit?.host ? html`<a class="button secondary" href="/visits">${t('ended.board')}</a>` : nothing}`;
