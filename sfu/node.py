"""All rooms of this process and the workers that carry their media. See `Room` for what happens inside one.

node = Node(workers=workers, identity=identity, candidates=[[("192.0.2.1", worker.port)]], notify=sessions.deliver)
with WorkerEvents(workers, [PacedNode(node)]).running():   # events, timers and ticks from asyncio
    room = node.room("x7...")                              # made when missing
"""

import logging
import secrets
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from rtc.ice import Entropy, host_candidates
from rtc.sdp_answer import Policy
from rtc.worker_events import EventKind, WorkerEvent
from sfu.connection import Associate, Association
from sfu.events import ByeReason, RoomEvent
from sfu.media import MediaPlane, WorkerHandle
from sfu.room import Dependencies, Notify, Room

if TYPE_CHECKING:
    from rtc._dtls import Identity

_OF_TRACKS: Final = frozenset({EventKind.LEVEL, EventKind.TRACK_STARTED})
_TAKEN: Final = frozenset(EventKind) - {EventKind.REQUEST, EventKind.STREAM_CLOSED}  # these are the relay's

_log = logging.getLogger(__name__)


def _ignore_event(receivers: Sequence[str], event: RoomEvent) -> None: ...


def _ignore_stage(stage: str, seconds: float) -> None: ...


def _ignore_estimate(bps: float) -> None: ...


def dtls_server(identity: "Identity") -> Associate:
    """Associations of `rtc._dtls` with that certificate."""
    from rtc._dtls import Dtls

    def associate(fingerprints: Sequence[tuple[str, bytes]]) -> Association:
        return Dtls(identity, server=True, fingerprints=fingerprints)

    return associate


class Node:
    def __init__(
        self,
        *,
        workers: Sequence[MediaPlane],
        identity: "Identity",
        candidates: Sequence[Sequence[tuple[str, int]]],
        tcp_candidates: Sequence[tuple[str, int]] = (),
        notify: Notify = _ignore_event,
        observe_stage: Callable[[str, float], None] = _ignore_stage,
        observe_estimate: Callable[[float], None] = _ignore_estimate,
        policy: Policy | None = None,
        entropy: Entropy = secrets.token_bytes,
        clock: Callable[[], float] = time.monotonic,
        associate: Associate | None = None,
    ) -> None:
        """``candidates``: per worker the (IP address, UDP port) pairs that clients are told; ``tcp_candidates``: the
        (IP address, TCP port) pairs of all workers (RFC 6544). ``policy``: of new rooms. ``clock`` measures the making
        of answers; everything else goes by ``now``.

        ``notify`` hears of everything that happens in rooms. ``observe_stage`` is called with (stage, seconds since the
        join's offer) once per join and stage: answer, ice, dtls, first_in, first_out; ``observe_estimate`` with each
        receiver's bandwidth estimate in bits per second, each 2 s while its path changes, else each 10 s.

        Raises:
            ValueError: a candidate is not an address and a port, or the lengths differ.
        """
        self.policy = policy or Policy()
        self.workers = [
            WorkerHandle(index, worker, host_candidates(addresses, tcp_candidates))
            for index, (worker, addresses) in enumerate(zip(workers, candidates, strict=True))
        ]
        self._rooms: dict[str, Room] = {}
        self._needs = Dependencies(
            associate=associate or dtls_server(identity),
            fingerprint=identity.fingerprint,
            entropy=entropy,
            clock=clock,
            notify=notify,
            observe_stage=observe_stage,
            observe_estimate=observe_estimate,
            emptied=self._emptied,
        )

    def room(self, name: str) -> Room:
        """The room of that name, made with its home on the least loaded worker when missing."""
        room = self._rooms.get(name)
        if room is None:
            home = min(self.workers, key=lambda worker: (len(worker.transports), worker.rooms))
            home.rooms += 1
            room = self._rooms[name] = Room(name, home, self._needs, self.policy)
        return room

    def find(self, name: str) -> Room | None:
        """The room of that name, if there is one."""
        return self._rooms.get(name)

    @property
    def rooms(self) -> list[Room]:
        return list(self._rooms.values())

    @property
    def room_count(self) -> int:
        return len(self._rooms)

    @property
    def participants(self) -> int:
        """How many people are in all rooms."""
        return sum(len(room) for room in self._rooms.values())

    @property
    def event_kinds(self) -> frozenset[EventKind]:
        """What `handle_event` takes."""
        return _TAKEN

    def handle_event(self, worker: int, event: WorkerEvent, now: float) -> None:
        """An event of the worker with that index."""
        handle = self.workers[worker]
        owners = handle.tracks if event[0] in _OF_TRACKS else handle.transports
        id = event[1]
        room = owners.get(id) if isinstance(id, int) else None
        if room is not None:  # else it has left meanwhile
            room.media_event(handle, event, now)

    def timer(self) -> float | None:
        """When `handle_timers` wants to be called: the earliest DTLS retransmission."""
        times = [
            time for worker in self.workers for item in worker.handshakes.values() if (time := item.timer()) is not None
        ]
        return min(times, default=None)

    def handle_timers(self, now: float) -> None:
        """A fault in one handshake is logged and ends its timer: asked again, it would fail again at once."""
        for worker in self.workers:
            for transport, connection in list(worker.handshakes.items()):
                at = connection.timer()
                room = worker.transports.get(transport)
                if at is None or at > now or room is None:
                    continue
                try:
                    room.handle_timer(worker, transport, now)
                except Exception:
                    worker.handshakes.pop(transport, None)
                    _log.exception("handshake timer failed")

    def tick(self, now: float, part: int = 0, parts: int = 1) -> None:
        """Wants to be called every 300 ms, for `part` of `parts` shares of the rooms at a time. Rooms that have
        nothing to do are left alone: of most the objects have left the caches. A fault in one room is logged and costs
        no other room its tick."""
        for room in list(self._rooms.values())[part::parts]:
            try:
                if room.wakes_at <= now:
                    room.tick(now)
            except Exception:
                _log.exception("tick of a room failed")

    def close(self, reason: ByeReason, now: float) -> None:
        """Everybody out of every room. The workers stay open: a goodbye may still be on its way."""
        for room in list(self._rooms.values()):
            room.close(reason, now)

    def _emptied(self, room: Room) -> None:
        if self._rooms.get(room.name) is room:
            del self._rooms[room.name]
            room.home.rooms -= 1
