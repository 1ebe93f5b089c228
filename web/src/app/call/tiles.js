// The stage: one tile per person and per shared screen. Alone, in twos, in a grid, or around a shared screen.

/** @import { Participant, Track } from '../../client/index.js' */
/** @import { CallPage } from './page.js' */

import { html, nothing } from 'lit-html';
import { repeat } from 'lit-html/directives/repeat.js';
import { cssVariables, initials, shows } from '../dom.js';
import { linkField, shareButton } from '../frame.js';
import { t } from '../i18n.js';
import { bars, icon } from '../icons.js';
import { bestGrid } from './layout.js';
import { levelOf, qualityText } from './quality.js';

const GAP_PX = 10;
/** A score below this is shown on the tile itself. */
const WEAK_SCORE = 3;

/** @typedef {{participant: Participant, track: Track | null, source: 'camera' | 'screen'}} Tile */

/** @type {WeakMap<MediaStreamTrack, MediaStream>} */
const streams = new WeakMap();

/** One stream per track, so that a video element is not restarted at every drawing. @param {MediaStreamTrack | null} track */
export function streamOfTrack(track) {
  if (!track) return null;
  const stream = streams.get(track) ?? new MediaStream([track]);
  streams.set(track, stream);
  return stream;
}

/** @param {Participant} participant @returns {Tile[]} */
function tilesOf(participant) {
  const camera = participant.tracks.find((track) => track.source === 'camera') ?? null;
  const screen = participant.tracks.find((track) => track.source === 'screen' && !track.muted);
  /** @type {Tile[]} */
  const tiles = [{ participant, track: camera, source: 'camera' }];
  if (screen && !participant.self) tiles.unshift({ participant, track: screen, source: 'screen' });
  return tiles;
}

/** @param {CallPage} page */
export function stage(page) {
  const { self, others } = page;
  const tiles = others.flatMap(tilesOf);
  const screen = tiles.find((tile) => tile.source === 'screen');
  const own = self ? tilesOf(self) : [];
  const mode = screen ? 'feature' : ['alone', 'duo'][others.length] ?? 'grid';
  const around = tiles.filter((tile) => tile !== screen);
  const all = mode === 'grid' ? [...around, ...own] : [...own, ...around];
  const grid = bestGrid(all.length, page.stageSize.width, page.stageSize.height, GAP_PX);
  return html`
    <div class="stage" data-mode=${mode} data-scrolls=${String(mode === 'grid' && grid.scrolls)} data-testid="stage">
      ${mode === 'alone' ? waiting(page) : nothing}
      ${screen ? tileView(page, screen) : nothing}
      <ul class="tiles" tabindex=${screen || (mode === 'grid' && grid.scrolls) ? 0 : nothing} aria-label=${t('stage.label')} ${cssVariables({ 'tile-width': `${grid.width}px`, 'tile-height': `${grid.height}px`, 'gap': `${GAP_PX}px` })}>
        ${repeat(all, ({ participant, source }) => `${participant.id}/${source}`, (tile) => html`<li data-self=${String(tile.participant.self)}>${tileView(page, tile)}</li>`)}
      </ul>
    </div>`;
}

/** @param {CallPage} page @param {Tile} tile */
function tileView(page, { participant, track, source }) {
  const { self, id } = participant;
  const name = self ? t('person.you', { name: page.nameOf(participant) }) : page.nameOf(participant);
  const microphone = participant.tracks.find((candidate) => candidate.source === 'microphone');
  const silent = source === 'camera' && (microphone?.muted ?? true);
  const stream = self ? streamOfTrack(page.publications.get('camera')?.track ?? null) : track?.stream ?? null;
  const showsVideo = stream !== null && track !== null && !track.muted;
  const mirrored = self && source === 'camera' && page.publications.get('camera')?.track?.getSettings().facingMode !== 'environment';
  const score = page.qualities.get(id)?.score;
  const state = self ? 'connected' : participant.connection;
  const speaking = source === 'camera' && !silent && page.isSpeaking(id);
  const label = source === 'screen' ? t('tile.screen', { name }) : name;
  return html`
    <div class="tile" role="group" aria-label=${label} data-testid="tile" data-participant=${id} data-source=${source} data-self=${String(self)}
      data-video=${showsVideo ? 'on' : 'off'} data-speaking=${String(speaking)} data-connection=${state}>
      <span class="avatar" aria-hidden="true">${initials(page.nameOf(participant)) || icon('person')}</span>
      <video class=${mirrored ? 'mirrored' : ''} data-testid="tile-video" aria-label=${t('tile.video', { name })} autoplay playsinline
        .muted=${true} ${shows(showsVideo ? stream : null)}
        @loadeddata=${markPlaying} @emptied=${markPlaying} @resize=${markShape}></video>
      ${state === 'connected' ? nothing : html`<div class="tile-state"><span class="spinner"></span><span>${t(`tile.${state}`)}</span></div>`}
      <div class="tile-foot">
        ${silent ? html`<span class="tile-mark" role="img" aria-label=${t('tile.muted')}>${icon('micOff')}</span>` : nothing}
        <span class="tile-name">${self ? t('person.self') : label}</span>
        ${score !== undefined && score < WEAK_SCORE ? html`<span class="tile-mark" role="img" aria-label=${qualityText(score)}>${bars(levelOf(score))}</span>` : nothing}
      </div>
    </div>`;
}

/** The picture covers the avatar once there is one. @param {Event} event */
function markPlaying(event) {
  const video = /** @type {HTMLVideoElement} */ (event.target);
  video.toggleAttribute('data-playing', event.type === 'loadeddata' && video.srcObject !== null);
}

/** @param {Event} event */
function markShape(event) {
  const video = /** @type {HTMLVideoElement} */ (event.target);
  video.toggleAttribute('data-portrait', video.videoHeight > video.videoWidth);
}

/** In a visit somebody is expected, and one knows whom. @param {CallPage} page */
const whoIsAlone = ({ met, visit }) => (met ? 'again_' : visit ? `${visit.seat}_` : '');

/** The room of a visit has no link that lets anybody in: each person has one of their own. @param {CallPage} page */
const waiting = (page) => html`
  <div class="waiting">
    <span class="waiting-art" aria-hidden="true"><i></i><i></i>${icon('people')}</span>
    <h2>${t(`waiting.${whoIsAlone(page)}title`)}</h2>
    <p>${t(`waiting.${whoIsAlone(page)}text`)}</p>
    ${page.visit ? nothing : html`
      ${linkField(page.link)}
      <div class="row wrap">${page.copyButton.view(page.link, 'button primary')}${shareButton(page.link)}</div>`}
  </div>`;
