"""The thin shell between asyncio and a `Node`: worker events by eventfd, DTLS timers, ticks. Media never passes
here."""

import asyncio
import logging
import time
from collections.abc import Callable

from sfu.node import Node

TICK_S = 0.3  # of every room
EVENTS_AT_ONCE = 16  # what they lead to is told the worker at once; more would wait for each other too long
ROOMS_AT_ONCE = 40  # the ticks of hundreds would keep the loop, and a worker on the same core, for milliseconds

_log = logging.getLogger(__name__)


class MediaLoop:
    """Runs in the running event loop from `start` to `stop`. The clock is `time.monotonic`, the node's ``now``:
    uvloop's own has milliseconds only and may stand still during a callback."""

    def __init__(self, node: Node, clock: Callable[[], float] = time.monotonic) -> None:
        self._node = node
        self._clock = clock
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tick: asyncio.TimerHandle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at: float | None = None
        self._part = 0

    def start(self) -> None:
        """RuntimeError outside of an event loop."""
        self._loop = asyncio.get_running_loop()
        for index, worker in enumerate(self._node.workers):
            self._loop.add_reader(worker.fileno(), self._readable, index)
        self._tick = self._loop.call_later(TICK_S, self._ticked)

    def stop(self) -> None:
        """Idempotent. Call it before the workers are closed."""
        if self._loop is None:
            return
        for worker in self._node.workers:
            self._loop.remove_reader(worker.fileno())
        for handle in (self._tick, self._timer):
            if handle is not None:
                handle.cancel()
        self._loop = self._tick = self._timer = self._timer_at = None

    def _readable(self, index: int) -> None:
        self._read(index)
        self._arm()

    def _read(self, index: int) -> None:
        worker = self._node.workers[index]
        events = worker.take_events()
        now = self._clock()
        for at in range(0, len(events), EVENTS_AT_ONCE):
            worker.hold()
            try:
                self._node.handle_events(index, events[at : at + EVENTS_AT_ONCE], now)
            finally:
                worker.let_go()

    def _ticked(self) -> None:
        loop = self._loop
        if loop is None:
            return
        parts = 1 + self._node.room_count // ROOMS_AT_ONCE
        self._tick = loop.call_later(TICK_S / parts, self._ticked)
        self._part += 1
        now = self._clock()  # before the reading: a level that comes too late for it is younger than this tick
        for index in range(len(self._node.workers)):
            try:
                self._read(index)  # levels and statistics wake nobody: they are for the ticks
            except Exception:
                _log.exception("events could not be read")
        if self._loop is None:  # by one of them
            return
        try:
            self._node.tick(now, self._part % parts, parts)
        except Exception:
            _log.exception("tick failed")
        self._arm()

    def _arm(self) -> None:
        """Sets the DTLS timer when its time has changed."""
        loop, at = self._loop, self._node.timer()
        if loop is None or at == self._timer_at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        self._timer = loop.call_later(max(0.0, at - self._clock()), self._timer_ran_out) if at is not None else None

    def _timer_ran_out(self) -> None:
        self._timer = self._timer_at = None
        self._node.handle_timers(self._clock())
        self._arm()
