// What somebody who waits and the staff write to each other. A message leaves the field as soon as it is sent and stands in
// the list with what has become of it: on its way, kept by the server, or not sent, then with its text and a way to try
// again. The server numbers messages and pushes them; what it has pushed takes the place of our own copy.

/** @import { WaitingMessage } from './booking.js' */

import { html, nothing } from 'lit-html';
import { live } from 'lit-html/directives/live.js';
import { repeat } from 'lit-html/directives/repeat.js';
import { problemText } from './http.js';
import { t } from './i18n.js';
import { clock, ownZone } from './when.js';

/** @typedef {{key: number, body: string, state: 'sending' | 'kept' | 'failed', seq: number, problem: string}} Draft */

export class Conversation {
  /** @type {WaitingMessage[]} */
  messages = [];
  /** Our own that the server has not pushed yet. @type {Draft[]} */
  drafts = [];
  text = '';
  #keys = 0;

  /** @param {() => void} changed @param {(body: string) => Promise<{seq: number}>} write gives it to the server */
  constructor(changed, write) {
    this.changed = changed;
    this.write = write;
  }

  /** The number of the last message that the page has. */
  get last() { return this.messages.at(-1)?.seq ?? 0; }

  /** @param {WaitingMessage[]} pushed some are known already @returns {WaitingMessage[]} those that are new */
  receive(pushed) {
    const fresh = pushed.filter(({ seq }) => seq > this.last);
    this.messages = [...this.messages, ...fresh];
    this.#tidy();
    return fresh;
  }

  /** @param {string} text */
  type(text) { this.text = text; }

  async send() {
    const body = this.text.trim();
    if (!body) return;
    this.text = '';
    const draft = /** @type {Draft} */ ({ key: this.#keys += 1, body, state: 'sending', seq: 0, problem: '' });
    this.drafts = [...this.drafts, draft];
    await this.#post(draft);
  }

  /** @param {Draft} draft that did not go */
  async retry(draft) {
    if (draft.state !== 'failed') return;
    draft.state = 'sending';
    await this.#post(draft);
  }

  /** @param {Draft} draft */
  async #post(draft) {
    this.changed();
    try {
      draft.seq = (await this.write(draft.body)).seq;
      draft.state = 'kept';
    } catch (error) {
      Object.assign(draft, { state: 'failed', problem: problemText(error) });
    }
    this.#tidy();
    this.changed();
  }

  #tidy() {
    this.drafts = this.drafts.filter(({ state, seq }) => state !== 'kept' || seq > this.last);
  }
}

/**
 * @param {Conversation} conversation
 * @param {{id: string, label: unknown, whose: (message: WaitingMessage) => unknown, empty: string}} words `whose`: who wrote a message
 */
export const conversationView = (conversation, { id, label, whose, empty }) => html`
  ${conversation.messages.length + conversation.drafts.length ? html`<ul class="messages" data-testid="messages" tabindex="0" aria-labelledby=${`${id}-label`}>
    ${repeat(conversation.messages, ({ seq }) => seq, (message) => html`
      <li class="message" data-own=${String(message.own)}><p class="soft">${message.own ? t('wait.from_you') : whose(message)} · <bdi>${clock(message.at, ownZone())}</bdi></p><p dir="auto">${message.body}</p></li>`)}
    ${repeat(conversation.drafts, ({ key }) => `draft ${key}`, (draft) => html`
      <li class="message" data-own="true" data-state=${draft.state}><p class="soft">${t('wait.from_you')} · ${t(`wait.${draft.state}`)}</p><p dir="auto">${draft.body}</p>
        ${draft.state === 'failed' ? html`<p class="field-problem" role="alert">${draft.problem}</p>
          <button class="button secondary small" type="button" data-testid="send-again" @click=${() => conversation.retry(draft)}>${t('wait.send_again')}</button>` : nothing}</li>`)}
  </ul>` : html`<p class="soft">${empty}</p>`}
  <form class="row" @submit=${(/** @type {Event} */ event) => {
    event.preventDefault();
    conversation.send();
  }}>
    <label class="visually-hidden" id=${`${id}-label`} for=${id}>${label}</label>
    <input class="field" id=${id} data-testid="message-input" maxlength="500" dir="auto" autocomplete="off" enterkeyhint="send" placeholder=${t('wait.write')} .value=${live(conversation.text)}
      @input=${(/** @type {Event} */ event) => conversation.type(/** @type {HTMLInputElement} */ (event.target).value)}>
    <button class="button secondary" data-testid="send" type="submit">${t('wait.send')}</button>
  </form>`;
