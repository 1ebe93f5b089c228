// The way that media take, read from getStats (W3C WebRTC Statistics): the selected pair of candidates, and what its local one
// says about transport and relay.

/** @import { MediaPath } from './index.js' */

/** @param {RTCStatsReport} report */
export function selectedPair(report) {
  for (const entry of report.values()) {
    if (entry.type === 'transport' && entry.selectedCandidatePairId) return report.get(entry.selectedCandidatePairId);
  }
  for (const entry of report.values()) {  // Firefox has no transport entry but marks the pair
    if (entry.type === 'candidate-pair' && (entry.selected || (entry.nominated && entry.state === 'succeeded'))) return entry;
  }
  return undefined;
}

/**
 * @param {RTCStatsReport} report
 * @param {any} pair
 * @returns {MediaPath | null}
 */
export function pathOf(report, pair) {
  const local = pair && report.get(pair.localCandidateId);
  if (!local) return null;
  const remote = report.get(pair.remoteCandidateId);
  if (local.candidateType === 'relay') {
    // `protocol` and `address` are those of the far side of the relay; we are asked about the near one.
    const near = [hostOf(local.url), local.relatedAddress, local.address].find(isAddress);
    return { kind: 'relay', protocol: local.relayProtocol ?? protocolOf(local.url), family: familyOf(near) };
  }
  // Our own address may be hidden behind a name (mDNS); the server's is not.
  const far = [remote?.address ?? remote?.ip, local.address ?? local.ip].find(isAddress);
  return { kind: 'direct', protocol: local.protocol === 'tcp' ? 'tcp' : 'udp', family: familyOf(far) };
}

/** @param {unknown} address */
const isAddress = (address) => typeof address === 'string' && (address.includes(':') || /^[\d.]+$/.test(address));

/** @param {string | undefined} address @returns {MediaPath['family']} */
const familyOf = (address) => (address?.includes(':') ? 'ipv6' : 'ipv4');

/** The host of a TURN URI (RFC 7065), without the brackets of an IPv6 address. @param {string | undefined} uri */
const hostOf = (uri) => uri?.match(/^turns?:(?:\[([^\]]+)\]|([^:?]+))/)?.slice(1).find(Boolean);

/** @param {string | undefined} uri @returns {MediaPath['protocol']} */
function protocolOf(uri) {
  if (uri?.startsWith('turns:')) return 'tls';
  return uri?.includes('transport=tcp') ? 'tcp' : 'udp';
}
