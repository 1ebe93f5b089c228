// Texts in the person's language. A locale is one flat JSON file; `{name}` is a hole; a text with plural forms has keys
// `key_one`, `key_other` (and others that the language needs). The build makes a module for each page and language, with the
// texts of that page only and English where a locale has none yet; the document names them (`<link rel="texts">`). It comes
// in the language that the server takes from the address, the cookie or the browser's wishes, with that module preloaded.

/** @typedef {{name: string, dir: 'ltr' | 'rtl'}} Language */

/** Offered languages. A new one needs a line here and a file in locales/. @type {Record<string, Language>} */
export const LANGUAGES = {
  en: { name: 'English', dir: 'ltr' },
  ur: { name: 'اردو', dir: 'rtl' },
};

const STORED = 'wadud.language';
/** Read by the server too (server/pages.py). */
const COOKIE = 'wadud_language';
const YEAR_S = 365 * 24 * 3600;
const FALLBACK = 'en';

/** @type {Record<string, string>} */
let texts = {};
let current = FALLBACK;
let wishes = 0;

export const language = () => current;

/** `?lang=`, which holds for this tab, else what the document came in: the choice in the cookie or the browser's wish. */
export function preferredLanguage() {
  const asked = new URLSearchParams(location.search).get('lang');
  if (asked !== null) sessionStorage.setItem(STORED, asked);
  return [sessionStorage.getItem(STORED), document.documentElement.lang].find((tag) => tag !== null && Object.hasOwn(LANGUAGES, tag)) ?? FALLBACK;
}

/** Whether the person, or who sent the link, has said which language. */
export const languageChosen = () => sessionStorage.getItem(STORED) !== null || document.cookie.includes(`${COOKIE}=`);

/** @param {string} tag one of LANGUAGES; loaded, shown to the document and remembered when `remember` */
export async function setLanguage(tag, remember = false) {
  const number = wishes += 1;
  const loaded = await load(tag);
  if (number !== wishes) return;  // another has been chosen since
  texts = loaded;
  current = tag;
  document.documentElement.lang = tag;
  document.documentElement.dir = LANGUAGES[tag].dir;
  if (!remember) return;
  document.cookie = `${COOKIE}=${tag}; path=/; max-age=${YEAR_S}; samesite=lax${location.protocol === 'https:' ? '; secure' : ''}`;
  sessionStorage.removeItem(STORED);
}

/**
 * @param {string} key
 * @param {Record<string, string | number>} [holes] `count` also chooses the plural form
 * @returns {string}
 */
export function t(key, holes = {}) {
  const form = 'count' in holes ? `${key}_${new Intl.PluralRules(current).select(Number(holes.count))}` : key;
  const text = texts[form] ?? texts[`${key}_other`] ?? key;
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
  const link = /** @type {HTMLLinkElement} */ (document.querySelector(`link[rel="texts"][hreflang="${tag}"]`));
  return (await import(link.href)).default;
}
