// Times, days and amounts as people read them. Instants travel in UTC; each is shown in the visitor's own zone, and in the
// doctor's beside it where the two differ. Digits are Latin in every language (BOOKING 4.3): one surface, one system.

/** @import { Money } from './booking.js' */

import { LANGUAGES, language, t } from './i18n.js';

/** Digits after the point, ISO 4217, where it is not 2. @type {Record<string, number>} */
const EXPONENTS = { BHD: 3, IQD: 3, JOD: 3, KWD: 3, LYD: 3, OMR: 3, TND: 3, JPY: 0, KRW: 0, UGX: 0 };
const DAY_MS = 86_400_000;

export const ownZone = () => Intl.DateTimeFormat().resolvedOptions().timeZone || 'UTC';

const tag = () => `${language()}-u-nu-latn`;

/** @type {Map<string, Intl.DateTimeFormat>} */
const formats = new Map();

/** Making a format costs more than using it: a month of slots needs hundreds. @param {Intl.DateTimeFormatOptions} options */
function format(options) {
  const key = tag() + JSON.stringify(options);
  let made = formats.get(key);
  if (made === undefined) formats.set(key, made = new Intl.DateTimeFormat(tag(), options));
  return made;
}

/** 3:30 PM @param {string | Date} at @param {string} zone */
export function clock(at, zone) {
  const text = format({ hour: 'numeric', minute: '2-digit', timeZone: zone }).format(new Date(at));
  return LANGUAGES[language()].dir === 'rtl' ? `\u2066${text}\u2069` : text;  // else the PM stands before its hour
}

/** A text that keeps its own direction inside a sentence of another (UAX #9). @param {string} text */
export const isolated = (text) => `\u2068${text}\u2069`;

/** 0 to 23. @param {string | Date} at @param {string} zone */
export const hour = (at, zone) => Number(new Intl.DateTimeFormat('en-u-nu-latn', { hour: 'numeric', hourCycle: 'h23', timeZone: zone }).format(new Date(at)));

/** Day and clock in one. @param {string | Date} at @param {string} zone @param {(at: string | Date, zone: string) => string} [day] */
export const dayAndClock = (at, zone, day = longDay) => `${day(at, zone)}${t('list.comma')}${clock(at, zone)}`;

/** Wednesday, 25 November @param {string | Date} at @param {string} zone */
export const longDay = (at, zone) => format({ weekday: 'long', day: 'numeric', month: 'long', timeZone: zone }).format(new Date(at));

/** 25 November 2026 @param {string | Date} at @param {string} zone */
export const date = (at, zone) => format({ day: 'numeric', month: 'long', year: 'numeric', timeZone: zone }).format(new Date(at));

/** Wed, 25 Nov @param {string | Date} at @param {string} zone */
export const shortDay = (at, zone) => format({ weekday: 'short', day: 'numeric', month: 'short', timeZone: zone }).format(new Date(at));

/** The parts of a day for a calendar's cell. @param {string} key as `dayKey` gives */
export function dayParts(key) {
  const noon = new Date(`${key}T12:00:00Z`);
  const part = (/** @type {Intl.DateTimeFormatOptions} */ options) => format({ ...options, timeZone: 'UTC' }).format(noon);
  return { weekday: part({ weekday: 'short' }), day: part({ day: 'numeric' }), month: part({ month: 'short' }), long: longDay(noon, 'UTC') };
}

/** The month's name with its year. @param {string} key */
export const monthName = (key) => format({ month: 'long', year: 'numeric', timeZone: 'UTC' }).format(new Date(`${key.slice(0, 7)}-15T12:00:00Z`));

/** The calendar day in a zone as 2026-11-25. @param {string | Date} at @param {string} zone */
export function dayKey(at, zone) {
  const parts = new Intl.DateTimeFormat('en-CA-u-nu-latn', { year: 'numeric', month: '2-digit', day: '2-digit', timeZone: zone }).formatToParts(new Date(at));
  const of = (/** @type {string} */ type) => parts.find((part) => part.type === type)?.value ?? '';
  return `${of('year')}-${of('month')}-${of('day')}`;
}

/** Days after a day. @param {string} key @param {number} days */
export const plusDays = (key, days) => new Date(Date.parse(`${key}T12:00:00Z`) + days * DAY_MS).toISOString().slice(0, 10);

/** The name of a zone at an instant. @param {string} zone @param {string | Date} at */
export function zoneName(zone, at) {
  const part = format({ timeZone: zone, timeZoneName: 'longGeneric', hour: 'numeric' }).formatToParts(new Date(at)).find(({ type }) => type === 'timeZoneName');
  return part?.value ?? zone;
}

/** Whether clocks in two zones show the same at an instant. @param {string} one @param {string} other @param {string | Date} at */
export const sameClock = (one, other, at) => one === other || (clock(at, one) === clock(at, other) && dayKey(at, one) === dayKey(at, other));

/** @param {Money} money */
export function amount({ amount_minor, currency }) {
  const exponent = EXPONENTS[currency] ?? 2;
  const value = amount_minor / 10 ** exponent;
  const digits = Number.isInteger(value) ? 0 : exponent;
  return new Intl.NumberFormat(tag(), { style: 'currency', currency, minimumFractionDigits: digits, maximumFractionDigits: digits }).format(value);
}

/** Languages that doctors are asked for in, BCP 47. */
export const SPOKEN = ['ur', 'en', 'pa', 'ps', 'sd', 'ar', 'bal', 'hi'];

/** The name of a language in the page's language. @param {string} code BCP 47 */
export const languageName = (code) => new Intl.DisplayNames([language()], { type: 'language' }).of(code) ?? code;

/** Whole minutes from now until an instant, or since it. @param {string} at */
export const minutesFrom = (at) => Math.floor(Math.abs(Date.parse(at) - Date.now()) / 60_000);
