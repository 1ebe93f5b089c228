"""What a room asks of a media worker: the commands of `rtc._worker.Worker`, its events by number, ids, and who owns
which id.

Rooms know only `MediaPlane`, so tests record commands instead of running a worker.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Protocol, TypeAlias

from rtc.ice import HostCandidate

if TYPE_CHECKING:
    from rtc._worker import Codec, Extensions

MAX_TRANSPORTS = 4_000  # of one worker. It takes 4,096: who comes anew is there twice for a moment
WorkerEvent: TypeAlias = "tuple[object, ...]"


class Kind(IntEnum):
    AUDIO = 1
    VIDEO = 2

    @property
    def word(self) -> str:
        return self.name.lower()


KINDS = {kind.word: kind for kind in Kind}


class Event(IntEnum):
    """First item of a worker's event tuples (rtc._worker.EVENT_*)."""

    DTLS = 1
    SELECTED = 2
    QUIET = 3
    HEARD = 4
    CONSENT_LOST = 5
    TRACK_STARTED = 6
    LEVEL = 7
    STATS = 8
    REQUEST = 9
    STREAM_CLOSED = 10


class MediaPlane(Protocol):
    """Commands of `rtc._worker.Worker`; see there."""

    def add_transport(self, transport: int, ufrag: str, password: str) -> None: ...
    def restart_ice(self, transport: int, ufrag: str, password: str) -> None: ...
    def set_remote(self, transport: int, ufrag: str, password: str) -> None: ...
    def set_keys(
        self,
        transport: int,
        profile: int,
        send_key: bytes,
        send_salt: bytes,
        receive_key: bytes,
        receive_salt: bytes,
    ) -> None: ...
    def send_dtls(self, transport: int, datagrams: Sequence[bytes]) -> None: ...
    def remove_transport(self, transport: int) -> None: ...
    def add_track(
        self,
        track: int,
        transport: int,
        *,
        kind: int,
        mid: str,
        codecs: "Sequence[Codec]",
        extensions: "Extensions",
        ssrc: int = 0,
        rtx_ssrc: int = 0,
    ) -> None: ...
    def remove_track(self, track: int) -> None: ...
    def add_leg(
        self,
        leg: int,
        transport: int,
        *,
        kind: int,
        mid: str,
        codecs: "Sequence[Codec]",
        extensions: "Extensions",
        ssrc: int,
        rtx_ssrc: int = 0,
    ) -> None: ...
    def remove_leg(self, leg: int) -> None: ...
    def set_source(self, leg: int, track: int) -> None: ...


class MediaWorker(MediaPlane, Protocol):
    """A worker with the side that the node listens to."""

    def fileno(self) -> int: ...
    def take_events(self) -> Sequence[WorkerEvent]: ...
    def hold(self) -> None: ...
    def let_go(self) -> None: ...


class Owner(Protocol):
    """Whom the events of a transport or track are for: a room."""

    def media_event(self, event: WorkerEvent, now: float) -> None: ...
    def handle_timer(self, transport: int, now: float) -> None: ...


class Handshake(Protocol):
    """A connection that is not through with DTLS."""

    def timer(self) -> float | None: ...


def counter() -> Callable[[], int]:
    """Gives 1, 2, 3 ... , and 1 again after 2^31 - 1: ids are 32-bit, and none lives that long."""
    state = 0

    def following() -> int:
        nonlocal state
        state = state % (2**31 - 1) + 1
        return state

    return following


@dataclass(slots=True)
class Seat:
    """A worker as the node keeps it: its commands, its address, id numbering, and whose each id is."""

    index: int
    plane: MediaPlane
    candidates: tuple[HostCandidate, ...]
    rooms: int = 0
    new_transport: Callable[[], int] = field(default_factory=counter)
    new_track: Callable[[], int] = field(default_factory=counter)
    new_leg: Callable[[], int] = field(default_factory=counter)
    transports: dict[int, Owner] = field(default_factory=dict)
    tracks: dict[int, Owner] = field(default_factory=dict)
    handshakes: dict[int, Handshake] = field(default_factory=dict)
    """By transport: those whose owner wants `Owner.handle_timer`."""
