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
        ${RETURN.has(reason)
          ? html`<button class="button primary large" type="button" data-testid="rejoin" @click=${() => page.again()}>${icon('retry')}<span>${t('ended.again')}</span></button>`
          : nothing}
        <a class="button quiet" href="/">${t('ended.home')}</a>
      </section>
    </main>`;
}
