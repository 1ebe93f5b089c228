// The parts of web/ that are pure functions.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bestGrid } from '../../web/src/app/call/layout.js';
import { Preference } from '../../web/src/app/call/preference.js';
import { readStats, scoreOf } from '../../web/src/client/quality.js';

test('tiles fill a wide stage side by side and a tall one on top of each other', () => {
  assert.equal(bestGrid(2, 1200, 600, 10).columns, 2);
  assert.equal(bestGrid(2, 340, 600, 10).columns, 1);
});

for (const [width, height] of [[340, 560], [1260, 640], [700, 260]]) {
  test(`1 to 25 tiles stay inside ${width} x ${height}`, () => {
    for (let count = 1; count <= 25; count += 1) {
      const grid = bestGrid(count, width, height, 10);
      const rows = Math.ceil(count / grid.columns);
      assert.ok(grid.columns * grid.width + (grid.columns - 1) * 10 <= width, `${count} wide`);
      assert.ok(grid.scrolls || rows * grid.height + (rows - 1) * 10 <= height, `${count} high`);
      assert.ok(grid.width >= 100, `${count} readable`);
    }
  });
}

test('the score falls with loss and delay and stays between 1 and 5', () => {
  const good = scoreOf({ rtt_ms: 30, jitter_ms: 5, loss_percent: 0 });
  const lossy = scoreOf({ rtt_ms: 30, jitter_ms: 5, loss_percent: 10 });
  const slow = scoreOf({ rtt_ms: 800, jitter_ms: 60, loss_percent: 0 });
  assert.ok(good > 4.2 && good <= 5, `${good}`);
  assert.ok(lossy < good - 1 && slow < good - 1, `${lossy} ${slow}`);
  assert.ok(scoreOf({ rtt_ms: 9000, jitter_ms: 900, loss_percent: 100 }) >= 1);
});

test('statistics are differences between two samples', () => {
  const report = (bytes, received, lost) => new Map([
    ['T', { type: 'transport', selectedCandidatePairId: 'P' }],
    ['P', { type: 'candidate-pair', bytesReceived: bytes, bytesSent: 0, currentRoundTripTime: 0.05, localCandidateId: 'L' }],
    ['L', { type: 'local-candidate', candidateType: 'host', protocol: 'udp' }],
    ['I', { type: 'inbound-rtp', kind: 'audio', packetsReceived: received, packetsLost: lost, jitter: 0.01 }],
  ]);
  const first = readStats(report(0, 0, 0), null, 0);
  const { stats } = readStats(report(125_000, 90, 10), first.counters, 1000);
  assert.equal(stats.inbound_bps, 1_000_000);
  assert.equal(stats.loss_percent, 10);
  assert.equal(Math.round(stats.rtt_ms), 50);
  assert.deepEqual(stats.path, { kind: 'direct', protocol: 'udp', family: 'ipv4' });
});

test('who spoke last is seen first, and the order is told only when it changes who is seen', () => {
  const people = ['a', 'b', 'c', 'd'].map((id) => ({ id }));
  const preference = new Preference();
  assert.equal(preference.order(people, 4), null);
  assert.deepEqual(preference.order(people, 2), ['a', 'b', 'c', 'd']);
  preference.hear([{ participant: 'd', level: 0.5 }, { participant: 'c', level: 0.01 }]);
  assert.deepEqual(preference.order(people, 2), ['d', 'a', 'b', 'c']);
  preference.hear([{ participant: 'a', level: 0.5 }]);
  assert.equal(preference.order(people, 2), null);
  preference.forget();
  assert.deepEqual(preference.order(people, 2), ['a', 'd', 'b', 'c']);
});
