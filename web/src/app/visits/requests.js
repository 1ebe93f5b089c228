// Requests for a doctor now, on the doctor's board: whether one takes them, and those that ring.

/** @import { Ring } from '../booking.js' */

import { html, nothing } from 'lit-html';
import { repeat } from 'lit-html/directives/repeat.js';
import { announce } from '../announce.js';
import { playChime } from '../call/chime.js';
import { duration, t } from '../i18n.js';
import { icon } from '../icons.js';
import { Live } from '../live.js';
import { goTo } from '../navigation.js';
import { clock, languageName, ownZone } from '../when.js';
import * as api from './api.js';

const TAKES_MINUTES = 60;

export class Requests {
  /** @type {Ring[]} */
  rings = [];
  /** @type {string | null} */
  #until = null;
  /** Not yet known, as long as nobody has told whose board this is. */
  #provider = '';
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #ticking;

  /**
   * @param {() => void} changed
   * @param {(name: string, work: () => Promise<void>) => Promise<void>} doing one thing at a time
   * @param {() => string} busy the name of what is under way
   */
  constructor(changed, doing, busy) {
    this.changed = changed;
    this.doing = doing;
    this.busy = busy;
    new Live({
      ticketPath: '/v1/instant-rings/live',
      onPush: ({ rings }) => this.#receive(rings),
      onEnd: (reason) => console.info('no requests', reason),
    });
  }

  /** @param {string} provider whose board this is */
  async of(provider) {
    if (this.#provider === provider) return;
    this.#provider = provider;
    try {
      this.#until = (await api.practice(provider)).online_until;
    } catch (error) {
      console.info('not known whether requests are taken', error);
    }
    this.changed();
  }

  /** Until when requests are taken, null: they are not. */
  get until() { return this.#until !== null && Date.parse(this.#until) > Date.now() ? this.#until : null; }

  /** @param {boolean} on */
  take(on) {
    return this.doing('online', async () => {
      if (on) this.#until = (await api.goOnline(this.#provider, TAKES_MINUTES)).online_until;
      else {
        await api.goOffline(this.#provider);
        this.#until = null;
      }
      announce(t(on ? 'requests.say_on' : 'requests.say_off'));
    });
  }

  /** @param {Ring} ring */
  accept(ring) {
    return this.doing(`${ring.request} accept`, async () => {
      const { appointment } = await api.takeRequest(ring.request);
      goTo(`/visits/${appointment}#enter`);
    });
  }

  /** @param {Ring} ring */
  decline(ring) {
    return this.doing(`${ring.request} decline`, async () => {
      await api.leaveRequest(ring.request);
      this.#receive(this.rings.filter(({ request }) => request !== ring.request));
      document.getElementById('requests-title')?.focus();
    });
  }

  /** @param {Ring[]} rings all that ring now */
  #receive(rings) {
    const known = new Set(this.rings.map(({ request }) => request));
    const fresh = rings.filter(({ request }) => !known.has(request));
    this.rings = rings;
    clearInterval(this.#ticking);
    if (rings.length) this.#ticking = setInterval(this.changed, 1000);  // the seconds that are left
    this.changed();
    if (!fresh.length) return;
    announce(t('requests.say_ring'), { urgent: true });
    playChime('').catch((error) => console.info('no sound before a press on the page', error));
  }

  view() {
    if (!this.#provider) return nothing;
    const { until } = this;
    const now = this.rings.filter(({ ring_until: end }) => Date.parse(end) > Date.now());
    return html`
      <section class="card board" aria-labelledby="requests-title" data-testid="requests">
        <div class="board-head">
          <h2 id="requests-title" tabindex="-1">${t('requests.title')}</h2>
          ${until ? html`<span class="soft">${t('requests.until')} <bdi>${clock(until, ownZone())}</bdi></span>` : nothing}
          <button class=${until ? 'button secondary' : 'button primary'} type="button" data-testid="take-requests" aria-pressed=${String(until !== null)} ?disabled=${this.busy() !== ''}
            @click=${() => this.take(until === null)}>${t(until ? 'requests.stop' : 'requests.start')}</button>
        </div>
        ${now.length ? html`<ul class="line">${repeat(now, ({ request }) => request, (ring) => html`<li>${this.#row(ring)}</li>`)}</ul>`
          : html`<p class="soft">${t(until ? 'requests.none' : 'requests.off')}</p>`}
      </section>`;
  }

  /** @param {Ring} ring */
  #row(ring) {
    const left_s = Math.max(0, Math.ceil((Date.parse(ring.ring_until) - Date.now()) / 1000));
    return html`
      <div class="line-row" data-testid="ring">
        <span class="line-place">${icon('clock')}</span>
        <div class="line-who"><strong>${t('requests.somebody')}</strong>
          <p class="soft facts"><span class="fact">${icon('globe')}${languageName(ring.language)}</span>
            <span class="fact countdown" role="timer" aria-live="off">${icon('clock')}<bdi>${duration(left_s)}</bdi></span>
            <span class="fact ${ring.here ? '' : 'warn'}" data-testid="ring-here"><span class="dot" data-here=${String(ring.here)}></span>${t(ring.here ? 'board.here' : 'board.away')}</span></p>
          ${ring.reason ? html`<p class="reason" dir="auto">${ring.reason}</p>` : nothing}</div>
        <div class="row wrap line-actions">
          <button class="button primary small" type="button" data-testid="accept-ring" ?disabled=${this.busy() !== ''} @click=${() => this.accept(ring)}>${icon('camera')}<span>${t('requests.accept')}</span></button>
          <button class="button quiet small" type="button" data-testid="decline-ring" ?disabled=${this.busy() !== ''} @click=${() => this.decline(ring)}>${t('requests.decline')}</button>
        </div>
      </div>`;
  }
}
