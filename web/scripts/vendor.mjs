// Copies what the pages need at run time from node_modules into vendor/, which the server offers under /static/vendor/.
// lit-html, qr and the fonts are published as browser-ready files, so there is no bundler: a copy is the whole build.

import { cp, mkdir, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const web = join(dirname(fileURLToPath(import.meta.url)), '..');
const modules = join(web, 'node_modules');
const vendor = join(web, 'vendor');

/** [from below node_modules, to below vendor] */
const FILES = [
  ['lit-html/lit-html.js', 'lit-html/lit-html.js'],
  ['lit-html/directive.js', 'lit-html/directive.js'],
  ['lit-html/directive-helpers.js', 'lit-html/directive-helpers.js'],
  ['lit-html/directives/live.js', 'lit-html/directives/live.js'],
  ['lit-html/directives/repeat.js', 'lit-html/directives/repeat.js'],
  ['lit-html/LICENSE', 'lit-html/LICENSE'],
  ['qr/index.js', 'qr/qr.js'],
  ['qr/LICENSE-MIT', 'qr/LICENSE'],
  ['@fontsource-variable/figtree/files/figtree-latin-wght-normal.woff2', 'fonts/figtree-latin.woff2'],
  ['@fontsource-variable/figtree/files/figtree-latin-ext-wght-normal.woff2', 'fonts/figtree-latin-ext.woff2'],
  ['@fontsource-variable/figtree/LICENSE', 'fonts/figtree-LICENSE'],
  ['@fontsource/noto-nastaliq-urdu/files/noto-nastaliq-urdu-arabic-400-normal.woff2', 'fonts/noto-nastaliq-urdu.woff2'],
  ['@fontsource/noto-nastaliq-urdu/LICENSE', 'fonts/noto-nastaliq-urdu-LICENSE'],
];

/** Types for the copies, so that `npm run check` follows the same relative imports as the browser. */
const TYPES = {
  'lit-html/lit-html.d.ts': "export * from 'lit-html';\n",
  'lit-html/directive.d.ts': "export * from 'lit-html/directive.js';\n",
  'qr/qr.d.ts': "export * from 'qr';\n",
  'lit-html/directives/live.d.ts': "export * from 'lit-html/directives/live.js';\n",
  'lit-html/directives/repeat.d.ts': "export * from 'lit-html/directives/repeat.js';\n",
};

await rm(vendor, { recursive: true, force: true });
for (const [from, to] of FILES) {
  await mkdir(dirname(join(vendor, to)), { recursive: true });
  await cp(join(modules, from), join(vendor, to));
}
for (const [to, text] of Object.entries(TYPES)) await writeFile(join(vendor, to), text);
console.log(`vendor: ${FILES.length} files copied`);
