// Whom one cares for, and who cares for oneself: a child without an account, or a grown-up who is asked by mail.

/** @import { Care } from '../booking.js' */
/** @import { AccountPage, Question } from './page.js' */

import { html, nothing } from 'lit-html';
import { repeat } from 'lit-html/directives/repeat.js';
import { t } from '../i18n.js';
import { icon } from '../icons.js';
import { face } from '../site.js';
import { asks, confirm, submit, text } from './pieces.js';

/** @type {import('../booking.js').Relation[]} */
const RELATIONS = ['child', 'parent', 'spouse', 'sibling', 'other'];

/** @param {SubmitEvent} event of a form with the list of relations */
const kindOf = (event) => RELATIONS.find((each) => each === text(event, 'relation')) ?? 'other';

/** @param {AccountPage} page */
export const people = (page) => html`
  <p>${t('people.text')}</p>
  ${list(page, page.dependants, 'people.end_ask', '')}
  <details class="more" data-testid="add-person"><summary>${icon('people')}<span>${t('people.add')}</span></summary>
    <form class="account-form stacked" @submit=${(/** @type {SubmitEvent} */ event) => page.addDependant({
      name: text(event, 'name'), relation: kindOf(event), birth_year: Number(text(event, 'birth_year')) || null,
    })}>
      <div class="form-field"><label for="person-name">${t('people.name')}</label>
        <input class="field" id="person-name" name="name" required maxlength="120" dir="auto" autocomplete="off" data-testid="person-name"></div>
      ${relation('person-relation', t('people.they_are'))}
      <div class="form-field"><label for="person-year">${t('people.birth_year')} <span class="soft">${t('details.optional')}</span></label>
        <input class="field" id="person-year" name="birth_year" inputmode="numeric" pattern="(18|19|20|21)[0-9]{2}" maxlength="4" dir="ltr" autocomplete="off" data-testid="person-year"></div>
      ${submit(page, 'people', t('people.add_this'))}
    </form></details>
  <h3>${t('people.carers')}</h3>
  <p class="soft">${t('people.carers_text')}</p>
  ${list(page, page.caregivers, 'people.carer_end_ask', t('people.you_are'))}
  <form class="account-form stacked" @submit=${(/** @type {SubmitEvent} */ event) => page.nameCaregiver(text(event, 'email'), kindOf(event))}>
    <div class="form-field"><label for="carer-email">${t('people.carer_email')}</label>
      <input class="field" id="carer-email" name="email" type="email" required maxlength="254" dir="ltr" autocomplete="off" data-testid="carer-email"></div>
    ${relation('carer-relation', t('people.carer_is'))}
    <button class="button secondary" type="submit" data-testid="name-carer" ?disabled=${page.busy !== ''}>${icon('message')}<span>${t('people.carer_ask')}</span></button>
  </form>`;

/** @param {string} id @param {string} label */
const relation = (id, label) => html`
  <div class="form-field"><label for=${id}>${label}</label>
    <select class="field" id=${id} name="relation" data-testid=${id}>${RELATIONS.map((each) => html`<option value=${each}>${t(`relation.${each}`)}</option>`)}</select></div>`;

/** A relation is told as the carer sees it. @param {AccountPage} page @param {Care[]} cares @param {string} key of what is asked before one ends @param {string} who is what the relation says */
const list = (page, cares, key, who) => (cares.length ? html`
  <ul class="line">${repeat(cares, ({ id }) => id, ({ id, name, relation: kind }) => {
    const question = /** @type {Question} */ (`care ${id}`);
    const called = name || t('person.nameless');
    return html`<li><div class="line-row" data-testid="care">${face(called, 'small')}
      <div class="line-who"><bdi>${called}</bdi><p class="soft">${who} ${t(`relation.${kind}`)}</p></div>
      ${page.question === question ? confirm(page, t(key, { name: called }), t('people.end'), () => page.endCare(id))
        : asks(page, question, t('people.end'), t('people.end_named', { name: called }))}</div></li>`;
  })}</ul>` : nothing);
