// Evaluated after harness.js: notes when something of each medium was received, and what was said of the others' connection.
(() => {
  const STEP_MS = 100;
  const LEAST_MS = 300;  // shorter is no gap
  const media = new Map();  // by name: { count, at_ms, gaps: [[from_ms, to_ms]] }
  const said = [];  // [at_ms, name, connection]
  let looked_ms = Infinity;

  const nameOf = (entry) => {
    for (const { name, tracks } of harness.call().participants)
      for (const { source, stream } of tracks)
        if (stream?.getTracks().some(({ id }) => id === entry.trackIdentifier)) return `${name}/${source}`;
    return null;
  };

  async function look() {
    const stats = await harness.call().getStats();
    const now_ms = Date.now();
    for (const entry of stats?.values() ?? []) {
      if (entry.type !== 'inbound-rtp') continue;
      const name = nameOf(entry);
      const count = entry.kind === 'audio' ? entry.packetsReceived : entry.framesDecoded;
      const known = media.get(name);
      if (!name || !count || count === known?.count) continue;
      // On a busy machine a look may come late: what has come meanwhile came soon after the last one that saw nothing.
      if (known && now_ms - known.at_ms > LEAST_MS) known.gaps.push([known.at_ms, Math.min(now_ms, Math.max(looked_ms, known.at_ms) + LEAST_MS)]);
      media.set(name, { count, at_ms: now_ms, gaps: known?.gaps ?? [] });
    }
    looked_ms = now_ms;
  }

  harness.watchGaps = () => {
    harness.call().on('participantupdated', ({ participant: { name, connection } }) => said.push([Date.now(), name, connection]));
    const step = () => look().finally(() => setTimeout(step, STEP_MS));
    step();
  };

  // {now_ms, media: {name: {at_ms, gaps}}, said}, times as of Date.now().
  harness.gaps = () => ({ now_ms: Date.now(), media: Object.fromEntries(media), said });
  return true;
})()
