// A call between two of its steps, in fake time: what comes, goes, breaks or is pressed while a join is being finished, while
// somebody leaves, and while an offer is unanswered.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FakeTrack, settle } from './fakes.js';
import { guest, hold, joined, joining, party } from './party.js';

const relay = (name) => ({ urls: [`turn:${name}:443?transport=udp`], username: name, credential: 'x' });
const gives = (name) => [200, { ice_servers: [relay(name)], expires_at: 0, lifetime_s: 3600 }];
const silence = () => new Promise(() => {});
const guests = (count, prefix = 'p') => Array.from({ length: count }, (_, index) => guest(`${prefix}${index}`));
const come = ({ network }, people) => people.forEach((participant, index) => {
  network.socket.receive({ type: 'participant_joined', seq: index + 1, participant });
});
/** What a closed connection was at never settles; `hangs(n)`: the n-th connection of the test takes no answer in. */
const hangs = (broken) => (Fake) => class extends Fake {
  number = Fake.all.length;
  setRemoteDescription(description) { return this.number === broken ? silence() : super.setRemoteDescription(description); }
};
const refuses = (first) => (Fake) => class extends Fake {
  number = Fake.all.length;
  async setRemoteDescription(description) {
    if (this.number >= first) throw new DOMException('cannot be taken in', 'InvalidAccessError');
    await super.setRemoteDescription(description);
  }
};

test('who comes, changes places or leaves while a join is being finished is not forgotten', async () => {
  const { call, network, named, finish } = await joining([guest('ada'), guest('bob')], { videoSlots: 3, audioSlots: 3 });
  let media = 0;
  call.on('mediachange', () => { media = call.participants.flatMap(({ tracks }) => tracks).filter(({ stream }) => stream).length; });
  network.socket.receive({ type: 'participant_joined', seq: 1, participant: guest('eve') });
  network.socket.receive({ type: 'slots', seq: 2, slots: [{ mid: '5', kind: 'video', track: 'eve-v', participant: 'eve', source: 'camera' }] });
  network.socket.receive({ type: 'participant_left', seq: 3, participant: 'bob', reason: 'left' });
  await finish();
  assert.deepEqual(call.participants.map(({ id }) => id), ['ada', 'eve']);
  assert.equal(media, 1);
  assert.deepEqual(named('participantjoined').map(({ participant }) => participant.id), ['ada', 'bob', 'eve']);
  assert.deepEqual(named('participantleft').map(({ participant }) => participant.id), ['bob']);
  assert.deepEqual(named('statechange').map(({ state }) => state), ['connecting', 'connected']);
});

test('a socket lost while a join is being finished is resumed, and what the resume told stays', async () => {
  const { call, network, clock, finish } = await joining();
  network.answers.resume = () => ({ type: 'resumed', participants: [guest('ada')], slots: [], generation: 2 });
  network.socket.drop(1006);
  await clock.advance(1000);
  assert.equal(network.sent('resume').length, 1);
  await finish();
  assert.deepEqual(call.participants.map(({ id }) => id), ['ada']);
  assert.equal(call.state, 'connected');
});

test('more videos than slots, found by those who join, bring one offer too', async () => {
  const found = await joining(guests(9));
  await found.finish();
  assert.equal(found.network.sent('offer').length, 1);
  assert.equal(found.peer.transceivers.filter(({ kind, direction }) => kind === 'video' && direction === 'recvonly').length, 12);
});

for (const drains of [1, 2]) {
  test(`a server that drains while a join is being finished is left for a new join, ${drains} times in a row`, async () => {
    const found = await joining();
    for (let drain = 0; drain < drains; drain += 1) {
      found.drain();
      await found.clock.advance(10);
    }
    await found.finish();
    await found.connecting;
    assert.equal(found.network.sent('join').length, 1 + drains);
    assert.equal(found.call.state, 'connected');
    assert.ok(!found.peer.closed);
  });
}

test('a server that drains while a later join is being finished is left as well', async () => {
  const found = hold(await joined());
  for (let drain = 0; drain < 2; drain += 1) {
    found.drain();
    await found.clock.advance(10);
  }
  await found.finish();
  await found.clock.advance(3000);
  assert.deepEqual([found.call.state, found.named('ended')], ['connected', []]);
});

test('a connection that is closed in the midst of a step holds nobody up: drained', async () => {
  const found = party({ connection: hangs(1), iceServers: [] });
  const connecting = found.call.connect();
  await settle();
  found.drain();
  await found.clock.advance(3000);
  await connecting;
  assert.equal(found.call.state, 'connected');
});

test('a connection that is closed in the midst of a step holds nobody up: left', async () => {
  const found = party({ connection: hangs(1), iceServers: [] });
  const connecting = found.call.connect();
  await settle();
  await found.call.leave();
  await assert.rejects(connecting, { name: 'ConnectionError', code: 'closed' });
});

for (const [how, end] of [
  ['left', ({ call }) => call.leave()],
  ['removed', ({ network }) => network.socket.receive({ type: 'bye', seq: 1, reason: 'removed' })],
]) {
  test(`who has ${how} while a join is being finished is told so by connect`, async () => {
    const found = await joining();
    const told = assert.rejects(found.connecting, { name: 'ConnectionError', code: 'closed' });
    await end(found);
    await found.finish();
    await told;
    assert.equal(found.call.state, 'ended');
  });
}

test('who leaves at once does not join', async () => {
  const { call, network, clock } = party();
  const told = assert.rejects(call.connect(), { name: 'ConnectionError', code: 'closed' });
  call.leave();
  await clock.advance(3000);
  await told;
  assert.equal(network.sent('join').length, 0);
});

test('who leaves at once while nothing can be reached leaves no error behind', async () => {
  const { call, network, clock } = party();
  network.up = false;
  const told = assert.rejects(call.connect(), { name: 'ConnectionError' });
  call.leave();
  await clock.advance(20_000);
  await told;
});

for (const [lost, what] of [
  [({ network }) => network.socket.drop(1006), 'a socket lost'],
  [(found) => found.drain(), 'a server that drains'],
]) {
  test(`${what} during the goodbye brings nobody back`, async () => {
    const found = await joined();
    found.network.answers.leave = () => undefined;
    const leaving = found.call.leave();
    lost(found);
    await found.clock.advance(10_000);
    await leaving;
    assert.deepEqual([found.network.sent('join').length, found.network.sent('resume').length], [1, 0]);
  });
}

test('who leaves in the midst of a resume is not left behind in the room', async () => {
  const { call, clock, network } = await joined();
  const resumed = network.answers.resume();
  network.answers.resume = () => undefined;
  network.socket.drop(1006);
  await clock.advance(300);
  await call.leave();
  const [{ id }] = network.sent('resume');
  network.socket.receive({ re: id, ...resumed });
  await settle();
  assert.equal(network.sent('leave').length, 1);
  assert.equal(network.socket.readyState, 3);
});

test('what is pushed during the goodbye is told to nobody', async () => {
  const found = await joined();
  found.network.answers.leave = () => undefined;
  found.call.leave();
  come(found, [guest('ada')]);
  assert.deepEqual(found.named('participantjoined'), []);
});

for (const [when, first] of [['a first', 1], ['a later', 2]]) {
  test(`the room does not keep who fails to take the answer of ${when} join in`, async () => {
    const found = party({ connection: refuses(first), iceServers: [] });
    const connecting = found.call.connect();
    if (first === 1) await assert.rejects(connecting, { name: 'InvalidAccessError' });
    else await connecting;
    found.drain();
    await found.clock.advance(60_000);
    assert.equal(found.call.state, 'ended');
    assert.equal(found.network.sent('join').length, first);
    assert.equal(found.network.sent('leave').length, 1);
  });
}

test('a mute while a join is being finished is told behind it', async () => {
  const { call, network, finish } = await joining();
  await call.setMuted('microphone', true);
  await finish();
  assert.deepEqual(network.sent('mute').map(({ mid, muted }) => [mid, muted]), [['0', true], ['1', false]]);
});

test('an unmute while nobody can be joined travels with the join that succeeds', async () => {
  const { call, network, clock, drain } = await joined();
  await call.setMuted('microphone', true);
  const welcome = network.answers.join;
  network.answers.join = () => ({ type: 'error', code: 'draining', message: '', fatal: true });
  drain();
  await clock.advance(2000);
  assert.equal(call.state, 'reconnecting');
  await call.setMuted('microphone', false);
  network.answers.join = welcome;
  await clock.advance(20_000);
  assert.equal(call.state, 'connected');
  assert.deepEqual(network.sent('join').at(-1).tracks[0], { mid: '0', source: 'microphone', muted: false });
});

test('speakers and qualities of a room are forgotten with its session', async () => {
  const { call, network, clock, drain, named } = await joined();
  network.socket.receive({ type: 'quality', seq: 1, participants: [{ participant: 'me', score: 4, rtt_ms: 1, loss_percent: 0 }] });
  network.socket.receive({ type: 'speakers', seq: 2, speakers: [{ participant: 'ada', level: 0.5 }] });
  network.socket.receive({ type: 'bye', seq: 3, reason: 'draining' });
  await clock.advance(3000);
  assert.deepEqual([[...call.qualities.keys()], call.speakers, named('speakers').at(-1).speakers], [[], [], []]);
});

test('the relay of the server of before is not that of the next', async () => {
  const { browser, call, iceServers, clock, drain } = party();
  const answers = [];
  iceServers.answer = () => new Promise((resolve) => { answers.push(resolve); });
  const connecting = call.connect();
  await settle();
  drain();
  await clock.advance(10);
  answers[0](gives('old'));
  await settle();
  answers[1](gives('new'));
  await connecting;
  assert.deepEqual(browser.peer.gatheredWith, [relay('new')]);
});

test('a server that went away before it named its relay does not cost the next join its own', async () => {
  const { browser, call, iceServers, clock, drain } = party();
  iceServers.answer = (number) => (number === 1 ? silence() : gives('new'));
  const connecting = call.connect();
  await settle();
  drain();
  await clock.advance(10);
  await connecting;
  assert.deepEqual(browser.peer.gatheredWith, [relay('new')]);
});

test('what a closed connection was still to offer is no problem of the person\'s', async () => {
  const found = await joining(guests(8));
  come(found, [guest('more')]);
  found.drain();
  await found.clock.advance(10);
  await found.finish();
  await found.connecting;
  assert.deepEqual(found.named('problem'), []);
});

test('an ICE restart that waits for the relay when the server drains is no problem of the person\'s', async () => {
  const found = party();
  found.iceServers.answer = () => [200, { ice_servers: [relay('one')], expires_at: 0, lifetime_s: 50 }];
  await found.call.connect();
  found.peer.become('connected');
  hold(found);
  found.peer.become('failed');
  await settle();
  found.drain();
  await found.clock.advance(5000);
  assert.deepEqual([found.call.state, found.named('problem')], ['connected', []]);
});

test('a camera pressed in the moment of a drain is muted, and can be pressed again', async () => {
  const { call, clock, drain, browser, network, peer } = await joined();
  peer.transceivers[1].sender.replaceTrack = silence;
  const muting = call.setMuted('camera', true);
  await settle();
  drain();
  await clock.advance(3000);
  await muting;
  assert.equal(network.sent('join').at(-1).tracks[1].muted, true);
  await call.setMuted('camera', false);
  assert.ok(browser.peer.transceivers[1].sender.track);
  assert.equal(call.publications.get('camera').muted, false);
});

test('a join that cannot even begin ends the call', async () => {
  const found = await joined({ connection: (Fake) => class extends Fake {
    constructor(configuration) {
      if (Fake.all.length > 0) throw new DOMException('too many connections', 'UnknownError');
      super(configuration);
    }
  } });
  found.drain();
  await found.clock.advance(1000);
  assert.deepEqual(found.named('ended').map(({ reason, error }) => [reason, error.code]), [['refused', 'rejoin_failed']]);
});

test('who leaves while the first offer is being made does not wait for it', async () => {
  const found = party({ connection: (Fake) => class extends Fake { createOffer() { return silence(); } } });
  const told = assert.rejects(found.call.connect(), { name: 'ConnectionError', code: 'closed' });
  await settle();
  await found.call.leave();
  await told;
});

test('who leaves while the token is being fetched does not wait for it', async () => {
  const { call, network } = party({ token: silence });
  const told = call.connect().catch((error) => error.code);
  await settle();
  await call.leave();
  assert.equal(await Promise.race([told, settle().then(() => 'still waiting')]), 'closed');
  assert.equal(network.socket.readyState, 3);
});

test('credentials that end soon and come late are asked for once', async () => {
  const { call, clock, iceServers, network } = party();
  let answer;
  iceServers.answer = () => new Promise((resolve) => { answer = resolve; });
  const connecting = call.connect();
  await clock.advance(1600);
  await connecting;
  answer([200, { ice_servers: [relay('one')], expires_at: 0, lifetime_s: 50 }]);
  await settle();
  assert.equal(iceServers.requests.length, 1);
  assert.deepEqual(network.sent('offer').map(({ restart }) => restart), [true]);
});

test('an answer of the relay that makes no sense is none', async () => {
  const { call, iceServers } = party();
  iceServers.answer = () => [200, {}];
  await call.connect();
  assert.equal(call.state, 'connected');
});

test('behind a resume a lost path is repaired before slots are added', async () => {
  const { network, clock, peer } = await joined();
  network.answers.resume = () => ({ type: 'resumed', participants: guests(9), slots: [], generation: 2 });
  peer.become('disconnected');
  network.socket.drop(1006);
  await clock.advance(1000);
  assert.deepEqual(network.sent('offer').map(({ restart }) => restart), [true]);
  assert.equal(peer.transceivers.filter(({ kind, direction }) => kind === 'video' && direction === 'recvonly').length, 12);
});

test('a message that is too large for the server costs its wish, not the call', async () => {
  const { network, clock, call, named } = await joined();
  network.answers.offer = () => undefined;
  const sharing = call.shareScreen(new FakeTrack('video', 'screen')).catch((error) => error.code);
  await settle();
  network.socket.receive({ type: 'error', re: null, code: 'too_large', message: '', fatal: true });
  network.socket.drop(1009);
  assert.equal(await sharing, 'too_large');
  await clock.advance(5000);
  assert.deepEqual([call.state, named('ended')], ['connected', []]);
  assert.deepEqual([network.sent('resume').length, network.sent('offer').length], [1, 1]);
});

test('who was too quick for the server comes back after a while', async () => {
  const { network, clock, call } = await joined();
  network.socket.receive({ type: 'error', re: null, code: 'rate_limited', message: '', fatal: true });
  network.socket.drop(4429);
  await settle();
  assert.equal(network.sockets.length, 1);
  await clock.advance(5000);
  assert.equal(call.state, 'connected');
  assert.equal(network.sent('resume').length, 1);
});

test('an offer that is refused again and again is made twice, not with each step that follows', async () => {
  const { call, network } = await joined();
  network.answers.offer = () => ({ type: 'error', code: 'server_error', message: '', fatal: false });
  await assert.rejects(call.shareScreen(new FakeTrack('video', 'screen')), { code: 'server_error' });
  for (let seq = 1; seq <= 25; seq += 1) {
    network.socket.receive({ type: 'slots', seq, slots: [] });
    await settle();
  }
  assert.equal(network.sent('offer').length, 2);
});

test('what is wished while an offer is under way is offered though that one is refused', async () => {
  const lines = [];
  const found = await joined({ connection: (Fake) => class extends Fake {
    createOffer(options) {
      lines.push(this.transceivers[6]?.direction);
      return super.createOffer(options);
    }
  } });
  const { answers } = found.network;
  const taken = answers.offer;
  answers.offer = () => undefined;
  const sharing = found.call.shareScreen(new FakeTrack('video', 'screen'));
  await settle();
  come(found, guests(9));
  found.peer.become('failed');
  await settle();
  answers.offer = taken;
  found.network.socket.receive({ type: 'error', re: found.network.sent('offer')[0].id, code: 'forbidden', message: '', fatal: false });
  await assert.rejects(sharing, { code: 'forbidden' });
  await settle();
  assert.deepEqual(found.network.sent('offer').map(({ restart }) => restart), [false, true]);
  assert.deepEqual(lines, [undefined, 'sendonly', 'inactive']);
  assert.deepEqual(found.named('problem'), []);
  assert.equal(found.peer.transceivers.filter(({ currentDirection }) => currentDirection === 'recvonly').length, 3 + 12);
});

test('a screen shared while a join is being finished moves along to the next join', async () => {
  const found = await joining();
  const sharing = found.call.shareScreen(new FakeTrack('video', 'screen'));
  await settle();
  found.drain();
  await found.clock.advance(10);
  await found.finish();
  await Promise.all([found.connecting, sharing]);
  assert.ok(found.call.publications.has('screen'));
  assert.equal(found.network.sent('join').at(-1).tracks.at(-1).source, 'screen');
});

test('people whom a resume tells of get their slots', async () => {
  const { network, clock } = await joined();
  network.answers.resume = () => ({ type: 'resumed', participants: guests(9), slots: [], generation: 2 });
  network.socket.drop(1006);
  await clock.advance(2000);
  assert.equal(network.sent('offer').length, 1);
});

test('a mute that fell with its socket, which the server closed for something else, is no problem and told behind the resume', async () => {
  const { network, clock, call, named } = await joined();
  network.answers.mute = () => undefined;
  call.setMuted('microphone', true);
  await settle();
  network.socket.receive({ type: 'error', re: null, code: 'rate_limited', message: '', fatal: true });
  network.socket.drop(4429);
  network.answers.mute = () => ({ type: 'done' });
  await clock.advance(5000);
  assert.deepEqual([call.state, named('problem')], ['connected', []]);
  assert.ok(network.socket.sent.some(({ type, muted }) => type === 'mute' && muted));
});

for (const [how, answer] of [
  ['that nobody answered', () => undefined],
  ['that was refused for now', () => ({ type: 'error', code: 'rate_limited', message: '', fatal: false })],
]) {
  test(`an offer of slots ${how} is made again with the next that comes`, async () => {
    const found = await joined({ audioSlots: 3, videoSlots: 8 });
    const { network, clock, peer } = found;
    const taken = network.answers.offer;
    network.answers.offer = answer;
    come(found, guests(9));
    await clock.advance(61_000);
    network.answers.offer = taken;
    network.socket.receive({ type: 'participant_joined', seq: 10, participant: guest('more') });
    await settle();
    assert.equal(peer.transceivers.filter(({ kind, direction, currentDirection }) => kind === 'video' && direction === currentDirection).length, 13);
  });
}

for (const [how, before] of [['a first', async () => {}], ['a second', async (call) => {
  await call.shareScreen(new FakeTrack('video', 'screen'));
  await call.stopScreen();
}]]) {
  test(`the mute of a screen shared ${how} time, which no answer has named yet, is not told`, async () => {
    const { network, clock, call, named } = await joined();
    await before(call);
    network.answers.offer = () => undefined;
    call.shareScreen(new FakeTrack('video', 'screen'));
    await settle();
    network.socket.drop(1006);
    network.answers.offer = () => ({ type: 'answer', sdp: 'v=0', slots: [] });
    network.answers.mute = ({ mid }) => (Number(mid) > 1 ? { type: 'error', code: 'unknown_mid', message: '', fatal: false } : { type: 'done' });
    await clock.advance(3000);
    assert.deepEqual(named('problem'), []);
  });
}
