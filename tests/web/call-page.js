// The call page in a browser of fakes, for tests of what happens between a press and the browser's answer to it.

import assert from 'node:assert/strict';
import { fakeBrowser, settle } from './fakes.js';

export const { environment, network } = fakeBrowser();
/** What the page finds in its storages, by key. */
export const stored = {};
const store = { getItem: (key) => stored[key] ?? null, setItem: () => {}, removeItem: () => {} };
/** What the browser asks the person about devices: `answer` with tracks. */
export const questions = [];
export const mediaDevices = Object.assign(new EventTarget(), {
  getUserMedia: (wish) => new Promise((resolve) => { questions.push({ wish, answer: (...tracks) => resolve(new environment.MediaStream(tracks)) }); }),
  enumerateDevices: async () => [],
});
const document = Object.assign(new EventTarget(), {
  createTreeWalker: () => ({}), getElementById: () => null, body: { dataset: {} }, visibilityState: 'visible',
});
class Context { createMediaStreamSource() { return { connect() {} }; } async close() {} async resume() {} }
const browser = {
  document, window: globalThis, location: new URL('https://wadud.example/call/r'), navigator: { mediaDevices },
  localStorage: store, sessionStorage: store, screen: { width: 1000, height: 1000 },
  AudioContext: Context, AnalyserNode: class { fftSize = 4; getFloatTimeDomainData() {} }, matchMedia: () => ({ matches: false }),
  addEventListener: () => {}, removeEventListener: () => {}, requestAnimationFrame: () => 0, cancelAnimationFrame: () => {},
  ResizeObserver: class { observe() {} disconnect() {} }, HTMLMediaElement: class {}, Audio: class { async play() {} },
  WebSocket: environment.WebSocket, RTCPeerConnection: environment.RTCPeerConnection, MediaStream: environment.MediaStream,
  fetch: async () => new Response(JSON.stringify({ token: 't' })),  // tests set their own
};
for (const [name, value] of Object.entries(browser)) Object.defineProperty(globalThis, name, { configurable: true, writable: true, value });

const { CallPage } = await import('../../web/src/app/call/page.js');
const nowhere = () => ({ _$litPart$: new Proxy({}, { get: () => () => {} }), querySelector: () => null });

/** A page in the device check, whose question is open. Its timers are the test's. */
export function opened(context) {
  context.mock.timers.enable({ apis: ['setTimeout', 'setInterval', 'Date'] });
  questions.length = 0;
  const page = new CallPage(nowhere(), 'r');
  page.start();
  page.name = 'Ada';
  return page;
}

/** Joins without waiting for the browser's answer any longer. */
export async function enter(page, context) {
  const joining = page.join(false);
  context.mock.timers.tick(3000);
  for (let turn = 0; turn < 10; turn += 1) {
    await new Promise((resolve) => setImmediate(resolve));
    await settle();
  }
  await joining;
  assert.equal(page.phase, 'call');
}

export async function inCall(context) {
  const page = opened(context);
  await enter(page, context);
  return page;
}
