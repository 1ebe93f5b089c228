"""What a room asks of a media worker: the commands of `rtc._worker.Worker`, ids, and who owns which id.

Rooms know only `MediaPlane`, so tests record commands instead of running a worker. A `WorkerHandle` is the place that a
member of a room has: ids count per worker, so an id means something only beside its handle. A track can be forwarded to
the legs of its own worker. To bring it to legs elsewhere, on another worker or another node, needs a pipe, which there
is not: `WorkerHandle.forward` refuses.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Final, Literal, Protocol, TypeAlias

from rtc.ice import HostCandidate
from rtc.worker_events import EventSource, WorkerEvent

if TYPE_CHECKING:
    from rtc._worker import Codec, Extensions

MAX_TRANSPORTS = 4_000  # of one worker. It takes 4,096: who comes anew is there twice for a moment
KindWord: TypeAlias = Literal["audio", "video"]


class Kind(IntEnum):
    AUDIO = 1
    VIDEO = 2

    @property
    def word(self) -> KindWord:
        return "audio" if self is Kind.AUDIO else "video"


KINDS: Final[dict[str, Kind]] = {kind.word: kind for kind in Kind}


class NoPipeError(Exception):
    """A track and a leg that is to show it are on different workers."""


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


class MediaWorker(MediaPlane, EventSource, Protocol):
    """A worker with the side that is listened to."""


class Owner(Protocol):
    """Whom the events of a transport or track are for: a room."""

    def media_event(self, worker: "WorkerHandle", event: WorkerEvent, now: float) -> None: ...
    def handle_timer(self, worker: "WorkerHandle", transport: int, now: float) -> None: ...


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


@dataclass(slots=True, eq=False)
class WorkerHandle:
    """A worker as the node keeps it: its commands, its address, id numbering, and whose each id is."""

    index: int
    plane: MediaPlane
    candidates: tuple[HostCandidate, ...]
    rooms: int = 0
    """How many have their home here."""
    new_transport: Callable[[], int] = field(default_factory=counter)
    new_track: Callable[[], int] = field(default_factory=counter)
    new_leg: Callable[[], int] = field(default_factory=counter)
    transports: dict[int, Owner] = field(default_factory=dict)
    tracks: dict[int, Owner] = field(default_factory=dict)
    handshakes: dict[int, Handshake] = field(default_factory=dict)
    """By transport: those whose owner wants `Owner.handle_timer`."""

    def forward(self, leg: int, source: "TrackAddress | None") -> None:
        """Have a leg of this worker send that track from now on; None: nothing.

        Raises:
            NoPipeError: the track is received elsewhere.
        """
        if source is not None and source.worker is not self:
            raise NoPipeError
        self.plane.set_source(leg, 0 if source is None else source.number)


@dataclass(frozen=True, slots=True)
class TrackAddress:
    """Where a track is received: the worker, and its number there."""

    worker: WorkerHandle
    number: int
