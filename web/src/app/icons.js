// Icons of our own, drawn on a 24 px grid with one stroke width. They are decoration: the control around them has the name.

import { html, svg } from 'lit-html';

const SHAPES = {
  mic: svg`<rect x="9" y="2.75" width="6" height="11.5" rx="3"/><path d="M5.25 11.25a6.75 6.75 0 0 0 13.5 0M12 18v3.25"/>`,
  micOff: svg`<path d="M15 10.5V5.75a3 3 0 0 0-5.7-1.3M9 9v2.25a3 3 0 0 0 4.6 2.55M5.25 11.25a6.75 6.75 0 0 0 10.9 5.3M18.75 11.25c0 .95-.2 1.86-.55 2.68M12 18v3.25M3.75 3.75l16.5 16.5"/>`,
  camera: svg`<rect x="2.75" y="6" width="12.5" height="12" rx="3"/><path d="m15.25 11 4.6-2.9a.9.9 0 0 1 1.4.77v6.26a.9.9 0 0 1-1.4.77L15.25 13"/>`,
  cameraOff: svg`<path d="M9.5 6h2.75a3 3 0 0 1 3 3v2.1l4.6-3a.9.9 0 0 1 1.4.77v6.26a.9.9 0 0 1-1 .9M15.25 15.4A3 3 0 0 1 12.25 18h-6.5a3 3 0 0 1-3-3V9a3 3 0 0 1 2.6-2.97M3.75 3.75l16.5 16.5"/>`,
  screen: svg`<rect x="2.75" y="4" width="18.5" height="12.5" rx="2.5"/><path d="M12 13V7.75M9.5 10 12 7.5l2.5 2.5M8.5 20h7"/>`,
  screenStop: svg`<rect x="2.75" y="4" width="18.5" height="12.5" rx="2.5"/><path d="m9.75 8 4.5 4.5M14.25 8l-4.5 4.5M8.5 20h7"/>`,
  people: svg`<circle cx="9" cy="8" r="3.5"/><path d="M2.5 19.75c.3-3.7 2.9-6 6.5-6s6.2 2.3 6.5 6M15.75 4.8a3.5 3.5 0 0 1 0 6.4M18 14.2c2 .8 3.3 2.8 3.5 5.55"/>`,
  person: svg`<circle cx="12" cy="8" r="4"/><path d="M4.75 20c.4-4 3.2-6.5 7.25-6.5s6.85 2.5 7.25 6.5"/>`,
  leave: svg`<path d="M2.9 14.6c-.4-.9-.2-1.8.5-2.4 5-4.1 12.2-4.1 17.2 0 .7.6.9 1.5.5 2.4l-.6 1.3c-.4.8-1.2 1.1-2 .8l-2.3-.9a1.5 1.5 0 0 1-.95-1.4v-1.65a10.6 10.6 0 0 0-6.5 0v1.65c0 .6-.4 1.2-.95 1.4l-2.3.9c-.8.3-1.65 0-2-.8z"/>`,
  copy: svg`<rect x="8.5" y="8.5" width="12" height="12" rx="2.75"/><path d="M15.5 5.25A2.25 2.25 0 0 0 13.25 3.5H6.25A2.75 2.75 0 0 0 3.5 6.25v7c0 1.1.7 2 1.75 2.25"/>`,
  check: svg`<path d="m5 12.75 4.5 4.5L19 7.5"/>`,
  share: svg`<circle cx="6" cy="12" r="2.5"/><circle cx="17.5" cy="5.75" r="2.5"/><circle cx="17.5" cy="18.25" r="2.5"/><path d="m8.2 10.8 7.1-3.85M8.2 13.2l7.1 3.85"/>`,
  settings: svg`<path d="M3.5 7.5h8M16.5 7.5h4M3.5 16.5h4M12.5 16.5h8"/><circle cx="14" cy="7.5" r="2.5"/><circle cx="10" cy="16.5" r="2.5"/>`,
  close: svg`<path d="m6 6 12 12M18 6 6 18"/>`,
  globe: svg`<circle cx="12" cy="12" r="9"/><path d="M3 12h18M12 3c2.6 2.5 3.9 5.5 3.9 9s-1.3 6.5-3.9 9c-2.6-2.5-3.9-5.5-3.9-9s1.3-6.5 3.9-9z"/>`,
  speaker: svg`<path d="M3.75 9.75v4.5a.75.75 0 0 0 .75.75H7.5l3.7 3.2a.5.5 0 0 0 .8-.4V6.2a.5.5 0 0 0-.8-.4L7.5 9h-3a.75.75 0 0 0-.75.75zM15.5 9a4.2 4.2 0 0 1 0 6M18 6.25a8.2 8.2 0 0 1 0 11.5"/>`,
  warning: svg`<path d="M10.5 4.4 2.9 17.6a1.75 1.75 0 0 0 1.5 2.65h15.2a1.75 1.75 0 0 0 1.5-2.65L13.5 4.4a1.75 1.75 0 0 0-3 0zM12 9.5v4.25M12 17h.01"/>`,
  lock: svg`<rect x="4.75" y="10.5" width="14.5" height="10" rx="2.75"/><path d="M8 10.5V8a4 4 0 0 1 8 0v2.5"/>`,
  key: svg`<circle cx="8" cy="15.5" r="4.25"/><path d="m11.1 12.4 8.4-8.4M15.5 8l3 3M18.25 5.25l2 2"/>`,
  arrow: svg`<path d="M4.5 12h15M13.5 6l6 6-6 6"/>`,
  link: svg`<path d="M10 14a4.25 4.25 0 0 0 6.4.45l2.8-2.8a4.24 4.24 0 0 0-6-6l-1.1 1.1M14 10a4.25 4.25 0 0 0-6.4-.45l-2.8 2.8a4.24 4.24 0 0 0 6 6l1.1-1.1"/>`,
  signal: svg`<path d="M5 19v-3M10 19v-6M15 19v-9.5M20 19V5.5"/>`,
  device: svg`<rect x="6.75" y="2.75" width="10.5" height="18.5" rx="2.75"/><path d="M10.75 18.25h2.5"/>`,
  remove: svg`<circle cx="10" cy="8" r="3.5"/><path d="M3.5 19.75c.3-3.7 2.9-6 6.5-6 1.2 0 2.3.25 3.2.75M15.5 18h5.5"/>`,
  retry: svg`<path d="M19.5 12a7.5 7.5 0 1 1-2.2-5.3L19.5 9M19.5 4.5V9H15"/>`,
  door: svg`<path d="M13.5 3.75H7.75a2 2 0 0 0-2 2v14.5h9.75V5.75a2 2 0 0 0-2-2zM3.5 20.25h17M12.25 12h.01"/>`,
  calendar: svg`<rect x="3.5" y="5" width="17" height="15.5" rx="3"/><path d="M3.5 10h17M8 2.75V6.5M16 2.75V6.5"/>`,
  clock: svg`<circle cx="12" cy="12" r="9"/><path d="M12 6.75V12l3.5 2.25"/>`,
  search: svg`<circle cx="10.75" cy="10.75" r="7"/><path d="m16 16 4.75 4.75"/>`,
  message: svg`<path d="M20.5 11.25c0 4.14-3.8 7.5-8.5 7.5-.95 0-1.87-.14-2.72-.4L4.5 20.25l1.2-3.6a7.05 7.05 0 0 1-2.2-5.4c0-4.14 3.8-7.5 8.5-7.5s8.5 3.36 8.5 7.5z"/>`,
  star: svg`<path d="m12 3.5 2.6 5.5 5.9.75-4.35 4.1 1.1 5.9L12 16.85l-5.25 2.9 1.1-5.9L3.5 9.75 9.4 9z"/>`,
  back: svg`<path d="M19.5 12h-15M10.5 6l-6 6 6 6"/>`,
  place: svg`<path d="M12 21.25c4.5-4.6 6.75-8.2 6.75-11.1a6.75 6.75 0 1 0-13.5 0c0 2.9 2.25 6.5 6.75 11.1z"/><circle cx="12" cy="10" r="2.5"/>`,
  filter: svg`<path d="M3.5 6h17M6.75 12h10.5M10 18h4"/>`,
};

/** @typedef {keyof typeof SHAPES} IconName */

/** @param {IconName} name */
export const icon = (name) => html`<svg class="icon icon-${name}" viewBox="0 0 24 24" aria-hidden="true" focusable="false">${SHAPES[name]}</svg>`;

export const logo = html`<svg class="logo" viewBox="0 0 32 32" aria-hidden="true" focusable="false">
  <rect width="32" height="32" rx="9"></rect>
  <path d="M7.5 10.5c0 7 1.8 11 4.4 11 2.5 0 4.1-3.4 4.1-7 0 3.6 1.6 7 4.1 7 2.6 0 4.4-4 4.4-11"></path>
</svg>`;

/**
 * Four bars, `level` of them lit.
 * @param {number} level 0 to 4
 */
export const bars = (level) => html`<svg class="bars" data-level=${level} viewBox="0 0 20 16" aria-hidden="true" focusable="false">
  <rect x="1" y="11" width="3" height="4" rx="1"></rect><rect x="6" y="8" width="3" height="7" rx="1"></rect>
  <rect x="11" y="4.5" width="3" height="10.5" rx="1"></rect><rect x="16" y="1" width="3" height="14" rx="1"></rect>
</svg>`;
