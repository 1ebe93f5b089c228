// On the way into the call of a visit: who was let in is in by themselves, so this is seen for a moment, or says why not.

/** @import { CallPage } from './page.js' */

import { html, nothing } from 'lit-html';
import { siteHeader } from '../frame.js';
import { t } from '../i18n.js';
import { icon } from '../icons.js';
import { trouble } from '../site.js';
import { permissionHelp } from './help.js';
import { workaround } from './path.js';

/** @param {CallPage} page */
export const entering = (page) => html`
  ${siteHeader(() => page.draw())}
  <main class="join" data-testid="entering">
    <section class="card join-card" aria-busy=${String(page.phase === 'joining')}>
      <h1 id="lobby-title" tabindex="-1">${t(page.joinProblem ? 'wait.not_entered' : 'wait.entering')}</h1>
      ${permissionHelp(page.check)}
      ${workaround(page)}
      ${page.joinProblem ? html`
        <div data-testid="join-problem">${trouble(page.joinProblem)}</div>
        <button class="button primary large" data-testid="join-button" type="button" @click=${() => page.join(false)}>${icon('retry')}<span>${t('join.try_again')}</span></button>
        <a class="button secondary" data-testid="back-to-visit" href=${page.visit?.back ?? '/visits'}>${t('ended.visit')}</a>` : html`<span class="spinner"></span>`}
      ${page.check.asking ? nothing : html`<p class="fine">${icon('lock')}<span>${t('lobby.private')}</span></p>`}
    </section>
  </main>`;
