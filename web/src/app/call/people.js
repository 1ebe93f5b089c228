// The panel of people: who is here, in which state, and for hosts a way to remove somebody (asked twice).

/** @import { Participant } from '../../client/index.js' */
/** @import { CallPage } from './page.js' */

import { html, nothing } from 'lit-html';
import { repeat } from 'lit-html/directives/repeat.js';
import { initials } from '../dom.js';
import { t } from '../i18n.js';
import { bars, icon } from '../icons.js';
import { levelOf, qualityText } from './quality.js';

/** @param {CallPage} page */
export function peoplePanel(page) {
  const everybody = page.self ? [page.self, ...page.others] : page.others;
  return html`
    <aside class="people" data-testid="people-panel" aria-labelledby="people-title">
      <header>
        <h2 id="people-title" tabindex="-1">${t('people.title', { count: everybody.length })}</h2>
        <button class="icon-button" type="button" aria-label=${t('people.close')} @click=${() => page.togglePeople()}>${icon('close')}</button>
      </header>
      <ul>${repeat(everybody, ({ id }) => id, (participant) => person(page, participant))}</ul>
      ${page.visit ? nothing : html`
        <footer>
          <p>${t('people.invite')}</p>
          ${page.copyButton.view(page.link)}
        </footer>`}
    </aside>`;
}

/** @param {CallPage} page @param {Participant} participant */
function person(page, participant) {
  const name = page.nameOf(participant);
  const muted = (/** @type {string} */ source) => participant.tracks.find((track) => track.source === source)?.muted ?? true;
  const removable = page.canRemove && !participant.self;
  const score = participant.self ? page.ownScore : page.qualities.get(participant.id)?.score;
  const state = participant.connection === 'connected'
    ? [participant.role === 'host' ? t('person.host') : '', participant.self ? t('person.self') : ''].filter(Boolean).join(' · ')
    : t(`tile.${participant.connection}`);
  return html`
    <li class="person" data-participant=${participant.id}>
      <span class="avatar small" aria-hidden="true">${initials(name) || icon('person')}</span>
      <div class="person-text"><strong>${name}</strong><span>${state}</span></div>
      <span class="person-marks">
        ${score === undefined ? nothing : html`<span role="img" aria-label=${qualityText(score)} title=${qualityText(score)}>${bars(levelOf(score))}</span>`}
        ${participant.tracks.some((track) => track.source === 'screen' && !track.muted)
          ? html`<span class="mark active" role="img" aria-label=${t('person.shares')} title=${t('person.shares')}>${icon('screen')}</span>` : nothing}
        ${mark(muted('microphone') ? 'micOff' : 'mic', muted('microphone') ? 'tile.muted' : 'person.mic_on')}
        ${mark(muted('camera') ? 'cameraOff' : 'camera', muted('camera') ? 'person.camera_off' : 'person.camera_on')}
      </span>
      ${removable && page.removing !== participant.id ? html`
        <button class="icon-button" type="button" data-testid="remove" aria-label=${t('people.remove', { name })} title=${t('people.remove', { name })}
          @click=${() => page.askRemove(participant.id)}>${icon('remove')}</button>` : nothing}
      ${page.removing === participant.id ? html`
        <div class="person-confirm" role="group" aria-label=${t('people.remove', { name })}>
          <p>${t('people.remove_question', { name })}</p>
          <button class="button secondary small" type="button" @click=${() => page.askRemove('')}>${t('people.keep')}</button>
          <button class="button danger small" type="button" data-testid="remove-confirm" @click=${() => page.remove(participant)}>${t('people.remove_confirm')}</button>
        </div>` : nothing}
    </li>`;
}

/** @param {import('../icons.js').IconName} shape @param {string} key */
const mark = (shape, key) => html`<span class="mark" role="img" aria-label=${t(key)} title=${t(key)}>${icon(shape)}</span>`;
