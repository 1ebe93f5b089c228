// A call that belongs to a visit, without a browser.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { settle } from './fakes.js';

globalThis.addEventListener ??= () => {};  // what the module asks for as it is read
const { VisitCall } = await import('../../web/src/app/call/visit.js');

for (const [how, answer] of [
  ['given', () => new Response(JSON.stringify({ token: 't', refresh_after_s: 60 }))],
  ['not reached', () => { throw new TypeError('failed to fetch'); }],
]) {
  test(`a seat that is left while its next token is being fetched is not kept on: ${how}`, async (context) => {
    context.mock.timers.enable({ apis: ['setTimeout'] });
    const answers = [];
    context.mock.method(globalThis, 'fetch', () => new Promise((resolve, reject) => {
      answers.push((make) => { try { resolve(make()); } catch (error) { reject(error); } });
    }));
    const visit = new VisitCall('r', { appointment: 'a', byPass: true, back: '/', host: false, name: '' }, () => {});
    const first = visit.token();
    await settle();
    answers[0](() => new Response(JSON.stringify({ token: 't', refresh_after_s: 60 })));
    await first;
    context.mock.timers.tick(60_000);
    await settle();
    assert.equal(answers.length, 2);
    visit.stop();
    answers[1](answer);
    await new Promise((resolve) => setImmediate(resolve));
    context.mock.timers.tick(600_000);
    await settle();
    assert.equal(answers.length, 2);
  });
}
