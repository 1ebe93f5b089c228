// Connection quality in words and bars.

/** @import { CallPage } from './page.js' */

import { html, nothing } from 'lit-html';
import { number, t } from '../i18n.js';
import { bars } from '../icons.js';
import { pathText } from './path.js';

/** Lowest score of each level from 4 bars down to 1. */
const LEVELS = [4, 3.4, 2.6, 0];

/** @param {number | undefined} score 1 to 5 @returns {number} bars, 0 while unknown */
export function levelOf(score) {
  return score === undefined ? 0 : 4 - LEVELS.findIndex((lowest) => score >= lowest);
}

/** @param {number | undefined} score */
export const qualityText = (score) => t(`quality.level_${levelOf(score)}`);

/** @param {CallPage} page */
export function qualityButton(page) {
  const { stats } = page;
  const score = page.ownScore;
  return html`
    <div class="quality-box">
      <button class="quality" type="button" data-testid="quality" data-level=${levelOf(score)} data-score=${score?.toFixed(1) ?? ''}
        aria-label=${`${t('quality.label')}: ${qualityText(score)}`} aria-expanded=${String(page.qualityOpen)} @click=${() => page.toggleQuality()}>
        ${bars(levelOf(score))}<span class="quality-text" aria-hidden="true">${qualityText(score)}</span>
      </button>
      ${page.qualityOpen && stats ? html`
        <dl class="quality-details card" data-testid="quality-details">
          ${row('quality.rtt', `${number(Math.round(stats.rtt_ms))} ms`)}
          ${row('quality.loss', `${number(stats.loss_percent, { maximumFractionDigits: 1 })} %`)}
          ${row('quality.down', `${number(Math.round(stats.inbound_bps / 1000))} kbit/s`)}
          ${row('quality.up', `${number(Math.round(stats.outbound_bps / 1000))} kbit/s`)}
          <div class="quality-path"><dt>${t('quality.path')}</dt><dd data-testid="quality-path">${pathText(page.call?.path)}</dd></div>
        </dl>` : nothing}
    </div>`;
}

/** @param {string} key @param {string} value */
const row = (key, value) => html`<div><dt>${t(key)}</dt><dd dir="auto">${value}</dd></div>`;
