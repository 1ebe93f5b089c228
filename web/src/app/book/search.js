// The view of the search: a line to type in, filters that apply at once, and the cards of those who fit.

/** @import { Card } from '../booking.js' */
/** @import { BookPage } from './page.js' */
/** @import { Wanted } from './api.js' */

import { html, nothing } from 'lit-html';
import { live } from 'lit-html/directives/live.js';
import { number, t } from '../i18n.js';
import { icon } from '../icons.js';
import { face, kindIcon, kindName, trouble } from '../site.js';
import { SPOKEN, amount, dayAndClock, languageName, ownZone, shortDay } from '../when.js';

const KINDS = ['video', 'audio', 'in_person', 'class'];
const WITHIN = ['1', '2', '7', '30'];
const SORTS = ['relevance', 'soonest', 'price', 'rating'];

/** @param {BookPage} page */
export const searchView = (page) => html`
  <main class="search">
    <div class="search-head"><h1 id="step-title" tabindex="-1">${t('search.title')}</h1>
      <a class="button secondary" data-testid="doctor-now" href="/now">${icon('clock')}<span>${t('now.link')}</span></a></div>
    <form class="search-form" role="search" @submit=${(/** @type {Event} */ event) => {
      event.preventDefault();
      page.finder.find();
    }}>
      <div class="search-line">
        <label class="visually-hidden" for="q">${t('search.label')}</label>
        ${icon('search')}
        <input class="field" id="q" data-testid="search-input" type="search" name="q" maxlength="200" dir="auto" autocomplete="off" enterkeyhint="search"
          placeholder=${t('search.placeholder')} .value=${live(page.finder.wanted.q)}
          @input=${(/** @type {Event} */ event) => page.finder.want({ q: value(event) }, { later: true })}>
        <button class="button primary" type="submit">${t('search.find')}</button>
      </div>
      <details class="filters" ?open=${page.finder.filtersOpen} @toggle=${(/** @type {Event} */ event) => {
        page.finder.show(/** @type {HTMLDetailsElement} */ (event.target).open);
      }}>
        <summary class="button secondary">${icon('filter')}<span>${t('search.filters')}</span>${page.finder.filterCount
          ? html`<span class="count">${number(page.finder.filterCount)}</span>` : nothing}</summary>
        <div class="filter-fields">
          ${select(page, 'specialty', t('search.specialty'), page.finder.specialties.map(({ code, name }) => [code, name]))}
          ${select(page, 'language', t('search.language'), SPOKEN.map((code) => [code, languageName(code)]))}
          ${select(page, 'kind', t('search.kind'), KINDS.map((kind) => [kind, kindName(kind)]))}
          ${select(page, 'within', t('search.within'), WITHIN.map((days) => [days, t('search.within_days', { count: days })]))}
        </div>
      </details>
    </form>
    <div class="results-head">
      <p class="results-count" role="status" data-testid="results-count">${page.finder.searching ? t('search.searching') : countText(page)}</p>
      <label class="sort"><span>${t('search.sort')}</span>
        <select class="field" @change=${(/** @type {Event} */ event) => page.finder.want({ sort: value(event) })}>
          ${SORTS.map((sort) => html`<option value=${sort} ?selected=${sort === page.finder.wanted.sort}>${t(`search.sort_${sort}`)}</option>`)}
        </select>
      </label>
    </div>
    ${trouble(page.finder.problem)}
    ${page.finder.similar && page.finder.cards.length ? html`<p class="hint">${t('search.similar')}</p>` : nothing}
    <ul class="cards" aria-busy=${String(page.finder.searching)}>
      ${page.finder.searching && !page.finder.cards.length ? [1, 2, 3].map(() => html`<li class="card doctor-card skeleton" aria-hidden="true"><i></i><i></i><i></i></li>`)
        : page.finder.cards.map((card) => html`<li>${doctorCard(page, card)}</li>`)}
    </ul>
    ${page.finder.cursor ? html`<button class="button secondary more" type="button" ?disabled=${page.finder.searching} @click=${() => page.finder.findMore()}>${t('search.more')}</button>` : nothing}
    ${!page.finder.searching && !page.finder.problem && !page.finder.cards.length ? html`
      <div class="nobody"><p>${t('search.nobody')}</p>
        <button class="button secondary" type="button" @click=${() => page.finder.wantAnything()}>${t('search.clear')}</button></div>` : nothing}
  </main>`;

/** @param {BookPage} page */
const countText = (page) => (page.finder.cards.length ? t(page.finder.cursor ? 'search.found_many' : 'search.found', { count: page.finder.cards.length }) : '');

/** @param {Event} event */
const value = (event) => /** @type {HTMLInputElement} */ (event.target).value;

/** @param {BookPage} page @param {keyof Wanted} name @param {string} label @param {string[][]} options */
const select = (page, name, label, options) => html`
  <label><span>${label}</span>
    <select class="field" data-testid=${`filter-${name}`} @change=${(/** @type {Event} */ event) => page.finder.want({ [name]: value(event) })}>
      <option value="" ?selected=${!page.finder.wanted[name]}>${t('search.any')}</option>
      ${options.map(([code, text]) => html`<option value=${code} ?selected=${page.finder.wanted[name] === code}>${text}</option>`)}
    </select>
  </label>`;

/** @param {BookPage} page @param {Card} card */
const doctorCard = (page, card) => html`
  <a class="card doctor-card" data-testid="doctor-card" href=${`/doctors/${card.slug}`} @click=${(/** @type {MouseEvent} */ event) => page.follow(event, card.slug)}>
    ${face(card.name)}
    <span class="doctor-lines">
      <strong class="doctor-name"><bdi>${`${card.title} ${card.name}`.trim()}</bdi></strong>
      <span class="soft">${card.specialties.map(({ name }) => name).join(t('list.comma'))}</span>
      <span class="facts">
        ${card.rating.count ? html`<span class="fact">${icon('star')}<span class="visually-hidden">${t('search.rating')} </span>${number(card.rating.average ?? 0, { maximumFractionDigits: 1 })}
          <span class="soft">(${number(card.rating.count)})</span></span>` : nothing}
        ${card.place ? html`<span class="fact">${icon('place')}<bdi>${card.place.name}</bdi></span>` : nothing}
        <span class="fact">${icon('globe')}${card.languages.map(languageName).join(t('list.comma'))}</span>
        ${card.kinds.map((kind) => html`<span class="fact">${kindIcon(kind)}${kindName(kind)}</span>`)}
      </span>
    </span>
    <span class="doctor-end">
      <span class="next-free">${card.next_free_at
        ? html`<span class="soft">${t('search.next')}</span> <bdi>${dayAndClock(card.next_free_at, ownZone(), shortDay)}</bdi>`
        : html`<span class="soft">${t('search.no_time')}</span>`}</span>
      ${card.price_from ? html`<span class="price"><span class="soft">${t('search.from')}</span> <bdi>${card.price_from.amount_minor ? amount(card.price_from) : t('book.free')}</bdi></span>` : nothing}
    </span>
  </a>`;
