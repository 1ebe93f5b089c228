"""Notices when the event loop stands still: everybody who is served by this process waits then.

A thread looks at the loop's thread about forty times a second, ten times when nothing has happened for a while. A loop
that sleeps until something comes (its innermost Python frame is the one that runs the loop) is left alone: an idle
server is never woken. In a loop that is at work the thread sets a beat going, a callback that comes again and again
until the loop has been calm for some seconds; a beat that comes late is a stall. While one is overdue the thread reads
what the loop's thread is doing, so that a stall is told with its stack, even one that never ends. A stall that is no
more than 25 ms (100 ms in an idle server) longer than the threshold may be overlooked.

C code that keeps the interpreter's lock (a regular expression, a large sort) keeps this thread from looking, too. If no
beat was going then, what the thread came too late is part of the stall.

Not every stall is work of ours. Beside its length each tells how much processor time the loop's thread and the whole
process had meanwhile, and the cause is taken from them: ``computing`` (the loop's thread had 50 ms or half of it, so
it is our work, whatever the machine did), ``other_thread`` (the process had: another thread kept the lock), ``no_cpu``
(neither had: a blocking call, which the stack shows, or a machine that gave the process no time).

Lines of the log hold files, lines and functions, never a value.
"""

import asyncio
import selectors
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Final

from backplane.logs import Log, frames_of
from backplane.metrics import Metrics

THRESHOLD_S: Final = 0.05
BEAT_S: Final = 0.025
_SELDOM_S: Final = 0.1
_CALM_AFTER_S: Final = 5.0  # without work, until the thread looks seldom
_TOLD_AFTER_S: Final = (1.0, 10.0, 60.0)  # of a stall that goes on
_log = Log(__name__)


@dataclass(frozen=True, slots=True)
class Stall:
    """The loop did not come round for ``seconds``. ``cpu_s`` and ``process_cpu_s``: processor time of its thread and of
    the process meanwhile. ``stack``: what it was doing then, the innermost function last."""

    seconds: float
    cpu_s: float
    process_cpu_s: float
    stack: tuple[str, ...]

    @property
    def cause(self) -> str:
        much_s = min(THRESHOLD_S, self.seconds / 2)
        if self.cpu_s >= much_s:
            return "computing"
        return "other_thread" if self.process_cpu_s >= much_s else "no_cpu"


@dataclass(frozen=True, slots=True)
class _Times:
    at: float
    thread: float
    process: float


class LoopWatch:
    """Watches the running loop, in whose thread it is made. ``noticed`` is called in the watching thread.

    ``beat_s``: between two beats, and two looks. ``always``: the beat goes on in a calm loop, so none is overlooked.
    """

    def __init__(
        self,
        noticed: Callable[[Stall], None],
        threshold_s: float = THRESHOLD_S,
        beat_s: float = BEAT_S,
        *,
        always: bool = False,
    ) -> None:
        self._noticed = noticed
        self._threshold_s = threshold_s
        self._beat_s = beat_s
        self._always = always
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._clock = time.pthread_getcpuclockid(self._loop_thread)
        self._running: FrameType | None = None  # of the function that runs the loop
        self._due: _Times | None = None  # the next beat; None: none is going, and the thread may set one going
        self._wanted = False
        self._late: deque[tuple[_Times, _Times]] = deque()  # beats: when due, when they came
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="loop watch", daemon=True)

    def start(self) -> None:
        self._loop.call_soon(self._find_running)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()
        self._wanted = False

    def _find_running(self) -> None:
        self._running = sys._getframe().f_back

    def _beat(self) -> None:
        """A callback of the loop."""
        now = _Times(time.monotonic(), time.thread_time(), time.process_time())
        if self._due is not None and now.at - self._due.at >= self._threshold_s:
            self._late.append((self._due, now))
        if self._wanted:
            self._due = _Times(now.at + self._beat_s, now.thread, now.process)
            self._loop.call_later(self._beat_s, self._beat)
        else:
            self._due = None

    def _now(self) -> _Times:
        return _Times(time.monotonic(), time.clock_gettime(self._clock), time.process_time())

    def _watch(self) -> None:
        before = self._now()
        busy_at = before.at
        look_s = self._beat_s
        stack: tuple[str, ...] = ()
        told = 0
        surely = False  # the stack is of a stall, not of a beat that is a little late
        while not self._stop.wait(look_s):
            now = self._now()
            while self._late:
                self._noticed(_between(*self._late.popleft(), stack))
                stack, told, surely = (), 0, False
            frame = sys._current_frames().get(self._loop_thread)
            sleeps = frame is None or self._sleeps(frame)
            if not sleeps:
                busy_at = now.at
            late_s = now.at - before.at - look_s
            computed = late_s >= self._threshold_s <= now.thread - before.thread
            due = self._due
            if due is not None and frame is not None and now.at - due.at >= self._beat_s:
                if not surely:
                    stack, surely = self._stack(frame), now.at - due.at >= self._threshold_s
                if told < len(_TOLD_AFTER_S) and now.at - due.at >= _TOLD_AFTER_S[told]:
                    told += 1
                    _log.error("event loop stands still", **_fields(_between(due, now, self._stack(frame))))
            elif due is None and (self._always or not sleeps or computed):
                stack, told, surely = () if frame is None or sleeps else self._stack(frame), 0, False
                self._due = _Times(now.at - late_s, before.thread, before.process) if computed else now
                self._wanted = True
                try:
                    self._loop.call_soon_threadsafe(self._beat)
                except RuntimeError:  # the loop is closed
                    return
            before = now
            del frame  # holds the values of its function
            calm = now.at - busy_at > _CALM_AFTER_S and not self._always
            self._wanted = not calm
            look_s = max(self._beat_s, _SELDOM_S) if calm else self._beat_s

    def _sleeps(self, frame: FrameType) -> bool:
        return frame is self._running or frame.f_code.co_filename == selectors.__file__

    def _stack(self, frame: FrameType) -> tuple[str, ...]:
        places = [
            (each.f_code.co_filename, line, each.f_code.co_name)
            for each, line in traceback.walk_stack(frame)
            if each is not self._running
        ]
        return frames_of(reversed(places))


def _between(since: _Times, until: _Times, stack: tuple[str, ...]) -> Stall:
    return Stall(until.at - since.at, until.thread - since.thread, until.process - since.process, stack)


def _fields(stall: Stall) -> dict[str, float | str | tuple[str, ...]]:
    return {
        "duration_ms": round(stall.seconds * 1000),
        "cpu_ms": round(stall.cpu_s * 1000),
        "process_cpu_ms": round(stall.process_cpu_s * 1000),
        "kind": stall.cause,
        "stack": stall.stack,
    }


@contextmanager
def watched(metrics: Metrics) -> Iterator[None]:
    """Count and log each stall of the running loop. ``with`` it inside of a coroutine."""

    def noticed(stall: Stall) -> None:
        metrics.observe_stall(stall.cause, stall.seconds)
        _log.warning("event loop stalled", **_fields(stall))

    watch = LoopWatch(noticed)
    watch.start()
    try:
        yield
    finally:
        watch.stop()
