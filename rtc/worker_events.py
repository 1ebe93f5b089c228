"""Hands the events of the packet-plane workers to whom they are for: the forwarding unit, the relay.

A worker counts events up on a descriptor (eventfd) that the event loop watches, and every event names its kind. Each
user of the workers says which kinds it takes, and when it next wants to hear of the time. Media never passes here.

`dispatch` does no I/O, so tests in fake time use it as it is; `running` is the shell around it. The clock is
`time.monotonic`, which is the workers' own: that of uvloop counts milliseconds and may stand still during a callback.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from enum import IntEnum
from typing import Final, Protocol, TypeAlias

from backplane.logs import Log

WorkerEvent: TypeAlias = "tuple[object, ...]"
EVENTS_AT_ONCE: Final = 16  # what they lead to reaches the worker in one go; more would wait for each other too long
_CLOCK_STEP_S: Final = 0.001  # of uvloop's timers, which run out up to that much early
_log = Log(__name__)


class EventKind(IntEnum):
    """First item of a worker's event tuples (``rtc._worker.EVENT_*``)."""

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


class EventSource(Protocol):
    """A worker (`rtc._worker.Worker`), as far as its events go. Between `hold` and `let_go` it is not woken."""

    def fileno(self) -> int: ...
    def take_events(self) -> Sequence[WorkerEvent]: ...
    def hold(self) -> None: ...
    def let_go(self) -> None: ...


class EventUser(Protocol):
    """Somebody whom events are for. Sans-IO: ``now`` is monotonic, in seconds."""

    @property
    def event_kinds(self) -> Collection[EventKind]:
        """What it takes; no two users take the same."""

    def handle_event(self, worker: int, event: WorkerEvent, now: float) -> None:
        """An event of the worker with that index."""

    def timer(self) -> float | None:
        """When `handle_timers` wants to be called; None: not before the next event."""

    def handle_timers(self, now: float) -> None:
        """It may be earlier than `timer` said. All events until now have been handled."""


class WorkerEvents:
    """The events of ``workers`` for ``users``."""

    def __init__(
        self, workers: Sequence[EventSource], users: Sequence[EventUser], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """
        Raises:
            ValueError: two users take the same kind.
        """
        self._workers = workers
        self._users = users
        self._clock = clock
        self._handlers: dict[object, Callable[[int, WorkerEvent, float], None]] = {}
        for user in users:
            for kind in user.event_kinds:
                if self._handlers.setdefault(int(kind), user.handle_event) != user.handle_event:
                    raise ValueError(f"two users take {kind.name}")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at: float | None = None

    def dispatch(self, worker: int, events: Sequence[WorkerEvent], now: float) -> None:
        """Events of the worker with that index, oldest first. A fault in one is logged and costs only that one."""
        for event in events:
            handle = self._handlers.get(event[0])
            if handle is None:
                continue
            try:
                handle(worker, event, now)
            except Exception:
                _log.error("a worker's event failed", kind=str(event[0]))

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Read events and let time pass while the block runs, in the running event loop. Leave it before the workers
        are closed."""
        loop = self._loop = asyncio.get_running_loop()
        for index, worker in enumerate(self._workers):
            loop.add_reader(worker.fileno(), self._readable, index)
        self._set_timer()
        try:
            yield
        finally:
            self._loop = None
            for worker in self._workers:
                loop.remove_reader(worker.fileno())
            if self._timer is not None:
                self._timer.cancel()
                self._timer = self._timer_at = None

    def _readable(self, index: int) -> None:
        self._read(index)
        self._set_timer()

    def _read(self, index: int) -> None:
        worker = self._workers[index]
        events = worker.take_events()
        now = self._clock()
        for at in range(0, len(events), EVENTS_AT_ONCE):
            worker.hold()
            try:
                self.dispatch(index, events[at : at + EVENTS_AT_ONCE], now)
            finally:
                worker.let_go()

    def _timer_ran_out(self) -> None:
        self._timer = self._timer_at = None
        now = self._clock()  # before the reading: an event that comes too late for a timer is younger than it
        for index in range(len(self._workers)):
            try:
                self._read(index)  # audio levels and statistics wake nobody: they are for the timers
            except Exception:
                _log.error("events could not be read")
        for user in self._users:
            try:
                user.handle_timers(now)
            except Exception:  # what has run out would stay for good
                _log.error("a timer failed")
        self._set_timer()

    def _set_timer(self) -> None:
        loop = self._loop
        at = min((time for user in self._users if (time := user.timer()) is not None), default=None)
        if loop is None or at == self._timer_at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at, self._timer = at, None
        if at is not None:
            self._timer = loop.call_later(max(0.0, at - self._clock()) + _CLOCK_STEP_S, self._timer_ran_out)
