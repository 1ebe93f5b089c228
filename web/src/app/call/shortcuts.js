// Single-key shortcuts. They can be switched off (WCAG 2.1.4), stay silent while the person types, and follow the position of
// the key where a keyboard has no Latin letters.

const STORED = 'wadud.shortcuts';

export class Shortcuts {
  enabled = localStorage.getItem(STORED) !== 'off';

  /** @param {Record<string, () => void>} actions by lower-case key */
  constructor(actions) {
    this.actions = actions;
  }

  /** @param {boolean} on */
  enable(on) {
    this.enabled = on;
    localStorage.setItem(STORED, on ? 'on' : 'off');
  }

  /** @param {KeyboardEvent} event */
  handle(event) {
    if (!this.enabled || event.repeat || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    const target = /** @type {Element | null} */ (event.target);
    if (target?.closest('input, select, textarea, [contenteditable], dialog[open]')) return;
    const latin = /^[\x20-\x7e]$/.test(event.key);
    const key = latin ? event.key.toLowerCase() : event.code.replace(/^Key/, '').toLowerCase();
    const action = this.actions[key];
    if (!action) return;
    event.preventDefault();
    action();
  }
}
