"""Token buckets that say yes or no at once, with `now` as argument, in bounded memory.

`aiolimiter` waits instead of refusing and reads the loop's clock; `limits` reads the wall clock and counts whole
windows behind a storage layer. Neither runs in fake time, so here are the thirty lines that do.
"""

import ipaddress
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

SITE_PREFIX: Final = 48  # of IPv6


@dataclass(slots=True)
class TokenBucket:
    """Allows ``burst`` at once and ``rate_per_s`` in the long run. Times are monotonic seconds."""

    rate_per_s: float
    burst: float
    _level: float = -1.0
    _filled_at: float = 0.0

    def allow(self, now: float, cost: float = 1.0) -> bool:
        """Take ``cost`` when it is there. A refusal costs nothing."""
        if self._level < 0:
            self._level = self.burst
        else:
            self._level = min(self.burst, self._level + max(0.0, now - self._filled_at) * self.rate_per_s)
        self._filled_at = now
        if self._level < cost:
            return False
        self._level -= cost
        return True


class KeyedBuckets:
    """One bucket per key (an address). At most ``max_keys`` are remembered; the longest unused is forgotten first."""

    def __init__(self, rate_per_s: float, burst: float, max_keys: int = 10_000) -> None:
        self._rate_per_s = rate_per_s
        self._burst = burst
        self._max_keys = max_keys
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def allow(self, key: str, now: float) -> bool:
        """Whether ``key`` may go on."""
        bucket = self._buckets.pop(key, None) or TokenBucket(self._rate_per_s, self._burst)
        self._buckets[key] = bucket
        if len(self._buckets) > self._max_keys:
            self._buckets.popitem(last=False)
        return bucket.allow(now)


def address_key(address: str) -> str:
    """What one subscriber of a provider can call its own: an IPv4 address, or the /64 of an IPv6 address."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return ""
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.IPv6Network((parsed, 64), strict=False).network_address)
    return str(parsed)


def site_key(address: str) -> str:
    """What a whole site can call its own, by an `address_key`: an IPv4 address, or a /48 of IPv6 (RFC 6177)."""
    if ":" not in address:
        return address
    return str(ipaddress.IPv6Network((address, SITE_PREFIX), strict=False))
