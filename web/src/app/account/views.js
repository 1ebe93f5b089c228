// What the page of one's account shows.

/** @import { Device, Passkey } from '../booking.js' */
/** @import { AccountPage, Question, Section } from './page.js' */

import { html, nothing } from 'lit-html';
import { repeat } from 'lit-html/directives/repeat.js';
import { t } from '../i18n.js';
import { icon } from '../icons.js';
import { passkeysWork } from '../passkeys.js';
import { trouble, visitHeader } from '../site.js';
import { date, ownZone } from '../when.js';
import { people } from './people.js';
import { asks, confirm, raw, submit, text } from './pieces.js';
import { qrCode } from './qr.js';

/** @param {AccountPage} page */
export const accountView = (page) => html`
  ${visitHeader(() => page.draw())}
  <main class="visits account">
    <h1 id="account-title" tabindex="-1">${t('account.title')}</h1>
    ${page.problem.section === '' && page.problem.text ? html`${trouble(page.problem.text)}
      <button class="button secondary" type="button" data-testid="again" @click=${() => page.start()}>${icon('retry')}<span>${t('account.again')}</span></button>` : nothing}
    ${page.account ? sections(page) : page.problem.text ? nothing : html`<p class="soft" role="status"><span class="spinner"></span> ${t('account.loading')}</p>`}
  </main>`;

/** @param {AccountPage} page */
const sections = (page) => html`
  ${way(page)}
  ${section(page, 'name', profile(page))}
  ${section(page, 'people', people(page))}
  ${section(page, 'factor', factor(page))}
  ${section(page, 'passkeys', passkeys(page))}
  ${section(page, 'password', password(page))}
  ${section(page, 'devices', devices(page))}`;

/** On the way elsewhere, where a role of theirs counts only with a second factor. @param {AccountPage} page */
function way(page) {
  if (page.factorDue) return html`<p class="notice warn" role="status" data-testid="factor-due">${icon('lock')}<span>${t('account.factor_due')}</span></p>`;
  return page.next && page.recoveryCodes.length === 0
    ? html`<a class="button primary" data-testid="go-on" href=${page.next}><span>${t('account.go_on')}</span>${icon('arrow')}</a>` : nothing;
}

/** @param {AccountPage} page @param {Section} name @param {unknown} content */
const section = (page, name, content) => html`
  <section class="card account-card" data-testid=${`section-${name}`} aria-labelledby=${`${name}-title`}>
    <h2 id=${`${name}-title`} tabindex="-1">${t(`account.${name}`)}</h2>
    ${page.problem.section === name ? trouble(page.problem.text) : nothing}
    ${page.proof?.section === name ? html`
      <div class="confirm" data-testid="proof"><p>${t('account.prove')}</p>${page.proof.form.view()}
        <button class="button quiet" type="button" @click=${() => page.leaveProof()}>${t('account.not_now')}</button></div>` : content}
  </section>`;

/** @param {AccountPage} page */
const profile = (page) => html`
  <form class="row wrap account-form" @submit=${(/** @type {SubmitEvent} */ event) => page.rename(text(event, 'name'))}>
    <div class="form-field"><label for="own-name">${t('account.your_name')}</label>
      <input class="field" id="own-name" name="name" autocomplete="name" required maxlength="120" dir="auto" data-testid="own-name" .value=${page.account?.name ?? ''}></div>
    ${submit(page, 'name', t('account.save'))}
  </form>
  <dl class="account-contacts">${(page.account?.contacts ?? []).map(({ kind, value }) => html`
    <div><dt class="soft">${t(`account.contact_${kind}`)}</dt><dd><bdi>${value || t('account.contact_linked')}</bdi></dd></div>`)}</dl>`;

/** @param {AccountPage} page */
function factor(page) {
  if (page.recoveryCodes.length > 0) return recovery(page);
  if (page.enrolment) return enrolment(page, page.enrolment);
  if (!page.account?.has_totp) {
    return html`<p>${t('account.factor_off')}</p>
      <button class="button primary" type="button" data-testid="set-up-factor" ?disabled=${page.busy !== ''} @click=${() => page.beginFactor()}>${icon('device')}<span>${t('account.factor_set_up')}</span></button>`;
  }
  if (page.question === 'new-codes') return withCode(page, t('account.codes_ask'), t('account.codes_make'), (code) => page.newRecoveryCodes(code));
  if (page.question === 'remove-factor') return withCode(page, t('account.factor_remove_ask'), t('account.factor_remove'), (code) => page.removeFactor(code));
  return html`<p class="fact">${icon('check')}<span>${t('account.factor_is_on')}</span></p>
    <div class="row wrap">${asks(page, 'new-codes', t('account.codes_new'))}${asks(page, 'remove-factor', t('account.factor_remove'))}</div>`;
}

/** @param {AccountPage} page @param {import('../booking.js').Enrolment} enrolment */
const enrolment = (page, { uri, secret }) => html`
  <ol class="steps-list">
    <li>${t('account.factor_scan')}
      <div class="qr-frame">${qrCode(uri, t('account.factor_qr'))}</div>
      <p class="soft">${t('account.factor_type')} <bdi class="secret" dir="ltr" data-testid="secret">${secret.match(/.{1,4}/g)?.join(' ')}</bdi></p>
      <div class="row wrap">${page.copyButton.view(secret, 'button secondary small', t('account.copy'))}<a class="button secondary small" href=${uri}>${icon('device')}<span>${t('account.factor_here')}</span></a></div></li>
    <li>${codeForm(page, t('account.factor_code'), t('account.factor_confirm'), (code) => page.confirmFactor(code), 'numeric')}</li>
  </ol>
  <button class="button quiet" type="button" @click=${() => page.leaveEnrolment()}>${t('account.not_now')}</button>`;

/** @param {AccountPage} page */
const recovery = (page) => html`
  <div class="confirm" data-testid="recovery-codes">
    <h3 id="recovery-title" tabindex="-1">${t('account.codes_title')}</h3>
    <p>${t('account.codes_text')}</p>
    <ul class="codes" dir="ltr">${page.recoveryCodes.map((code) => html`<li><code>${code}</code></li>`)}</ul>
    <div class="row wrap">${page.copyButton.view(page.recoveryCodes.join('\n'), 'button secondary', t('account.copy'))}
      <button class="button primary" type="button" data-testid="codes-kept" @click=${() => page.hideRecoveryCodes()}>${icon('check')}<span>${t('account.codes_kept')}</span></button></div>
  </div>`;

/** @param {AccountPage} page */
const passkeys = (page) => html`
  <p>${t('account.passkeys_text')}</p>
  ${page.passkeys.length ? html`<ul class="line">${repeat(page.passkeys, ({ id }) => id, (each) => html`<li>${passkey(page, each)}</li>`)}</ul>` : nothing}
  ${passkeysWork() ? html`
    <form class="row wrap account-form" @submit=${(/** @type {SubmitEvent} */ event) => page.addPasskey(text(event, 'label'))}>
      <div class="form-field"><label for="passkey-label">${t('account.passkey_label')}</label>
        <input class="field" id="passkey-label" name="label" maxlength="60" required dir="auto" data-testid="passkey-label" .value=${t('account.passkey_default')}></div>
      ${submit(page, 'passkeys', t('account.passkey_add'))}
    </form>` : html`<p class="soft">${t('account.passkeys_missing')}</p>`}`;

/** @param {AccountPage} page @param {Passkey} passkey */
function passkey(page, { id, label, created_at: made, used_at: used }) {
  const question = /** @type {Question} */ (`passkey ${id}`);
  const name = label || t('account.passkey_default');
  return html`<div class="line-row" data-testid="passkey">
    ${icon('key')}
    <div class="line-who"><bdi>${name}</bdi><p class="soft">${used ? t('account.used', { at: at(used) }) : t('account.made', { at: at(made) })}</p></div>
    ${page.question === question
      ? confirm(page, t('account.passkey_remove_ask', { name }), t('account.remove'), () => page.removePasskey(id))
      : asks(page, question, t('account.remove'), t('account.remove_named', { name }))}
  </div>`;
}

/** @param {AccountPage} page */
const password = (page) => html`
  <p>${t(page.account?.has_password ? 'account.password_is_set' : 'account.password_none')}</p>
  <form class="account-form stacked" @submit=${(/** @type {SubmitEvent} */ event) => page.setPassword(raw(event, 'password'), raw(event, 'current'))}>
    <input class="visually-hidden" name="username" autocomplete="username" tabindex="-1" aria-hidden="true" readonly value=${page.account?.contacts[0]?.value ?? ''}>
    ${page.account?.has_password ? html`<div class="form-field"><label for="current">${t('account.password_current')}</label>
      <input class="field" id="current" name="current" type="password" autocomplete="current-password" dir="ltr" maxlength="200" data-testid="current-password" aria-describedby="current-help">
      <p class="soft" id="current-help">${t('account.password_forgotten')}</p></div>` : nothing}
    <div class="form-field"><label for="new-password">${t('account.password_new')}</label>
      <input class="field" id="new-password" name="password" type="password" autocomplete="new-password" dir="ltr" required minlength="8" maxlength="200" data-testid="new-password"></div>
    ${submit(page, 'password', t(page.account?.has_password ? 'account.password_change' : 'account.password_make'))}
  </form>`;

/** @param {AccountPage} page */
const devices = (page) => html`
  <ul class="line">${repeat(page.devices, ({ id }) => id, (each) => html`<li>${device(page, each)}</li>`)}</ul>
  ${page.question === 'end-all' ? confirm(page, t('account.end_all_ask'), t('account.end_all'), () => page.endAll()) : html`<div>${asks(page, 'end-all', t('account.end_all'))}</div>`}`;

/** @param {AccountPage} page @param {Device} device */
const device = (page, { id, device: name, seen_at: seen, current }) => html`
  <div class="line-row" data-testid="device" data-current=${String(current)}>
    ${icon('device')}
    <div class="line-who"><bdi>${name || t('account.device_unknown')}</bdi><p class="soft">${current ? t('account.device_this') : t('account.seen', { at: at(seen) })}</p></div>
    ${current ? nothing : html`<button class="button secondary small" type="button" data-testid="end-device" ?disabled=${page.busy !== ''}
      aria-label=${t('account.device_end_named', { name: name || t('account.device_unknown') })} @click=${() => page.endDevice(id)}>${t('account.device_end')}</button>`}
  </div>`;

// Pieces.

/** @param {AccountPage} page @param {string} question @param {string} words @param {(code: string) => void} act */
const withCode = (page, question, words, act) => html`
  <div class="confirm">${codeForm(page, question, words, act, 'text')}
    <button class="button quiet" type="button" @click=${() => page.ask('')}>${t('account.not_now')}</button></div>`;

/** @param {AccountPage} page @param {string} label @param {string} words @param {(code: string) => void} act @param {'numeric' | 'text'} mode */
const codeForm = (page, label, words, act, mode) => html`
  <form class="account-form stacked" @submit=${(/** @type {SubmitEvent} */ event) => act(text(event, 'code'))}>
    <div class="form-field"><label for="factor-code">${label}</label>
      <input class="field code-field" id="factor-code" name="code" inputmode=${mode} autocomplete="one-time-code" dir="ltr" required minlength="6" maxlength="40" data-testid="factor-code"></div>
    ${submit(page, 'factor', words)}
  </form>`;

/** @param {string} instant */
const at = (instant) => date(instant, ownZone());
