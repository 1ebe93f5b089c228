// Who changes the network: how soon the client notices, and what it does with signalling and with offers under way.

import assert from 'node:assert/strict';
import test from 'node:test';

import { FakeTrack, settle } from './fakes.js';
import { joined } from './party.js';

const restarts = ({ network }) => network.sent('offer').filter(({ restart }) => restart).length;
const deaf = (network) => { network.answers.ping = () => undefined; };

test('where media have flowed a second of silence is enough, and signalling looks after its own', async () => {
  const found = await joined();
  await found.clock.advance(6000);
  assert.equal(restarts(found), 0);
  found.peer.flowing = false;
  deaf(found.network);
  await found.clock.advance(1600);
  assert.equal(restarts(found), 1);
  assert.equal(found.network.sent('resume').length, 1);
  assert.equal(found.call.state, 'connected');
});

test('a silence that ended by itself makes the next ones longer', async () => {
  const found = await joined();
  for (const [silence_ms, after] of [[1600, 1], [1600, 1], [2600, 2], [2600, 2]]) {
    found.peer.flowing = true;
    await found.clock.advance(6000);
    found.peer.flowing = false;
    await found.clock.advance(silence_ms);
    assert.equal(restarts(found), after, `${silence_ms}`);
  }
});

test('who hears nothing but reports each second is not suspected of having gone', async () => {
  const found = await joined();
  await found.clock.advance(6000);
  found.peer.flowing = false;
  for (let second = 0; second < 20; second += 1) {
    found.peer.bytes += 90;
    await found.clock.advance(1000);
  }
  assert.equal(restarts(found), 0);
});

test('a restart is given time before silence asks for the next', async () => {
  const found = await joined();
  await found.clock.advance(6000);
  found.peer.flowing = false;
  found.windowEvents.dispatchEvent(new Event('online'));
  await found.clock.advance(2500);
  assert.equal(restarts(found), 1);
  await found.clock.advance(1500);
  assert.equal(restarts(found), 2);
});

test('behind a change of network a new socket takes the place of one that keeps silent', async () => {
  const found = await joined();
  deaf(found.network);
  found.network.answers.offer = () => (found.network.sockets.length > 1 ? { type: 'answer', sdp: 'v=0', slots: [] } : undefined);
  found.windowEvents.dispatchEvent(new Event('online'));
  await settle();
  await settle();
  assert.equal(found.network.sent('resume').length, 1);
  assert.equal(found.network.sockets[1].sent.at(-1).type, 'offer');
  assert.equal(found.peer.signalingState, 'stable');
  assert.equal(found.call.state, 'connected');
});

test('a socket that answers stays, and the one beside it is closed', async () => {
  const { network, windowEvents, clock } = await joined();
  windowEvents.dispatchEvent(new Event('online'));
  await clock.advance(5000);
  assert.deepEqual(network.sockets.map(({ readyState }) => readyState), [1, 3]);
  assert.equal(network.sent('resume').length, 0);
});

test('a socket that is broken off while the network changes is opened again at once', async () => {
  const { network, windowEvents, clock, call } = await joined();
  network.up = false;
  windowEvents.dispatchEvent(new Event('online'));
  await settle();
  network.up = true;
  await clock.advance(300);
  assert.equal(network.sent('resume').length, 1);
  assert.equal(call.state, 'connected');
});

test('each change of network is heeded, also soon behind the one before', async () => {
  const { network, windowEvents, clock } = await joined();
  deaf(network);
  for (const sockets of [2, 3, 4]) {
    windowEvents.dispatchEvent(new Event('online'));
    await settle();
    await settle();
    assert.equal(network.sockets.length, sockets);
    await clock.advance(300);
  }
  assert.equal(network.sent('resume').length, 3);
});

test('a socket that is being opened into the old network is not waited for', async () => {
  const { network, windowEvents, clock, call } = await joined();
  network.swallows = true;
  network.socket.drop(1006);
  await clock.advance(3000);
  network.swallows = false;
  windowEvents.dispatchEvent(new Event('online'));
  await settle();
  await settle();
  assert.equal(network.sent('resume').length, 1);
  assert.equal(call.state, 'connected');
});

test('a restart that the lost socket swallowed is offered again as it is, so that its ways are kept', async () => {
  const { network, clock, call, peer, windowEvents } = await joined();
  network.answers.offer = () => undefined;
  windowEvents.dispatchEvent(new Event('online'));
  await settle();
  network.socket.drop(1006);
  const muting = call.setMuted('camera', true).catch(() => undefined);
  network.answers.offer = () => ({ type: 'answer', sdp: 'v=0', slots: [] });
  await clock.advance(3000);
  await muting;
  const [first, second, ...more] = network.sent('offer');
  assert.deepEqual(more, []);
  assert.equal(second.sdp, first.sdp);
  assert.ok(second.restart);
  assert.deepEqual(second.tracks.map(({ source, muted }) => [source, muted]), [['microphone', false], ['camera', true]], 'as they are muted now');
  assert.deepEqual(peer.offers.filter((options) => options?.iceRestart).length, 1);
  assert.equal(peer.signalingState, 'stable');
});

test('what was wished meanwhile makes another offer, which restarts as well', async () => {
  const { network, clock, call, windowEvents } = await joined();
  network.answers.offer = () => undefined;
  windowEvents.dispatchEvent(new Event('online'));
  await settle();
  network.socket.drop(1006);
  network.answers.offer = () => ({ type: 'answer', sdp: 'v=0', slots: [] });
  const sharing = call.shareScreen(new FakeTrack('video', 'screen'));
  await clock.advance(3000);
  await sharing.catch(() => undefined);
  await clock.advance(3000);
  const offers = network.sent('offer');
  assert.ok(offers.at(-1).restart || offers.some(({ restart, sdp }) => restart && sdp !== offers[0].sdp));
});
