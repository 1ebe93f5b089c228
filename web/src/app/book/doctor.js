// The view of one doctor: who they are, what they offer, when they are free.

/** @import { Offer } from '../booking.js' */
/** @import { BookPage } from './page.js' */

import { html, nothing } from 'lit-html';
import { live } from 'lit-html/directives/live.js';
import { chooses } from '../dom.js';
import { number, t } from '../i18n.js';
import { icon } from '../icons.js';
import { face, kindIcon, kindName, trouble } from '../site.js';
import { amount, dayAndClock, languageName, ownZone, shortDay } from '../when.js';
import { slotPicker } from './slots.js';

/** @param {BookPage} page */
export function doctorView(page) {
  const { profile } = page;
  if (profile === null) {
    return html`<main class="doctor"><h1 id="step-title" tabindex="-1">${t(page.problem ? 'doctor.unknown' : 'doctor.loading')}</h1>
      ${trouble(page.problem)}<p><a class="button secondary" href="/book">${t('doctor.search')}</a></p></main>`;
  }
  const { card } = profile;
  return html`
    <main class="doctor">
      <a class="back-link" href="/book" @click=${(/** @type {MouseEvent} */ event) => page.backToSearch(event)}>${icon('back')}<span>${t('doctor.back')}</span></a>
      <section class="doctor-head">
        ${face(card.name, 'large')}
        <div>
          <h1 id="step-title" tabindex="-1"><bdi>${`${card.title} ${card.name}`.trim()}</bdi></h1>
          <p class="soft">${card.specialties.map(({ name }) => name).join(t('list.comma'))}</p>
          <p class="facts">
            ${card.rating.count ? html`<span class="fact">${icon('star')}${number(card.rating.average ?? 0, { maximumFractionDigits: 1 })} <span class="soft">${t('doctor.reviews', { count: card.rating.count })}</span></span>` : nothing}
            ${profile.location ? html`<span class="fact">${icon('place')}<bdi>${[profile.location.name, card.place?.name].filter(Boolean).join(t('list.comma'))}</bdi></span>` : nothing}
            <span class="fact">${icon('globe')}${card.languages.map(languageName).join(t('list.comma'))}</span>
            ${profile.licences.map(({ issuer, number: licence }) => html`<span class="fact">${icon('check')}<span>${t('doctor.licence')} <bdi>${issuer} ${licence}</bdi></span></span>`)}
          </p>
        </div>
      </section>
      ${profile.bio ? html`<p class="bio" dir="auto">${profile.bio}</p>` : nothing}
      ${services(page, profile.services)}
      ${forWhom(page)}
      ${page.alternatives.length ? taken(page) : trouble(page.problem)}
      ${page.service ? html`${slotPicker(page)}${page.wait.view()}` : nothing}
    </main>`;
}

/** @param {BookPage} page @param {Offer[]} offers */
const services = (page, offers) => html`
  <fieldset class="services">
    <legend>${t('doctor.services')}</legend>
    ${offers.map((offer) => html`
      <label class="service card">
        <input type="radio" name="service" value=${offer.id} .checked=${live(page.service?.id === offer.id)} @change=${() => page.chooseService(offer)}>
        ${kindIcon(offer.kind)}
        <span class="service-lines"><strong dir="auto">${offer.name}</strong>
          <span class="soft">${kindName(offer.kind)} · ${t('doctor.minutes', { count: offer.minutes })}</span></span>
        <bdi class="price">${offer.price.amount_minor ? amount(offer.price) : t('book.free')}</bdi>
      </label>`)}
    ${offers.length ? nothing : html`<p class="soft">${t('doctor.no_services')}</p>`}
  </fieldset>`;

/** @param {BookPage} page */
const forWhom = (page) => (page.patients.length ? html`
  <div class="form-field for-whom"><label for="patient">${t('book.for_whom')}</label>
    <select class="field" id="patient" data-testid="patient" ${chooses(page.patient)} @change=${(/** @type {Event} */ event) => page.choosePatient(/** @type {HTMLSelectElement} */ (event.target).value)}>
      <option value="">${t('book.for_me')}</option>
      ${page.patients.map(({ person, name }) => html`<option value=${person}>${name || t('person.nameless')}</option>`)}
    </select></div>` : nothing);

/** Somebody was faster: the next free times, one press away. @param {BookPage} page */
const taken = (page) => html`
  <section class="notice-box" role="alert" data-testid="slot-taken">
    <h2>${t('slots.taken')}</h2>
    <p>${t('slots.taken_help')}</p>
    <div class="row wrap">${page.alternatives.map((at) => html`
      <button class="button secondary" type="button" data-testid="alternative" ?disabled=${page.holding !== ''} @click=${() => page.choose(at)}><bdi>${dayAndClock(at, ownZone(), shortDay)}</bdi></button>`)}
    </div>
  </section>`;
