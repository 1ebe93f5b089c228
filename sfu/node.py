"""All rooms of this process and the workers that carry their media. See `Room` for what happens inside one.

node = Node(workers=workers, identity=identity, candidates=[[("192.0.2.1", worker.port)] for worker in workers])
node.notify = sessions.push            # (participant id, message)
loop = MediaLoop(node); loop.start()   # sfu/media_loop.py: feeds events, timers and ticks from asyncio
room = node.room("x7...")              # made when missing
"""

import logging
import secrets
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from rtc.ice import Entropy, host_candidates
from rtc.sdp_answer import Policy
from sfu.connection import Associate, Association
from sfu.media import Event, MediaWorker, Seat, WorkerEvent
from sfu.protocol import Message
from sfu.room import Room, Surroundings

if TYPE_CHECKING:
    from rtc._dtls import Identity

_BEYOND = frozenset({Event.REQUEST, Event.STREAM_CLOSED})
_OF_TRACKS = frozenset({Event.LEVEL, Event.TRACK_STARTED})

_log = logging.getLogger(__name__)


def _ignore_message(participant_id: str, message: Message) -> None: ...


def _ignore_stage(stage: str, seconds: float) -> None: ...


def _ignore_event(worker: int, event: WorkerEvent, now: float) -> None: ...


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
        workers: Sequence[MediaWorker],
        identity: "Identity",
        candidates: Sequence[Sequence[tuple[str, int]]],
        policy: Policy | None = None,
        entropy: Entropy = secrets.token_bytes,
        clock: Callable[[], float] = time.monotonic,
        associate: Associate | None = None,
    ) -> None:
        """`candidates`: per worker the (IP address, UDP port) pairs that clients are told. `policy`: of new rooms.
        `clock` measures the making of answers; everything else goes by ``now``. ValueError when a candidate is not an
        address and a port, or the lengths differ."""
        self.notify: Callable[[str, Message], None] = _ignore_message
        self.observe_stage: Callable[[str, float], None] = _ignore_stage
        """Called with (stage, seconds since the join's offer) once per join and stage: answer, ice, dtls, first_in,
        first_out."""
        self.beyond: Callable[[int, WorkerEvent, float], None] = _ignore_event
        """Called with (worker's index, event, now) for events that are not the forwarding core's: the relay's."""
        self.observe_estimate: Callable[[float], None] = _ignore_estimate
        """Called with each receiver's bandwidth estimate in bits per second: each 2 s while its path changes, else
        each 10 s."""
        self.workers = workers
        self.policy = policy or Policy()
        self._udp = [list(addresses) for addresses in candidates]
        self._seats = [
            Seat(index, worker, host_candidates(addresses))
            for index, (worker, addresses) in enumerate(zip(workers, self._udp, strict=True))
        ]
        self._rooms: dict[str, Room] = {}
        self._surroundings = Surroundings(
            associate=associate or dtls_server(identity),
            fingerprint=identity.fingerprint,
            entropy=entropy,
            clock=clock,
            notify=lambda participant_id, message: self.notify(participant_id, message),
            observe_stage=lambda stage, seconds: self.observe_stage(stage, seconds),
            observe_estimate=lambda bps: self.observe_estimate(bps),
            emptied=self._emptied,
        )

    def offer_tcp(self, addresses: Sequence[tuple[str, int]]) -> None:
        """Tell clients that come from now on of these (IP address, TCP port) pairs too (RFC 6544). ValueError."""
        for seat, udp in zip(self._seats, self._udp, strict=True):
            seat.candidates = host_candidates(udp, addresses)

    def room(self, name: str) -> Room:
        """The room of that name, made on the least loaded worker when missing."""
        room = self._rooms.get(name)
        if room is None:
            seat = min(self._seats, key=lambda seat: (len(seat.transports), seat.rooms))
            seat.rooms += 1
            room = self._rooms[name] = Room(name, seat, self._surroundings, self.policy)
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

    def handle_events(self, worker: int, events: Sequence[WorkerEvent], now: float) -> None:
        """Events of the worker with that index, oldest first. A fault in one is logged and costs only that one."""
        seat = self._seats[worker]
        for event in events:
            if event[0] in _BEYOND:
                self.beyond(worker, event, now)
                continue
            owners = seat.tracks if event[0] in _OF_TRACKS else seat.transports
            id = event[1]
            room = owners.get(id) if isinstance(id, int) else None
            if room is None:
                continue  # its owner has left meanwhile
            try:
                room.media_event(event, now)
            except Exception:
                _log.exception("media event %s failed", event[0])

    def timer(self) -> float | None:
        """When `handle_timers` wants to be called: the earliest DTLS retransmission."""
        times = [
            time for seat in self._seats for item in seat.handshakes.values() if (time := item.timer()) is not None
        ]
        return min(times, default=None)

    def handle_timers(self, now: float) -> None:
        """A fault in one handshake is logged and ends its timer: asked again, it would fail again at once."""
        for seat in self._seats:
            for transport, connection in list(seat.handshakes.items()):
                at = connection.timer()
                room = seat.transports.get(transport)
                if at is None or at > now or room is None:
                    continue
                try:
                    room.handle_timer(transport, now)
                except Exception:
                    seat.handshakes.pop(transport, None)
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

    def close(self, reason: str, now: float) -> None:
        """Everybody out of every room. The workers stay open: a goodbye may still be on its way."""
        for room in list(self._rooms.values()):
            room.close(reason, now)

    def _emptied(self, room: Room) -> None:
        if self._rooms.get(room.name) is room:
            del self._rooms[room.name]
            room.seat.rooms -= 1
