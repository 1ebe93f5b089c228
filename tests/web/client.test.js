// The client library against a scripted server, in fake time.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { WadudCall } from '../../web/src/client/index.js';
import { FakeTrack, fakeBrowser, settle } from './fakes.js';
import { guest, joined } from './party.js';

test('one message joins: token, offer, own tracks first, then the slots', async () => {
  const { network, browser, call } = await joined();
  assert.deepEqual(network.socket.offered, ['wadud.v1.deflate', 'wadud.v1']);
  const [join] = network.sent('join');
  assert.deepEqual(join.tracks, [{ mid: '0', source: 'microphone', muted: false }, { mid: '1', source: 'camera', muted: false }]);
  assert.equal(join.token, 'token');
  assert.equal(browser.peer.configuration.bundlePolicy, 'max-bundle');
  const shape = browser.peer.transceivers.map(({ kind, direction }) => `${kind} ${direction}`);
  assert.deepEqual(shape, ['audio sendonly', 'video sendonly', ...Array(2).fill('audio recvonly'), ...Array(2).fill('video recvonly')]);
  assert.equal(call.state, 'connected');
  assert.equal(network.sockets.length, 1);
});

const MIMES = ['video/H264', 'video/rtx', 'video/VP9', 'video/VP8', 'video/AV1'];
const codec = (mimeType) => ({ mimeType });

/** Chrome on a Mac encodes a profile of H.264 that it does not decode, and refuses it as a preference. */
async function preferred(context, options) {
  const capabilities = { RTCRtpReceiver: MIMES.map(codec), RTCRtpSender: [codec('video/H264-high'), ...MIMES.map(codec)] };
  for (const [name, codecs] of Object.entries(capabilities)) {
    const before = Object.getOwnPropertyDescriptor(globalThis, name);
    context.after(() => (before ? Object.defineProperty(globalThis, name, before) : delete globalThis[name]));
    globalThis[name] = { getCapabilities: () => ({ codecs }) };
  }
  const { peer } = await joined({ ...options, connection: (Fake) => class extends Fake {
    addTransceiver(given, how) {
      const transceiver = super.addTransceiver(given, how);
      transceiver.setCodecPreferences = (codecs) => {
        if (codecs.some(({ mimeType }) => !MIMES.includes(mimeType))) throw new DOMException('invalid codec', 'InvalidModificationError');
        transceiver.codecs = codecs;
      };
      return transceiver;
    }
  } });
  return peer.transceivers.map(({ codecs }) => codecs?.map(({ mimeType }) => mimeType));
}

test('cameras offer VP8 first, the one codec that every browser has, and slots keep the browser\'s order', async (context) => {
  const [microphone, camera, ...slots] = await preferred(context, {});
  assert.deepEqual(camera, ['video/VP8', 'video/H264', 'video/rtx', 'video/VP9', 'video/AV1']);
  assert.deepEqual([microphone, ...slots].filter(Boolean), []);
});

test('a codec that is asked for stands before VP8', async (context) => {
  const [, camera] = await preferred(context, { videoCodec: 'VP9' });
  assert.deepEqual(camera, ['video/VP9', 'video/H264', 'video/rtx', 'video/VP8', 'video/AV1']);
});

test('the offer is ready before the socket opens', async () => {
  const browser = fakeBrowser();
  browser.network.up = false;
  const call = new WadudCall({ url: 'ws://server/v1/signal', token: 'token', environment: browser.environment });
  const connecting = call.connect();
  await settle();
  assert.equal(browser.peer.offers.length, 1);
  browser.network.up = true;
  await browser.clock.advance(1000);
  await connecting;
  assert.equal(browser.peer.offers.length, 1);
});

test('a refusal rejects with the server\'s code and is not tried again', async () => {
  const browser = fakeBrowser();
  browser.network.answers.join = () => ({ type: 'error', code: 'room_full', message: 'full', fatal: true });
  const call = new WadudCall({ url: 'ws://server/v1/signal', token: 'token', environment: browser.environment });
  await assert.rejects(call.connect(), { name: 'SignallingError', code: 'room_full', fatal: true });
  assert.equal(browser.network.sent('join').length, 1);
  assert.equal(call.state, 'ended');
});

test('an unreachable server is reported after half a minute of trying', async () => {
  const browser = fakeBrowser();
  browser.network.up = false;
  const call = new WadudCall({ url: 'ws://server/v1/signal', token: 'token', environment: browser.environment });
  const failure = assert.rejects(call.connect(), { name: 'ConnectionError', code: 'unreachable' });
  await browser.clock.advance(40_000);
  await failure;
  assert.ok(browser.network.sockets.length > 4);
});

test('slots carry tracks to participants and change by message', async () => {
  const { network, call } = await joined();
  network.socket.receive({ type: 'participant_joined', seq: 1, participant: guest('ada') });
  network.socket.receive({ type: 'slots', seq: 2, slots: [{ mid: '5', kind: 'video', track: 'ada-v', participant: 'ada', source: 'camera' }] });
  const camera = () => call.participants[0].tracks.find(({ source }) => source === 'camera');
  assert.equal(camera().stream.getVideoTracks().length, 1);
  network.socket.receive({ type: 'slots', seq: 3, slots: [{ mid: '5', kind: 'video', track: null, participant: null, source: null }] });
  assert.equal(camera().stream, null);
  assert.equal(call.audioStreams.length, 2);
});

test('a lost socket is resumed with the last push seen, and a replay changes nothing twice', async () => {
  const { network, clock, call, named } = await joined();
  network.socket.receive({ type: 'participant_joined', seq: 1, participant: guest('ada') });
  network.answers.resume = () => ({ type: 'resumed', participants: [guest('ada'), guest('bob')], slots: [], generation: 2 });
  network.up = false;
  network.socket.drop(1006);
  assert.equal(call.state, 'reconnecting');
  assert.deepEqual(call.health, { signalling: 'lost', media: 'connected' });
  await clock.advance(5000);
  network.up = true;
  await clock.advance(5000);
  assert.equal(call.state, 'connected');
  const resume = network.sent('resume').at(-1);
  assert.deepEqual([resume.session, resume.secret, resume.seen], ['s1', 'x', 1]);
  network.socket.receive({ type: 'participant_joined', seq: 1, participant: guest('ada') });
  network.socket.receive({ type: 'participant_joined', seq: 2, participant: guest('bob') });
  assert.deepEqual(named('participantjoined').map(({ participant }) => participant.id), ['ada', 'bob']);
});

test('the first resume comes at once, later ones spread out', async () => {
  const { network, clock } = await joined();
  network.up = false;
  network.socket.drop(1006);
  await clock.advance(250);
  assert.equal(network.sockets.length, 2);
  await clock.advance(60_000);
  const tries = network.sockets.length;
  assert.ok(tries > 10 && tries < 30, `${tries} tries in a minute`);
});

test('the network coming back ends the wait', async () => {
  const { network, clock, windowEvents, call } = await joined();
  network.up = false;
  network.socket.drop(1006);
  await clock.advance(20_000);
  network.up = true;
  windowEvents.dispatchEvent(new Event('online'));
  await clock.advance(0);
  assert.equal(call.state, 'connected');
});

test('a socket that keeps silent is given up and replaced', async () => {
  const { network, clock, call } = await joined();
  network.answers.ping = () => undefined;
  await clock.advance(13_000);
  assert.equal(network.sockets.length, 1);
  await clock.advance(3000);
  assert.equal(network.sockets.length, 2);
  assert.equal(call.state, 'connected');
});

test('a forgotten session joins anew with the same tracks', async () => {
  const { network, clock, call, tracks, browser } = await joined();
  const first = browser.peer;
  network.answers.resume = () => ({ type: 'error', code: 'unknown_session', message: '', fatal: true });
  network.socket.drop(1006);
  await clock.advance(2000);
  assert.equal(call.state, 'connected');
  assert.equal(network.sent('join').length, 2);
  assert.ok(first.closed);
  assert.notEqual(browser.peer, first);
  assert.equal(browser.peer.transceivers[1].sender.track, tracks.camera);
  assert.equal(tracks.camera.stopped, false);
});

test('bye ends the call with its reason and stops the devices', async () => {
  const { network, call, tracks, named, clock } = await joined();
  network.socket.receive({ type: 'bye', seq: 1, reason: 'removed' });
  assert.deepEqual(named('ended'), [{ reason: 'removed', error: null }]);
  assert.ok(tracks.camera.stopped && tracks.microphone.stopped);
  await clock.advance(60_000);
  assert.equal(network.sockets.length, 1);
  assert.equal(call.state, 'ended');
});

test('a draining server is left for a new join', async () => {
  const { network, clock, call } = await joined();
  network.socket.receive({ type: 'bye', seq: 1, reason: 'draining' });
  await clock.advance(2000);
  assert.equal(network.sent('join').length, 2);
  assert.equal(call.state, 'connected');
});

test('a muted microphone keeps its device, a muted camera gives it back', async () => {
  const { network, call, tracks, opened, browser } = await joined();
  await call.setMuted('microphone', true);
  assert.deepEqual([tracks.microphone.enabled, tracks.microphone.stopped], [false, false]);
  await call.setMuted('camera', true);
  assert.ok(tracks.camera.stopped);
  assert.equal(browser.peer.transceivers[1].sender.track, null);
  await call.setMuted('camera', false);
  assert.equal(browser.peer.transceivers[1].sender.track, opened.at(-1));
  assert.deepEqual(network.sent('mute').map(({ mid, muted }) => [mid, muted]), [['0', true], ['1', true], ['1', false]]);
});

test('quick presses of one button happen in their order', async () => {
  const { network, call } = await joined();
  await Promise.all([call.setMuted('camera', true), call.setMuted('camera', false), call.setMuted('camera', true)]);
  assert.deepEqual(network.sent('mute').map(({ muted }) => muted), [true, false, true]);
  assert.equal(call.publications.get('camera').track, null);
});

test('a mute during a lost socket is told after the resume', async () => {
  const { network, clock, call } = await joined();
  network.up = false;
  network.socket.drop(1006);
  await call.setMuted('microphone', true);
  assert.equal(network.sent('mute').length, 0);
  network.up = true;
  await clock.advance(5000);
  assert.ok(network.sent('mute').some(({ mid, muted }) => mid === '0' && muted));
});

test('another device is sent without a new offer', async () => {
  const { network, call, tracks, browser } = await joined();
  await call.setCamera('other-camera');
  assert.ok(tracks.camera.stopped);
  assert.notEqual(browser.peer.transceivers[1].sender.track, tracks.camera);
  assert.equal(network.sent('offer').length, 0);
});

test('a screen is offered once and its line used again', async () => {
  const { network, call, browser } = await joined();
  const lines = browser.peer.transceivers.length;
  await call.shareScreen(new FakeTrack('video', 'screen'));
  assert.equal(network.sent('offer').at(-1).tracks.at(-1).source, 'screen');
  await call.stopScreen();
  assert.ok(!network.sent('offer').at(-1).tracks.some(({ source }) => source === 'screen'));
  await call.shareScreen(new FakeTrack('video', 'screen'));
  assert.equal(browser.peer.transceivers.length, lines + 1);
  assert.equal(network.sent('offer').length, 3);
});

test('a forbidden screen share is taken back', async () => {
  const { network, call, browser } = await joined();
  network.answers.offer = () => ({ type: 'error', code: 'forbidden', message: '', fatal: false });
  const screen = new FakeTrack('video', 'screen');
  await assert.rejects(call.shareScreen(screen), { code: 'forbidden' });
  assert.ok(screen.stopped);
  assert.equal(browser.peer.signalingState, 'stable');
  assert.equal(call.publications.has('screen'), false);
});

test('ICE restarts after half a second of disconnection, and again while it does not help', async () => {
  const { network, clock, call, browser } = await joined();
  browser.peer.become('disconnected');
  assert.equal(call.state, 'reconnecting');
  await clock.advance(400);
  assert.equal(network.sent('offer').length, 0);
  await clock.advance(200);
  assert.equal(network.sent('offer').at(-1).restart, true);
  assert.equal(browser.peer.offers.at(-1).iceRestart, true);
  await clock.advance(6100);
  assert.equal(network.sent('offer').length, 2);
  browser.peer.become('connected');
  assert.equal(call.state, 'connected');
  await clock.advance(30_000);
  assert.equal(network.sent('offer').length, 2);
});

test('ICE restarts at once when it failed or when the network changed', async () => {
  const { network, clock, browser, windowEvents } = await joined();
  browser.peer.become('failed');
  await clock.advance(0);
  assert.equal(network.sent('offer').length, 1);
  browser.peer.become('connected');
  windowEvents.dispatchEvent(new Event('online'));
  await clock.advance(0);
  assert.equal(network.sent('offer').length, 2);
});

test('ICE restarts when nothing was heard for five seconds though ICE says connected', async () => {
  const { network, clock, browser } = await joined();
  await clock.advance(10_000);
  assert.equal(network.sent('offer').length, 0);
  browser.peer.flowing = false;
  await clock.advance(7000);
  assert.equal(network.sent('offer').length, 1);
  assert.equal(network.sent('offer')[0].restart, true);
});

test('ICE does not restart for a silence that a browser cannot tell of', async () => {
  const { network, clock, peer } = await joined();
  const known = peer.getStats.bind(peer);
  const unknown = async () => new Map([...await known()].filter(([id]) => id !== 'T' && id !== 'P'));
  peer.getStats = unknown;
  await clock.advance(30_000);
  peer.getStats = known;
  await clock.advance(10_000);
  peer.flowing = false;
  peer.getStats = unknown;
  await clock.advance(30_000);
  peer.getStats = known;
  await clock.advance(4000);
  assert.equal(network.sent('offer').length, 0);
  await clock.advance(5000);
  assert.equal(network.sent('offer').length, 1);
});

test('ICE does not restart for who hears nothing but checks of consent, as seldom as Firefox makes them', async () => {
  const { network, clock, browser } = await joined();
  browser.peer.flowing = false;
  await clock.advance(900);
  for (let check = 0; check < 5; check++) {
    browser.peer.bytes += 1;
    await clock.advance(6200);
  }
  assert.equal(network.sent('offer').length, 0);
  await clock.advance(3000);
  assert.equal(network.sent('offer').length, 1);
});

test('ICE restarts once at the most for who hears such checks only behind media, not with every check that takes longer', async () => {
  const { network, clock, browser, peer } = await joined();
  const read = peer.getStats.bind(peer);
  peer.getStats = () => new Promise((resolve) => { clock.set(() => resolve(read()), 5); });  // a second between two samples, and a bit
  await clock.advance(10_100);
  browser.peer.flowing = false;
  for (let check = 0; check < 8; check++) {
    await clock.advance(5900);
    browser.peer.bytes += 1;
  }
  assert.equal(network.sent('offer').length, 1);
});

test('an offer lost with the socket is made again after the resume', async () => {
  const { network, clock, call } = await joined();
  network.answers.offer = () => undefined;
  const sharing = call.shareScreen(new FakeTrack('video', 'screen'));
  await settle();
  network.socket.drop(1006);
  network.answers.offer = () => ({ type: 'answer', sdp: 'v=0', slots: [] });
  await clock.advance(3000);
  await sharing;
  assert.equal(network.sent('offer').length, 2);
  assert.equal(network.sent('offer').at(-1).tracks.at(-1).source, 'screen');
});

test('a third voice brings one offer with a slot for it, also while it is muted, and a fourth brings none', async () => {
  const { network, clock, browser } = await joined();
  const silent = { tracks: [{ id: 'a', source: 'microphone', kind: 'audio', muted: true }] };
  const slots = [];
  for (let index = 1; index <= 4; index += 1) {
    network.socket.receive({ type: 'participant_joined', seq: index, participant: guest(`p${index}`, silent) });
    await clock.advance(10);
    slots.push(browser.peer.transceivers.filter(({ kind, direction }) => kind === 'audio' && direction === 'recvonly').length);
  }
  assert.deepEqual(slots, [2, 2, 3, 3]);
  assert.equal(network.sent('offer').length, 1);
});

test('more videos than slots bring one offer with as many more as fill a step of four', async () => {
  const { network, clock, browser } = await joined();
  for (let index = 1; index <= 9; index += 1) {
    network.socket.receive({ type: 'participant_joined', seq: index, participant: guest(`p${index}`) });
  }
  await clock.advance(10);
  assert.equal(network.sent('offer').length, 1);
  assert.equal(browser.peer.transceivers.filter(({ kind, direction }) => kind === 'video' && direction === 'recvonly').length, 12);
});

test('a slot that changes while an answer is being taken in keeps its change', async () => {
  const { network, browser, call } = await joined();
  let takenIn;
  browser.peer.setRemoteDescription = () => new Promise((resolve) => { takenIn = resolve; });
  for (let index = 1; index <= 9; index += 1) {
    network.socket.receive({ type: 'participant_joined', seq: index, participant: guest(`p${index}`) });
  }
  await settle();
  network.socket.receive({ type: 'slots', seq: 10, slots: [{ mid: '5', kind: 'video', track: 'p1-v', participant: 'p1', source: 'camera' }] });
  takenIn();
  await settle();
  assert.equal(call.participants[0].tracks.filter(({ stream }) => stream).length, 1);
});

test('leaving says goodbye before anything is awaited', async () => {
  const { network, call, browser } = await joined();
  const leaving = call.leave();
  assert.equal(network.sent('leave').length, 1);
  assert.ok(browser.peer.closed);
  await leaving;
  assert.equal(call.state, 'ended');
});

test('a call that cannot be repaired is given up after its patience', async () => {
  const { network, clock, named } = await joined({ giveUp_ms: 30_000 });
  network.up = false;
  network.socket.drop(1006);
  await clock.advance(45_000);
  assert.equal(named('ended')[0].reason, 'connection_lost');
  assert.equal(named('ended')[0].error.code, 'gave_up');
});
