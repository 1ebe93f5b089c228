// The board of the day: who waits since when, with everything that a doctor does to the line on one screen.

/** @import { QueueEntry } from '../booking.js' */
/** @import { VisitsPage } from './page.js' */

import { html, nothing } from 'lit-html';
import { repeat } from 'lit-html/directives/repeat.js';
import { conversationView } from '../conversation.js';
import { number, t } from '../i18n.js';
import { icon } from '../icons.js';
import { face } from '../site.js';
import { clock, minutesFrom, ownZone } from '../when.js';

const LATE = [10, 20, 30];

/** @param {VisitsPage} page */
export function board(page) {
  const entries = page.board?.entries ?? [];
  const waiting = entries.filter(({ state }) => state === 'waiting');
  const inside = entries.filter(({ state }) => state === 'admitted');
  const delay = page.board?.delay_minutes ?? 0;
  return html`
    <section class="board card" aria-labelledby="board-title" data-testid="board">
      <div class="board-head">
        <h2 id="board-title">${t('board.title')}</h2>
        ${page.connected ? nothing : html`<span class="soft"><span class="spinner"></span> ${t('wait.reconnecting')}</span>`}
        <button class="button primary" type="button" data-testid="admit-next" ?disabled=${page.busy !== '' || !waiting.some(({ here }) => here)} @click=${() => page.admitNext()}>${icon('arrow')}<span>${t('board.next')}</span></button>
      </div>
      <div class="late row wrap" role="group" aria-label=${t('board.late')}>
        ${icon('clock')}<span>${t('board.late')}</span>
        ${LATE.map((minutes) => html`<button class="button secondary small" type="button" aria-pressed=${String(delay === minutes)} @click=${() => page.late(minutes)}>${t('board.minutes', { count: minutes })}</button>`)}
        ${delay ? html`<button class="button quiet small" type="button" @click=${() => page.late(0)}>${t('board.on_time')}</button>` : nothing}
      </div>
      ${inside.length ? html`<h3>${t('board.inside')}</h3><ul class="line">${repeat(inside, ({ ticket }) => ticket, (entry) => html`<li>${row(page, entry)}</li>`)}</ul>` : nothing}
      ${waiting.length ? html`<h3>${t('board.waiting', { count: waiting.length })}</h3>` : nothing}
      ${waiting.length ? html`<ul class="line">${repeat(waiting, ({ ticket }) => ticket, (entry) => html`<li>${row(page, entry)}</li>`)}</ul>` : html`<p class="soft">${t('board.nobody')}</p>`}
    </section>`;
}

/** @param {VisitsPage} page @param {QueueEntry} entry */
const row = (page, entry) => html`
  <div class="line-row" data-testid="waiting-entry" data-state=${entry.state} data-here=${String(entry.here)}>
    ${entry.place ? html`<span class="line-place">${number(entry.place)}</span>` : nothing}
    ${face(entry.name, 'small')}
    <div class="line-who" id=${`visit-${entry.ticket}`} tabindex="-1">
      <strong><bdi>${entry.name || t('person.nameless')}</bdi></strong>
      ${said(page, entry)}
      <p class="soft facts">
        ${entry.starts_at ? html`<span class="fact">${icon('calendar')}<bdi>${clock(entry.starts_at, ownZone())}</bdi></span>` : nothing}
        <span class="fact">${icon('clock')}${t('board.since', { count: minutesFrom(entry.joined_at) })}</span>
        <span class="fact"><span class="dot" data-here=${String(entry.here)}></span>${t(entry.here ? 'board.here' : 'board.away')}</span>
        ${devices(entry)}
      </p>
    </div>
    ${companions(page, entry)}
    ${page.asking.id === entry.ticket ? question(page, entry) : html`<div class="row wrap line-actions">
      ${entry.state === 'waiting'
        ? html`<button class="button primary small" type="button" data-testid="admit" ?disabled=${page.busy !== ''} @click=${() => page.admit(entry)}>${t('board.admit')}</button>
          ${tell(page, entry)}
          <button class="button quiet small" type="button" data-testid="no-show" @click=${() => page.ask(entry.ticket, 'no-show')}>${t('board.no_show')}</button>`
        : html`${page.talks.unread(entry) ? tell(page, entry) : nothing}<a class="button primary small" data-testid="open-call" href=${`/visits/${entry.appointment}#enter`}>${icon('camera')}<span>${t('visits.open')}</span></a>
          <button class="button secondary small" type="button" data-testid="end-visit" ?disabled=${page.busy !== ''} @click=${() => page.close(entry, 'end')}>${t('ended.end_visit')}</button>`}
    </div>`}
  </div>`;

/** Whom somebody asked in: an interpreter, family. @param {VisitsPage} page @param {QueueEntry} entry */
const companions = (page, entry) => entry.companions.map(({ holder, name, state, here }) => html`
  <div class="row wrap companion" data-testid="companion" data-state=${state}>
    <span class="fact">${icon('people')}<bdi>${name}</bdi></span>
    <span class="soft fact"><span class="dot" data-here=${String(here)}></span>${t(state === 'admitted' ? 'board.inside' : here ? 'board.here' : 'board.away')}</span>
    ${state === 'waiting' ? html`<button class="button secondary small" type="button" data-testid="admit-companion" ?disabled=${page.busy !== ''} aria-label=${t('board.admit_named', { name })} @click=${() => page.admitCompanion(entry, holder, name)}>${t('board.admit')}</button>` : nothing}
  </div>`);

/** @param {VisitsPage} page @param {QueueEntry} entry */
function tell(page, entry) {
  const unread = page.talks.unread(entry);
  return html`<button class="button ${unread ? 'primary' : 'secondary'} small" type="button" data-testid="tell" ?disabled=${!entry.appointment} @click=${() => page.ask(entry.ticket, 'message')}>${icon('message')}<span>${t('board.message')}</span>${unread
    ? html`<span class="badge" data-testid="unread" aria-hidden="true">${number(unread)}</span>` : nothing}</button>`;
}

/** The newest that the person wrote, as long as nobody has read it. @param {VisitsPage} page @param {QueueEntry} entry */
function said(page, entry) {
  const unread = page.talks.unread(entry);
  return unread ? html`<p class="said" data-testid="said"><span class="soft">${t('board.message_unread', { count: unread })}</span> <span dir="auto">${entry.messages.findLast(({ own }) => !own)?.body}</span></p>` : nothing;
}

/** What the patient's device lacks, so that the doctor knows before the call. @param {QueueEntry} entry */
const devices = ({ device_check: check }) => ['camera', 'microphone'].filter((what) => check[what] === false)
  .map((what) => html`<span class="fact warn">${icon(what === 'camera' ? 'cameraOff' : 'micOff')}${t(`board.no_${what}`)}</span>`);

/** @param {VisitsPage} page @param {QueueEntry} entry */
function question(page, entry) {
  const back = html`<button class="button secondary small" type="button" @click=${() => page.ask(entry.ticket, '')}>${t('visits.keep')}</button>`;
  if (page.asking.what === 'message') {
    return html`
      <div class="confirm chat" data-testid="talk" id=${`ask-${entry.ticket}`} tabindex="-1">
        <p><strong>${t('board.message_to')} <bdi>${entry.name}</bdi></strong></p>
        ${conversationView(page.talks.with(entry), { id: `message-${entry.ticket}`, label: html`${t('board.message_to')} ${entry.name}`, whose: ({ from_seat }) => (from_seat === 'third' ? t('wait.from_third') : entry.name), empty: t('board.no_messages') })}
        <div class="row wrap"><button class="button secondary small" type="button" data-testid="close-talk" @click=${() => page.ask(entry.ticket, '')}>${t('board.close')}</button></div>
      </div>`;
  }
  return html`
    <div class="confirm" role="group" aria-labelledby=${`ask-${entry.ticket}`}>
      <p id=${`ask-${entry.ticket}`} tabindex="-1"><strong>${t('board.no_show_sure')}</strong></p>
      <div class="row wrap"><button class="button danger small" type="button" data-testid="confirm" @click=${() => page.close(entry, 'no-show')}>${t('board.no_show')}</button>${back}</div>
    </div>`;
}
