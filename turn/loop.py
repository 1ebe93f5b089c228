"""The thin shell between asyncio and a `RelayNode` whose workers are its own: events by eventfd, a sweep each second.

Where workers also forward media, their events come through `sfu.media_loop` instead.
"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from backplane.logs import Log
from turn.node import RelayNode

SWEEP_S = 1.0
TOGETHER = 16  # requests whose answers leave at once
_log = Log(__name__)


class EventSource(Protocol):
    """A worker, as far as its events go."""

    def fileno(self) -> int: ...
    def take_events(self) -> Sequence[tuple[Any, ...]]: ...
    def hold(self) -> None: ...
    def let_go(self) -> None: ...


class RelayLoop:
    """``workers`` may be empty: then it only sweeps."""

    def __init__(self, node: RelayNode, workers: Sequence[EventSource]) -> None:
        self._node = node
        self._workers = workers

    @contextmanager
    def running(self) -> Iterator[None]:
        """In the running event loop. Leave it before the workers are closed."""
        loop = asyncio.get_running_loop()
        for index, worker in enumerate(self._workers):
            loop.add_reader(worker.fileno(), self._readable, index)
        sweeping = loop.create_task(self._sweep())
        try:
            yield
        finally:
            sweeping.cancel()
            for worker in self._workers:
                loop.remove_reader(worker.fileno())

    def _readable(self, index: int) -> None:
        worker = self._workers[index]
        events = worker.take_events()
        now = time.monotonic()
        for at in range(0, len(events), TOGETHER):
            worker.hold()
            try:
                for event in events[at : at + TOGETHER]:
                    self._node.handle_event(index, event, now)
            finally:
                worker.let_go()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            try:
                self._node.sweep(time.monotonic())
            except Exception:  # what has run out would stay for good
                _log.error("sweep failed")
