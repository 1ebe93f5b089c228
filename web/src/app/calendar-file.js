// A calendar entry made by the page itself, for somebody who has only a link. Times are UTC, so it needs no time zone of its
// own; the summary is neutral, since calendars are seen by others (RFC 5545).

/** @typedef {{uid: string, starts_at: string, ends_at: string, summary: string, description: string, url: string}} Entry */

const MOST_OCTETS = 75;

/** @param {Entry} entry @param {Date} now @returns {string} */
export function calendarText(entry, now) {
  const lines = [
    'BEGIN:VCALENDAR', 'VERSION:2.0', 'PRODID:-//Wadud//Visits//EN', 'BEGIN:VEVENT', `UID:${escaped(entry.uid)}`, `DTSTAMP:${utc(now)}`,
    `DTSTART:${utc(new Date(entry.starts_at))}`, `DTEND:${utc(new Date(entry.ends_at))}`, `SUMMARY:${escaped(entry.summary)}`,
    `DESCRIPTION:${escaped(entry.description)}`, `URL:${entry.url}`, 'END:VEVENT', 'END:VCALENDAR',
  ];
  return lines.map(folded).join('\r\n') + '\r\n';
}

/** Hands a file to the person. @param {Blob} blob @param {string} name */
export function saveFile(blob, name) {
  const link = Object.assign(document.createElement('a'), { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/** @param {Date} at */
const utc = (at) => at.toISOString().replace(/[-:]|\.\d+/g, '');

/** @param {string} text */
const escaped = (text) => text.replace(/[\\;,]/g, '\\$&').replace(/\r?\n/g, '\\n');

/** Section 3.1: no line is longer than 75 octets, and none is cut within a character. @param {string} line */
function folded(line) {
  const octets = new TextEncoder();
  let shown = '';
  let length = 0;
  for (const character of line) {
    const size = octets.encode(character).length;
    if (length + size > MOST_OCTETS) {
      shown += '\r\n ';
      length = 1;
    }
    shown += character;
    length += size;
  }
  return shown;
}
