// What a person does on the call page between two of its steps, without a browser and without a picture.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FakeTrack, fakeBrowser, settle } from './fakes.js';

const { environment } = fakeBrowser();
const store = { getItem: () => null, setItem: () => {} };
/** Every wish for devices, and the browser's answer to it. */
const questions = [];
const mediaDevices = Object.assign(new EventTarget(), {
  getUserMedia: (wish) => new Promise((resolve) => { questions.push({ wish, answer: (...tracks) => resolve(new environment.MediaStream(tracks)) }); }),
  enumerateDevices: async () => [],
});
const document = Object.assign(new EventTarget(), {
  createTreeWalker: () => ({}), getElementById: () => null, body: { dataset: {} }, visibilityState: 'visible',
});
const browser = {
  document, window: globalThis, location: new URL('https://wadud.example/call/r'), navigator: { mediaDevices },
  localStorage: store, sessionStorage: store, screen: { width: 1000, height: 1000 },
  addEventListener: () => {}, removeEventListener: () => {}, requestAnimationFrame: () => 0, cancelAnimationFrame: () => {},
  ResizeObserver: class { observe() {} disconnect() {} }, HTMLMediaElement: class {}, Audio: class { async play() {} },
  WebSocket: environment.WebSocket, RTCPeerConnection: environment.RTCPeerConnection, MediaStream: environment.MediaStream,
  fetch: async () => new Response(JSON.stringify({ token: 't' })),
};
for (const [name, value] of Object.entries(browser)) Object.defineProperty(globalThis, name, { configurable: true, writable: true, value });
const { CallPage } = await import('../../web/src/app/call/page.js');

/** Where lit-html draws: into a part that takes everything and shows nothing. */
const nowhere = () => ({ _$litPart$: new Proxy({}, { get: () => () => {} }), querySelector: () => null });

/** The person is in a call, and has not answered the browser's question yet. */
async function inCall(context, { before = () => {} } = {}) {
  context.mock.timers.enable({ apis: ['setTimeout', 'setInterval', 'Date'] });
  questions.length = 0;
  const page = new CallPage(nowhere(), 'r');
  page.start();
  page.name = 'Ada';
  before(page);
  const joining = page.join(false);
  context.mock.timers.tick(3000);
  await joining;
  assert.equal(page.phase, 'call');
  return page;
}

test('devices that are allowed only when their call is over and the person looks at the lobby again go off', async (context) => {
  const page = await inCall(context);
  await page.leave();
  page.again();
  const opened = [new FakeTrack('audio', 'mic'), new FakeTrack('video', 'cam')];
  questions[0].answer(...opened);
  await settle();
  assert.equal(page.phase, 'check');
  assert.deepEqual(opened.map(({ stopped }) => stopped), [true, true]);
});

test('the camera that was chosen in the lobby is the one that opens in the call, though it was off on the way in', async (context) => {
  const page = await inCall(context, { before: ({ check }) => {
    check.chosen.camera = 'second camera';
    check.toggle('camera');
  } });
  page.toggle('camera');
  await settle();
  assert.deepEqual(questions.at(-1).wish.video.deviceId, { exact: 'second camera' });
  await page.leave();
});

test('a second press on "stop sharing" asks for no other screen', async (context) => {
  const page = await inCall(context);
  const asked = [];
  mediaDevices.getDisplayMedia = () => new Promise((resolve) => {
    asked.push(() => resolve(new environment.MediaStream([new FakeTrack('video', 'screen')])));
  });
  const shares = () => page.call.publications.has('screen');
  const sharing = page.toggleScreen();
  await settle();
  asked[0]();
  await sharing;
  assert.ok(shares());
  await page.toggleScreen();
  context.mock.timers.tick(200);
  await page.toggleScreen();
  assert.deepEqual([shares(), asked.length], [false, 1]);
  context.mock.timers.tick(400);
  page.toggleScreen();
  await settle();
  assert.equal(asked.length, 2);
  await page.leave();
});
