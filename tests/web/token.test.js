// Tokens of a call page while its server cannot give one.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { settle } from './fakes.js';
import { joined, party } from './party.js';

globalThis.addEventListener ??= () => {};  // what the modules ask for as they are read
globalThis.sessionStorage ??= { getItem: () => null };
const { tokenFor } = await import('../../web/src/app/call/token.js');
const { joinProblem } = await import('../../web/src/app/call/join-problem.js');

const given = () => new Response(JSON.stringify({ token: 't' }));
const refusal = (status, code) => () => new Response(JSON.stringify({ code }), { status });
const fetched = () => tokenFor(null, 'r', 'Ada');
/** Lets requests of this test come through, which take more than promises. */
const answered = () => new Promise((resolve) => { setImmediate(() => setImmediate(resolve)); });

/** @returns what the server says from now on, which the test may change */
function server(context) {
  const told = { answer: given };
  context.mock.method(globalThis, 'fetch', async () => told.answer());
  return told;
}

async function pass({ clock }, delay_ms) {
  for (let passed_ms = 0; passed_ms < delay_ms; passed_ms += 1000) {
    await answered();
    await clock.advance(1000);
  }
  await answered();
  await settle();
}

for (const [how, answer] of [
  ['that is going away', refusal(503, 'draining')],
  ['whose proxy alone is there', () => new Response('<h1>Bad Gateway</h1>', { status: 502 })],
  ['that cannot be reached', () => { throw new TypeError('failed to fetch'); }],
  ['that everybody asks at once', refusal(429, 'rate_limited')],
]) {
  test(`a call comes back behind a server ${how}`, async (context) => {
    const told = server(context);
    const found = await joined({ token: fetched });
    told.answer = answer;
    found.drain();
    await pass(found, 20_000);
    assert.deepEqual([found.call.state, found.named('ended')], ['reconnecting', []]);
    told.answer = given;
    await pass(found, 10_000);
    assert.equal(found.call.state, 'connected');
    assert.equal(found.network.sent('join').length, 2);
  });
}

test('a refusal of the token ends a call that is to come back', async (context) => {
  const told = server(context);
  const found = await joined({ token: fetched });
  told.answer = refusal(404, 'unknown_room');
  found.drain();
  await pass(found, 2000);
  assert.deepEqual(found.named('ended').map(({ reason }) => reason), ['refused']);
});

test('who cannot join because no token is given is told why', async (context) => {
  const told = server(context);
  told.answer = refusal(503, 'draining');
  const found = party({ token: fetched });
  const failure = found.call.connect().catch((error) => error);
  await pass(found, 40_000);
  assert.equal(joinProblem(await failure), joinProblem((await failure).cause));
  assert.equal((await failure).cause.code, 'draining');
});
