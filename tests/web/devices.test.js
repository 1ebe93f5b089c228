// Microphone, camera and screen between two steps of a call, in fake time: what is pressed, pulled out, refused or ended while a
// device is being opened.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FakeTrack, settle } from './fakes.js';
import { joined, party } from './party.js';

/** Joined; devices open and screens are picked from now on when the test says so. */
async function slow() {
  const found = await joined();
  const { mediaDevices } = found.environment;
  const open = mediaDevices.getUserMedia;
  const waiting = [];
  mediaDevices.getUserMedia = (wish) => new Promise((resolve) => waiting.push(() => resolve(open(wish))));
  mediaDevices.getDisplayMedia = mediaDevices.getUserMedia;
  return Object.assign(found, {
    async open() {
      for (const answer of waiting.splice(0)) answer();
      await settle();
    },
  });
}

const unplugged = (track) => track.onended();

test('a microphone that starts muted sends nothing', async () => {
  const { call, tracks, network } = await joined({ muted: { microphone: true } });
  assert.equal(network.sent('join')[0].tracks[0].muted, true);
  assert.equal(tracks.microphone.enabled, false);
  await call.setMuted('microphone', false);
  assert.equal(tracks.microphone.enabled, true);
});

test('a microphone that was muted can be opened again though the server keeps silent', async () => {
  const { call, network, tracks } = await joined();
  network.answers.mute = () => undefined;
  call.setMuted('microphone', true);
  call.setMuted('microphone', false);
  await settle();
  assert.equal(tracks.microphone.enabled, true);
  assert.deepEqual(network.sent('mute').map(({ muted }) => muted), [true, false]);
});

test('who mutes while the browser asks about another microphone is not heard until that is answered', async () => {
  const found = await slow();
  const { call, tracks, network } = found;
  const choosing = call.setMicrophone('other');
  await settle();
  const muting = call.setMuted('microphone', true);
  await settle();
  assert.equal(tracks.microphone.enabled, false);
  await found.open();
  await Promise.all([choosing, muting]);
  assert.equal(found.opened[0].enabled, false);
  assert.deepEqual(network.sent('mute').map(({ muted }) => muted), [true]);
});

for (const [what, begin] of [
  ['a camera that is switched on', ({ call }) => call.setMuted('camera', true).then(() => call.setMuted('camera', false))],
  ['another camera', ({ call }) => call.setCamera('other')],
  ['another microphone', ({ call }) => call.setMicrophone('other')],
  ['a screen that is being picked', ({ call }) => call.shareScreen()],
]) {
  test(`${what} when the person leaves goes off as soon as it opens`, async () => {
    const found = await slow();
    const told = begin(found).catch((error) => error.code);
    await settle();
    await found.call.leave();
    await found.open();
    assert.deepEqual(found.opened.map(({ stopped }) => stopped), [true]);
    assert.equal(await told, 'closed');
    assert.deepEqual([...found.call.publications.values()].filter(({ track }) => track), []);
  });
}

test('a device that replaces one that was pulled out when the person leaves goes off as soon as it opens', async () => {
  const found = await slow();
  unplugged(found.tracks.camera);
  await settle();
  await found.call.leave();
  const before = found.events.length;
  await found.open();
  assert.deepEqual(found.opened.map(({ stopped }) => stopped), [true]);
  assert.deepEqual(found.events.slice(before), []);
});

test('a track that is handed over to a call that has ended goes off', async () => {
  const { call } = await joined();
  await call.leave();
  const late = new FakeTrack('video', 'late');
  const told = call.setCamera(late).catch((error) => error.code);
  await settle();
  assert.ok(late.stopped);
  assert.equal(await told, 'closed');
});

test('a call that is refused gives back the tracks that it was given, and looks after them no more', async () => {
  const { call, network, tracks, opened, events } = party();
  network.answers.join = () => ({ type: 'error', code: 'room_full', message: '', fatal: true });
  await assert.rejects(call.connect(), { code: 'room_full' });
  assert.deepEqual([tracks.microphone.stopped, tracks.camera.stopped], [false, false]);
  const before = events.length;
  tracks.camera.onended?.();
  await settle();
  assert.deepEqual([opened.length, events.length], [0, before]);
});

test('a camera that was opened while a call was being refused goes off', async () => {
  const { call, network, opened } = party({ tracks: {} });
  network.answers.join = () => ({ type: 'error', code: 'room_full', message: '', fatal: true });
  const told = assert.rejects(call.connect(), { code: 'room_full' });
  await call.setMuted('camera', false);
  await told;
  assert.deepEqual(opened.map(({ stopped }) => stopped), [true]);
});

test('a camera that was pulled out and then switched off is not switched on again by what replaces it', async () => {
  const found = await slow();
  unplugged(found.tracks.camera);
  await settle();
  await found.call.setMuted('camera', true);
  await found.open();
  assert.deepEqual(found.opened.map(({ stopped }) => stopped), [true]);
  assert.deepEqual(found.call.publications.get('camera'), { source: 'camera', muted: true, track: null });
});

test('a camera that was chosen while a replacement for one that was pulled out opened is kept', async () => {
  const found = await slow();
  unplugged(found.tracks.camera);
  await settle();
  const chosen = new FakeTrack('video', 'chosen');
  await found.call.setCamera(chosen);
  await found.open();
  assert.deepEqual(found.opened.map(({ stopped }) => stopped), [true]);
  assert.equal(found.call.publications.get('camera').track, chosen);
  assert.equal(found.peer.transceivers[1].sender.track, chosen);
});

test('a microphone that was pulled out and muted meanwhile is replaced by one that is muted', async () => {
  const found = await slow();
  unplugged(found.tracks.microphone);
  await settle();
  await found.call.setMuted('microphone', true);
  await found.open();
  assert.equal(found.peer.transceivers[0].sender.track, found.opened[0]);
  assert.equal(found.opened[0].enabled, false);
});

test('a camera that was pulled out with no other behind it is off', async () => {
  const { call, environment, network, named, peer, tracks } = await joined();
  environment.mediaDevices.getUserMedia = async () => { throw new DOMException('', 'NotFoundError'); };
  unplugged(tracks.camera);
  await settle();
  assert.deepEqual(call.publications.get('camera'), { source: 'camera', muted: true, track: null });
  assert.deepEqual(network.sent('mute').map(({ mid, muted }) => [mid, muted]), [['1', true]]);
  assert.deepEqual(named('problem').map(({ error }) => error.code), ['track_ended', 'not_found']);
  assert.equal(peer.transceivers[1].sender.track, null);
});

test('a camera that cannot be changed to is off, and the one of before comes back with a press', async () => {
  const { call, environment, network, named, peer } = await joined();
  const { mediaDevices } = environment;
  const open = mediaDevices.getUserMedia;
  const asked = [];
  mediaDevices.getUserMedia = async (wish) => {
    asked.push(wish.video.deviceId.exact);
    if (asked.length === 1) throw new DOMException('', 'NotReadableError');
    return open(wish);
  };
  await assert.rejects(call.setCamera('busy'), { code: 'in_use' });
  assert.deepEqual(named('localchange').map(({ publication }) => publication), [{ source: 'camera', muted: true, track: null }]);
  assert.deepEqual(network.sent('mute').map(({ mid, muted }) => [mid, muted]), [['1', true]]);
  assert.equal(peer.transceivers[1].sender.track, null);
  await call.setMuted('camera', false);
  assert.deepEqual(asked, ['busy', 'cam']);
});

test('a screen that is put away while the socket is lost is no problem, and is told behind the resume', async () => {
  const { call, network, clock, named } = await joined();
  await call.shareScreen(new FakeTrack('video', 'screen'));
  network.up = false;
  network.socket.drop(1006);
  await call.stopScreen();
  assert.deepEqual(named('problem'), []);
  network.up = true;
  await clock.advance(5000);
  assert.ok(!network.sent('offer').at(-1).tracks.some(({ source }) => source === 'screen'));
});

for (const [how, end, last] of [
  ['stopped in the browser\'s own bar', async (found, track) => { track.onended(); await settle(); }, [false]],
  ['ended with the call', ({ call }) => call.leave(), []],
]) {
  test(`a screen ${how} while it is being offered is not told of as shared`, async () => {
    const found = await joined();
    const { answers } = found.network;
    const answer = answers.offer();
    answers.offer = () => undefined;
    const screen = new FakeTrack('video', 'screen');
    const sharing = found.call.shareScreen(screen);
    await settle();
    await end(found, screen);
    found.network.socket.receive({ re: found.network.sent('offer')[0].id, ...answer });
    answers.offer = () => answer;
    await found.clock.advance(11_000);
    await sharing;
    const told = found.named('localchange').map(({ publication }) => publication.source === 'screen' && !publication.muted);
    assert.deepEqual(told, last);
    assert.ok(screen.stopped);
  });
}

for (const [message, code] of [['Permission denied by system', 'system_denied'], ['Permission denied by user', 'dismissed']]) {
  test(`a screen that is not shared, "${message}", says so: ${code}`, async () => {
    const { call, environment } = await joined();
    environment.mediaDevices.getDisplayMedia = async () => { throw new DOMException(message, 'NotAllowedError'); };
    await assert.rejects(call.shareScreen(), { name: 'DeviceError', code });
  });
}
