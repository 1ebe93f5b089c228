// What a call page says, shows and asks for as a call goes on, without a browser: the page is a notebook.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { settle } from './fakes.js';
import { guest, joined } from './party.js';

const english = await readFile(new URL('../../web/locales/en.json', import.meta.url), 'utf8');
const querySelector = () => ({ href: `data:text/javascript,${encodeURIComponent(`export default ${english}`)}` });
globalThis.document ??= Object.assign(new EventTarget(), { documentElement: {}, createTreeWalker: () => ({}), querySelector });
const { listen } = await import('../../web/src/app/call/call-events.js');
const { waitsForPath } = await import('../../web/src/app/call/path.js');
const { setLanguage } = await import('../../web/src/app/i18n.js');
await setLanguage('en');

const SECOND_MS = 1000;
const named = (id, changes = {}) => guest(id, { name: id.toUpperCase(), ...changes });
const people = (count) => Array.from({ length: count }, (_, index) => named(`p${index}`));
const tracks = (changes) => named('ada').tracks.map((track) => ({ ...track, ...changes[track.source] }));

/** A call that a page listens to. `tick`: the page's clock and the call's go on together. */
async function heard(context, { videosAtOnce = 8, present = [] } = {}) {
  context.mock.timers.enable({ apis: ['setInterval', 'setTimeout', 'Date'] });
  const found = await joined();
  const { call, network, clock } = found;
  const said = [];
  const reported = [];
  const ends = [];
  const page = {
    call, videosAtOnce, phase: 'call', calledAt_ms: Date.now(), awake: 0,
    announcer: { say: (text) => said.push(text) },
    sound: { streams: [], play(streams) { this.streams = streams; } },
    nameOf: ({ name }) => name,
    report: (error) => reported.push(error.code),
    finish: (reason) => ends.push(reason),
    keepAwake: () => { page.awake += 1; },
    draw: () => {}, refreshDevices: () => {},
  };
  const stop = listen(page, call);
  context.after(stop);
  let seq = 0;
  const push = async (type, fields) => {
    network.socket.receive({ type, seq: seq += 1, ...fields });
    await settle();
  };
  for (const participant of present) await push('participant_joined', { participant });
  return {
    ...found, page, said, reported, ends, push, stop,
    get asked() { return network.sent('prefer').map(({ participants }) => participants); },
    get present() { return call.participants.map(({ id, name, role, connection, tracks: sent }) => ({ id, name, role, connection, tracks: sent })); },
    async tick(seconds) {
      for (let second = 0; second < seconds; second += 1) {
        await clock.advance(SECOND_MS);
        context.mock.timers.tick(SECOND_MS);
      }
    },
  };
}

test('who comes, goes, mutes and shares is told by name', async (context) => {
  const { said, push } = await heard(context);
  const update = (changes) => push('participant_updated', { participant: named('ada', changes) });
  await push('participant_joined', { participant: named('ada', { connection: 'connecting' }) });
  await update({});
  await update({ tracks: tracks({ microphone: { muted: true } }) });
  await update({});
  const screen = { id: 's', source: 'screen', kind: 'video', muted: false };
  await update({ tracks: [...tracks({}), screen] });
  await update({ connection: 'reconnecting' });
  await update({});
  await push('participant_left', { participant: 'ada', reason: 'left' });
  assert.deepEqual(said, [
    'ADA joined', 'ADA turned the microphone off', 'ADA turned the microphone on', 'ADA is sharing the screen',
    'ADA is reconnecting', 'ADA stopped sharing', 'ADA is back', 'ADA left',
  ]);
});

test('who is in the room already is not told of as coming', async (context) => {
  const { page, said, push } = await heard(context);
  page.phase = 'joining';
  await push('participant_joined', { participant: named('ada') });
  assert.deepEqual(said, []);
});

test('an order is asked for when not everybody can be seen, and when others should be', async (context) => {
  const found = await heard(context, { videosAtOnce: 2, present: people(2) });
  assert.deepEqual(found.asked, []);
  await found.push('participant_joined', { participant: named('p2') });
  assert.deepEqual(found.asked, [['p0', 'p1', 'p2']]);
  await found.push('speakers', { speakers: [{ participant: 'p1', level: 0.5 }] });
  assert.equal(found.asked.length, 1);
  await found.push('speakers', { speakers: [{ participant: 'p2', level: 0.5 }] });
  assert.deepEqual(found.asked.slice(1), [['p2', 'p1', 'p0']]);
});

for (const [how, lose] of [
  ['a socket', ({ network, present }) => {
    network.answers.resume = () => ({ type: 'resumed', participants: present, slots: [], generation: 2 });
    network.socket.drop(1006);
  }],
  ['a session', ({ network, present }) => {
    network.answers.resume = () => ({ type: 'error', code: 'unknown_session', message: '', fatal: true });
    const answer = { ...network.answers.join(), participants: present };
    network.answers.join = () => answer;
    network.socket.drop(1006);
  }],
  ['a path', ({ peer }) => {
    peer.become('disconnected');
    peer.become('connected');
  }],
]) {
  test(`behind ${how} that was lost the order is asked for again, and the person told`, async (context) => {
    const found = await heard(context, { videosAtOnce: 2, present: people(3) });
    const before = found.said.length;
    lose(found);
    await found.tick(3);
    assert.equal(found.call.state, 'connected');
    assert.deepEqual(found.said.slice(before), ['Connection lost. Reconnecting.', 'You are connected again']);
    assert.deepEqual(found.asked, [['p0', 'p1', 'p2'], ['p0', 'p1', 'p2']]);
    assert.deepEqual(found.page.sound.streams, found.call.audioStreams);
  });
}

test('behind a restart of the server only those are told of who are gone or new, not those who join anew', async (context) => {
  const found = await heard(context, { present: people(3) });
  const before = found.said.length;
  const again = (id, name) => guest(id, { name });
  const answer = { ...found.network.answers.join(), participants: [again('q0', 'P0')] };
  found.network.answers.join = () => answer;
  found.network.answers.resume = () => ({ type: 'error', code: 'unknown_session', message: '', fatal: true });
  found.network.socket.drop(1006);
  await found.tick(2);
  found.browser.peer.become('connected');
  let seq = 0;
  const push = async (type, fields) => {
    found.network.socket.receive({ type, seq: seq += 1, ...fields });
    await settle();
  };
  await push('participant_joined', { participant: again('q1', 'P1') });
  await push('participant_joined', { participant: again('new', 'NEW') });
  await found.tick(6);
  await push('participant_left', { participant: 'q1', reason: 'left' });
  assert.deepEqual(found.said.slice(before), [
    'Connection lost. Reconnecting.', 'You are connected again', 'P2 left', 'NEW joined', 'P1 left',
  ]);
});

test('who comes and leaves while only the path is lost is told of at once', async (context) => {
  const found = await heard(context, { present: people(3) });
  const before = found.said.length;
  found.peer.become('disconnected');
  let seq = 10;
  for (const [type, fields] of [['participant_left', { participant: 'p1', reason: 'left' }], ['participant_joined', { participant: named('doctor') }]]) {
    found.network.socket.receive({ type, seq: seq += 1, ...fields });
    await settle();
  }
  assert.deepEqual(found.said.slice(before), ['Connection lost. Reconnecting.', 'P1 left', 'DOCTOR joined']);
});

test('who is gone or new behind a session lost twice is told of once, and nothing behind the end', async (context) => {
  const found = await heard(context, { present: people(3) });
  const before = found.said.length;
  const [stayed, came] = [found.present.slice(0, 2), [...found.present.slice(0, 2), named('new')]];
  for (const participants of [stayed, came]) {
    found.network.answers.resume = () => ({ type: 'resumed', participants, slots: [], generation: 2 });
    found.network.socket.drop(1006);
    await found.tick(3);
  }
  assert.deepEqual(found.said.slice(before), Array(2).fill(['Connection lost. Reconnecting.', 'You are connected again']).flat());
  await found.tick(4);
  assert.deepEqual(found.said.slice(before + 4), ['P2 left', 'NEW joined']);
  await found.tick(20);
  found.network.answers.resume = () => ({ type: 'resumed', participants: stayed, slots: [], generation: 2 });
  found.network.socket.drop(1006);
  await found.tick(3);
  found.stop();
  await found.tick(20);
  assert.deepEqual(found.said.slice(before + 6), ['Connection lost. Reconnecting.', 'You are connected again']);
});

test('of who comes behind a lost session nothing is told before the coming', async (context) => {
  const found = await heard(context, { present: people(1) });
  const before = found.said.length;
  const participants = [...found.present, named('zoe')];
  found.network.answers.resume = () => ({ type: 'resumed', participants, slots: [], generation: 2 });
  found.network.socket.drop(1006);
  await found.tick(3);
  found.network.socket.receive({ type: 'participant_updated', seq: 50, participant: named('zoe', { tracks: named('zoe').tracks.map((track) => ({ ...track, muted: true })) }) });
  await found.tick(4);
  assert.deepEqual(found.said.slice(before), ['Connection lost. Reconnecting.', 'You are connected again', 'ZOE joined']);
});

test('an order that fails behind a newer one that was taken is not asked for again', async (context) => {
  const found = await heard(context, { videosAtOnce: 2, present: people(2) });
  found.network.answers.prefer = () => undefined;
  await found.push('participant_joined', { participant: named('p2') });
  found.network.answers.prefer = () => ({ type: 'done' });
  await found.push('speakers', { speakers: [{ participant: 'p2', level: 0.5 }] });
  await found.tick(30);
  assert.equal(found.asked.length, 2);
});

test('an order that is refused behind the end of the call is not asked for again', async (context) => {
  const found = await heard(context, { videosAtOnce: 2, present: people(2) });
  found.network.answers.prefer = () => undefined;
  await found.push('participant_joined', { participant: named('p2') });
  found.stop();
  await found.tick(30);
  assert.equal(found.asked.length, 1);
});

test('an order lost with its socket brings no problem and is asked for behind the resume', async (context) => {
  const found = await heard(context, { videosAtOnce: 2, present: people(3) });
  found.network.answers.resume = () => ({ type: 'resumed', participants: found.present, slots: [], generation: 2 });
  found.network.answers.prefer = () => undefined;
  await found.push('speakers', { speakers: [{ participant: 'p2', level: 0.5 }] });
  found.network.socket.drop(1006);
  found.network.answers.prefer = () => ({ type: 'done' });
  await found.tick(3);
  assert.deepEqual(found.asked.slice(1), [['p2', 'p0', 'p1'], ['p2', 'p0', 'p1']]);
  assert.deepEqual(found.reported, []);
});

test('an order that the server refuses is asked for again after a while, until it is taken or the call is over', async (context) => {
  const found = await heard(context, { videosAtOnce: 2, present: people(2) });
  found.network.answers.prefer = () => ({ type: 'error', code: 'rate_limited', message: '', fatal: false });
  await found.push('participant_joined', { participant: named('p2') });
  await found.tick(4);
  assert.equal(found.asked.length, 1);
  await found.tick(2);
  assert.deepEqual(found.asked, [['p0', 'p1', 'p2'], ['p0', 'p1', 'p2']]);
  found.network.answers.prefer = () => ({ type: 'done' });
  await found.tick(20);
  assert.equal(found.asked.length, 3);
  found.network.answers.prefer = () => ({ type: 'error', code: 'rate_limited', message: '', fatal: false });
  await found.push('speakers', { speakers: [{ participant: 'p2', level: 0.5 }] });
  assert.equal(found.asked.length, 4);
  found.stop();
  await found.tick(20);
  assert.equal(found.asked.length, 4);
});

test('a device that was pulled out is told of, any other problem reported', async (context) => {
  const { environment, tracks: own, said, reported } = await heard(context);
  environment.mediaDevices.getUserMedia = async () => { throw new DOMException('', 'NotFoundError'); };
  own.camera.onended();
  await settle();
  assert.deepEqual(said, ['Your camera was disconnected']);
  assert.deepEqual(reported, ['not_found']);
});

test('a network that hides the way is told of once', async (context) => {
  const { page, said, tick } = await heard(context);
  page.call = { state: 'connected', health: { media: 'new' } };
  await tick(3);
  assert.deepEqual(said, []);
  await tick(5);
  assert.equal(said.length, 1);
  assert.match(said[0], /restrictive/);
});

test('a call that has to join anew blames the network only when it looks for a way for long again', async (context) => {
  const found = await heard(context);
  await found.tick(10);
  found.network.answers.resume = () => ({ type: 'error', code: 'unknown_session', message: '', fatal: true });
  const { join } = found.network.answers;
  found.network.answers.join = () => undefined;
  found.network.socket.drop(1006);
  await found.tick(5);
  assert.deepEqual([found.call.state, waitsForPath(found.page)], ['reconnecting', false]);
  found.network.socket.receive({ re: found.network.sent('join').at(-1).id, ...join() });
  await settle();
  assert.deepEqual([found.call.state, waitsForPath(found.page)], ['connected', false]);
  await found.tick(5);
  assert.equal(waitsForPath(found.page), true);
});

test('a page hears of the end and then of nothing', async (context) => {
  const { call, ends, page, said, push, network } = await heard(context);
  await push('bye', { reason: 'removed' });
  assert.deepEqual(ends, ['removed']);
  page.sound.streams = null;
  call.dispatchEvent(new CustomEvent('mediachange', { detail: {} }));
  document.dispatchEvent(new Event('visibilitychange'));
  assert.deepEqual([page.sound.streams, page.awake, said, network.sent('prefer')], [null, 0, [], []]);
});

test('the screen is kept on again when the person looks at the page again', async (context) => {
  const { page } = await heard(context);
  document.dispatchEvent(new Event('visibilitychange'));
  assert.equal(page.awake, 1);
});
