// The home page: start a call, share its link, or enter with a link that somebody sent.

import '../shared.js';
import { html, nothing, render } from 'lit-html';
import { createRoom } from '../api.js';
import { CopyButton, linkField, shareButton, siteHeader } from '../frame.js';
import { preferredLanguage, setLanguage, t } from '../i18n.js';
import { hero } from './hero.js';
import { ApiError, problemText } from '../http.js';
import { icon } from '../icons.js';
import { goTo, ownAddress } from '../navigation.js';

/** @type {{step: 'start' | 'creating' | 'ready', link: string, room: string, problem: unknown, badLink: boolean}} */
const state = { step: 'start', link: '', room: '', problem: null, badLink: false };
const root = /** @type {HTMLElement} */ (document.getElementById('app'));
const copyButton = new CopyButton(draw);

async function start() {
  Object.assign(state, { step: 'creating', problem: null });
  draw();
  try {
    const { link, room } = await createRoom();
    Object.assign(state, { step: 'ready', link, room });
  } catch (error) {
    console.error(error);
    Object.assign(state, { step: 'start', problem: error });
  }
  draw();
  if (state.step === 'ready') document.getElementById('ready-title')?.focus();
}

/** Where a pasted link leads on this site: a call, or a visit or an invitation by the token of its mail. @param {string} link @returns {string} empty: nowhere */
function placeOf(link) {
  const room = /(?:^|\/call\/)([\w-]{8,})\/?(?:[?#].*)?$/.exec(link)?.[1];
  if (room !== undefined) return `/call/${room}`;
  const mailed = /\/((?:j\/[\w-]+\/?(?:\?[^#\s]*)?|invite)#[\w.~-]+)$/.exec(link)?.[1];
  return mailed === undefined ? '' : `/${mailed}`;
}

/** @param {SubmitEvent} event */
function enter(event) {
  event.preventDefault();
  const given = String(new FormData(/** @type {HTMLFormElement} */ (event.target)).get('link') ?? '').trim();
  const place = placeOf(given);
  state.badLink = place === '';
  draw();
  if (place) goTo(place);
}

/** Why no call could be started; in the language of the page as it is now. */
const problem = () => (state.problem instanceof ApiError ? problemText(state.problem) : t('home.failed'));

const startCard = () => html`
  <div class="row wrap ways">
    <button class="button primary large" data-testid="start-call" type="button" ?disabled=${state.step === 'creating'} @click=${start}>
      ${state.step === 'creating' ? html`<span class="spinner"></span>` : icon('camera')}<span>${t('home.start')}</span>
    </button>
    <a class="button secondary large" data-testid="home-book" href="/book">${icon('calendar')}<span>${t('home.book')}</span></a>
    <a class="button quiet" data-testid="home-visits" href="/visits">${icon('person')}<span>${t('nav.visits')}</span></a>
  </div>
  ${state.problem ? html`<p class="notice danger" role="alert" data-testid="start-problem">${icon('warning')}<span>${problem()}</span></p>` : nothing}
  <form class="enter" @submit=${enter} novalidate>
    <label for="enter-link">${t('home.have_link')}</label>
    <div class="row">
      <input class="field" id="enter-link" name="link" type="text" dir="ltr" autocomplete="off" placeholder=${t('home.paste')}
        aria-invalid=${String(state.badLink)} aria-describedby="enter-problem">
      <button class="button secondary" type="submit">${t('home.enter')}</button>
    </div>
    <p class="field-problem" id="enter-problem" role="alert">${state.badLink ? t('home.bad_link') : nothing}</p>
  </form>`;

const readyCard = () => html`
  <section class="card ready" aria-labelledby="ready-title">
    <h2 id="ready-title" tabindex="-1">${icon('check')}${t('home.ready')}</h2>
    <p>${t('home.ready_help')}</p>
    ${linkField(state.link)}
    <div class="row wrap">${copyButton.view(state.link)}${shareButton(state.link)}</div>
    <a class="button primary large" data-testid="enter-call" href=${ownAddress(state.link, `/call/${state.room}`)}><span>${t('home.enter_call')}</span>${icon('arrow')}</a>
  </section>`;

/** @param {import('../icons.js').IconName} name @param {string} key */
const point = (name, key) => html`
  <li><span class="point-icon">${icon(name)}</span><div><h3>${t(`${key}.title`)}</h3><p>${t(`${key}.text`)}</p></div></li>`;

function draw() {
  document.title = t('home.page_title');
  render(html`
    ${siteHeader(draw)}
    <main class="home">
      <div class="hero">
        <div class="hero-text">
          <h1>${t('home.title')}</h1>
          <p class="lead">${t('home.lead')}</p>
          ${state.step === 'ready' ? readyCard() : startCard()}
        </div>
        <div class="hero-picture">${hero}</div>
      </div>
      <ul class="points">
        ${point('device', 'home.point_install')}${point('signal', 'home.point_network')}${point('lock', 'home.point_private')}
      </ul>
    </main>
    <footer class="site-footer">${t('home.footer')}</footer>`, root);
}

await setLanguage(preferredLanguage());
draw();
