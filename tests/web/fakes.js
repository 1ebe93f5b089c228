// A browser without a browser: a clock that the test moves, sockets that the test answers, a peer connection that only
// keeps the books. Everything runs in fake time.

/** Timers by hand. `advance` runs what falls due in order and lets promises settle in between. */
export class Clock {
  now_ms = 0;
  #timers = new Map();
  #next = 1;

  set = (run, delay_ms) => {
    const id = this.#next++;
    this.#timers.set(id, { run, at_ms: this.now_ms + delay_ms });
    return id;
  };

  clear = (id) => { this.#timers.delete(id); };

  async advance(delay_ms) {
    const end_ms = this.now_ms + delay_ms;
    await settle();
    for (;;) {
      const due = [...this.#timers].filter(([, { at_ms }]) => at_ms <= end_ms).sort((a, b) => a[1].at_ms - b[1].at_ms)[0];
      if (!due) break;
      this.now_ms = Math.max(this.now_ms, due[1].at_ms);
      this.#timers.delete(due[0]);
      due[1].run();
      await settle();
    }
    this.now_ms = end_ms;
  }
}

export async function settle() {
  for (let turn = 0; turn < 40; turn += 1) await Promise.resolve();
}

/** Sockets that were opened, newest last, and what the server says to each message. */
export class FakeNetwork {
  sockets = [];
  /** False: nothing can be reached. */
  up = true;
  /** Nobody says whether it can. */
  swallows = false;
  /** type → answer fields, or a function of the message; undefined keeps silent. */
  answers = {
    join: () => ({ type: 'joined', session: 's1', secret: 'x', participant: 'me', room: 'r', answer: 'v=0', participants: [], slots: [], rights: ['publish'], resume_window_s: 30 }),
    resume: () => ({ type: 'resumed', participants: [], slots: [], generation: 2 }),
    offer: () => ({ type: 'answer', sdp: 'v=0', slots: [] }),
    mute: () => ({ type: 'done' }),
    leave: () => ({ type: 'done' }),
    prefer: () => ({ type: 'done' }),
    ping: () => ({ type: 'pong', time_ms: 0 }),
  };

  /** The newest that is open, else the newest. */
  get socket() { return this.sockets.findLast(({ readyState }) => readyState === 1) ?? this.sockets.at(-1); }

  /** Every message of one type, over all sockets. */
  sent(type) { return this.sockets.flatMap((socket) => socket.sent).filter((message) => message.type === type); }

  get class() {
    const network = this;
    return class FakeSocket {
      readyState = 0;
      sent = [];

      /** A server that speaks nothing else. */
      protocol = 'wadud.v1';

      constructor(url, protocols) {
        this.url = url;
        this.offered = [protocols].flat();
        network.sockets.push(this);
        queueMicrotask(() => {
          if (network.swallows) return;
          if (!network.up) {
            this.drop(1006);
            return;
          }
          this.readyState = 1;
          this.onopen?.();
        });
      }

      send(text) {
        const message = JSON.parse(text);
        this.sent.push(message);
        const answer = network.up && network.answers[message.type]?.(message);
        if (answer) queueMicrotask(() => this.receive({ re: message.id, ...answer }));
      }

      receive(message) { if (this.readyState === 1) this.onmessage?.({ data: JSON.stringify(message) }); }
      drop(code) { this.readyState = 3; this.onclose?.({ code }); }
      close() { this.readyState = 3; }
    };
  }
}

export class FakeTrack extends EventTarget {
  enabled = true;
  stopped = false;
  contentHint = '';

  constructor(kind, deviceId) {
    super();
    this.kind = kind;
    this.deviceId = deviceId;
  }

  getSettings() { return { deviceId: this.deviceId }; }
  stop() { this.stopped = true; }
}

class FakeStream {
  constructor(tracks = []) { this.tracks = tracks; }
  getAudioTracks() { return this.tracks.filter(({ kind }) => kind === 'audio'); }
  getVideoTracks() { return this.tracks.filter(({ kind }) => kind === 'video'); }
  getTracks() { return this.tracks; }
}

/** What the server answers to POST /v1/ice-servers; every request is kept. */
export class FakeIceServers {
  requests = [];
  /** Returns [status, body]; a promise that never settles keeps silent. */
  answer = () => [200, { ice_servers: [], expires_at: 0, lifetime_s: 3600 }];

  fetch = async (url, { headers, signal }) => {
    this.requests.push({ url, token: headers.Authorization });
    const aborted = new Promise((_, reject) => { signal.addEventListener('abort', () => reject(new Error('aborted'))); });
    const [status, body] = await Promise.race([this.answer(this.requests.length), aborted]);
    return { ok: status < 400, status, json: async () => body };
  };
}

export class FakeConnection extends EventTarget {
  static all = [];
  transceivers = [];
  offers = [];
  signalingState = 'stable';
  iceConnectionState = 'new';
  connectionState = 'new';
  closed = false;
  flowing = true;
  bytes = 0;
  /** The selected local candidate. */
  local = { type: 'local-candidate', candidateType: 'host', protocol: 'udp', address: 'x.local' };

  constructor(configuration) {
    super();
    this.configuration = configuration;
    FakeConnection.all.push(this);
  }

  addTransceiver(given, { direction }) {
    this.#mustBeOpen();
    const track = typeof given === 'string' ? null : given;
    const sender = { track, async replaceTrack(next) { this.track = next; } };
    const kind = track?.kind ?? given;
    const transceiver = {
      mid: null, kind, direction, currentDirection: null, sender, receiver: { track: new FakeTrack(kind, '') },
      setCodecPreferences(codecs) { this.codecs = codecs; },
    };
    this.transceivers.push(transceiver);
    return transceiver;
  }

  async createOffer(options) {
    this.#mustBeOpen();
    this.offers.push(options);
    const mids = this.transceivers.map((_, index) => `a=mid:${index}`);
    return { type: 'offer', sdp: [`offer ${this.offers.length}`, ...mids].join('\r\n') };
  }

  getTransceivers() { return this.transceivers; }

  setConfiguration(configuration) {
    if (configuration.iceServers.some(({ urls }) => urls.includes('bad'))) throw new SyntaxError('bad url');
    this.configuration = configuration;
  }

  async setLocalDescription({ type }) {
    this.#mustBeOpen();
    this.gatheredWith ??= this.configuration.iceServers;
    this.signalingState = type === 'offer' ? 'have-local-offer' : 'stable';
    this.transceivers.forEach((transceiver, index) => { transceiver.mid ??= String(index); });
  }

  async setRemoteDescription() {
    this.#mustBeOpen();
    this.signalingState = 'stable';
    for (const transceiver of this.transceivers) if (transceiver.mid !== null) transceiver.currentDirection = transceiver.direction;
  }

  /** As long as media flow, every sample has heard more. */
  async getStats() {
    if (this.flowing) this.bytes += 1000;
    return new Map([
      ['T', { type: 'transport', selectedCandidatePairId: 'P' }],
      ['P', { type: 'candidate-pair', bytesReceived: this.bytes, bytesSent: 0, localCandidateId: 'L', remoteCandidateId: 'R' }],
      ['L', this.local],
      ['R', { type: 'remote-candidate', address: '192.0.2.1', protocol: 'udp', candidateType: 'host' }],
    ]);
  }

  close() { this.closed = true; }

  #mustBeOpen() {
    if (this.closed) throw new DOMException('closed', 'InvalidStateError');
  }

  become(iceConnectionState) {
    this.iceConnectionState = iceConnectionState;
    this.dispatchEvent(new Event('iceconnectionstatechange'));
  }
}

/** @returns everything that a WadudCall needs, and the handles of the test */
export function fakeBrowser() {
  const clock = new Clock();
  const network = new FakeNetwork();
  const iceServers = new FakeIceServers();
  const windowEvents = new EventTarget();
  const opened = [];
  FakeConnection.all = [];
  const environment = {
    WebSocket: network.class,
    RTCPeerConnection: FakeConnection,
    MediaStream: FakeStream,
    mediaDevices: {
      async getUserMedia({ audio, video }) {
        const kinds = [audio && 'audio', video && 'video'].filter(Boolean);
        const tracks = kinds.map((kind) => new FakeTrack(kind, `default-${kind}`));
        opened.push(...tracks);
        return new FakeStream(tracks);
      },
    },
    fetch: iceServers.fetch,
    setTimeout: clock.set,
    clearTimeout: clock.clear,
    now: () => clock.now_ms,
    random: () => 0.5,
    events: windowEvents,
    network: undefined,
  };
  return { clock, network, iceServers, environment, windowEvents, opened, get peer() { return FakeConnection.all.at(-1); } };
}
