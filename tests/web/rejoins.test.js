// A call that joins anew, in fake time: because its media broke for good, and when it is not let in any more.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { joined } from './party.js';

const connection = (peer, state) => {
  peer.connectionState = state;
  peer.dispatchEvent(new Event('connectionstatechange'));
};
const breakMedia = (peer) => connection(peer, 'failed');
const ended = (found) => found.named('ended').map(({ reason, error }) => [reason, error.code]);

test('media that break each time they are set up bring slower and slower joins, and after the patience the end', async () => {
  const found = await joined({ giveUp_ms: 60_000 });
  const joins = () => found.network.sent('join').length;
  const joinedAt_ms = [];
  for (let known = joins(), second = 0; found.call.state !== 'ended' && second < 200; second += 0.1) {
    if (!found.peer.closed && found.peer.connectionState === 'new' && found.call.health.signalling === 'open') breakMedia(found.peer);
    await found.clock.advance(100);
    if (joins() > known) joinedAt_ms.push(found.clock.now_ms);
    known = joins();
  }
  assert.deepEqual(ended(found), [['connection_lost', 'gave_up']]);
  const pauses_ms = joinedAt_ms.map((at_ms, index) => at_ms - (joinedAt_ms[index - 1] ?? 0));
  assert.ok(pauses_ms[0] <= 200 && pauses_ms[1] <= 400, `${pauses_ms}`);
  assert.ok(pauses_ms.slice(-5).every((pause_ms) => pause_ms >= 2500), `${pauses_ms}`);
  assert.ok(found.clock.now_ms > 60_000 && found.clock.now_ms < 70_000);
});

test('a way that swallows DTLS, so that each failure takes its time, comes to its end too', async () => {
  const found = await joined({ giveUp_ms: 300_000 });
  for (let round = 0; round < 10 && found.call.state !== 'ended'; round += 1) {
    await found.clock.advance(70_000);
    breakMedia(found.peer);
    await found.clock.advance(5000);
  }
  assert.deepEqual(ended(found), [['connection_lost', 'gave_up']]);
});

for (const [how, held_ms] of [['a minute', 61_000], ['less than a minute', 50_000]]) {
  test(`media that break after they held for ${how} are set up again at once, however often`, async () => {
    const found = await joined();
    for (let round = 1; round <= 12; round += 1) {
      connection(found.peer, 'connected');
      await found.clock.advance(held_ms);
      breakMedia(found.peer);
      await found.clock.advance(10);
      assert.equal(found.network.sent('join').length, 1 + round);
    }
    assert.equal(found.call.state, 'connected');
  });
}

test('media that broke long ago and held since, up to a drain, are not counted with those that break behind it', async () => {
  const found = await joined();
  breakMedia(found.peer);
  await found.clock.advance(1000);
  connection(found.peer, 'connected');
  await found.clock.advance(3_600_000);
  found.network.socket.receive({ type: 'bye', reason: 'draining' });
  await found.clock.advance(3000);
  breakMedia(found.peer);
  await found.clock.advance(10);
  assert.deepEqual([ended(found), found.network.sent('join').length], [[], 4]);
});

test('who leaves while the next join waits opens no socket any more', async () => {
  const found = await joined();
  for (let round = 0; round < 6; round += 1) {
    breakMedia(found.peer);
    if (round < 5) await found.clock.advance(5000);
  }
  const sockets = found.network.sockets.length;
  await found.call.leave();
  await found.clock.advance(10_000);
  assert.equal(found.network.sockets.length, sockets);
});

for (const [code, end] of [['token_expired', 'token_expired'], ['token_revoked', 'revoked'], ['room_full', 'refused']]) {
  test(`a join anew that is refused with ${code} ends the call as ${end}`, async () => {
    const found = await joined();
    found.network.answers.join = () => ({ type: 'error', code, message: '', fatal: true });
    found.drain();
    await found.clock.advance(1000);
    assert.deepEqual(found.named('ended').map(({ reason, error }) => [reason, error.code]), [[end, code]]);
  });
}

test('a connection that broke while the socket was lost is replaced behind the resume', async () => {
  const { network, clock, call, peer } = await joined();
  network.up = false;
  network.socket.drop(1006);
  await clock.advance(1000);
  breakMedia(peer);
  network.up = true;
  await clock.advance(30_000);
  assert.equal(network.sent('join').length, 2);
  assert.equal(call.state, 'connected');
});
