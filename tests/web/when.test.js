// Times, amounts and calendar files, without a browser.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { calendarText } from '../../web/src/app/calendar-file.js';
import { amount, clock, dayKey, plusDays, sameClock } from '../../web/src/app/when.js';

test('a day belongs to the zone of who looks', () => {
  assert.equal(dayKey('2026-11-21T20:30:00Z', 'Asia/Karachi'), '2026-11-22');
  assert.equal(dayKey('2026-11-21T20:30:00Z', 'Europe/London'), '2026-11-21');
});

test('days are counted over the end of a month and of summer time', () => {
  assert.equal(plusDays('2026-10-24', 2), '2026-10-26');
  assert.equal(plusDays('2026-12-31', 1), '2027-01-01');
});

test('zones of the same clock count as one', () => {
  assert.equal(sameClock('Asia/Dubai', 'Asia/Muscat', '2026-11-21T10:00:00Z'), true);
  assert.equal(sameClock('Asia/Dubai', 'Asia/Karachi', '2026-11-21T10:00:00Z'), false);
});

test('amounts have the digits of their currency', () => {
  assert.match(amount({ amount_minor: 150_000, currency: 'PKR' }), /1,500$/);
  assert.match(amount({ amount_minor: 150_050, currency: 'PKR' }), /1,500\.50$/);
  assert.match(amount({ amount_minor: 12_345, currency: 'KWD' }), /12\.345$/);
});

test('a clock shows hour and minute', () => {
  assert.match(clock('2026-11-21T10:05:00Z', 'Asia/Karachi'), /^3:05\sPM$/);
});

test('a calendar file holds what RFC 5545 wants, folded and escaped', () => {
  const text = calendarText({
    uid: 'one@example.org', starts_at: '2026-11-21T10:00:00Z', ends_at: '2026-11-21T10:20:00Z', summary: 'Appointment; yours',
    description: 'ملاقات '.repeat(20), url: 'https://example.org/j/clinic#token',
  }, new Date('2026-11-20T08:00:00.123Z'));
  const lines = text.split('\r\n');
  assert.equal(lines.at(-1), '');
  assert.ok(lines.every((line) => new TextEncoder().encode(line).length <= 75));
  const unfolded = text.replaceAll('\r\n ', '');
  assert.match(unfolded, /SUMMARY:Appointment\\; yours\r\n/);
  assert.match(unfolded, /DTSTAMP:20261120T080000Z\r\n/);
  assert.match(unfolded, /URL:https:\/\/example\.org\/j\/clinic#token\r\n/);
});
