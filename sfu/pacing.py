"""When the rooms of a `Node` are ticked: each every `TICK_S`, of many rooms a share at a time."""

from typing import Final

from rtc.worker_events import EventKind, WorkerEvent
from sfu.node import Node

TICK_S: Final = 0.3  # of every room
ROOMS_AT_ONCE: Final = 40  # the ticks of hundreds would keep the loop, and a worker on the same core, for milliseconds


class PacedNode:
    """A node as a user of `rtc.worker_events.WorkerEvents`."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._tick_at = 0.0
        self._share = 0

    @property
    def event_kinds(self) -> frozenset[EventKind]:
        return self._node.event_kinds

    def handle_event(self, worker: int, event: WorkerEvent, now: float) -> None:
        self._node.handle_event(worker, event, now)

    def timer(self) -> float:
        handshake = self._node.timer()
        return self._tick_at if handshake is None else min(handshake, self._tick_at)

    def handle_timers(self, now: float) -> None:
        self._node.handle_timers(now)
        if now < self._tick_at:
            return
        shares = 1 + self._node.room_count // ROOMS_AT_ONCE
        self._tick_at = now + TICK_S / shares
        self._share += 1
        self._node.tick(now, self._share % shares, shares)
