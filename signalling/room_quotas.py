"""How much of a server people without an account may take, and for how long. Sans-IO: ``now`` is monotonic, in seconds.

Anybody may make a room, so only addresses tell the makers apart (of IPv6 the /64, see `address_key`; because whole
sites are given a /48, that has a bound too, of some times as many). A room counts from the first join on, for the
address that this came from, until the last person has left. Joining costs a message, so a room that nobody uses is let
go: one in which for ``idle_s`` nobody was connected, which takes a media path from a real address. People are counted
for their own addresses. A quarter of each media worker is left to reserved rooms (`signalling.room_names`), which must
have place for everybody who belongs there. They are not counted and never refused here: somebody else bounds them and
knows the people in them.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Final, Protocol

from backplane.ratelimit import site_key
from sfu.media import MAX_TRANSPORTS
from signalling.codes import ErrorCode, SignallingError

RETRY_AFTER_S: Final = 60
LEFT_TO_RESERVED: Final = MAX_TRANSPORTS // 4  # transports of each worker
SITE_FACTOR: Final = 4
LOOK_S: Final = 5.0  # between two looks at who uses the rooms


@dataclass(frozen=True, slots=True)
class RoomLimits:
    """``rooms``: of all addresses together. ``rooms_per_address``, ``people_per_address``: at once, 0 = any number.
    ``idle_s``: until a room that nobody uses is let go, 0 = never."""

    rooms: int = 1000
    rooms_per_address: int = 50
    people_per_address: int = 300
    idle_s: float = 180.0


class CountedRoom(Protocol):
    """What is asked of a room (`sfu.room.Room`), which is gone once nobody is in it."""

    def __len__(self) -> int: ...
    @property
    def in_use(self) -> bool: ...


@dataclass(slots=True)
class _Held:
    room: CountedRoom
    address: str
    used_at: float


class RoomQuotas:
    """Addresses are as `backplane.ratelimit.address_key` makes them."""

    def __init__(self, limits: RoomLimits) -> None:
        self._limits = limits
        self._rooms: dict[str, _Held] = {}
        self._rooms_of: Counter[str] = Counter()  # by address, and by site
        self._people: dict[str, str] = {}  # address by session
        self._people_of: Counter[str] = Counter()
        self._look_at = 0.0

    @property
    def rooms(self) -> int:
        """How many count, those included that have gone since the last `sweep`."""
        return len(self._rooms)

    def check_new_room(self, address: str) -> None:
        """SignallingError too_many_rooms or room_full when ``address`` may not have one more room."""
        limits = self._limits
        if len(self._rooms) >= limits.rooms or self._has_enough(address):
            self._forget_gone()
        if self._has_enough(address):
            raise SignallingError(ErrorCode.TOO_MANY_ROOMS)
        if len(self._rooms) >= limits.rooms:
            raise SignallingError(ErrorCode.ROOM_FULL, "This server has all the rooms that it may have.")

    def check_person(self, address: str) -> None:
        """SignallingError too_many_people when ``address`` may not have one more person in a room."""
        if self._over(self._people_of[address], self._limits.people_per_address):
            raise SignallingError(ErrorCode.TOO_MANY_PEOPLE)

    def entered(self, name: str, room: CountedRoom, session: str, address: str, now: float, *, new: bool) -> None:
        """Somebody is in, who made the room if it is ``new``."""
        if new:
            self._release(name)
            self._rooms[name] = _Held(room, address, now)
            self._rooms_of.update(_counted(address))
        self._people[session] = address
        self._people_of[address] += 1

    def left(self, session: str) -> None:
        """Idempotent."""
        address = self._people.pop(session, None)
        if address is not None:
            _count_down(self._people_of, address)

    def sweep(self, now: float) -> list[str]:
        """The rooms to let go. Wants to be called again and again, and looks every `LOOK_S`."""
        if now < self._look_at:
            return []
        self._look_at = now + LOOK_S
        self._forget_gone()
        idle = []
        for name, held in self._rooms.items():
            if held.room.in_use:
                held.used_at = now
            elif self._limits.idle_s and now - held.used_at >= self._limits.idle_s:
                idle.append(name)
        return idle

    def _forget_gone(self) -> None:
        for name in [name for name, held in self._rooms.items() if not len(held.room)]:
            self._release(name)

    def _release(self, name: str) -> None:
        held = self._rooms.pop(name, None)
        if held is not None:
            for key in _counted(held.address):
                _count_down(self._rooms_of, key)

    def _has_enough(self, address: str) -> bool:
        limit = self._limits.rooms_per_address
        counts = (self._rooms_of[key] for key in _counted(address))
        return any(self._over(count, limit * factor) for count, factor in zip(counts, (1, SITE_FACTOR)))

    @staticmethod
    def _over(count: int, limit: int) -> bool:
        return limit > 0 and count >= limit


def _counted(address: str) -> tuple[str, ...]:
    """What a room from there counts for."""
    if ":" not in address:
        return (address,)
    return address, site_key(address)


def _count_down(counts: Counter[str], key: str) -> None:
    counts[key] -= 1
    if not counts[key]:
        del counts[key]
