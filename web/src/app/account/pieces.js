// Pieces that the sections of an account share.

/** @import { AccountPage, Question, Section } from './page.js' */

import { html, nothing } from 'lit-html';
import { t } from '../i18n.js';

/** @param {AccountPage} page @param {Question} question @param {string} words @param {string} [label] */
export const asks = (page, question, words, label) => html`
  <button class="button secondary small" type="button" data-asks=${question} data-testid=${`ask-${question.split(' ')[0]}`} aria-label=${label ?? words} @click=${() => page.ask(question)}>${words}</button>`;

/** @param {AccountPage} page @param {string} question @param {string} words @param {() => void} act */
export const confirm = (page, question, words, act) => html`
  <div class="confirm" data-testid="confirm"><p tabindex="-1">${question}</p>
    <div class="row wrap"><button class="button danger" type="button" data-testid="confirmed" ?disabled=${page.busy !== ''} @click=${act}>${words}</button>
      <button class="button secondary" type="button" @click=${() => page.ask('')}>${t('account.not_now')}</button></div></div>`;

/** @param {AccountPage} page @param {Section} section @param {string} words */
export const submit = (page, section, words) => html`
  <button class="button primary" type="submit" data-testid=${`submit-${section}`} ?disabled=${page.busy !== ''}>
    ${page.busy === section ? html`<span class="spinner"></span>` : nothing}<span>${words}</span></button>`;

/** @param {SubmitEvent} event @param {string} name */
export function raw(event, name) {
  event.preventDefault();
  return String(new FormData(/** @type {HTMLFormElement} */ (event.target)).get(name) ?? '');
}

/** @param {SubmitEvent} event @param {string} name */
export const text = (event, name) => raw(event, name).trim();
