// Makes TypeScript declarations from generated/openapi.json: answers.d.ts, where a field with a default is always there, and
// requests.d.ts, where it may be left out. Refusals have one shape and are left away: they would be nine tenths.

import { readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import openapiTS, { astToString } from 'openapi-typescript';

const generated = join(dirname(fileURLToPath(import.meta.url)), '..', 'generated');
const document = JSON.parse(await readFile(join(generated, 'openapi.json'), 'utf8'));
for (const operations of Object.values(document.paths)) {
  for (const operation of Object.values(operations)) {
    operation.responses = Object.fromEntries(Object.entries(operation.responses).filter(([status]) => status.startsWith('2')));
  }
}
for (const [name, defaultNonNullable] of /** @type {const} */ ([['answers', true], ['requests', false]])) {
  await writeFile(join(generated, `${name}.d.ts`), astToString(await openapiTS(structuredClone(document), { defaultNonNullable, emptyObjectsUnknown: true })));
}
