// Texts in the person's language. A locale is one flat JSON file; `{name}` is a hole; a text with plural forms has keys
// `key_one`, `key_other` (and others that the language needs). English fills what a locale does not have yet.

/** @typedef {{name: string, dir: 'ltr' | 'rtl'}} Language */

/** Offered languages. A new one needs a line here and a file in locales/. @type {Record<string, Language>} */
export const LANGUAGES = {
  en: { name: 'English', dir: 'ltr' },
  ur: { name: 'اردو', dir: 'rtl' },
};

const STORED = 'wadud.language';
const FALLBACK = 'en';

/** @type {Record<string, string>} */
let texts = {};
/** @type {Record<string, string>} */
let fallback = {};
let current = FALLBACK;
let wishes = 0;

export const language = () => current;

/** `?lang=`, which holds for this tab, else the stored choice, else the first of the browser's languages that we have. */
export function preferredLanguage() {
  const asked = new URLSearchParams(location.search).get('lang');
  if (asked !== null) sessionStorage.setItem(STORED, asked);
  const wishes = [sessionStorage.getItem(STORED), localStorage.getItem(STORED), ...navigator.languages.map((tag) => tag.split('-')[0])];
  return wishes.find((tag) => tag !== null && tag in LANGUAGES) ?? FALLBACK;
}

/** Whether the person, or who sent the link, has said which language. */
export const languageChosen = () => sessionStorage.getItem(STORED) !== null || localStorage.getItem(STORED) !== null;

/** @param {string} tag one of LANGUAGES; loaded, shown to the document and remembered when `remember` */
export async function setLanguage(tag, remember = false) {
  const number = wishes += 1;
  const loaded = await Promise.all([load(tag), tag === FALLBACK ? {} : load(FALLBACK)]);
  if (number !== wishes) return;  // another has been chosen since
  [texts, fallback] = loaded;
  current = tag;
  document.documentElement.lang = tag;
  document.documentElement.dir = LANGUAGES[tag].dir;
  if (!remember) return;
  localStorage.setItem(STORED, tag);
  sessionStorage.removeItem(STORED);
}

/**
 * @param {string} key
 * @param {Record<string, string | number>} [holes] `count` also chooses the plural form
 * @returns {string}
 */
export function t(key, holes = {}) {
  const form = 'count' in holes ? `${key}_${new Intl.PluralRules(current).select(Number(holes.count))}` : key;
  const text = texts[form] ?? texts[`${key}_other`] ?? fallback[form] ?? fallback[`${key}_other`] ?? key;
  return text.replace(/\{(\w+)\}/g, (_, name) => String(holes[name] ?? ''));
}

/** @param {number} value @param {Intl.NumberFormatOptions} [options] */
export const number = (value, options) => new Intl.NumberFormat(current, options).format(value);

/** @param {number} seconds as 4:07 or 1:04:07 */
export function duration(seconds) {
  const whole = Math.floor(seconds);
  const parts = [Math.floor(whole / 60) % 60, whole % 60].map((part) => String(part).padStart(2, '0'));
  const hours = Math.floor(whole / 3600);
  return hours ? `${hours}:${parts.join(':')}` : parts.join(':').replace(/^0/, '');
}

/** @param {string} tag @returns {Promise<Record<string, string>>} */
async function load(tag) {
  const answer = await fetch(new URL(`../../locales/${tag}.json`, import.meta.url));
  if (!answer.ok) throw new Error(`locale ${tag}: HTTP ${answer.status}`);
  return answer.json();
}
