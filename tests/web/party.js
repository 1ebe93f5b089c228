// Calls for the tests of the client library: joined, or in the midst of joining.

import { WadudCall } from '../../web/src/client/index.js';
import { FakeTrack, fakeBrowser, settle } from './fakes.js';

const HEARD = ['statechange', 'participantjoined', 'participantleft', 'participantupdated', 'ended', 'problem', 'localchange', 'speakers', 'quality'];

export const guest = (id, changes = {}) => ({
  id, name: id, role: 'guest', connection: 'connected',
  tracks: [{ id: `${id}-a`, source: 'microphone', kind: 'audio', muted: false }, { id: `${id}-v`, source: 'camera', kind: 'video', muted: false }],
  ...changes,
});

/** A call that has not begun. `connection`: a class of connections made of the fake one. */
export function party({ connection = (Fake) => Fake, ...options } = {}) {
  const browser = fakeBrowser();
  browser.environment.RTCPeerConnection = connection(browser.environment.RTCPeerConnection);
  const tracks = { microphone: new FakeTrack('audio', 'mic'), camera: new FakeTrack('video', 'cam') };
  const call = new WadudCall({ url: 'ws://server/v1/signal', token: 'token', tracks, environment: browser.environment, ...options });
  const events = [];
  for (const type of HEARD) call.on(type, (detail) => events.push([type, detail]));
  return {
    ...browser, browser, call, tracks, events,
    named: (type) => events.filter(([name]) => name === type).map(([, detail]) => detail),
    get peer() { return browser.peer; },
    drain() { browser.network.socket.receive({ type: 'bye', seq: 1, reason: 'draining' }); },
  };
}

export async function joined(options) {
  const found = party(options);
  await found.call.connect();
  found.browser.peer.become('connected');
  return found;
}

/** Joins from now on are not brought to their end before `finish`: the relay's answer, which candidates wait for, is to come. */
export function hold(held) {
  const { iceServers, call } = held;
  const relay = iceServers.answer();
  const waiting = [];
  iceServers.answer = () => new Promise((resolve) => waiting.push(() => resolve(relay)));
  return Object.assign(held, {
    async finish() {
      for (const answer of waiting.splice(0)) answer();
      await settle();
    },
    connecting: call.state === 'new' ? call.connect() : null,
  });
}

/** Joined with these people in the room, but not yet through with it. */
export async function joining(people = [], options = {}) {
  const found = party(options);
  const answer = { ...found.network.answers.join(), participants: people };
  found.network.answers.join = () => answer;
  hold(found);
  await settle();
  return found;
}
