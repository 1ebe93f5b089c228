// Evaluated after harness.js: joins against the clock, and says by which path media travel.
(() => {
  const getUserMedia = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
  let opened_ms = 0;
  navigator.mediaDevices.getUserMedia = async (constraints) => {
    const media = await getUserMedia(constraints);
    opened_ms = performance.now();
    return media;
  };
  let said = null;
  const pause = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });
  const { join } = harness;

  // Milliseconds from the wish to join, devices being open, until ICE and DTLS stand; null when they do not in time.
  harness.timedJoin = async (wish, patience_ms) => {
    said = null;
    let joined = false;
    const joining = join(wish).then(() => {
      joined = true;
      harness.call().on('stats', ({ stats }) => { said = stats.path; });
    });
    const deadline = performance.now() + patience_ms;
    await Promise.race([joining, pause(patience_ms)]);
    while (!joined || harness.call().peerConnection?.connectionState !== 'connected') {
      if (performance.now() > deadline) return null;
      await pause(5);
    }
    return performance.now() - opened_ms;
  };

  harness.leave = () => harness.call().leave();

  // {path, remote, said}: the selected pair as the browser tells it, "direct|relay udp|tcp|tls"; and what our library says of it.
  harness.path = async () => {
    const stats = await harness.call().getStats();
    const entries = [...stats.values()];
    const chosen = entries.find((s) => s.type === 'transport')?.selectedCandidatePairId;
    const pair = chosen ? stats.get(chosen) : entries.find((s) => s.type === 'candidate-pair' && s.selected);
    if (!pair) return { path: 'none', remote: '', said };
    const local = stats.get(pair.localCandidateId);
    const remote = stats.get(pair.remoteCandidateId);
    const relayed = local.candidateType === 'relay';
    const path = relayed ? `relay ${local.relayProtocol}` : `direct ${local.protocol}`;
    return { path, remote: remote.address ?? remote.ip, said };
  };
  return true;
})()
