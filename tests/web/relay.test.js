// What the client library knows of the relay and of the path, in fake time: a join never waits for it for long, credentials are
// renewed ahead of their end, and the way that media take is told.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { WadudCall } from '../../web/src/client/index.js';
import { pathOf } from '../../web/src/client/media-path.js';
import { fakeBrowser, settle } from './fakes.js';

const relay = (name) => ({ urls: [`turn:${name}:443?transport=udp`], username: name, credential: 'x' });
const gives = (name, lifetime_s = 3600) => [200, { ice_servers: [relay(name)], expires_at: 0, lifetime_s }];
const silence = () => new Promise(() => {});

function calling(options = {}) {
  const browser = fakeBrowser();
  const call = new WadudCall({ url: 'wss://server/v1/signal', token: 'token', environment: browser.environment, ...options });
  const paths = [];
  call.on('pathchange', ({ path }) => paths.push(path));
  return { browser, call, paths, ...browser };
}

/** Joined and connected through the relay or directly. */
async function connected(browser, call, how = 'host') {
  await call.connect();
  Object.assign(browser.peer.local, { candidateType: how, relayProtocol: how === 'relay' ? 'tls' : undefined });
  browser.peer.become('connected');
  await settle();
}

test('the relay is asked for with the token beside the join, and candidates are looked for with it', async () => {
  const { browser, call, network, iceServers } = calling();
  iceServers.answer = () => gives('one');
  await call.connect();
  assert.deepEqual(iceServers.requests, [{ url: 'https://server/v1/ice-servers', token: 'Bearer token' }]);
  assert.deepEqual(browser.peer.gatheredWith, [relay('one')]);
  assert.equal(network.sent('join').length, 1);
});

test('the join leaves before the relay has answered', async () => {
  const { call, network, iceServers, browser, clock } = calling();
  iceServers.answer = silence;
  const connecting = call.connect();
  await clock.advance(0);
  assert.deepEqual(network.sent('join')[0].tracks.map(({ mid }) => mid), ['0', '1']);
  assert.equal(browser.peer.gatheredWith, undefined);
  await clock.advance(1600);
  await connecting;
  assert.deepEqual(browser.peer.gatheredWith, []);
  assert.equal(call.state, 'connected');
});

test('prepare asks ahead when the token is known, and the join does not ask again', async () => {
  const { call, iceServers, browser } = calling();
  iceServers.answer = () => gives('one');
  call.prepare();
  await settle();
  assert.equal(iceServers.requests.length, 1);
  await call.connect();
  assert.equal(iceServers.requests.length, 1);
  assert.deepEqual(browser.peer.gatheredWith, [relay('one')]);
});

test('an error of the relay costs the join nothing, and it is asked for again later', async () => {
  const { call, iceServers, browser, clock } = calling();
  iceServers.answer = (times) => (times === 1 ? [503, {}] : gives('one'));
  await connected(browser, call);
  assert.deepEqual(browser.peer.gatheredWith, []);
  await clock.advance(5100);
  assert.equal(iceServers.requests.length, 2);
  assert.deepEqual(browser.peer.configuration.iceServers, [relay('one')]);
  assert.equal(browser.peer.configuration.bundlePolicy, 'max-bundle');
});

test('a server that refuses is not asked again by and by', async () => {
  const { call, iceServers, browser, clock } = calling();
  iceServers.answer = () => [404, {}];
  await connected(browser, call);
  await clock.advance(600_000);
  assert.equal(iceServers.requests.length, 1);
});

test('a late answer restarts ICE only for who has found no way without it', async () => {
  for (const [state, offers] of [['checking', 1], ['connected', 0]]) {
    const { call, iceServers, browser, network, clock } = calling();
    let answer;
    iceServers.answer = () => new Promise((resolve) => { answer = resolve; });
    const connecting = call.connect();
    await clock.advance(1600);
    await connecting;
    browser.peer.become(state);
    answer(gives('one'));
    await settle();
    assert.deepEqual(browser.peer.configuration.iceServers, [relay('one')]);
    assert.equal(network.sent('offer').length, offers, state);
  }
});

test('an address that the browser does not understand is told and does not end the join', async () => {
  const { call, iceServers } = calling();
  const problems = [];
  call.on('problem', ({ error }) => problems.push(error.code));
  iceServers.answer = () => [200, { ice_servers: [{ urls: ['bad'] }], expires_at: 0, lifetime_s: 3600 }];
  await call.connect();
  assert.equal(call.state, 'connected');
  assert.deepEqual(problems, ['media']);
});

test('servers and policy of the application are taken as they are, and nobody is asked', async () => {
  const { call, iceServers, browser, clock } = calling({ iceServers: [relay('own')], iceTransportPolicy: 'relay' });
  await connected(browser, call, 'relay');
  await clock.advance(7_200_000);
  assert.equal(iceServers.requests.length, 0);
  assert.deepEqual(browser.peer.gatheredWith, [relay('own')]);
  assert.equal(browser.peer.configuration.iceTransportPolicy, 'relay');
});

test('two minutes before their end credentials are renewed with a new token, and only a relayed call moves', async () => {
  for (const [how, offers] of [['relay', 1], ['host', 0]]) {
    const tokens = ['t1', 't2', 't3'];
    const { call, iceServers, browser, network, clock } = calling({ token: async () => tokens.shift() });
    iceServers.answer = (times) => gives(`n${times}`);
    await connected(browser, call, how);
    await clock.advance(3_470_000);
    assert.equal(iceServers.requests.length, 1);
    await clock.advance(20_000);
    assert.deepEqual(iceServers.requests.map(({ token }) => token), ['Bearer t1', 'Bearer t2']);
    assert.deepEqual(browser.peer.configuration.iceServers, [relay('n2')]);
    assert.equal(network.sent('offer').length, offers, how);
    assert.equal(network.sent('offer').filter(({ restart }) => restart).length, offers);
  }
});

test('a token that cannot be renewed moves no call, and asking ends with it', async () => {
  const { call, iceServers, browser, network, clock } = calling();
  const end_ms = 600_000;
  iceServers.answer = () => (clock.now_ms < end_ms ? gives('one', (end_ms - clock.now_ms) / 1000) : [401, {}]);
  await connected(browser, call, 'relay');
  await clock.advance(2 * end_ms);
  assert.equal(network.sent('offer').length, 0);
  assert.ok(iceServers.requests.length < 10, `${iceServers.requests.length} requests`);
});

test('short-lived credentials are renewed at half of their life', async () => {
  const { call, iceServers, browser, clock } = calling();
  iceServers.answer = (times) => gives(`n${times}`, 100);
  await connected(browser, call);
  await clock.advance(49_000);
  assert.equal(iceServers.requests.length, 1);
  await clock.advance(2000);
  assert.equal(iceServers.requests.length, 2);
});

test('an ICE restart begins with credentials that last, and waits no longer for them than a join', async () => {
  const { call, iceServers, browser, network, clock } = calling();
  iceServers.answer = (times) => (times === 1 ? gives('old', 100) : silence());
  await connected(browser, call);
  await clock.advance(45_000);
  browser.peer.become('failed');
  await clock.advance(1400);
  assert.equal(iceServers.requests.length, 2);
  assert.equal(network.sent('offer').length, 0);
  await clock.advance(200);
  assert.equal(network.sent('offer').length, 1);
});

test('credentials that come with an ICE restart bring no second one', async () => {
  const { call, iceServers, browser, network, clock } = calling();
  iceServers.answer = (times) => gives(`n${times}`, times === 1 ? 100 : 3600);
  await connected(browser, call, 'relay');
  await clock.advance(45_000);
  browser.peer.become('failed');
  await clock.advance(1000);
  assert.deepEqual(browser.peer.configuration.iceServers, [relay('n2')]);
  assert.equal(network.sent('offer').length, 1);
});

test('an ICE restart with fresh credentials waits for nothing', async () => {
  const { call, iceServers, browser, network, clock } = calling();
  iceServers.answer = () => gives('one');
  await connected(browser, call);
  browser.peer.become('failed');
  await clock.advance(0);
  assert.equal(network.sent('offer').length, 1);
  assert.equal(iceServers.requests.length, 1);
});

test('a call that joins anew asks anew, and one that has ended asks no more', async () => {
  const { call, iceServers, browser, network, clock } = calling();
  iceServers.answer = (times) => gives(`n${times}`, 600);
  await connected(browser, call);
  network.socket.receive({ type: 'bye', seq: 1, reason: 'draining' });
  await clock.advance(2000);
  assert.equal(iceServers.requests.length, 2);
  assert.deepEqual(browser.peer.gatheredWith, [relay('n2')]);
  await call.leave();
  await clock.advance(3_600_000);
  assert.equal(iceServers.requests.length, 2);
});

test('more videos while the relay is waited for are offered after the join', async () => {
  const { call, iceServers, network, clock } = calling({ videoSlots: 1 });
  iceServers.answer = silence;
  const connecting = call.connect();
  await clock.advance(0);
  for (const [index, id] of ['ada', 'bob'].entries()) {
    const tracks = [{ id: `${id}-v`, source: 'camera', kind: 'video', muted: false }];
    network.socket.receive({ type: 'participant_joined', seq: index + 1, participant: { id, name: id, role: 'guest', connection: 'connected', tracks } });
  }
  await clock.advance(100);
  assert.equal(network.sent('offer').length, 0);
  await clock.advance(1600);
  await connecting;
  await settle();
  assert.equal(network.sent('offer').length, 1);
});

test('the path is told when it is found, when it changes, and when a call joins anew', async () => {
  const { call, browser, network, clock, paths } = calling();
  await call.connect();
  assert.equal(call.path, null);
  browser.peer.become('connected');
  await settle();
  assert.deepEqual(call.path, { kind: 'direct', protocol: 'udp', family: 'ipv4' });
  await clock.advance(5000);
  assert.equal(paths.length, 1);
  Object.assign(browser.peer.local, { candidateType: 'relay', relayProtocol: 'tls', url: 'turns:[2001:db8::7]:443?transport=tcp' });
  await clock.advance(1000);
  assert.deepEqual(call.path, { kind: 'relay', protocol: 'tls', family: 'ipv6' });
  network.socket.receive({ type: 'bye', seq: 1, reason: 'draining' });
  await clock.advance(0);
  assert.deepEqual(paths.map((path) => path?.kind), ['direct', 'relay', undefined]);
});

const path = (local, remote = {}) => pathOf(
  new Map([['L', local], ['R', remote]]), { localCandidateId: 'L', remoteCandidateId: 'R' });

test('protocol and family are those of the side that faces us', () => {
  const direct = (protocol, address) => path({ candidateType: 'host', protocol, address: '4f1c.local' }, { address });
  assert.deepEqual(direct('udp', '198.51.100.7'), { kind: 'direct', protocol: 'udp', family: 'ipv4' });
  assert.deepEqual(direct('tcp', '2001:db8::7'), { kind: 'direct', protocol: 'tcp', family: 'ipv6' });
  const far = { candidateType: 'relay', protocol: 'udp', address: '198.51.100.7' };
  assert.deepEqual(path({ ...far, relayProtocol: 'tcp', relatedAddress: '2001:db8::1' }), { kind: 'relay', protocol: 'tcp', family: 'ipv6' });
  assert.deepEqual(path({ ...far, relayProtocol: 'tls', url: 'turns:call.example:443?transport=tcp' }), { kind: 'relay', protocol: 'tls', family: 'ipv4' });
  assert.deepEqual(path({ ...far, url: 'turn:[2001:db8::7]:443?transport=tcp' }), { kind: 'relay', protocol: 'tcp', family: 'ipv6' });
  assert.deepEqual(path({ ...far, url: 'turns:call.example' }), { kind: 'relay', protocol: 'tls', family: 'ipv4' });
  assert.equal(pathOf(new Map(), undefined), null);
});
