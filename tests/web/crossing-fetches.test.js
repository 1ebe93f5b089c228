// Two fetches under way, of which the older one is answered last.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { settle } from './fakes.js';

const windowEvents = new EventTarget();
const waiting = [];
const sockets = [];
class Socket { constructor() { sockets.push(this); this.open = true; this.sent = []; } send(text) { this.sent.push(JSON.parse(text)); } close() { this.open = false; } }
const store = { getItem: () => null, setItem: () => {}, removeItem: () => {} };
const ENGLISH = 'data:text/javascript,export default {}';
const URDU = 'data:text/javascript,await globalThis.slowNetwork; export default {}';
const globals = {
  addEventListener: (...a) => windowEvents.addEventListener(...a), removeEventListener: (...a) => windowEvents.removeEventListener(...a),
  location: new URL('https://wadud.example/x'), localStorage: store, sessionStorage: store, WebSocket: Socket, navigator: { languages: ['en'] },
  document: { documentElement: {}, querySelector: (link) => ({ href: link.includes('"ur"') ? URDU : ENGLISH }) },
  fetch: (url) => new Promise((resolve) => waiting.push({ url: String(url), resolve })),
};
for (const [name, value] of Object.entries(globals)) Object.defineProperty(globalThis, name, { configurable: true, writable: true, value });
const { Live } = await import('../../web/src/app/live.js');
const { setLanguage, language } = await import('../../web/src/app/i18n.js');

test('a network that comes back while a ticket is fetched opens one live view, which stops', async (context) => {
  context.mock.timers.enable({ apis: ['setTimeout'] });
  const pushes = [];
  const live = new Live({ ticketPath: '/v1/t', anonymous: true, onPush: (push) => pushes.push(push), onEnd: () => {} });
  await settle();
  windowEvents.dispatchEvent(new Event('online'));
  context.mock.timers.tick(300);
  await settle();
  for (const { resolve } of waiting.splice(0)) resolve(new Response(JSON.stringify({ ticket: 't' })));
  await new Promise((resolve) => setImmediate(resolve));
  await settle();
  const opened = sockets.length;
  live.stop();
  const left = sockets.filter(({ open }) => open);
  for (const socket of left) socket.onmessage?.({ data: '{"type":"visit","seq":1}' });
  assert.deepEqual([opened, left.length, pushes.length], [1, 0, 0]);
});

test('of two languages chosen quickly the last one holds', async () => {
  let arrive;
  globalThis.slowNetwork = new Promise((resolve) => { arrive = resolve; });
  const urdu = setLanguage('ur', true);
  await setLanguage('en', true);
  arrive();
  await urdu;
  assert.equal(language(), 'en');
});

test('a live view that failed at the server is opened again', async (context) => {
  context.mock.timers.enable({ apis: ['setTimeout'] });
  waiting.length = 0;
  const ended = [];
  const live = new Live({ ticketPath: '/v1/t', anonymous: true, onPush: () => {}, onEnd: (reason) => ended.push(reason) });
  const give = async () => {
    await settle();
    for (const { resolve } of waiting.splice(0)) resolve(new Response(JSON.stringify({ ticket: 't' })));
    await new Promise((resolve) => setImmediate(resolve));
    await settle();
  };
  await give();
  const opened = sockets.length;
  sockets.at(-1).onmessage({ data: '{"type":"bye","id":1,"seq":1,"reason":"failed"}' });
  context.mock.timers.tick(60_000);
  await give();
  live.stop();
  assert.deepEqual([sockets.length - opened, ended], [1, []]);
});

test('a live view that comes back shows the version that it has, and forgets it where the server does not know it', async (context) => {
  context.mock.timers.enable({ apis: ['setTimeout'] });
  waiting.length = 0;
  const pushes = [];
  const live = new Live({ ticketPath: '/v1/t', anonymous: true, onPush: ({ board }) => pushes.push(board), onEnd: () => {} });
  const opened = async () => {
    context.mock.timers.tick(60_000);
    await settle();
    for (const { resolve } of waiting.splice(0)) resolve(new Response(JSON.stringify({ ticket: 't' })));
    await new Promise((resolve) => setImmediate(resolve));
    await settle();
    sockets.at(-1).onopen();
    return sockets.at(-1);
  };
  const first = await opened();
  first.onmessage({ data: '{"type":"board","id":1,"seq":1,"board":"as it was","version":"abc"}' });
  first.onclose();
  const second = await opened();
  second.onmessage({ data: '{"type":"unchanged","id":1,"seq":1}' });
  second.onclose();
  const third = await opened();
  third.onmessage({ data: '{"type":"error","code":"bad_message","message":"x"}' });
  third.onclose();
  const fourth = await opened();
  live.stop();
  assert.deepEqual([first, second, third, fourth].map(({ sent }) => sent[0].version), [undefined, 'abc', 'abc', undefined]);
  assert.deepEqual(pushes, ['as it was', 'as it was']);
});
