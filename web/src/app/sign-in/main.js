// Entry of the page for signing in.

import '../shared.js';
import { html, render } from 'lit-html';
import { oncePerFrame } from '../dom.js';
import { preferredLanguage, setLanguage, t } from '../i18n.js';
import { icon } from '../icons.js';
import { goTo, wishedNext } from '../navigation.js';
import { visitHeader } from '../site.js';
import { SignInForm } from './form.js';

const root = /** @type {HTMLElement} */ (document.getElementById('app'));
const draw = oncePerFrame(show);
const form = new SignInForm(show, ({ second_factor_due: due }) => {
  const next = wishedNext('/visits');
  goTo(due ? `/account?next=${encodeURIComponent(next)}` : next);
});

function show() {
  document.title = t('title.sign_in');
  render(html`
    ${visitHeader(draw)}
    <main class="join"><section class="card join-card" data-testid="sign-in" data-step=${form.step}>
      <h1>${t('signin.title')}</h1>
      <p class="soft">${t('signin.lead')}</p>
      ${form.view()}
      <p class="fine">${icon('lock')}<span>${t('signin.private')}</span></p>
    </section></main>`, root);
}

await setLanguage(preferredLanguage());
show();
