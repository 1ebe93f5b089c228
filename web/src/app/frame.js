// What all pages share: the language switch, the head bar, the link that is shared.

import { html, nothing } from 'lit-html';
import { copyText } from './dom.js';
import { LANGUAGES, language, setLanguage, t } from './i18n.js';
import { icon, logo } from './icons.js';

/** @param {() => void} changed */
export const languageSelect = (changed) => html`
  <label class="language">
    ${icon('globe')}
    <span class="visually-hidden">${t('language.label')}</span>
    <select data-testid="language-select" @change=${async (/** @type {Event} */ event) => {
      await setLanguage(/** @type {HTMLSelectElement} */ (event.target).value, true);
      changed();
    }}>
      ${Object.entries(LANGUAGES).map(([tag, { name }]) => html`<option value=${tag} lang=${tag} ?selected=${tag === language()}>${name}</option>`)}
    </select>
  </label>`;

/** @param {() => void} changed the language */
export const siteHeader = (changed) => html`
  <header class="site-header">
    <a class="brand" href="/">${logo}<span>${t('brand')}</span></a>
    ${languageSelect(changed)}
  </header>`;

/** The button that says "Copied" for a moment. */
export class CopyButton {
  #copied = false;

  /** @param {() => void} changed */
  constructor(changed) {
    this.changed = changed;
  }

  /** @param {string} link */
  async copy(link) {
    this.#copied = await copyText(link);
    this.changed();
    setTimeout(() => {
      this.#copied = false;
      this.changed();
    }, 2500);
  }

  /** @param {string} link @param {string} [look] class of the button @param {string} [words] on it */
  view(link, look = 'button secondary', words = t('link.copy')) {
    return html`
      <button class=${look} data-testid="copy-link" type="button" @click=${() => this.copy(link)}>
        ${icon(this.#copied ? 'check' : 'copy')}<span aria-live="polite">${this.#copied ? t('link.copied') : words}</span>
      </button>`;
  }
}

/** @param {string} link */
export const shareButton = (link) => (navigator.share === undefined ? nothing : html`
  <button class="button secondary" data-testid="share-link" type="button" @click=${() =>
    navigator.share({ title: t('share.title'), text: t('share.text'), url: link }).catch(() => undefined)}>
    ${icon('share')}<span>${t('link.share')}</span>
  </button>`);

/** @param {string} link */
export const linkField = (link) => html`
  <input class="field link-field" data-testid="room-link" type="text" readonly dir="ltr" aria-label=${t('link.label')} .value=${link}
    @focus=${(/** @type {Event} */ event) => /** @type {HTMLInputElement} */ (event.target).select()}>`;
