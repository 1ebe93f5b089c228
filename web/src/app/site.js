// The head of the pages around a visit: ways to one's visits and to one's account, and small pieces that they share.

/** @import { Appointment, Kind } from './booking.js' */

import { html, nothing } from 'lit-html';
import { initials } from './dom.js';
import { languageSelect } from './frame.js';
import { who } from './http.js';
import { t } from './i18n.js';
import { icon, logo } from './icons.js';
import { goTo, signInPage } from './navigation.js';
import { isVisitor, logOut } from './session.js';
import { dayAndClock, ownZone, sameClock, zoneName } from './when.js';

/** @param {() => void} changed the language, or who is signed in */
export const visitHeader = (changed) => html`
  <header class="site-header visit-header">
    <a class="brand" href="/">${logo}<span>${t('brand')}</span></a>
    <nav class="site-nav" aria-label=${t('nav.label')}>
      <a class="nav-link" href="/book">${icon('search')}<span>${t('nav.book')}</span></a>
      ${who() === null ? nothing : html`<a class="nav-link" href="/visits">${icon('calendar')}<span>${t('nav.visits')}</span></a>`}
      ${isVisitor()
        ? html`<a class="nav-link" data-testid="nav-sign-in" href=${signInPage(location.pathname + location.search)}>${icon('person')}<span>${t('nav.sign_in')}</span></a>`
        : html`<a class="nav-link" data-testid="nav-account" href="/account">${icon('person')}<span>${t('nav.account')}</span></a>
          <button class="nav-link" data-testid="sign-out" type="button" @click=${async () => {
          await logOut();
          goTo('/');
        }}>${icon('door')}<span>${t('nav.sign_out')}</span></button>`}
    </nav>
    ${languageSelect(changed)}
  </header>`;

/** @param {string} name @param {string} [size] */
export const face = (name, size = '') => html`<span class="avatar ${size}" aria-hidden="true">${initials(name) || icon('person')}</span>`;

/** A time in the visitor's zone, and in the doctor's where that differs. @param {string} at @param {string} doctorZone */
export function bothZones(at, doctorZone) {
  const own = ownZone();
  const line = (/** @type {string} */ zone) => html`<bdi>${dayAndClock(at, zone)}</bdi>`;
  return html`
    <p class="when"><time datetime=${at}>${line(own)}</time> <span class="zone">${t('when.your_zone', { zone: zoneName(own, at) })}</span></p>
    ${sameClock(own, doctorZone, at) ? nothing
      : html`<p class="when other">${line(doctorZone)} <span class="zone">${t('when.doctor_zone', { zone: zoneName(doctorZone, at) })}</span></p>`}`;
}

/** @param {string} kind */
export const kindIcon = (kind) => icon(kind === 'audio' ? 'mic' : kind === 'in_person' ? 'place' : kind === 'class' ? 'people' : 'camera');

/** @param {Kind | string} kind */
export const kindName = (kind) => t(`kind.${kind}`);

/** A problem with what to do about it. @param {string} text */
export const trouble = (text) => (text ? html`<p class="notice danger" role="alert" data-testid="problem">${icon('warning')}<span>${text}</span></p>` : nothing);

/** Whether an appointment is still to come or going on. @param {Appointment} appointment */
export const isAhead = ({ status, ends_at }) => ['requested', 'confirmed', 'checked_in', 'in_progress', 'interrupted'].includes(status)
  && Date.parse(ends_at) + 3_600_000 > Date.now();
