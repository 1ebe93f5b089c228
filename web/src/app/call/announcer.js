// Says what happens: to the eyes by short notes at the edge of the stage, to screen readers by two live regions.

const NOTE_MS = 4500;
const MOST_NOTES = 3;

/** @typedef {{id: number, text: string, urgent: boolean}} Note */

export class Announcer {
  /** @type {Note[]} */
  notes = [];
  #nextId = 1;

  /** @param {() => void} changed */
  constructor(changed) {
    this.changed = changed;
  }

  /** @param {string} text @param {{urgent?: boolean, quiet?: boolean}} [how] `quiet`: for screen readers only */
  say(text, { urgent = false, quiet = false } = {}) {
    const region = document.getElementById(urgent ? 'assertive' : 'polite');
    if (region) {
      const line = document.createElement('p');
      line.textContent = text;
      region.append(line);
      setTimeout(() => line.remove(), NOTE_MS);
    }
    if (quiet) return;
    const note = { id: this.#nextId++, text, urgent };
    this.notes = [...this.notes, note].slice(-MOST_NOTES);
    this.changed();
    setTimeout(() => {
      this.notes = this.notes.filter(({ id }) => id !== note.id);
      this.changed();
    }, NOTE_MS);
  }
}
