// Evaluated inside a page of the server under test: joins with the real client library and reports what was really received.
(() => {
  const frames = new Map(); // video element → canvas fingerprints seen
  const state = { call: null, ended: null };

  function watch(stream, key) {
    const video = document.createElement('video');
    video.muted = true;
    video.autoplay = true;
    video.playsInline = true;
    video.srcObject = stream;
    document.body.append(video);
    const canvas = new OffscreenCanvas(32, 18);
    const context = canvas.getContext('2d', { willReadFrequently: true });
    const seen = { key, pictures: new Set(), bright: 0, width: 0, height: 0 };
    frames.set(stream.id, seen);
    const look = () => {
      context.drawImage(video, 0, 0, 32, 18);
      const pixels = context.getImageData(0, 0, 32, 18).data;
      let sum = 0;
      for (let i = 0; i < pixels.length; i += 4) sum = (sum * 31 + pixels[i] + pixels[i + 1] * 3 + pixels[i + 2] * 7) >>> 0;
      for (let i = 0; i < pixels.length; i += 4) seen.bright = Math.max(seen.bright, pixels[i], pixels[i + 1], pixels[i + 2]);
      seen.pictures.add(sum);
      seen.width = video.videoWidth;
      seen.height = video.videoHeight;
      video.requestVideoFrameCallback(look);
    };
    video.requestVideoFrameCallback(look);
    video.play().catch(() => {});
  }

  function attach() {
    for (const participant of state.call.participants)
      for (const track of participant.tracks)
        if (track.kind === 'video' && track.stream && !frames.has(track.stream.id)) watch(track.stream, `${participant.name}/${track.source}`);
    for (const stream of state.call.audioStreams) {
      if (frames.has(stream.id)) continue;
      const audio = document.createElement('audio');
      audio.autoplay = true;
      audio.srcObject = stream;
      document.body.append(audio);
      frames.set(stream.id, null);
    }
  }

  window.harness = {
    // A call that our own pages have made.
    adopt(call) {
      state.call = call;
      for (const event of ['mediachange', 'participantjoined', 'participantupdated']) call.on(event, attach);
      attach();
    },
    async join({ token, name, camera = true, microphone = true, ...options }) {
      const library = await import('/static/src/client/index.js');
      const media = camera || microphone ? await navigator.mediaDevices.getUserMedia({ audio: microphone, video: camera && { width: 640, height: 360 } }) : null;
      const call = new library.WadudCall({
        url: `${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}/v1/signal`,
        token, ...options, publish: Boolean(media),
        tracks: { microphone: media?.getAudioTracks()[0] ?? null, camera: media?.getVideoTracks()[0] ?? null },
        client: `test ${name}`,
      });
      state.call = call;
      window.call = call;
      for (const event of ['mediachange', 'participantjoined', 'participantupdated']) call.on(event, attach);
      call.on('ended', (detail) => { state.ended = detail.reason; });
      await call.connect();
      attach();
      return call.self.id;
    },
    async report() {
      const stats = await state.call.getStats();
      const result = { state: state.call.state, ended: state.ended, audio: [], video: [], pictures: {}, people: [], ice: state.call.peerConnection?.iceConnectionState };
      const codecs = {};
      for (const s of stats.values()) if (s.type === 'codec') codecs[s.id] = s.mimeType;
      for (const s of stats.values()) {
        if (s.type !== 'inbound-rtp') continue;
        const entry = { mid: s.mid ?? '', packets: s.packetsReceived ?? 0, lost: s.packetsLost ?? 0, codec: codecs[s.codecId] ?? '' };
        if (s.kind === 'audio') result.audio.push({ ...entry, energy: s.totalAudioEnergy ?? 0, samples: s.totalSamplesReceived ?? 0, concealed: s.concealedSamples ?? 0 });
        else result.video.push({ ...entry, decoded: s.framesDecoded ?? 0, nacks: s.nackCount ?? 0, width: s.frameWidth ?? 0 });
      }
      for (const seen of frames.values()) if (seen) result.pictures[seen.key] = { different: seen.pictures.size, bright: seen.bright, width: seen.width, height: seen.height };
      for (const p of state.call.participants) result.people.push({ id: p.id, name: p.name, connection: p.connection, tracks: p.tracks.map((t) => `${t.source}${t.muted ? ' muted' : ''}`) });
      return result;
    },
    call: () => state.call,
  };
  return true;
})()
