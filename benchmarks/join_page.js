// Evaluated inside a page of the server: joins through the real client library and tells when each stage was reached, in milliseconds from "join".
(() => {
  const audible = 0.005;

  /** A steady tone: the fake microphone beeps only twice a second, which would add its pauses to every figure. */
  function tone(context) {
    const oscillator = new OscillatorNode(context, { frequency: 440 });
    const gain = new GainNode(context, { gain: 0.5 });
    const out = new MediaStreamAudioDestinationNode(context);
    oscillator.connect(gain).connect(out);
    oscillator.start();
    return out.stream.getAudioTracks()[0];
  }

  async function open() {
    const library = await import('/static/src/client/index.js');
    const context = new AudioContext();
    await context.resume();
    const camera = await navigator.mediaDevices.getUserMedia({ video: { width: 640, height: 360 } });
    return { library, context, tracks: { microphone: tone(context), camera: camera.getVideoTracks()[0] } };
  }

  /** Network classes that note when they get somewhere. */
  function watched(note) {
    class WatchedSocket extends WebSocket {
      constructor(...given) {
        super(...given);
        this.addEventListener('open', () => note('websocket'));
      }
    }
    class WatchedConnection extends RTCPeerConnection {
      constructor(...given) {
        super(...given);
        this.addEventListener('iceconnectionstatechange', () => { if (/connected|completed/.test(this.iceConnectionState)) note('ice'); });
        this.addEventListener('connectionstatechange', () => { if (this.connectionState === 'connected') note('dtls'); });
      }
      async createOffer(...given) {
        const offer = await super.createOffer(...given);
        note('offer');
        return offer;
      }
      async setRemoteDescription(...given) {
        note('answer');
        await super.setRemoteDescription(...given);
      }
    }
    return { WebSocket: WatchedSocket, RTCPeerConnection: WatchedConnection };
  }

  function listen(context, stream, heard) {
    const element = document.createElement('audio'); // without an element Chromium does not decode a remote stream for WebAudio
    element.autoplay = true;
    element.srcObject = stream;
    document.body.append(element);
    const analyser = new AnalyserNode(context, { fftSize: 256 });
    new MediaStreamAudioSourceNode(context, { mediaStream: stream }).connect(analyser);
    const samples = new Float32Array(256);
    return () => {
      analyser.getFloatTimeDomainData(samples);
      if (samples.some((sample) => Math.abs(sample) > audible)) heard();
    };
  }

  function look(stream, seen) {
    const video = document.createElement('video');
    video.muted = true;
    video.autoplay = true;
    video.playsInline = true;
    video.srcObject = stream;
    video.requestVideoFrameCallback(seen);
    document.body.append(video);
  }

  function call(opened, url, token, environment) {
    return new opened.library.WadudCall({ url, token, tracks: opened.tracks, environment, client: 'benchmark' });
  }

  let opened = null;
  let current = null;
  window.bench = {
    async prepare() { opened = await open(); },
    async publish(url, token) {
      current = call(opened, url, token);
      await current.connect();
    },
    async join(url, token, patience_ms) {
      const begin = performance.now();
      const stages = {};
      const note = (stage) => { stages[stage] ??= performance.now() - begin; };
      current = call(opened, url, token, watched(note));
      const polls = [];
      const attached = new Set();
      const attach = () => {
        for (const stream of current.audioStreams) if (!attached.has(stream.id)) {
          attached.add(stream.id);
          polls.push(listen(opened.context, stream, () => note('audio')));
        }
        for (const participant of current.participants) for (const track of participant.tracks) if (track.kind === 'video' && track.stream && !attached.has(track.stream.id)) {
          attached.add(track.stream.id);
          look(track.stream, () => note('video'));
        }
      };
      current.on('mediachange', attach);
      const connected = current.connect().then(attach);
      while (!(stages.audio && stages.video) && performance.now() - begin < patience_ms) {
        await new Promise((resolve) => setTimeout(resolve, 4));
        for (const poll of polls) poll();
        for (const receiver of current.peerConnection?.getReceivers() ?? []) if (receiver.getSynchronizationSources().length) note('packet');
      }
      await connected;
      return stages;
    },
    async leave() {
      await current.leave();
      current = null;
    },
  };
  return true;
})()
