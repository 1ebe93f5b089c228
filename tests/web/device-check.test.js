// The device check of the lobby, without a browser: the person goes on before the browser's question is answered.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FakeTrack, fakeBrowser, settle } from './fakes.js';

Object.assign(globalThis, { localStorage: { getItem: () => null, setItem: () => {} }, cancelAnimationFrame: () => {} });
const { DeviceCheck } = await import('../../web/src/app/call/device-check.js');

/** A check whose question about both devices is open. */
async function asking(context) {
  const { environment } = fakeBrowser();
  const before = Object.getOwnPropertyDescriptor(globalThis, 'navigator');
  context.after(() => (before ? Object.defineProperty(globalThis, 'navigator', before) : delete globalThis.navigator));
  const opened = [new FakeTrack('audio', 'mic'), new FakeTrack('video', 'cam')];
  let allow;
  const mediaDevices = {
    getUserMedia: () => new Promise((resolve) => { allow = () => resolve(new environment.MediaStream(opened)); }),
    enumerateDevices: async () => [],
  };
  Object.defineProperty(globalThis, 'navigator', { configurable: true, value: { mediaDevices } });
  const check = new DeviceCheck(() => {});
  const late = [];
  check.onLate = (source) => late.push(source);
  check.open();
  await settle();
  return {
    check, late, opened,
    async allow() {
      allow();
      await settle();
    },
  };
}

test('devices that open behind the join come to the call', async (context) => {
  const { check, late, opened, allow } = await asking(context);
  check.handOver({ microphone: null, camera: null });
  await allow();
  assert.deepEqual(late, ['microphone', 'camera']);
  assert.deepEqual(opened.map(({ stopped }) => stopped), [false, false]);
});

test('a camera that was put off before the join is not switched on by an answer that comes behind it', async (context) => {
  const { check, late, opened, allow } = await asking(context);
  await check.toggle('camera');
  check.handOver({ microphone: null, camera: null });
  await allow();
  assert.deepEqual(late, ['microphone']);
  assert.deepEqual(opened.map(({ stopped }) => stopped), [false, true]);
});
