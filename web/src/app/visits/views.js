// The list of one's visits. Whatever cannot be undone is asked about first, by its consequence.

/** @import { Appointment } from '../booking.js' */
/** @import { VisitsPage } from './page.js' */

import { html, nothing } from 'lit-html';
import { repeat } from 'lit-html/directives/repeat.js';
import { slotPicker } from '../book/slots.js';
import { t } from '../i18n.js';
import { icon } from '../icons.js';
import { ownAddress } from '../navigation.js';
import { bothZones, face, isAhead, kindIcon, trouble, visitHeader } from '../site.js';
import { costText, termsView } from '../terms.js';
import { board } from './board.js';

/** Visits that their doctor may open once more. */
const CALLED_AGAIN = new Set(['confirmed', 'checked_in', 'in_progress', 'interrupted', 'completed']);

/** @param {VisitsPage} page */
export const visitsView = (page) => html`
  ${visitHeader(() => page.draw())}
  <main class="visits">
    <h1 id="visits-title" tabindex="-1">${t(page.doctor ? 'visits.title_doctor' : 'visits.title')}</h1>
    ${page.asking.id ? nothing : trouble(page.problem)}
    ${page.requests?.view() ?? nothing}
    ${page.doctor && page.board ? board(page) : nothing}
    ${page.loading ? html`<p class="soft" role="status"><span class="spinner"></span> ${t('visits.loading')}</p>`
      : !page.signedIn ? html`<section class="nobody"><p>${t('visits.nobody')}</p>
          <div class="row wrap"><a class="button primary" href="/sign-in?next=/visits">${t('nav.sign_in')}</a><a class="button secondary" href="/book">${t('nav.book')}</a></div></section>`
        : lists(page)}
  </main>`;

/** @param {VisitsPage} page */
function lists(page) {
  const ahead = page.appointments.filter(isAhead).sort((one, other) => one.starts_at.localeCompare(other.starts_at));
  const past = page.appointments.filter((each) => !isAhead(each) && !['held', 'expired'].includes(each.status)).sort((one, other) => other.starts_at.localeCompare(one.starts_at));
  const list = (/** @type {Appointment[]} */ visits) => html`<ul class="visit-list">${repeat(visits, ({ id }) => id, (visit) => html`<li>${card(page, visit)}</li>`)}</ul>`;
  return html`
    ${page.waitlist.view()}
    <section aria-labelledby="ahead-title"><h2 id="ahead-title">${t('visits.ahead')}</h2>
      ${ahead.length ? list(ahead) : html`<div class="nobody"><p>${t('visits.none')}</p>${page.doctor ? nothing : html`<a class="button primary" href="/book">${icon('search')}<span>${t('nav.book')}</span></a>`}</div>`}</section>
    ${past.length ? html`<section aria-labelledby="past-title"><h2 id="past-title">${t('visits.past')}</h2>${list(past)}</section>` : nothing}
    ${page.cursor ? html`<button class="button secondary more" type="button" @click=${() => page.load(true)}>${t('search.more')}</button>` : nothing}`;
}

/** @param {VisitsPage} page @param {Appointment} visit */
function card(page, visit) {
  const names = page.namesOf(visit);
  const other = page.doctor ? visit.patient_name || t('visits.patient') : names.doctor || t('visits.doctor');
  const asked = page.asking.id === visit.id;
  return html`
    <article class="card visit-card" data-testid="visit" data-id=${visit.id} data-status=${visit.status} aria-labelledby=${`visit-${visit.id}`}>
      <div class="visit-head">${face(other, 'small')}
        <div><h3 id=${`visit-${visit.id}`} tabindex="-1"><bdi>${other}</bdi></h3><p class="soft fact">${kindIcon(visit.kind)}<span dir="auto">${names.service}</span></p></div>
        <span class="status" data-status=${visit.status}>${t(`status.${visit.status}`)}</span></div>
      ${bothZones(visit.starts_at, visit.provider_timezone)}
      ${page.doctor && visit.reason ? html`<p class="reason"><span class="soft">${t('visits.reason')}</span> <span dir="auto">${visit.reason}</span></p>` : nothing}
      ${asked ? question(page, visit) : html`${page.doctor || !isAhead(visit) ? nothing : termsView(visit.cancelling, visit.currency ?? '')}${actions(page, visit)}`}
    </article>`;
}

/** @param {VisitsPage} page @param {Appointment} visit */
function actions(page, visit) {
  if (!isAhead(visit)) return waysOn(page, visit);
  const decided = visit.status !== 'requested';
  const begun = ['in_progress', 'interrupted'].includes(visit.status);
  return html`
    <div class="row wrap visit-actions">
      ${decided && visit.kind !== 'in_person' ? html`<a class="button primary small" data-testid="open-visit" href=${`/visits/${visit.id}`}>${icon('camera')}<span>${t('visits.open')}</span></a>` : nothing}
      ${page.doctor && !decided ? html`
        <button class="button primary small" type="button" data-testid="accept" ?disabled=${page.busy !== ''} @click=${() => page.change(visit, 'accept')}>${t('visits.accept')}</button>
        <button class="button secondary small" type="button" data-testid="decline" @click=${() => page.ask(visit.id, 'decline')}>${t('visits.decline')}</button>` : nothing}
      <button class="button secondary small" type="button" @click=${() => page.saveCalendar(visit.id)}>${icon('calendar')}<span>${t('booked.calendar')}</span></button>
      ${begun ? nothing : html`
        <button class="button secondary small" type="button" data-testid="move" @click=${() => page.ask(visit.id, 'move')}>${t('visits.move')}</button>
        <button class="button quiet small" type="button" data-testid="cancel" @click=${() => page.ask(visit.id, 'cancel')}>${t('visits.cancel')}</button>`}
    </div>`;
}

/** What one can do about a visit that is over. @param {VisitsPage} page @param {Appointment} visit */
function waysOn(page, visit) {
  if (page.doctor) {
    return CALLED_AGAIN.has(visit.status) && visit.kind !== 'in_person' ? html`<div class="row wrap visit-actions">
      <button class="button secondary small" type="button" data-testid="call-again" ?disabled=${page.busy !== ''} @click=${() => page.callAgain(visit)}>${icon('retry')}<span>${t('over.call_again')}</span></button></div>` : nothing;
  }
  const slug = page.profiles.get(visit.provider)?.card.slug;
  return html`<div class="row wrap visit-actions">
    <a class="button secondary small" data-testid="book-again" href=${ownAddress(slug ? `/doctors/${slug}` : '/book')}>${icon('calendar')}<span>${t(!slug ? 'over.book' : visit.status === 'completed' ? 'over.follow_up' : 'over.book_same')}</span></a></div>`;
}

/** @param {VisitsPage} page @param {Appointment} visit */
function question(page, visit) {
  const { what } = page.asking;
  const back = html`<button class="button secondary" type="button" @click=${() => page.ask(visit.id, '')}>${t('visits.keep')}</button>`;
  if (what === 'move') {
    const late = page.terms?.may_reschedule === false;
    return html`<div class="confirm" role="group" aria-labelledby=${`ask-${visit.id}`}><p id=${`ask-${visit.id}`} tabindex="-1"><strong>${t(late ? 'visits.move' : 'visits.move_sure')}</strong></p>
      ${trouble(page.problem)}
      ${late ? html`<p class="notice warn" data-testid="too-late">${icon('warning')}<span>${t('problem.too_late')}</span></p>`
        : page.calendar.month ? slotPicker(page) : nothing}<div class="row wrap">${back}</div></div>`;
  }
  const action = what === 'decline' ? 'decline' : 'cancel';
  return html`
    <div class="confirm" role="group" aria-labelledby=${`ask-${visit.id}`}>
      <p id=${`ask-${visit.id}`} tabindex="-1"><strong>${t(`visits.${action}_sure`)}</strong></p>
      <p class="soft">${t(page.doctor ? `visits.${action}_doctor_text` : 'visits.cancel_text')}</p>
      ${action === 'cancel' && page.terms && costText(page.terms) ? html`<p data-testid="cost">${costText(page.terms)}</p>` : nothing}
      ${trouble(page.problem)}
      <div class="row wrap">
        <button class="button danger" type="button" data-testid="confirm" ?disabled=${page.busy !== ''} @click=${() => page.change(visit, action)}>${t(`visits.${action}_yes`)}</button>${back}</div>
    </div>`;
}
