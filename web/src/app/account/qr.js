// A QR code as one path, dark on white in every theme, because that is what cameras read best.

import { svg, html } from 'lit-html';
import { encodeQR } from 'qr';

const QUIET = 4;  // modules around it, ISO/IEC 18004 section 5.3.8

/** @param {string} text @param {string} label */
export function qrCode(text, label) {
  const rows = encodeQR(text, 'raw', { border: QUIET, ecc: 'medium' });
  const dark = rows.flatMap((row, y) => row.map((isDark, x) => (isDark ? `M${x} ${y}h1v1h-1z` : ''))).join('');
  return html`<svg class="qr" role="img" aria-label=${label} viewBox=${`0 0 ${rows.length} ${rows.length}`} shape-rendering="crispEdges">${svg`<path d=${dark}></path>`}</svg>`;
}
