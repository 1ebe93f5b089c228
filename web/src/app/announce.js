// Says to screen readers what a page has just changed, in the two live regions that every page has.

const LASTS_MS = 4500;

/** @param {string} text @param {{urgent?: boolean}} [how] */
export function announce(text, { urgent = false } = {}) {
  const region = document.getElementById(urgent ? 'assertive' : 'polite');
  if (!region || !text) return;
  const line = document.createElement('p');
  line.textContent = text;
  region.append(line);
  setTimeout(() => line.remove(), LASTS_MS);
}
