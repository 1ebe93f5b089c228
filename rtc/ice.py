"""ICE-lite as far as the control plane sees it: credentials and host candidates (RFC 8445 section 2.5, RFC 8839).

The media worker answers the checks; here we only invent what the answer tells the browser. The worker's number stands
in the first two characters of the ufrag, so that a check that reaches a foreign worker's socket names the one it
belongs to. The random source is an argument: a function that gives that many bytes.
"""

import ipaddress
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

Entropy: TypeAlias = Callable[[int], bytes]

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"  # ice-char, RFC 8839 section 5.4
MAX_WORKERS = len(ALPHABET) ** 2
UFRAG_RANDOM = 8  # characters of 6 bits; RFC 8445 section 5.3 asks for 24 bits
PASSWORD_RANDOM = 24  # 144 bits, where 128 are asked for

HOST_TYPE_PREFERENCE = 126  # RFC 8445 section 5.1.2.2
TCP_PASSIVE_PREFERENCE = 4  # direction, RFC 6544 section 4.2
COMPONENT_RTP = 1
MAX_NETWORK_COST = 999  # of Chromium; the first candidates of ours have it


@dataclass(frozen=True, slots=True)
class IceCredentials:
    ufrag: str
    password: str


@dataclass(frozen=True, slots=True)
class HostCandidate:
    """A host candidate of component 1 (RTP and RTCP are always multiplexed): UDP, or TCP that waits to be connected to
    (passive, RFC 6544 section 4.5)."""

    address: str
    port: int
    priority: int
    foundation: str
    tcp: bool = False
    network_cost: int | None = None  # 0..MAX_NETWORK_COST, as Chromium takes it

    def __str__(self) -> str:
        """The value of its a=candidate line."""
        protocol, tcp_type = ("tcp", " tcptype passive") if self.tcp else ("udp", "")
        cost = "" if self.network_cost is None else f" network-id 1 network-cost {self.network_cost}"
        where = f"{protocol} {self.priority} {self.address} {self.port} typ host"
        return f"{self.foundation} {COMPONENT_RTP} {where}{tcp_type}{cost}"


def _characters(entropy: Entropy, count: int) -> str:
    return "".join(ALPHABET[byte & 63] for byte in entropy(count))


def make_credentials(worker: int, entropy: Entropy) -> IceCredentials:
    """Fresh local credentials of a transport on that worker. ValueError when `worker` does not fit its two
    characters."""
    if not 0 <= worker < MAX_WORKERS:
        raise ValueError(f"worker number {worker} is not in 0..{MAX_WORKERS - 1}")
    high, low = divmod(worker, len(ALPHABET))
    return IceCredentials(
        ALPHABET[high] + ALPHABET[low] + _characters(entropy, UFRAG_RANDOM), _characters(entropy, PASSWORD_RANDOM)
    )


def worker_of(ufrag: str) -> int | None:
    """The worker that a ufrag of ours names, None when it is not one of ours."""
    if len(ufrag) != 2 + UFRAG_RANDOM:
        return None
    high, low = ALPHABET.find(ufrag[0]), ALPHABET.find(ufrag[1])
    return high * len(ALPHABET) + low if high >= 0 and low >= 0 else None


def host_candidates(
    addresses: Sequence[tuple[str, int]], tcp: Sequence[tuple[str, int]] = ()
) -> tuple[HostCandidate, ...]:
    """Candidates of (IP address, port) pairs, the best first; those of ``tcp`` are worse than all of UDP. ValueError
    when an address is not an IP address."""
    udp = [_host_candidate(where, 65535 - index, index, False) for index, where in enumerate(addresses)]
    first = len(udp)
    passive = [
        _host_candidate(where, (TCP_PASSIVE_PREFERENCE << 13) + 8191 - index, first + index, True)
        for index, where in enumerate(tcp)
    ]
    return (*udp, *passive)


def _host_candidate(where: tuple[str, int], local_preference: int, index: int, tcp: bool) -> HostCandidate:
    address, port = where
    if not 0 < port < 65536:
        raise ValueError(f"{port} is not a port")
    priority = (HOST_TYPE_PREFERENCE << 24) + (local_preference << 8) + (256 - COMPONENT_RTP)
    return HostCandidate(str(ipaddress.ip_address(address)), port, priority, str(index + 1), tcp)


def of_generation(candidates: Iterable[HostCandidate], restarts: int) -> tuple[HostCandidate, ...]:
    """The candidates as they are offered behind that many ICE restarts: cheaper each time.

    Chromium sends on the pair whose two networks cost least, before it asks which is newer, and leaves a pair that fell
    silent only after 3.5 s. So a phone whose Wi-Fi died without a word kept sending into it, though a restart had found
    the mobile network at once. The first step is larger than the most that two networks of a phone are apart (10 for
    Wi-Fi, 900 for a mobile network). Others skip the attribute (RFC 8839 section 5.1, extensions)."""
    cost = MAX_NETWORK_COST if not restarts else max(MAX_NETWORK_COST - 900 - restarts, 0)
    return tuple(replace(each, network_cost=cost) for each in candidates)


def is_restart(before: IceCredentials, after: IceCredentials) -> bool:
    """True when both the peer's ufrag and password are new (RFC 8839 section 4.4.3.1.1). ValueError when only one of
    them is."""
    ufrag_changed, password_changed = before.ufrag != after.ufrag, before.password != after.password
    if ufrag_changed != password_changed:
        raise ValueError("an ICE restart must change both ice-ufrag and ice-pwd")
    return ufrag_changed
