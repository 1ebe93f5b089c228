// The socket of the client library on a thin link: compressed frames keep their order, and nobody is late while bytes flow.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { deflate, inflate } from '../../web/src/client/deflate.js';
import { SignalSocket } from '../../web/src/client/socket.js';
import { fakeBrowser, settle } from './fakes.js';

const SDP = 'a=extmap:4 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01\r\n'.repeat(500);

/** An open socket; `frames`: what was sent, as it was sent. `compressed`: what the server agrees to. */
async function opened({ compressed = false } = {}) {
  const { environment, clock, network } = fakeBrowser();
  const frames = [];
  environment.WebSocket = class extends network.class {
    protocol = compressed ? 'wadud.v1.deflate' : 'wadud.v1';
    bufferedAmount = 0;

    send(frame) { frames.push(frame); }
  };
  const socket = new SignalSocket('ws://server', environment);
  await socket.open();
  return { socket, clock, frames, wire: network.socket };
}

/** Until streams have done their work, which takes more than microtasks. */
async function until(holds) {
  for (let turn = 0; turn < 500 && !holds(); turn += 1) await new Promise((resolve) => { setTimeout(resolve, 2); });
  assert.ok(holds());
}

test('long messages leave compressed and short ones as text, in the order of the requests', async () => {
  const { socket, frames } = await opened({ compressed: true });
  for (const [type, fields] of [['mute', {}], ['join', { offer: SDP }], ['leave', {}]]) socket.request(type, fields).catch(() => {});
  assert.deepEqual(frames.map((frame) => JSON.parse(frame).type), ['mute']);  // nothing to wait for
  await until(() => frames.length === 3);
  assert.ok(frames[1].byteLength < 1000);
  assert.equal(JSON.parse(await inflate(frames[1])).offer, SDP);
  assert.equal(JSON.parse(frames[2]).type, 'leave');
});

test('pushes behind a compressed answer are told after it, and so is the end of the socket', async () => {
  const { socket, wire } = await opened({ compressed: true });
  const told = [];
  socket.onPush = ({ type }) => told.push(type);
  socket.onLost = ({ code }) => told.push(code);
  socket.request('join').then(() => told.push('joined'));
  const answer = await deflate(JSON.stringify({ type: 'joined', re: 1, answer: SDP }));
  wire.onmessage({ data: answer });
  wire.receive({ type: 'slots', seq: 1 });
  wire.receive({ type: 'error', re: null, code: 'rate_limited', message: '', fatal: true });
  wire.drop(4429);
  await until(() => told.length === 3);
  assert.deepEqual(told, ['joined', 'slots', 'rate_limited']);
});

test('a server that agrees to no compression gets text', async () => {
  const { socket, frames } = await opened();
  socket.request('join', { offer: SDP }).catch(() => {});
  assert.equal(JSON.parse(frames[0]).offer, SDP);
});

test('bytes that are no stream end the socket', async () => {
  const { socket, wire } = await opened({ compressed: true });
  const lost = new Promise((resolve) => { socket.onLost = resolve; });
  wire.onmessage({ data: new Uint8Array([255, 255]).buffer });
  assert.equal((await lost).code, 'protocol');
});

/** How a request that is never answered ends, and after how many seconds. */
async function outcome({ socket, clock }, eachSecond) {
  let seconds = 0;
  let code = null;
  socket.request('join', { offer: SDP }).catch((error) => { code = error.code; });
  for (; code === null && seconds < 200; seconds += 1) {
    eachSecond(seconds);
    await clock.advance(1000);
    await settle();
  }
  return [code, seconds];
}

test('a request is not late while its bytes leave, nor while anything comes in', async () => {
  const leaving = await opened();
  leaving.wire.bufferedAmount = 100_000;
  assert.deepEqual(await outcome(leaving, (seconds) => { leaving.wire.bufferedAmount = Math.max(0, 100_000 - seconds * 3000); }), ['socket_lost', 38]);
  const coming = await opened();
  let seq = 0;
  assert.deepEqual(await outcome(coming, () => coming.wire.receive({ type: 'speakers', seq: seq += 1, speakers: [] })), ['timeout', 60]);
});

test('a socket on which nothing moves is given up as soon as before', async () => {
  assert.deepEqual(await outcome(await opened(), () => {}), ['socket_lost', 14]);
});

test('a sign of life is waited for as long as answers took lately', async () => {
  const found = await opened();
  const { socket, clock, wire } = found;
  const lost = [];
  socket.onLost = ({ code }) => lost.push(code);
  const slow = socket.request('mute');
  await clock.advance(3000);
  wire.receive({ type: 'done', re: 1 });
  await slow;
  await clock.advance(10_000 + 8000);
  assert.deepEqual(lost, []);  // four seconds would have been over
  await clock.advance(1500);
  assert.deepEqual(lost, ['socket_lost']);
});
