// The slot picker: a month whose free days can be pressed, and the times of the chosen day. Everything is in the visitor's
// zone; where the doctor's clock shows something else, it stands under each time.

/** @import { Slot } from '../booking.js' */
/** @import { Calendar } from './calendar.js' */

/**
 * Whoever picks: the booking page, or a visit that is moved. `doctorZone` null: not known yet. `holding`: the start that is being asked for.
 * @typedef {{calendar: Calendar, doctorZone: string | null, holding: string, turnMonth(by: number): void, chooseDay(day: string): void, choose(starts_at: string): void}} Picker
 */

import { html, nothing } from 'lit-html';
import { number, t } from '../i18n.js';
import { icon } from '../icons.js';
import { trouble } from '../site.js';
import { clock, dayKey, dayParts, hour, monthName, ownZone, plusDays, sameClock, zoneName } from '../when.js';

const WEEK = 7;
/** 2024-01-01 was a Monday. */
const A_MONDAY = '2024-01-01';

/** @param {Picker} page */
export function slotPicker(page) {
  const { calendar } = page;
  const zone = ownZone();
  const days = calendar.byDay;
  return html`
    <section class="picker-box card" aria-labelledby="picker-title">
      <h2 id="picker-title">${t('slots.title')}</h2>
      ${zones(page, zone)}
      <div class="picker-columns">
        <div class="month">
          <div class="month-head">
            <button class="icon-button" type="button" data-testid="month-before" aria-label=${t('slots.before')} ?disabled=${!calendar.mayGoBack} @click=${() => page.turnMonth(-1)}>${icon('back')}</button>
            <h3 aria-live="polite">${monthName(calendar.month)}</h3>
            <button class="icon-button" type="button" data-testid="month-after" aria-label=${t('slots.after')} ?disabled=${!calendar.mayGoOn} @click=${() => page.turnMonth(1)}>${icon('arrow')}</button>
          </div>
          ${monthTable(page)}
        </div>
        <div class="times" aria-busy=${String(calendar.loading)}>
          ${calendar.problem ? trouble(calendar.problem) : calendar.loading ? html`<p class="soft" role="status">${t('slots.loading')}</p>`
            : days.size === 0 ? html`<p class="soft" role="status" data-testid="no-slots">${t('slots.none_in_month')}</p>
                ${calendar.mayGoOn ? html`<button class="button secondary" type="button" @click=${() => page.turnMonth(1)}>${t('slots.next_month')}</button>` : nothing}`
              : times(page, zone)}
        </div>
      </div>
    </section>`;
}

/** @param {Picker} page @param {string} zone */
function zones(page, zone) {
  const doctors = page.doctorZone ?? zone;
  const now = new Date();
  return html`<p class="soft zone-line" data-testid="zone-line">${icon('globe')}<span>${t('slots.your_zone', { zone: zoneName(zone, now) })}
    ${sameClock(zone, doctors, now) ? nothing : t('slots.doctor_zone', { zone: zoneName(doctors, now), time: clock(now, doctors) })}</span></p>`;
}

/** @param {Picker} page */
function monthTable(page) {
  const { calendar } = page;
  const first = `${calendar.month}-01`;
  const lead = (new Date(`${first}T12:00:00Z`).getUTCDay() + 6) % WEEK;
  const length = new Date(Date.UTC(Number(calendar.month.slice(0, 4)), Number(calendar.month.slice(5)), 0)).getUTCDate();
  const rows = Math.ceil((lead + length) / WEEK);
  const names = Array.from({ length: WEEK }, (_, index) => dayParts(plusDays(A_MONDAY, index)));
  return html`
    <table class="days" @keydown=${(/** @type {KeyboardEvent} */ event) => move(event, page)}>
      <thead><tr>${names.map(({ weekday, long }) => html`<th scope="col" abbr=${long.split(/[,،]/)[0]}>${weekday}</th>`)}</tr></thead>
      <tbody>${Array.from({ length: rows }, (_, row) => html`<tr>${Array.from({ length: WEEK }, (_unused, column) => {
        const day = row * WEEK + column - lead;
        return html`<td>${day >= 0 && day < length ? dayButton(page, plusDays(first, day)) : nothing}</td>`;
      })}</tr>`)}</tbody>
    </table>`;
}

/** @param {Picker} page @param {string} key */
function dayButton(page, key) {
  const free = page.calendar.byDay.get(key)?.length ?? 0;
  const { day, long } = dayParts(key);
  const label = free ? t('slots.day', { day: long, count: free }) : t('slots.day_full', { day: long });
  return html`<button class="day" type="button" data-day=${key} data-testid=${free ? 'free-day' : nothing} ?disabled=${!free} aria-label=${label}
    aria-pressed=${String(page.calendar.day === key)} @click=${() => page.chooseDay(key)}>${day}</button>`;
}

/** Arrows go to the next free day in that direction. @param {KeyboardEvent} event @param {Picker} page */
function move(event, page) {
  const sideways = document.documentElement.dir === 'rtl' ? -1 : 1;
  const step = { ArrowRight: sideways, ArrowLeft: -sideways, ArrowDown: WEEK, ArrowUp: -WEEK }[event.key];
  const from = /** @type {HTMLElement} */ (event.target).dataset.day;
  if (step === undefined || from === undefined) return;
  event.preventDefault();
  const table = /** @type {HTMLElement} */ (event.currentTarget);
  for (let key = plusDays(from, step); key.startsWith(page.calendar.month); key = plusDays(key, step)) {
    const button = /** @type {HTMLButtonElement | null} */ (table.querySelector(`[data-day="${key}"]`));
    if (button && !button.disabled) {
      button.focus();
      return;
    }
  }
}

/** @param {Picker} page @param {string} zone */
function times(page, zone) {
  const { day, byDay } = page.calendar;
  const slots = byDay.get(day) ?? [];
  const doctors = page.doctorZone ?? zone;
  return html`
    <h3 id="times-title" tabindex="-1">${dayParts(day).long}<span class="visually-hidden"> ${t('slots.free', { count: slots.length })}</span></h3>
    <div class="time-box">${partsOf(slots, zone).map(([part, theirs]) => html`
    <h4 class="soft">${t(`slots.${part}`)}</h4>
    <ul class="time-list" aria-label=${t(`slots.${part}`)}>
      ${theirs.map(({ start: starts_at }) => html`<li>
        <button class="time" type="button" data-testid="slot" data-at=${starts_at} ?disabled=${page.holding !== ''} aria-busy=${String(page.holding === starts_at)} @click=${() => page.choose(starts_at)}>
          <bdi>${clock(starts_at, zone)}</bdi>
          ${sameClock(zone, doctors, starts_at) ? nothing
            : html`<span class="their-clock"><bdi>${clock(starts_at, doctors)}</bdi>${dayKey(starts_at, doctors) === day ? nothing : html` <bdi>${t('slots.other_day')}</bdi>`}
                <span class="visually-hidden">${t('slots.doctor_clock')}</span></span>`}
        </button></li>`)}
    </ul>`)}</div>
    <p class="fine start">${icon('clock')}<span>${t('slots.kept', { count: 10, minutes: number(10) })}</span></p>`;
}

/** The times of a day by its parts, which is how people look for them. @param {Slot[]} slots @param {string} zone @returns {[string, Slot[]][]} */
function partsOf(slots, zone) {
  /** @type {[string, Slot[]][]} */
  const parts = [['morning', []], ['afternoon', []], ['evening', []]];
  for (const slot of slots) parts[Math.min(2, Math.floor(Math.max(0, hour(slot.start, zone) - 7) / 5))][1].push(slot);
  return parts.filter(([, theirs]) => theirs.length);
}
