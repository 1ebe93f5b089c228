// The card that says how a visit ended, with whom and how long it was, and what one can do now; after the call, and where one
// waited for it or opened its link.

/** @import { Looked, VisitView } from './booking.js' */

import { html, nothing } from 'lit-html';
import { t } from './i18n.js';
import { icon } from './icons.js';
import { ownAddress } from './navigation.js';
import { bothZones, face } from './site.js';
import { endTitle, endWords } from './visit-end.js';
import { ownZone } from './when.js';

/** Ends that nobody need worry about. */
const CALM = new Set(['completed', 'ended', 'left', 'over', 'replaced', 'rescheduled', 'moved']);
/** After these one can come back. */
const RETURN = new Set(['ended', 'left', 'removed', 'interrupted', 'connection_lost', 'moved']);

/** In whole minutes, as people say it. @param {number} seconds */
const took = (seconds) => (seconds < 60 ? t('over.took_briefly') : t('over.took', { count: Math.round(seconds / 60) }));

/**
 * @typedef {object} VisitEnd
 * @property {string} reason of `over.*`
 * @property {string} seat patient, doctor or third
 * @property {Partial<VisitView> | Looked | null} about what is known of the visit
 * @property {number} [seconds] how long the call was, where the visit does not say
 * @property {string} back the way to the visit
 * @property {string} titleId
 * @property {unknown} [more] other deeds
 */

/** @param {VisitEnd} end */
export function visitEnd({ reason, seat, about, seconds = 0, back, titleId, more = nothing }) {
  const patient = /** @type {Partial<VisitView>} */ (about ?? {}).others?.find((other) => other.seat === 'patient')?.name ?? '';
  const payment = /** @type {Partial<VisitView>} */ (about ?? {}).payment ?? '';
  const holes = { doctor: about?.doctor ?? '', patient };
  const long = about?.talked_s ?? seconds;
  const other = seat === 'doctor' ? patient : about?.doctor;
  return html`
    <section class="card join-card" data-testid="visit-over" data-reason=${reason}>
      <span class="ended-icon ${CALM.has(reason) ? '' : 'warn'}">${icon(CALM.has(reason) ? 'check' : 'warning')}</span>
      <h1 id=${titleId} tabindex="-1">${endTitle(reason, seat, holes)}</h1>
      <p class="soft">${endWords(reason, seat, '_text', holes)}</p>
      ${['refunded', 'refund_due'].includes(payment) && seat === 'patient' ? html`<p>${t(`over.${payment}`)}</p>` : nothing}
      ${other ? html`<div class="about-doctor">${face(other)}<p><span class="soft">${t(seat === 'doctor' ? 'visits.patient' : 'visits.doctor')}</span><strong><bdi>${other}</bdi></strong>
        ${long > 0 ? html`<span class="soft" data-testid="took">${took(long)}</span>` : nothing}</p></div>` : nothing}
      ${about?.starts_at ? html`<div class="summary-when">${icon('calendar')}<div>${bothZones(about.starts_at, about.timezone ?? ownZone())}</div></div>` : nothing}
      ${RETURN.has(reason) ? html`<a class="button primary large" data-testid="back-to-visit" href=${ownAddress(back)}>${icon('retry')}<span>${t(reason === 'ended' && seat !== 'doctor' ? 'over.back' : 'ended.visit')}</span></a>` : nothing}
      ${more}
      ${seat === 'patient' ? next(reason, about?.doctor_slug ?? '') : nothing}
      ${seat === 'doctor' ? html`<a class="button ${RETURN.has(reason) ? 'secondary' : 'primary large'}" data-testid="to-my-day" href="/visits">${icon('calendar')}<span>${t('ended.board')}</span></a>`
        : html`<a class="button quiet" href="/">${t('ended.home')}</a>`}
    </section>`;
}

/** What a patient can do next: with the same doctor where there was one. @param {string} reason @param {string} slug */
function next(reason, slug) {
  const look = RETURN.has(reason) ? 'secondary' : 'primary large';
  return html`
    <a class="button ${look}" data-testid="book-again" href=${ownAddress(slug ? `/doctors/${slug}` : '/book')}>${icon('calendar')}<span>${t(reason === 'completed' ? 'over.follow_up' : slug ? 'over.book_same' : 'over.book')}</span></a>
    ${localStorage.getItem('wadud.session') === null ? nothing : html`<a class="button quiet" data-testid="my-visits" href="/visits">${t('nav.visits')}</a>`}`;
}
