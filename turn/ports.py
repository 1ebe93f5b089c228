"""The ports of one relayed address: which are taken, and which are kept for a second allocation (RFC 8656 section 7.2).

A port is a number in a table. Most allocations only ever talk to media in this process and need no socket, so nothing
is opened here, and another program may hold a port that is free in the table. Ports are drawn at random, which is what
keeps an outsider from guessing them (RFC 6056).
"""

import random
from dataclasses import dataclass, field
from typing import Final

FREE: Final = 0
TAKEN: Final = 1
DRAWS: Final = 16  # tries by chance before the table is read from a random place on

RESERVATION_S: Final = 30.0
TOKEN_BYTES: Final = 8
MAX_RESERVATIONS: Final = 1024  # at once, of all owners together
MAX_RESERVATIONS_OF_ONE: Final = 8  # each holds a socket open


@dataclass(slots=True)
class PortPool:
    """The ports ``first`` to ``last`` of ``host``. ``rng`` must be unpredictable outside of tests."""

    host: str
    first: int
    last: int
    rng: random.Random = field(default_factory=random.SystemRandom)
    in_use: int = 0
    _table: bytearray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not 0 < self.first <= self.last < 65536:
            raise ValueError(f"{self.first} to {self.last} is not a range of ports")
        self._table = bytearray(self.last - self.first + 1)

    def take(self, *, even: bool = False, pair: bool = False) -> int | None:
        """A free port, even if asked; with ``pair`` an even one and the next higher. None when none is left."""
        table, size = self._table, len(self._table)
        even = even or pair
        if self.in_use < size:
            start = 0
            for _ in range(DRAWS):
                start = int(self.rng.random() * size)
                if self._fits(start, even, pair):
                    return self._taken(start, pair)
            if not even:
                at = table.find(FREE, start)
                return self._taken(at if at >= 0 else table.find(FREE), False)
            for offset in range(size):
                at = (start + offset) % size
                if self._fits(at, even, pair):
                    return self._taken(at, pair)
        return None

    def _fits(self, at: int, even: bool, pair: bool) -> bool:
        if self._table[at] != FREE or (even and (self.first + at) & 1):
            return False
        return not pair or (at + 1 < len(self._table) and self._table[at + 1] == FREE)

    def _taken(self, at: int, pair: bool) -> int:
        for each in (at, at + 1) if pair else (at,):
            self._table[each] = TAKEN
            self.in_use += 1
        return self.first + at

    def release(self, port: int) -> None:
        """``port`` is free again. ValueError when it was."""
        at = port - self.first
        if not 0 <= at < len(self._table) or self._table[at] != TAKEN:
            raise ValueError(f"port {port} was not taken")
        self._table[at] = FREE
        self.in_use -= 1


@dataclass(frozen=True, slots=True)
class Reservation:
    """A port that waits, open, for its owner's second allocation."""

    pool: PortPool
    port: int
    fd: int
    owner: str
    expires_at: float


class Reservations:
    """The reservations by their tokens, oldest first; all live equally long."""

    def __init__(self) -> None:
        self._by_token: dict[bytes, Reservation] = {}

    def __len__(self) -> int:
        return len(self._by_token)

    def has_room(self, owner: str) -> bool:
        """Whether ``owner`` may reserve another port."""
        held = sum(each.owner == owner for each in self._by_token.values())
        return len(self._by_token) < MAX_RESERVATIONS and held < MAX_RESERVATIONS_OF_ONE

    def put(self, token: bytes, reservation: Reservation) -> None:
        self._by_token[token] = reservation

    def claim(self, token: bytes, owner: str, now: float) -> Reservation | None:
        """What ``token`` stands for, once; None when it is not (or no longer) ``owner``'s."""
        found = self._by_token.get(token)
        if found is None or found.owner != owner or found.expires_at <= now:
            return None
        return self._by_token.pop(token)

    def take_expired(self, now: float) -> list[Reservation]:
        """Those whose time is over; the caller closes and releases them."""
        expired = []
        while self._by_token:
            token, oldest = next(iter(self._by_token.items()))
            if oldest.expires_at > now:
                break
            expired.append(self._by_token.pop(token))
        return expired
