// Two things at once: presses, answers and states of the connection that cross each other.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FakeTrack, settle } from './fakes.js';
import { WadudCall } from '../../web/src/client/index.js';
import { guest, joined, party } from './party.js';

test('a change of network that the browser tells twice restarts ICE once', async () => {
  const network = Object.assign(new EventTarget(), { type: 'wifi' });
  const held = party();
  held.environment.network = network;
  const call = new WadudCall({ url: 'ws://server/v1/signal', token: 't', tracks: held.tracks, environment: held.environment });
  await call.connect();
  held.peer.become('connected');
  await settle();
  held.peer.become('disconnected');
  network.type = 'cellular';
  network.dispatchEvent(new Event('change'));
  await new Promise((resolve) => setImmediate(resolve));
  held.windowEvents.dispatchEvent(new Event('online'));
  await held.clock.advance(200);
  const restarts = held.network.sent('offer').filter(({ restart }) => restart).length;
  await call.leave();
  assert.equal(restarts, 1);
});

test('an offer that the server refuses while people come is one problem, not one for each of them', async () => {
  const { call, network, named, clock } = await joined();
  let first;
  network.answers.offer = (message) => { first ??= message; };
  const many = (count) => Array.from({ length: count }, (_, index) => guest(`g${index}`));
  let seq = 0;
  for (const participant of many(9)) network.socket.receive({ type: 'participant_joined', seq: seq += 1, participant });
  await settle();
  assert.equal(network.sent('offer').length, 1);
  for (const participant of many(4)) network.socket.receive({ type: 'participant_updated', seq: seq += 1, participant });
  await settle();
  network.answers.offer = () => ({ type: 'error', code: 'server_error', message: '', fatal: false });
  network.socket.receive({ re: first.id, type: 'error', code: 'server_error', message: '', fatal: false });
  await clock.advance(100);
  const told = named('problem').length;
  const offers = network.sent('offer').length;
  await call.leave();
  assert.ok(told <= offers, `${told} problems of ${offers} offers`);
});

test('who mutes while another microphone opens is not heard by it for a moment', async () => {
  const { call, environment, peer } = await joined();
  let open;
  environment.mediaDevices.getUserMedia = () => new Promise((resolve) => { open = resolve; });
  const next = new FakeTrack('audio', 'second');
  const heard = [];
  const { sender } = peer.transceivers.find(({ kind }) => kind === 'audio');
  sender.replaceTrack = async function replaceTrack(track) {
    heard.push(track?.enabled);
    await settle();  // the operations chain of the connection
    this.track = track;
  };
  const changing = call.setMicrophone('second');
  await settle();
  const muting = call.setMuted('microphone', true);
  await settle();
  open(new environment.MediaStream([next]));
  await Promise.all([changing, muting]);
  await call.leave();
  assert.deepEqual(heard, [false]);
});

test('a refused first screen does not tear a second one out of the books', async () => {
  const { call, network } = await joined();
  let first;
  network.answers.offer = (message) => { first ??= message; };
  const [one, two] = [new FakeTrack('video', 'one'), new FakeTrack('video', 'two')];
  const sharing = call.shareScreen(one).catch(() => undefined);
  await settle();
  const again = call.shareScreen(two).catch(() => undefined);
  await settle();
  network.answers.offer = () => ({ type: 'answer', sdp: 'v=0', slots: [] });
  network.socket.receive({ re: first.id, type: 'error', code: 'server_error', message: '', fatal: false });
  await Promise.all([sharing, again]);
  const shown = call.publications.get('screen')?.track ?? null;
  await call.leave();
  assert.deepEqual([shown === two, two.stopped], [true, true]);
});

test('DTLS that failed while ICE was disconnected is seen when ICE is back', async () => {
  const { call, peer, network, clock } = await joined();
  peer.become('disconnected');
  peer.connectionState = 'failed';
  peer.dispatchEvent(new Event('connectionstatechange'));
  peer.become('connected');  // the state of the connection stays failed: no event
  await clock.advance(20_000);
  const joins = network.sent('join').length;
  await call.leave();
  assert.equal(joins, 2);
});

test('a token that does not come holds up a first join for fifteen seconds, as a server that cannot be reached does', async () => {
  const { call, clock } = party({ token: () => new Promise(() => {}) });
  let end = null;
  call.connect().catch((error) => { end = error; });
  await clock.advance(120_000);
  const seen = end?.code ?? call.state;
  await call.leave();
  assert.equal(seen, 'unreachable');
});

test('a wish that fell with a server that drains is not told as one of a call that has ended', async () => {
  const { call, drain } = await joined();
  const removing = call.remove('g1').then(() => null, (error) => error);
  await settle();
  drain();
  const error = await removing;
  const state = call.state;
  await call.leave();
  assert.notDeepEqual([error.code, state], ['closed', 'reconnecting']);  // CallPage.report keeps silent about `closed`
});
