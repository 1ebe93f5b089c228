"""The time that this machine was really there.

The cores of a virtual machine belong to its host, which lends them to others at times: for minutes four fifths of every
second, for seconds all of it. Bounds in tests say what the product may take on a machine that is there, so they are
kept by a clock that slows down while a core was wanted and not given, to a quarter of its speed at the worst: sleeps go
by it as well, and a run must end. The kernel counts such time in the column "steal" of ``/proc/stat`` (proc_stat(5)),
brought up to date before whoever was kept waiting goes on. On a machine of one's own it stays at nought, and this clock
is ``time.monotonic``.

Every event loop of a test goes by it, so `asyncio.timeout`, and ``loop.time()``, need no thought; where there is no
loop, ask `now` or wait by `communicate`.
"""

import asyncio
import os
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

READ_EVERY_S: Final = 0.02
MOST: Final = 0.75  # of the time that may be left out
_STEAL: Final = 8  # column of a line of /proc/stat, its name being the first
_STAT: Final = Path("/proc/stat")


def stolen() -> list[float]:
    """Seconds since the start of the machine in which each core was wanted and not given; empty where nobody counts."""
    try:
        lines = [line.split() for line in _STAT.read_text().splitlines()]
    except OSError:
        return []
    ticks = os.sysconf("SC_CLK_TCK")
    return [int(line[_STEAL]) / ticks for line in lines if line[0].startswith("cpu") and line[0] != "cpu"]


class MachineClock:
    """Seconds that never go back: ``clock`` less most of what the worst core lost since this object was made."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, stolen: Callable[[], list[float]] = stolen) -> None:
        self._clock, self._stolen = clock, stolen
        self._read_at = self._shown = clock()
        self._before = stolen()
        self._lost = 0.0
        self._lock = threading.Lock()

    def __call__(self) -> float:
        with self._lock:
            real = self._clock()
            if real - self._read_at >= READ_EVERY_S:
                elapsed, self._read_at = real - self._read_at, real
                before, self._before = self._before, self._stolen()
                worst = max((after - was for was, after in zip(before, self._before, strict=False)), default=0.0)
                self._lost += min(worst, MOST * elapsed)
            self._shown = max(self._shown, real - self._lost)
            return self._shown


now: Final = MachineClock()


def communicate(process: subprocess.Popen[str], seconds: float) -> tuple[str, str]:
    """As `subprocess.Popen.communicate` with a timeout, by this clock; who has not ended then is killed."""
    give_up = now() + seconds
    while True:
        try:
            return process.communicate(timeout=0.25)
        except subprocess.TimeoutExpired:
            if now() >= give_up:
                process.kill()
                raise


class _Loop(asyncio.SelectorEventLoop):
    def time(self) -> float:
        return now()


class MachineTime(asyncio.DefaultEventLoopPolicy):
    """Event loops that go by `now`."""

    _loop_factory = _Loop
