// Which texts a page needs: those that its code names. A key stands in the sources as a whole ('lobby.join'), as the start of
// a template (`problem.${code}`), or as a stem to which an ending is added ('home.point_network' + '.title', plural forms).
// So each is taken with every key that continues it; a text too many costs a few bytes.

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

const WHOLE = /['"`]([a-z][a-z0-9_.]*)['"`]/g;
const STARTS = /`([a-z]+\.[a-z0-9_.]*)\$\{/g;
/** A list of modules to put together is no user of their texts. */
const NEUTRAL = 'src/app/shared.js';

/** @typedef {{whole: Set<string>, starts: Set<string>}} Keys */

/** Every module below an entry, also what is loaded later. @param {import('esbuild').Metafile} metafile @param {string} entry */
export function modulesOf({ inputs }, entry) {
  const found = new Set([entry]);
  for (const path of found) {
    if (path !== NEUTRAL) for (const each of inputs[path]?.imports ?? []) if (!each.external) found.add(each.path);
  }
  return [...found];
}

/** @param {string} web @param {import('esbuild').Metafile} metafile @param {string} entry @returns {Promise<Keys>} */
export async function keysOf(web, metafile, entry) {
  const sources = await Promise.all(modulesOf(metafile, entry).filter((path) => path.startsWith('src/')).map((path) => readFile(join(web, path), 'utf8')));
  const source = sources.join('\n');
  const all = (/** @type {RegExp} */ pattern) => new Set([...source.matchAll(pattern)].map(([, key]) => key));
  return { whole: all(WHOLE), starts: all(STARTS) };
}

/** @param {Record<string, string>} locale @param {Keys} keys @returns {Record<string, string>} the part of it that they name */
export function textsOf(locale, { whole, starts }) {
  const named = (/** @type {string} */ key) => whole.has(key) || [...starts].some((start) => key.startsWith(start))
    || [...key.matchAll(/(?<=\..*)[_.]/g)].some(({ index }) => whole.has(key.slice(0, index)));
  return Object.fromEntries(Object.entries(locale).filter(([key]) => named(key)));
}
