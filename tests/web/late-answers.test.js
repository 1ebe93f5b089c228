// Answers of the browser, the server and the clinic that come when the person has gone on already.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { enter, environment, inCall, mediaDevices, network, opened, questions, stored } from './call-page.js';
import { FakeTrack, settle } from './fakes.js';

async function joinedWhileCameraOpens(context) {
  const page = opened(context);
  await settle();
  questions[0].answer(new FakeTrack('audio', 'mic'), new FakeTrack('video', 'cam'));
  await settle();
  await page.toggle('camera');  // off
  page.toggle('camera');  // and on again: the browser asks, or the camera takes its time
  await settle();
  assert.equal(questions.length, 2);
  await enter(page, context);
  return page;
}

test('a microphone that was muted in the call is not opened and unmuted by a camera that comes late', async (context) => {
  const page = await joinedWhileCameraOpens(context);
  assert.equal(page.isMuted('microphone'), false);
  await page.toggle('microphone');
  assert.equal(page.isMuted('microphone'), true);
  questions[1].answer(new FakeTrack('video', 'cam'));  // the person allows the camera
  await settle();
  const again = questions.slice(2);
  for (const { answer } of again) answer(new FakeTrack('audio', 'mic'));
  await settle();
  const state = { muted: page.isMuted('microphone'), enabled: page.publications.get('microphone').track.enabled, asked: again.map(({ wish }) => wish) };
  await page.leave();
  assert.deepEqual(state, { muted: true, enabled: false, asked: [] });
});

test('a camera that is switched off and on again while the browser is asked twice opens', async () => {
  questions.length = 0;
  const { DeviceCheck } = await import('../../web/src/app/call/device-check.js');
  const check = new DeviceCheck(() => {});
  check.open();
  await settle();
  check.toggle('camera');  // off, while both are opening
  check.choose('microphone', 'second');
  questions[0].answer(new FakeTrack('audio', 'first'), new FakeTrack('video', 'cam'));
  await settle();
  assert.deepEqual(questions.length, 2);  // the second microphone
  check.toggle('camera');  // on again, while that one opens
  questions[1].answer(new FakeTrack('audio', 'second'));
  await settle();
  assert.equal(check.wanted.camera, true);
  assert.equal(check.asking && questions.length === 3 || check.tracks.camera !== null, true, 'wanted, not asked for, and no problem');
});

test('a camera that ends while another device is opening is opened again', async () => {
  questions.length = 0;
  const { DeviceCheck } = await import('../../web/src/app/call/device-check.js');
  const check = new DeviceCheck(() => {});
  check.open();
  await settle();
  check.choose('microphone', 'second');
  const camera = new FakeTrack('video', 'cam');
  questions[0].answer(new FakeTrack('audio', 'first'), camera);
  await settle();
  camera.onended();  // pulled out while the second microphone opens
  questions[1].answer(new FakeTrack('audio', 'second'));
  await settle();
  assert.equal(questions.length, 3, 'nobody asks for another camera');
});

test('a microphone that was opened and muted in the call stays muted when what the lobby asked for comes', async (context) => {
  const page = await inCall(context);  // camera and microphone of the lobby are still opening
  const on = page.toggle('microphone');
  await settle();
  questions[1].answer(new FakeTrack('audio', 'mic'));
  await on;
  assert.equal(page.isMuted('microphone'), false);
  await page.toggle('microphone');
  assert.equal(page.isMuted('microphone'), true);
  questions[0].answer(new FakeTrack('audio', 'mic'), new FakeTrack('video', 'cam'));
  await settle();
  const state = [page.isMuted('microphone'), page.publications.get('microphone').track.enabled];
  await page.leave();
  assert.deepEqual(state, [true, false]);
});

test('a button that waited for the browser when its call ended works in the next call', async (context) => {
  const page = await inCall(context);
  page.toggle('camera');  // the browser asks; nobody answers
  await settle();
  await page.leave();
  page.again();
  await enter(page, context);
  const told = { muted: page.isMuted('camera'), really: page.publications.get('camera').muted };
  await page.leave();
  assert.deepEqual(told, { muted: true, really: true });
});

test('who is put out while the join is being finished is told why', async (context) => {
  context.mock.method(globalThis, 'fetch', async (url) => (String(url).includes('ice-servers')
    ? new Promise(() => {}) : new Response(JSON.stringify({ token: 't' }))));
  const page = opened(context);
  const joining = page.join(false);
  context.mock.timers.tick(3000);
  await settle();
  await settle();
  assert.equal(page.phase, 'joining');
  assert.equal(network.socket.sent.some(({ type }) => type === 'join'), true);
  network.socket.receive({ type: 'bye', seq: 1, reason: 'room_closed' });
  await settle();
  context.mock.timers.tick(1500);  // the relay keeps silent
  await joining;
  assert.deepEqual([page.phase, page.end.reason, page.joinProblem], ['ended', 'room_closed', '']);
});

test('a double press on "share" asks for one screen', async (context) => {
  const page = await inCall(context);
  const asked = [];
  mediaDevices.getDisplayMedia = () => new Promise((resolve) => { asked.push(resolve); });
  page.toggleScreen();
  context.mock.timers.tick(150);
  page.toggleScreen();
  await settle();
  const count = asked.length;
  await page.leave();
  assert.equal(count, 1);
});

test('what the lobby asked for goes off when the call is left, though another question is still open', async (context) => {
  const page = await inCall(context);
  page.toggle('camera');  // asks once more, before the first question is answered
  await settle();
  assert.equal(questions.length, 2);
  const opened = [new FakeTrack('audio', 'mic'), new FakeTrack('video', 'cam')];
  questions[0].answer(...opened);
  await settle();
  await page.leave();
  await settle();
  assert.equal(page.phase, 'ended');
  assert.deepEqual(opened.map(({ stopped }) => stopped), [true, true], 'a device is on behind the call');
});

test('who is put out of a visit because another device has the seat is not told to have left', async (context) => {
  stored['wadud.visit.r'] = JSON.stringify({ appointment: 'a', byPass: true, back: '/j/x', host: false, name: 'Sana' });
  context.after(() => { delete stored['wadud.visit.r']; });
  const json = (status, body) => new Response(JSON.stringify(body), { status });
  let refused = false;
  context.mock.method(globalThis, 'fetch', async (url) => {
    if (!String(url).includes('/token')) return json(200, { ice_servers: [], lifetime_s: 3600 });
    return refused ? json(409, { code: 'device_moved', title: 'Conflict' }) : json(200, { token: 't', refresh_after_s: 60 });
  });
  const page = await inCall(context);
  refused = true;
  context.mock.timers.tick(60_000);
  for (let turn = 0; turn < 10; turn += 1) await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual([page.phase, page.end.reason], ['ended', 'replaced']);
});
