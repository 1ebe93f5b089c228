// The last step before booking: who comes, and why. The slot is held meanwhile; a countdown says how long, and it can be
// kept for longer (WCAG 2.2.1). Whatever goes wrong, what was typed stays.

/** @import { BookPage } from './page.js' */

import { html, nothing } from 'lit-html';
import { live } from 'lit-html/directives/live.js';
import { duration, t } from '../i18n.js';
import { icon } from '../icons.js';
import { isVisitor } from '../session.js';
import { bothZones, face, kindName, trouble } from '../site.js';
import { termsView } from '../terms.js';
import { amount } from '../when.js';

/** @param {BookPage} page */
export const detailsView = (page) => html`
  <main class="details">
    <section class="details-form">
      <h1 id="step-title" tabindex="-1">${t('details.title')}</h1>
      ${held(page)}
      ${trouble(page.problem)}
      <form novalidate @submit=${(/** @type {Event} */ event) => {
        event.preventDefault();
        page.book();
      }}>
        ${page.ticket !== null && isVisitor() ? code(page) : isVisitor() ? guest(page) : html`<p class="soft">${t('details.signed_in')}</p>`}
        <div class="form-field">
          <label for="reason">${t('details.reason')} <span class="soft">${t('details.optional')}</span></label>
          <textarea class="field" id="reason" data-testid="reason-input" rows="3" maxlength="2000" dir="auto" aria-describedby="reason-help" .value=${live(page.form.reason)}
            @input=${(/** @type {Event} */ event) => page.write('reason', event)}></textarea>
          <p class="soft" id="reason-help">${t('details.reason_help')}</p>
        </div>
        <button class="button primary large" data-testid="book-button" type="submit" ?disabled=${page.booking}>
          ${page.booking ? html`<span class="spinner"></span>` : nothing}<span>${t(page.booking ? 'details.booking' : 'details.book')}</span>
        </button>
        <button class="button quiet" type="button" @click=${() => page.otherTime()}>${icon('back')}<span>${t('details.other_time')}</span></button>
      </form>
    </section>
    <aside class="summary card" aria-label=${t('details.summary')}>${summary(page)}</aside>
  </main>`;

/** @param {BookPage} page */
const held = (page) => (page.secondsLeft > 0 ? html`
  <div class="hold" data-low=${String(page.secondsLeft < 120)} data-testid="hold">
    ${icon('clock')}<p>${t('details.held')} <strong class="countdown" role="timer"><bdi>${duration(page.secondsLeft)}</bdi></strong></p>
    ${page.secondsLeft < 300 ? html`<button class="button small secondary" type="button" data-testid="extend" @click=${() => page.extend()}>${t('details.extend')}</button>` : nothing}
  </div>` : html`
  <div class="hold" data-low="true" role="alert"><p>${t('details.hold_over')}</p></div>`);

/** @param {BookPage} page */
const guest = (page) => html`
  <p class="soft">${t('details.guest')} <button class="link" type="button" data-testid="sign-in-first" @click=${() => page.signIn()}>${t('details.sign_in')}</button></p>
  ${field(page, 'name', 'text', 'name')}
  ${field(page, 'email', 'email', 'email')}`;

/** @param {BookPage} page */
const code = (page) => html`
  <div class="form-field">
    <label for="code">${t('signin.code')}</label>
    <input class="field code-field" id="code" data-testid="code-input" inputmode="numeric" autocomplete="one-time-code" dir="ltr" maxlength="12" aria-describedby="code-help" .value=${live(page.code)}
      @input=${(/** @type {Event} */ event) => { page.code = /** @type {HTMLInputElement} */ (event.target).value; }}>
    <p class="soft" id="code-help">${t('signin.sent')} <bdi>${page.form.email}</bdi></p>
    <button class="button quiet small" type="button" data-testid="other-address" @click=${() => page.otherAddress()}>${t('details.other_address')}</button>
  </div>`;

/** @param {BookPage} page @param {'name' | 'email'} name @param {string} type @param {'name' | 'email'} autocomplete */
const field = (page, name, type, autocomplete) => html`
  <div class="form-field">
    <label for=${name}>${t(`details.${name}`)} ${name === 'email' ? html`<span class="soft">${t('details.optional')}</span>` : nothing}</label>
    <input class="field" id=${name} data-testid=${`${name}-input`} type=${type} name=${name} autocomplete=${autocomplete} maxlength=${name === 'name' ? 120 : 254} ?required=${name === 'name'}
      dir=${name === 'name' ? 'auto' : 'ltr'} aria-invalid=${String(page.missing.has(name))} aria-describedby=${`${name}-help ${name}-problem`} .value=${live(page.form[name])}
      @input=${(/** @type {Event} */ event) => page.write(name, event)}>
    <p class="soft" id=${`${name}-help`}>${t(`details.${name}_help`)}</p>
    <p class="field-problem" id=${`${name}-problem`} role="alert">${page.missing.has(name) ? t(`details.${name}_missing`) : nothing}</p>
  </div>`;

/** @param {BookPage} page */
export function summary(page) {
  const { profile, service } = page;
  if (!profile || !service) return nothing;
  const patient = page.patients.find(({ person }) => person === page.patient);
  return html`
    <div class="summary-head">${face(profile.card.name, 'small')}<div><strong><bdi>${`${profile.card.title} ${profile.card.name}`.trim()}</bdi></strong>
      <p class="soft"><span dir="auto">${service.name}</span> · ${kindName(service.kind)} · ${t('doctor.minutes', { count: service.minutes })}</p></div></div>
    ${patient ? html`<p class="fact" data-testid="for-whom">${icon('person')}<span>${t('book.for')} <bdi>${patient.name}</bdi></span></p>` : nothing}
    <div class="summary-when">${icon('calendar')}<div>${bothZones(page.slot, profile.timezone)}</div></div>
    <p class="summary-price"><span class="soft">${t('details.price')}</span> <bdi>${service.price.amount_minor ? amount(service.price) : t('book.free')}</bdi></p>
    ${termsView(page.terms, service.price.currency)}`;
}
