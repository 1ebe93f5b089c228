"""Who may hold a WebSocket of one kind, counted by address.

A socket that has not proved who it is (a waiting one) is worth little: there are few of them, and when there are too
many the oldest of the network that has most of them makes room. An honest page says who it is in its first message,
which takes its time on a thin link, and whoever opens sockets by the hundred shall put out their own.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from backplane.ratelimit import KeyedBuckets, address_key, site_key
from backplane.web import Problem


class Place:
    """One socket's place in an `Admission`."""

    def __init__(self, admission: "Admission", address: str) -> None:
        self._admission = admission
        self.address = address
        self.site = site_key(address)
        self._evicted = False
        self._evict: Callable[[], None] | None = None

    def authenticated(self) -> None:
        """The peer has proved who it is. Idempotent."""
        self._admission.stop_waiting(self)

    def on_evict(self, act: Callable[[], None] | None) -> None:
        """Call `act` when the socket must go because others wait, at once when that was said already."""
        self._evict = act
        if self._evicted and act is not None:
            act()

    def evict(self) -> None:
        self._evicted = True
        self.on_evict(self._evict)


class Admission:
    """Who may hold a socket of one kind, by address (of IPv6: the /64). In bounded memory.

    `total` and `waiting`: sockets of everybody. `per_address` and `waiting_per_address`: of one address.
    `opened_per_s` and `opened_burst`: new sockets of one address.
    """

    def __init__(
        self,
        *,
        total: int,
        waiting: int,
        per_address: int,
        waiting_per_address: int,
        opened_per_s: float,
        opened_burst: float,
    ) -> None:
        self.total = total
        self.waiting = waiting
        self.per_address = per_address
        self.waiting_per_address = waiting_per_address
        self._opened = KeyedBuckets(opened_per_s, opened_burst)
        self._places: set[Place] = set()
        self._by_address: Counter[str] = Counter()
        self._waiting: set[Place] = set()
        self._waiting_by_site: dict[str, dict[Place, None]] = {}  # the oldest first
        self._waiting_by_address: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._places)

    @contextmanager
    def place(self, remote: str | None, now: float) -> Iterator[Place]:
        """A place for as long as the block runs. Problem 429 or 503."""
        place = self._enter(address_key(remote or ""), now)
        try:
            yield place
        finally:
            self._leave(place)

    def stop_waiting(self, place: Place) -> None:
        """See `Place.authenticated`."""
        if place in self._waiting:
            self._waiting.remove(place)
            _count_down(self._waiting_by_address, place.address)
            of_site = self._waiting_by_site[place.site]
            del of_site[place]
            if not of_site:
                del self._waiting_by_site[place.site]

    def _enter(self, address: str, now: float) -> Place:
        if (
            self._by_address[address] >= self.per_address
            or self._waiting_by_address[address] >= self.waiting_per_address
            or not self._opened.allow(address, now)
        ):
            self._forget(address)
            raise Problem(429, "rate_limited", "Too many sockets from one address.", {"Retry-After": "5"})
        if len(self._places) >= self.total or len(self._waiting) >= self.waiting:
            if not self._waiting:
                self._forget(address)
                raise Problem(503, "busy", "Too many sockets are open.", {"Retry-After": "5"})
            most = max(self._waiting_by_site.values(), key=len)
            oldest = next(iter(most))
            self._leave(oldest)
            oldest.evict()
        place = Place(self, address)
        self._places.add(place)
        self._waiting.add(place)
        self._waiting_by_site.setdefault(place.site, {})[place] = None
        self._by_address[address] += 1
        self._waiting_by_address[address] += 1
        return place

    def _leave(self, place: Place) -> None:
        if place in self._places:
            self.stop_waiting(place)
            self._places.discard(place)
            _count_down(self._by_address, place.address)

    def _forget(self, address: str) -> None:
        """Reading a counter must not leave a key behind."""
        for counter in (self._by_address, self._waiting_by_address):
            if not counter[address]:
                counter.pop(address, None)


def _count_down(counter: Counter[str], key: str) -> None:
    counter[key] -= 1
    if counter[key] <= 0:
        del counter[key]
