// Compressed messages: raw DEFLATE in binary frames (docs/protocol.md). An offer says the same in every line, so it shrinks to
// a twentieth, which decides whether a join gets through a thin link. Browsers without these streams speak plain text.

/** Shorter messages go as text: what compression saves there is less than what it takes. */
export const DEFLATE_FROM = 1024;

const FORMAT = 'deflate-raw';

/** Whether this browser can: Chrome 103, Firefox 113, Safari 16.4. */
export function canDeflate() {
  try {
    return Boolean(new CompressionStream(FORMAT) && new DecompressionStream(FORMAT));
  } catch {
    return false;
  }
}

/** @param {string} text */
export const deflate = (text) => new Response(new Blob([text]).stream().pipeThrough(new CompressionStream(FORMAT))).arrayBuffer();

/** @param {ArrayBuffer} data @returns {Promise<string>} @throws {TypeError} no such stream */
export const inflate = (data) => new Response(new Blob([data]).stream().pipeThrough(new DecompressionStream(FORMAT))).text();
