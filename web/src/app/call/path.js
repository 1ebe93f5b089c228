// The way that media take, in words; and what is said while none has been found yet.

/** @import { CallPage } from './page.js' */
/** @import { MediaPath } from '../../client/index.js' */

import { html, nothing } from 'lit-html';
import { t } from '../i18n.js';

/** An open network takes a fraction of this. */
const LONG_MS = 3000;
const FAMILY = { ipv4: 'IPv4', ipv6: 'IPv6' };

/** @param {MediaPath | null | undefined} path */
export const pathText = (path) => (path ? `${t(`quality.path_${path.kind}_${path.protocol}`)} · ${FAMILY[path.family]}` : t('quality.path_unknown'));

/** Whether media have looked for a way for so long that the person should be told why. @param {CallPage} page */
export const waitsForPath = ({ call, calledAt_ms }) => call?.health.media === 'new' && call.state !== 'reconnecting'
  && Date.now() - calledAt_ms > LONG_MS;

/** @param {CallPage} page */
export const workaround = (page) => (waitsForPath(page)
  ? html`<div class="banner warn" data-testid="banner-workaround"><span class="spinner"></span><span>${t('call.workaround')}</span></div>` : nothing);
