// Requests to our own API, as whoever is signed in on this page.
//
// The access token lives in memory only; the refresh token is a cookie that no script reads. A cookie that was spent twice
// would end the session, so one tab refreshes at a time (Web Locks), and within a tab all requests wait for the same
// refresh. Refusals come as problem+json (RFC 9457) and leave here as ApiError; `problemText` turns one into words that say
// what to do.

import { t } from './i18n.js';

/** @import { Answer, How, Method, Path, PathOf, Said } from './api-types.js' */
/** @import { SignIn } from './booking.js' */

/**
 * What any request may say; `request` knows which of it fits where.
 * @typedef {How & {path?: Record<string, unknown>, query?: Record<string, unknown>, body?: unknown, key?: string}} Wish
 */

export class ApiError extends Error {
  /**
   * @param {number} status 0: the server was not reached, or not asked because the browser gave nothing to ask with
   * @param {string} code the problem's `code`, else `http_<status>`
   * @param {string} detail
   * @param {Record<string, any>} [problem] the whole answer
   */
  constructor(status, code, detail, problem = {}) {
    super(`${status} ${code}: ${detail}`);
    this.name = 'ApiError';
    this.status = status;
    this.code = code;
    this.detail = detail;
    this.problem = problem;
  }
}

/** Whether this browser has a session worth asking for: the cookie itself cannot be seen. */
const REMEMBERED = 'wadud.session';
const REFRESH = '/v1/auth/refresh';
const EARLY_MS = 30_000;

/** @type {{token: string, until_ms: number, person: string, roles: string[], factorDue: boolean}} */
const access = { token: '', until_ms: 0, person: '', roles: [], factorDue: false };
/** @type {Promise<boolean> | null} */
let refreshing = null;
/** @type {Set<() => void>} */
const listeners = new Set();

/** Who this page acts for; null: nobody yet. `factorDue`: a role of theirs counts only with a second factor, which they lack. */
export const who = () => (access.token ? { person: access.person, roles: access.roles, factorDue: access.factorDue } : null);

/** @param {() => void} changed called when somebody has signed in or out */
export const onWhoChanged = (changed) => listeners.add(changed);

addEventListener('storage', (event) => {
  if (event.key === REMEMBERED && event.newValue === null) forget();  // signed out in another tab
});

/** @param {SignIn} signIn with state signed_in */
export function keep(signIn) {
  const changed = access.person !== signIn.person;
  Object.assign(access, {
    token: signIn.access_token ?? '', until_ms: performance.now() + signIn.expires_in * 1000,
    person: signIn.person ?? '', roles: signIn.roles ?? [], factorDue: signIn.second_factor_due ?? false,
  });
  localStorage.setItem(REMEMBERED, '1');
  if (changed) listeners.forEach((listener) => listener());
}

/** Nobody is signed in on this page any more. */
export function forget() {
  Object.assign(access, { token: '', until_ms: 0, person: '', roles: [], factorDue: false });
  localStorage.removeItem(REMEMBERED);
  listeners.forEach((listener) => listener());
}

/** Whether this page acts for nobody, or for a visitor without an account. */
export const isVisitor = () => access.roles.every((role) => role === 'anonymous');

/**
 * What a visitor shows when they sign in, so that what they booked before goes with them; empty: there is nothing to show.
 * It is no `request` of theirs: a refusal must not be repeated with a new token, because each is a counted try.
 * @returns {Promise<string>}
 */
export const visitorsToken = async () => (await resume() && isVisitor() ? access.token : '');

/** @returns {Promise<boolean>} whether somebody is signed in, after asking the server if need be */
export async function resume() {
  if (access.token && performance.now() < access.until_ms - EARLY_MS) return true;
  return localStorage.getItem(REMEMBERED) === null ? false : refresh();
}

/** A new access token, whose roles are those of now. @returns {Promise<boolean>} as `resume` */
export function refresh() {
  refreshing ??= inTurn(async () => {
    const answer = await send('POST', REFRESH, { body: {} });
    if (answer.ok) keep(await answer.json());
    else if (answer.status === 401 || answer.status === 400) forget();
    else throw await refusal(answer);
    return answer.ok;
  }).finally(() => {
    refreshing = null;
  });
  return refreshing;
}

/** @template T @param {() => Promise<T>} work @returns {Promise<T>} done by one tab at a time */
async function inTurn(work) {
  return navigator.locks ? await navigator.locks.request('wadud.refresh', work) : work();
}

/**
 * A request as /openapi.json describes it.
 * @template {Method} M
 * @template {Path} P
 * @param {M} method
 * @param {P & PathOf<M>} path with its parts as `{name}`
 * @param {Said<M, P>} said
 * @returns {Promise<Answer<M, P>>} null for an empty answer
 * @throws {ApiError}
 */
export function request(method, path, ...said) {
  const wish = /** @type {Wish} */ (said[0] ?? {});
  return ask(method, addressOf(path, wish), wish);
}

/**
 * As `request`, where the address is not one of the description: rooms, and what another part of the page hands over.
 * @param {Method} method
 * @param {string} address
 * @param {Wish} [wish]
 * @returns {Promise<any>}
 * @throws {ApiError}
 */
export async function ask(method, address, wish = {}) {
  const answer = await asked(method, address, wish);
  if (answer.status === 204) return null;
  const text = await answer.text();
  return text ? JSON.parse(text) : null;
}

/** @param {string} path @param {Wish} wish */
function addressOf(path, { path: parts = {}, query = {} }) {
  const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== null).map(([name, value]) => [name, String(value)]);
  const filled = path.replace(/\{(\w+)\}/g, (_, name) => encodeURIComponent(String(parts[name])));
  return given.length > 0 ? `${filled}?${new URLSearchParams(given)}` : filled;
}

/** As `ask`, for an answer that is a file. @param {string} path @returns {Promise<Blob>} */
export const download = async (path) => (await asked('GET', path, {})).blob();

/** @param {Method} method @param {string} path @param {Wish} wish */
async function asked(method, path, wish) {
  if (!wish.anonymous) await resume();
  let answer = await send(method, path, wish);
  if (answer.status === 401 && !wish.anonymous && access.token && await refresh()) answer = await send(method, path, wish);
  if (!answer.ok) throw await refusal(answer);
  return answer;
}

/** @param {Method} method @param {string} path @param {Wish} wish */
async function send(method, path, { body, key, anonymous, bearer, signal }) {
  /** @type {Record<string, string>} */
  const headers = { accept: 'application/json' };
  if (body !== undefined) headers['content-type'] = 'application/json';
  if (key !== undefined) headers['idempotency-key'] = key;
  const token = anonymous ? bearer : path !== REFRESH && access.token;
  if (token) headers.authorization = `Bearer ${token}`;
  try {
    return await fetch(path, { method, headers, signal, body: body === undefined ? undefined : JSON.stringify(body) });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError(0, 'unreachable', String(error));
  }
}

/** @param {Response} answer */
async function refusal(answer) {
  const problem = await answer.json().catch(() => ({}));  // a proxy's own error page is no JSON
  return new ApiError(answer.status, problem.code ?? `http_${answer.status}`, problem.detail ?? problem.title ?? '', problem);
}

/**
 * What to tell the person: our own words for codes that we know, else what the server says in its language.
 * @param {unknown} error
 */
export function problemText(error) {
  const code = error instanceof ApiError ? error.code : 'unknown';
  const own = t(`problem.${code}`);
  if (own !== `problem.${code}`) return own;
  if (error instanceof ApiError && error.status < 500 && error.detail) return error.detail;
  return t('problem.try_again');
}

/** A new Idempotency-Key, for one wish of the person. */
export const newKey = () => (crypto.randomUUID ? crypto.randomUUID()
  : [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, '0')).join(''));
