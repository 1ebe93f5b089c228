// The view after booking: what was agreed, in both zones, and what comes next.

/** @import { BookPage } from './page.js' */

import { html, nothing } from 'lit-html';
import { t } from '../i18n.js';
import { icon } from '../icons.js';
import { isVisitor } from '../session.js';
import { trouble } from '../site.js';
import { summary } from './details.js';

/** @param {BookPage} page */
export function bookedView(page) {
  const { booked } = page;
  if (booked === null) return html``;
  const waits = booked.status === 'requested';
  const due = booked.status === 'held';
  return html`
    <main class="booked">
      <section class="card booked-card" data-testid="booked" data-status=${booked.status} data-appointment=${booked.id}>
        <span class="ended-icon">${icon(waits || due ? 'clock' : 'check')}</span>
        <h1 id="step-title" tabindex="-1">${t(due ? 'booked.due' : waits ? 'booked.requested' : 'booked.title')}</h1>
        <p class="soft">${t(due ? 'booked.due_text' : waits ? 'booked.requested_text' : 'booked.text')}${page.ticket !== null && page.form.email
          ? html` ${t('booked.mail_to')} <bdi>${page.form.email}</bdi>` : ''}</p>
        ${isVisitor() ? html`<p class="notice warn" data-testid="no-mail">${icon('warning')}<span>${t('booked.no_mail')}</span></p>` : nothing}
        <div class="booked-summary">${summary(page)}</div>
        ${trouble(page.problem)}
        ${waits || due ? nothing : html`<a class="button primary large" data-testid="visit-link" href=${`/visits/${booked.id}`}>${icon('camera')}<span>${t('booked.visit')}</span></a>`}
        <button class="button secondary" type="button" data-testid="add-to-calendar" @click=${() => page.saveCalendar()}>${icon('calendar')}<span>${t('booked.calendar')}</span></button>
        <a class="button quiet" data-testid="manage-link" href="/visits">${t('booked.manage')}</a>
      </section>
    </main>`;
}
