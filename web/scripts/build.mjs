// Builds the pages: src/, styles/, locales/ and the fonts become dist/, which the server offers under /static/.
//
// A page consists of an entry (src/app/<page>/main.js) with the files that it shares with others, one style sheet
// (main.css beside it) and one module of texts for each language, which holds only what the page's own code names. Names in
// dist/build/ hold a digest of the content, so a browser keeps such a file for a year; dist/manifest.json tells the server
// which of them make up which page. Files of the build before are kept: a page that was opened with them may still load a
// part of itself. The client library is bundled once more at the address from which others import it, which never changes.

import { build } from 'esbuild';
import { createHash } from 'node:crypto';
import { cp, mkdir, readFile, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { brotliCompress, constants, gzip } from 'node:zlib';
import { LANGUAGES } from '../src/app/i18n.js';
import { keysOf, textsOf } from './texts.mjs';

const web = join(dirname(fileURLToPath(import.meta.url)), '..');
const dist = join(web, 'dist');
const HASHED = 'build';
/** What pays to be compressed. Fonts are compressed already. */
const TEXT = /\.(?:js|css|map)$/;
const OPTIONS = /** @type {const} */ ({
  absWorkingDir: web, bundle: true, format: 'esm', target: 'es2022', minify: true, sourcemap: 'linked', metafile: true,
  legalComments: 'none', outdir: 'dist', logLevel: 'warning',
});

const readJson = async (/** @type {string} */ path) => JSON.parse(await readFile(path, 'utf8'));
/** @type {Record<string, {title: string, description?: string, private?: boolean, viewport?: string}>} */
const pages = await readJson(join(web, 'pages.json'));
/** @type {Record<string, Record<string, string>>} */
const locales = Object.fromEntries(await Promise.all(
  Object.keys(LANGUAGES).map(async (tag) => [tag, await readJson(join(web, 'locales', `${tag}.json`))])));

/** @param {string} name @param {string} content @returns {Promise<string>} its path in dist/, with a digest in its name */
async function writeHashed(name, content) {
  const digest = createHash('sha256').update(content).digest('hex').slice(0, 8).toUpperCase();
  const path = `${HASHED}/${name.replace(/(\.\w+)$/, `-${digest}$1`)}`;
  await writeFile(join(dist, path), content);
  return path;
}

/** @param {import('esbuild').Metafile} metafile @param {string} output @returns {string[]} what it imports, directly or not */
function importsOf({ outputs }, output) {
  const found = new Set([output]);
  for (const each of found) {
    for (const { path, kind } of outputs[each].imports) if (kind === 'import-statement') found.add(path);
  }
  return [...found].slice(1);
}

const inDist = (/** @type {string} */ path) => path.replace(/^dist\//, '');

/** @param {string} page @param {import('esbuild').Metafile} metafile */
async function describe(page, metafile) {
  const outputOf = (/** @type {string} */ entry) => {
    const found = Object.keys(metafile.outputs).find((path) => metafile.outputs[path].entryPoint === entry);
    if (found === undefined) throw new Error(`${entry} was not built`);
    return found;
  };
  const script = outputOf(`src/app/${page}/main.js`);
  const keys = await keysOf(web, metafile, `src/app/${page}/main.js`);
  const { title, description, ...about } = pages[page];
  /** @type {Record<string, {texts: string, title: string, description: string, noscript: string}>} */
  const languages = {};
  for (const tag of Object.keys(LANGUAGES)) {
    const all = { ...locales.en, ...locales[tag] };
    languages[tag] = {
      texts: await writeHashed(`${page}.${tag}.js`, `export default ${JSON.stringify(textsOf(all, keys))};\n`),
      title: all[title], description: description ? all[description] : '', noscript: all['page.noscript'],
    };
  }
  return {
    ...about, script: inDist(script), imports: importsOf(metafile, script).map(inDist), style: inDist(outputOf(`src/app/${page}/main.css`)), languages,
  };
}

/** Licences of everything that is part of the files that we give away. */
async function licences() {
  const { dependencies } = await readJson(join(web, 'package.json'));
  const texts = await Promise.all(Object.keys(dependencies).filter((name) => name !== 'esbuild').map(async (name) => {
    const folder = join(web, 'node_modules', name);
    const file = (await readdir(folder)).find((each) => /^licen[cs]e/i.test(each));
    return `${name}\n\n${file ? await readFile(join(folder, file), 'utf8') : ''}`;
  }));
  await writeFile(join(dist, 'licences.txt'), texts.join('\n\n---\n\n'));
}

/** Writes `path`.gz, and `path`.br of what a page loads. @param {string} path */
async function compress(path) {
  const content = await readFile(path);
  if (content.length < 200) return;
  await writeFile(`${path}.gz`, await promisify(gzip)(content, { level: 9 }));
  if (path.endsWith('.map')) return;
  await writeFile(`${path}.br`, await promisify(brotliCompress)(content, { params: { [constants.BROTLI_PARAM_SIZE_HINT]: content.length } }));
}

/** @type {string[]} */
const before = await readJson(join(dist, 'manifest.json')).then(({ files }) => files, () => []);
await mkdir(join(dist, HASHED), { recursive: true });

const { metafile } = await build({
  ...OPTIONS,
  entryPoints: Object.keys(pages).flatMap((page) => ['js', 'css'].map((kind) => ({ in: `src/app/${page}/main.${kind}`, out: page }))),
  entryNames: `${HASHED}/[name]-[hash]`, chunkNames: `${HASHED}/[name]-[hash]`, assetNames: `${HASHED}/[name]-[hash]`,
  splitting: true, loader: { '.woff2': 'file', '.svg': 'dataurl' },
});
await build({ ...OPTIONS, entryPoints: [{ in: 'src/client/index.js', out: 'src/client/index' }] });
await cp(join(web, 'src/client/index.d.ts'), join(dist, 'src/client/index.d.ts'));
await licences();
const manifest = {
  languages: Object.fromEntries(Object.entries(LANGUAGES).map(([tag, { dir }]) => [tag, dir])),
  icon: `data:image/svg+xml,${encodeURIComponent(await readFile(join(web, 'assets/favicon.svg'), 'utf8'))}`,
  shell: await readFile(join(web, 'shell.html'), 'utf8'),
  pages: Object.fromEntries(await Promise.all(Object.keys(pages).map(async (page) => [page, await describe(page, metafile)]))),
};
const files = [
  ...Object.keys(metafile.outputs).map(inDist),
  ...Object.values(manifest.pages).flatMap(({ languages }) => Object.values(languages).map(({ texts }) => texts)),
];
await Promise.all(files.filter((path) => TEXT.test(path)).map((path) => compress(join(dist, path))));
const kept = new Set([...files, ...before]);
for (const name of await readdir(join(dist, HASHED))) {
  if (!kept.has(`${HASHED}/${name.replace(/\.(?:gz|br)$/, '')}`)) await rm(join(dist, HASHED, name));
}
await writeFile(join(dist, 'manifest.json.new'), JSON.stringify({ ...manifest, files }, null, 1));
await rename(join(dist, 'manifest.json.new'), join(dist, 'manifest.json'));
