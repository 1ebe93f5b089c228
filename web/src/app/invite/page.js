// An invitation to a role in a clinic, or to care for somebody: look, sign in with the invited address, accept.
//
// The token is taken out of the address bar at once and stays in this tab until it has been used. Looking spends nothing;
// the button does, because mail scanners open links. A role counts from the next access token on, so one is fetched.

/** @import { Account, Invitation } from '../booking.js' */

import { html, nothing, render } from 'lit-html';
import { oncePerFrame } from '../dom.js';
import { ApiError, problemText, refresh, request, resume, who } from '../http.js';
import { t } from '../i18n.js';
import { icon } from '../icons.js';
import { isVisitor, logOut } from '../session.js';
import { SignInForm } from '../sign-in/form.js';
import { trouble, visitHeader } from '../site.js';

/** @typedef {'loading' | 'sign-in' | 'accept' | 'accepted' | 'over' | 'bad' | 'problem'} Phase */

const TOKEN = 'wadud.invite';

export class InvitePage {
  /** @type {Phase} */
  phase = 'loading';
  /** @type {Invitation | null} */
  invitation = null;
  /** @type {Account | null} */
  account = null;
  problem = '';
  busy = false;
  #token = '';
  /** @type {SignInForm | null} */
  #form = null;

  /** @param {HTMLElement} root */
  constructor(root) {
    this.root = root;
    this.draw = oncePerFrame(() => this.#render());
    addEventListener('hashchange', () => location.hash.length > 1 && location.reload());  // another link into the same tab
  }

  async start() {
    this.#token = location.hash.slice(1) || (sessionStorage.getItem(TOKEN) ?? '');
    if (location.hash) history.replaceState(history.state, '', location.pathname + location.search);
    if (this.#token) sessionStorage.setItem(TOKEN, this.#token);
    await this.look();
  }

  async look() {
    this.#show('loading');
    if (!this.#token) {
      this.#show('bad');
      return;
    }
    try {
      this.invitation = await request('POST', '/v1/invites/look', { body: { token: this.#token }, anonymous: true });
      if (this.invitation?.state === 'over') this.#end('over');
      else if (await resume() && !isVisitor()) await this.#asWhom();
      else this.#askWho();
    } catch (error) {
      if (error instanceof ApiError && error.code === 'bad_invite') this.#end('bad');
      else this.#show('problem', problemText(error));
    }
  }

  async accept() {
    if (this.busy) return;
    this.busy = true;
    this.problem = '';
    this.draw();
    try {
      await request('POST', '/v1/invites/accept', { body: { token: this.#token } });
      await refresh();
      this.#end('accepted');
    } catch (error) {
      const code = error instanceof ApiError ? error.code : '';
      if (code === 'bad_invite') this.#end('bad');
      else if (code === 'invite_over') this.#end('over');
      else this.problem = problemText(error);
    }
    this.busy = false;
    this.#render();
  }

  /** As somebody else. */
  async signOut() {
    await logOut();
    this.#askWho();
  }

  async #asWhom() {
    this.account = await request('GET', '/v1/me');
    this.#show('accept');
  }

  #askWho() {
    this.#form = new SignInForm(() => this.#render(), () => this.#asWhom(), this.invitation?.email ?? '');
    this.#show('sign-in');
  }

  /** The invited address is one of theirs. */
  get isFitting() {
    return this.account?.contacts.some(({ kind, value }) => kind === 'email' && value === this.invitation?.email) === true;
  }

  /** The token is of no more use. @param {Phase} phase */
  #end(phase) {
    sessionStorage.removeItem(TOKEN);
    this.#show(phase);
  }

  /** @param {Phase} phase @param {string} [problem] */
  #show(phase, problem = '') {
    this.phase = phase;
    this.problem = problem;
    this.#render();
    if (phase === 'accept' || phase === 'accepted') document.getElementById('invite-title')?.focus();
  }

  #render() {
    document.title = t('title.invite');
    render(html`
      ${visitHeader(this.draw)}
      <main class="join"><section class="card join-card" data-testid="invite" data-phase=${this.phase}>${this.#content()}</section></main>`, this.root);
  }

  #content() {
    const { invitation } = this;
    switch (this.phase) {
      case 'loading':
        return html`<p class="soft" role="status"><span class="spinner"></span> ${t('invite.loading')}</p>`;
      case 'problem':
        return html`${trouble(this.problem)}<button class="button primary" type="button" data-testid="again" @click=${() => this.look()}>${icon('retry')}<span>${t('account.again')}</span></button>`;
      case 'bad':
      case 'over':
        return html`<span class="ended-icon warn">${icon('link')}</span><h1>${t(`invite.${this.phase}`)}</h1><p>${t(`invite.${this.phase}_text`)}</p>
          <a class="button secondary" href="/visits">${t('nav.visits')}</a>`;
      case 'accepted':
        return html`<span class="ended-icon">${icon('check')}</span><h1 id="invite-title" tabindex="-1">${t('invite.accepted')}</h1>
          <p>${t(invitation?.role ? 'invite.accepted_role' : 'invite.accepted_care', { clinic: invitation?.clinic ?? '', role: this.#role })}</p>
          ${who()?.factorDue ? html`<p class="notice warn">${icon('lock')}<span>${t('account.factor_due')}</span></p>` : nothing}
          <a class="button primary large" data-testid="go-on" href=${who()?.factorDue ? '/account?next=/visits' : '/visits'}>${t(who()?.factorDue ? 'account.factor_set_up' : 'account.go_on')}</a>`;
      default:
        return html`<span class="ended-icon">${icon('message')}</span>
          <h1 id="invite-title" tabindex="-1">${t(invitation?.role ? 'invite.title_role' : 'invite.title_care', { clinic: invitation?.clinic ?? '' })}</h1>
          ${invitation?.role ? html`<p>${t('invite.role', { role: this.#role })}</p>` : html`<p>${t('invite.care')}</p>`}
          ${trouble(this.problem)}
          ${this.phase === 'sign-in' ? html`<p class="soft">${t('invite.sign_in')} <bdi>${invitation?.email}</bdi></p>${this.#form?.view()}` : this.#answer()}`;
    }
  }

  get #role() {
    const role = this.invitation?.role ?? '';
    const own = t(`role.${role}`);
    return own === `role.${role}` ? role : own;
  }

  #answer() {
    if (!this.isFitting) {
      return html`<p class="notice warn" role="alert" data-testid="wrong-account">${icon('warning')}<span>${t('invite.wrong_account')} <bdi>${this.invitation?.email}</bdi></span></p>
        <button class="button primary large" type="button" data-testid="sign-in-right" @click=${() => this.signOut()}>${t('invite.sign_in_right')}</button>`;
    }
    return html`<p class="soft">${t('invite.as')} <bdi>${this.invitation?.email}</bdi></p>
      <button class="button primary large" type="button" data-testid="accept" ?disabled=${this.busy} @click=${() => this.accept()}>
        ${this.busy ? html`<span class="spinner"></span>` : nothing}<span>${t('invite.accept')}</span></button>`;
  }
}
