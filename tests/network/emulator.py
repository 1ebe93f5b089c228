"""A network in fake time: hosts with addresses, directional links between them, one seed, one clock, no sleep.

`Network` delivers datagrams and wakes hosts whose timers are due, in order of time; what happens at the same instant
happens in the order in which it was caused. A link is a propagation delay behind a bottleneck (a token bucket of
`rate_bps` with a bounded queue); losses are independent (Bernoulli) or in bursts (Gilbert-Elliott). Jitter keeps
order, as a queue does; reordering and duplication are faults of their own. Times are nanoseconds.
"""

import heapq
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

Address = tuple[str, int]

MS = 1_000_000
SECOND = 1_000_000_000
IP_UDP = 28  # octets of IPv4 and UDP header, which also pass the bottleneck
SPIN_LIMIT = 1000  # wake-ups of one host without time passing: its timer is stuck in the past


class Host(Protocol):
    """Something without I/O of its own. It is asked for datagrams and its timer after everything done to it."""

    def receive(self, data: bytes, source: Address, now_ns: int) -> None: ...
    def handle_timer(self, now_ns: int) -> None: ...
    def timer_ns(self) -> int | None: ...
    def datagrams_to_send(self, now_ns: int) -> list[tuple[bytes, Address]]: ...


@dataclass(frozen=True, slots=True)
class GilbertElliott:
    """Bursty loss: two states, changed before each packet with these probabilities."""

    to_bad: float
    to_good: float
    loss_good: float = 0.0
    loss_bad: float = 1.0

    @property
    def mean_loss(self) -> float:
        bad = self.to_bad / (self.to_bad + self.to_good)
        return bad * self.loss_bad + (1 - bad) * self.loss_good


@dataclass(frozen=True, slots=True)
class Link:
    """One direction. Probabilities are 0..1, times seconds; None = without limit."""

    delay_s: float = 0.005
    jitter_s: float = 0.0  # uniform, added to the delay
    loss: float = 0.0
    bursts: GilbertElliott | None = None
    reorder: float = 0.0  # share of packets that are overtaken
    reorder_s: float = 0.02  # by as much
    duplicate: float = 0.0
    rate_bps: float | None = None
    bucket_octets: int = 1500
    queue_octets: int = 64_000
    mtu: int | None = None  # octets of the IP packet; larger ones vanish, as behind a middlebox that drops fragments


@dataclass(slots=True)
class _Path:
    """A link in use."""

    link: Link
    rng: random.Random
    bad: bool = False
    free_at_ns: float = 0.0  # when the bottleneck will have sent all that waits
    arrived_ns: int = 0  # the newest arrival, which jitter does not overtake
    fates: Counter[str] = field(default_factory=Counter)

    def arrivals(self, size: int, now_ns: int) -> list[int]:
        """When copies of a datagram of `size` octets arrive; empty = lost."""
        link, size = self.link, size + IP_UDP
        self.fates["sent"] += 1
        if link.mtu is not None and size > link.mtu:
            return self._lose("too large")
        left_ns = self._through_bottleneck(size, now_ns)
        if left_ns is None:
            return self._lose("queue full")
        if self._is_lost():
            return self._lose("lost")
        at_ns = left_ns + round((link.delay_s + self.rng.random() * link.jitter_s) * SECOND)
        if link.reorder and self.rng.random() < link.reorder:
            self.fates["reordered"] += 1
            at_ns += round(link.reorder_s * SECOND)
        else:
            at_ns = self.arrived_ns = max(at_ns, self.arrived_ns)
        if link.duplicate and self.rng.random() < link.duplicate:
            self.fates["duplicated"] += 1
            return [at_ns, at_ns + round(self.rng.random() * 0.01 * SECOND)]
        return [at_ns]

    def _lose(self, fate: str) -> list[int]:
        self.fates[fate] += 1
        return []

    def _through_bottleneck(self, size: int, now_ns: int) -> int | None:
        link = self.link
        if link.rate_bps is None:
            return now_ns
        octet_ns = 8 * SECOND / link.rate_bps
        if self.free_at_ns > now_ns and (self.free_at_ns - now_ns) / octet_ns + size > link.queue_octets:
            return None
        # tokens are time: the bucket lets the bottleneck lag behind the clock by no more than its depth
        self.free_at_ns = max(self.free_at_ns, now_ns - link.bucket_octets * octet_ns) + size * octet_ns
        return max(now_ns, round(self.free_at_ns))

    def _is_lost(self) -> bool:
        bursts = self.link.bursts
        if bursts is not None:
            self.bad = self.rng.random() < (1 - bursts.to_good if self.bad else bursts.to_bad)
            if self.rng.random() < (bursts.loss_bad if self.bad else bursts.loss_good):
                return True
        return self.link.loss > 0 and self.rng.random() < self.link.loss


@dataclass(slots=True)
class _Attachment:
    host: Host
    address: Address
    wake_ns: int | None = None
    woken_ns: int = -1  # the newest wake-up
    spins: int = 0  # wake-ups before it at the same time


class Network:
    """All hosts and links. The clock starts at `now_ns` = 1,000 s and moves only in `run` and `run_until`."""

    def __init__(self, seed: int | str) -> None:
        self.now_ns = 1000 * SECOND
        self.default = Link()
        self.taps: list[Callable[[bytes, Address, Address, int], None]] = []
        """Called with (datagram, source, target, ns) for everything that is sent, before its fate is known."""
        self.censor: Callable[[bytes, Address, Address], bool] = lambda data, source, target: False
        """Datagrams for which it is true vanish: for a test that names the one that is to be lost."""
        self.fates: Counter[str] = Counter()
        self._seed = seed
        self._links: dict[tuple[str, str], Link] = {}
        self._paths: dict[tuple[str, str], _Path] = {}
        self._attachments: dict[int, _Attachment] = {}
        self._owners: dict[Address, _Attachment] = {}
        self._agenda: list[tuple[int, int, Callable[[], None]]] = []
        self._order = 0

    @property
    def now(self) -> float:
        """Seconds."""
        return self.now_ns / SECOND

    # --- topology ---------------------------------------------------------------------------------------------------

    def attach(self, host: Host, address: Address) -> None:
        """From now on the host sends from `address` and receives there; also its change of address."""
        attachment = self._attachments.setdefault(id(host), _Attachment(host, address))
        self._owners.pop(attachment.address, None)
        attachment.address = address
        self._owners[address] = attachment
        self.touch(host)

    def connect(self, source: str, target: str, link: Link) -> None:
        """The direction from one IP address to another, now or from now on changed."""
        self._links[source, target] = link
        path = self._paths.get((source, target))
        if path is not None:
            path.link = link

    def path(self, source: str, target: str) -> _Path:
        key = (source, target)
        if key not in self._paths:
            # chance of its own per direction: a packet more on one link changes nothing on another
            rng = random.Random(f"{self._seed}:{source}>{target}")
            self._paths[key] = _Path(self._links.get(key, self.default), rng)
        return self._paths[key]

    # --- what happens -----------------------------------------------------------------------------------------------

    def at(self, when_ns: int, action: Callable[[], None]) -> None:
        """Do something at that time, now at the earliest."""
        self._order += 1
        heapq.heappush(self._agenda, (max(when_ns, self.now_ns), self._order, action))

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        self.at(self.now_ns + round(seconds * SECOND), action)

    def send(self, data: bytes, source: Address, target: Address) -> None:
        """Puts one datagram on its way."""
        for tap in self.taps:
            tap(data, source, target, self.now_ns)
        if self.censor(data, source, target):
            self.fates["censored"] += 1
            return
        arrivals = self.path(source[0], target[0]).arrivals(len(data), self.now_ns)
        for when_ns in arrivals:
            self.at(when_ns, lambda: self._deliver(data, source, target))

    def touch(self, host: Host) -> None:
        """Something was done to the host: take what it wants to send, and its timer."""
        attachment = self._attachments[id(host)]
        for data, target in host.datagrams_to_send(self.now_ns):
            self.send(data, attachment.address, target)
        attachment.wake_ns = host.timer_ns()

    def _deliver(self, data: bytes, source: Address, target: Address) -> None:
        owner = self._owners.get(target)
        if owner is None:
            self.fates["nobody there"] += 1
            return
        self.fates["delivered"] += 1
        owner.host.receive(data, source, self.now_ns)
        self.touch(owner.host)

    def _next(self) -> tuple[int, _Attachment | None] | None:
        best: tuple[int, _Attachment | None] | None = (self._agenda[0][0], None) if self._agenda else None
        for attachment in self._attachments.values():
            if attachment.wake_ns is not None and (best is None or attachment.wake_ns < best[0]):
                best = (attachment.wake_ns, attachment)
        return best

    def step(self, until_ns: int) -> bool:
        """The next thing not after `until_ns`; False when there is none, and then it is `until_ns`."""
        following = self._next()
        if following is None or following[0] > until_ns:
            self.now_ns = max(self.now_ns, until_ns)
            return False
        when_ns, attachment = following
        self.now_ns = max(self.now_ns, when_ns)
        if attachment is None:
            heapq.heappop(self._agenda)[2]()
            return True
        attachment.spins = attachment.spins + 1 if attachment.woken_ns == self.now_ns else 0
        attachment.woken_ns = self.now_ns
        if attachment.spins > SPIN_LIMIT:
            raise AssertionError(f"the timer of {attachment.host!r} stays at {when_ns} ns")
        attachment.host.handle_timer(self.now_ns)
        self.touch(attachment.host)
        return True

    def run(self, seconds: float) -> None:
        until_ns = self.now_ns + round(seconds * SECOND)
        while self.step(until_ns):
            pass

    def run_until(self, condition: Callable[[], bool], timeout_s: float) -> float:
        """Seconds until the condition held. AssertionError when it did not within `timeout_s`."""
        start_ns = self.now_ns
        until_ns = start_ns + round(timeout_s * SECOND)
        while not condition():
            if not self.step(until_ns) and not condition():
                raise AssertionError(f"did not happen within {timeout_s} s")
        return (self.now_ns - start_ns) / SECOND
