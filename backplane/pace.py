"""How fast a process does what nobody waits for: at full speed while it is idle, a bounded share while it is not.

Publisher, consumers and jobs share a thread and a database with the requests. So they take turns, one batch at a time
in a process, and after each turn all of them are silent for a moment. How busy the thread was in that silence is the
work of others, that is of requests: above `BUSY` the next silences last `SHARE` times the turn before them, which
leaves the background a quarter of the time; otherwise they last `LISTEN_S`, which is next to nothing. Nothing starves:
work that has waited for `LATE` goes on without a pause. Even then it is one statement at a time beside the many of the
requests, and what has piled up goes in large batches, which cost the less for each event.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final
from weakref import WeakKeyDictionary

LISTEN_S: Final = 0.004
LONGEST_S: Final = 0.5
SHARE: Final = 3.0
LATE: Final = timedelta(seconds=2)
BUSY: Final = 0.25


class Pace:
    """The turns of one process. ``clock``: monotonic seconds; ``spent``: seconds of CPU of the thread."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        spent: Callable[[], float] = time.thread_time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._clock = clock
        self._spent = spent
        self._sleep = sleep
        self._turn = asyncio.Lock()
        self.busy = False

    @classmethod
    def here(cls) -> "Pace":
        """The one that all who work in the running event loop share."""
        return _PACES.setdefault(asyncio.get_running_loop(), cls())

    @asynccontextmanager
    async def turn(self) -> AsyncIterator["Turn"]:
        """The block is a batch of work; it begins when it may, and ends with the silence after it. A block that raises
        has no silence: whoever tries again pauses anyway."""
        async with self._turn:
            turn = Turn()
            began = self._clock()
            yield turn
            if turn.idle:
                return
            pause_s = SHARE * (self._clock() - began) if self.busy and turn.waited < LATE else 0.0
            await self._listen(min(max(LISTEN_S, pause_s), LONGEST_S))

    async def _listen(self, seconds: float) -> None:
        began, spent = self._clock(), self._spent()
        await self._sleep(seconds)
        self.busy = self._spent() - spent > BUSY * (self._clock() - began)


class Turn:
    """What the work tells of itself. ``idle``: there was nothing to do; ``waited``: how old its oldest part was."""

    __slots__ = ("idle", "waited")

    def __init__(self) -> None:
        self.idle = False
        self.waited = timedelta(0)


_PACES: Final[WeakKeyDictionary[asyncio.AbstractEventLoop, Pace]] = WeakKeyDictionary()
