// How good our own leg is, from getStats: differences between two samples, summed over the streams. The score is a shortened
// E-model (ITU-T G.107 with Opus-like loss robustness); it is an engineering indicator, not a clinical statement.

/** @import { LocalStats } from './index.js' */

import { pathOf, selectedPair } from './media-path.js';

/** R without impairments. */
const R_0 = 93.2;
/** Delay of coding, packets and playout beside network and jitter, one way. */
const DEVICE_DELAY_MS = 40;
/** Packet loss robustness of Opus with in-band FEC: larger is more robust (G.711 without concealment: 4.3). */
const LOSS_ROBUSTNESS = 20;

/** @param {{rtt_ms: number, jitter_ms: number, loss_percent: number}} leg */
export function scoreOf({ rtt_ms, jitter_ms, loss_percent }) {
  const delay_ms = rtt_ms / 2 + 2 * jitter_ms + DEVICE_DELAY_MS;
  const delayImpairment = 0.024 * delay_ms + 0.11 * Math.max(0, delay_ms - 177.3);
  const lossImpairment = 95 * loss_percent / (loss_percent + LOSS_ROBUSTNESS);
  const r = Math.min(100, Math.max(0, R_0 - delayImpairment - lossImpairment));
  const mos = 1 + 0.035 * r + 7e-6 * r * (r - 60) * (100 - r);
  return Math.min(5, Math.max(1, mos));
}

/**
 * @typedef {object} Counters running sums of one sample
 * @property {number} at_ms
 * @property {number} bytesIn
 * @property {number} bytesOut
 * @property {number} packetsIn
 * @property {number} packetsLost
 */

/**
 * Grows with every byte and every check on the selected pair; null when none is told.
 * @param {any} pair
 * @returns {number | null}
 */
export function heardIn(pair) {
  return pair ? (pair.bytesReceived ?? 0) + (pair.responsesReceived ?? 0) + (pair.requestsReceived ?? 0) : null;
}

/**
 * @param {RTCStatsReport} report
 * @param {Counters | null} before
 * @param {number} now_ms
 * @returns {{stats: LocalStats, counters: Counters}}
 */
export function readStats(report, before, now_ms) {
  /** @type {Counters} */
  const counters = { at_ms: now_ms, bytesIn: 0, bytesOut: 0, packetsIn: 0, packetsLost: 0 };
  let jitter_ms = 0;
  /** Loss that the server reports about what we send. */
  let outboundLoss_percent = 0;
  for (const entry of report.values()) {
    if (entry.type === 'inbound-rtp') {
      counters.packetsIn += entry.packetsReceived ?? 0;
      counters.packetsLost += Math.max(0, entry.packetsLost ?? 0);
      if (entry.kind === 'audio' && entry.packetsReceived > 0) jitter_ms = Math.max(jitter_ms, (entry.jitter ?? 0) * 1000);
    } else if (entry.type === 'remote-inbound-rtp' && entry.kind === 'audio') {
      outboundLoss_percent = Math.max(outboundLoss_percent, (entry.fractionLost ?? 0) * 100);
    }
  }
  const pair = selectedPair(report);
  counters.bytesIn = pair?.bytesReceived ?? 0;
  counters.bytesOut = pair?.bytesSent ?? 0;
  const rtt_ms = (pair?.currentRoundTripTime ?? 0) * 1000;
  const lost = before ? Math.max(0, counters.packetsLost - before.packetsLost) : 0;
  const received = before ? Math.max(0, counters.packetsIn - before.packetsIn) : 0;
  const inboundLoss_percent = lost + received > 0 ? 100 * lost / (lost + received) : 0;
  const seconds = before ? (now_ms - before.at_ms) / 1000 : 0;
  const perSecond = (/** @type {number} */ now, /** @type {number} */ then) =>
    (seconds > 0 ? Math.max(0, Math.round(8 * (now - then) / seconds)) : 0);
  const loss_percent = Math.max(inboundLoss_percent, outboundLoss_percent);
  return {
    counters,
    stats: {
      rtt_ms,
      jitter_ms,
      loss_percent,
      inbound_bps: before ? perSecond(counters.bytesIn, before.bytesIn) : 0,
      outbound_bps: before ? perSecond(counters.bytesOut, before.bytesOut) : 0,
      path: pathOf(report, pair),
      score: scoreOf({ rtt_ms, jitter_ms, loss_percent }),
    },
  };
}
