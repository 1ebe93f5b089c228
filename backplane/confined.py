"""Runs a function of ours over bytes from outside in a process of its own, where it can neither stay nor grow.

A parser of a stranger's file may meet a file that never ends or that fills the memory, and a thread cannot be ended. So
the work is done by a new Python process (``python -m backplane.confined``), never by a fork of this one, which has
threads. It inherits no descriptor and no environment. What is given and what comes back lie in anonymous files of the
memory (memfd), so neither side waits for the other, and the kernel holds the length of the result (RLIMIT_FSIZE). In
the child, after our modules are imported and before the first byte is read, the kernel is told how much address space
and processor time are left, that nothing may be written but the result and nobody else started; an alarm ends it even
when the server has died meanwhile. The parent kills it at the deadline.

Each piece of work has a process of its own: nothing that one file leaves behind (icalendar keeps zones by their name)
is seen by the next one. That costs the start of Python and of the parser, 0.2 to 0.4 s of processor time, at low
priority and outside of the event loop and its lock.
"""

import asyncio
import importlib
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from backplane.logs import Log, frames_of_trace

AT_ONCE: Final = 2
_ROOT: Final = Path(__file__).resolve().parent.parent
_STARTING_S: Final = 20.0  # for Python and our modules on a busy machine, beside the time for the work itself
_DESCRIPTORS: Final = 32  # a parser reads zones and the like
_NICENESS: Final = 10
_OUT_OF_MEMORY, _TOO_LONG, _FAILED = 65, 66, 70
_log = Log(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one piece of work. ``memory_bytes``: beside what Python and our modules take. ``cpu_s``: whole seconds."""

    wall_s: float = 10.0
    cpu_s: int = 5
    memory_bytes: int = 256 * 1024 * 1024
    result_bytes: int = 4 * 1024 * 1024


class TooCostly(Exception):
    """What was given asks for more than the limits; the text is ``time``, ``memory`` or ``result``."""


class Failed(Exception):
    """The function raised or its process crashed: a fault of ours, which is logged here."""


class Confined:
    """``function``: of a module, so that the child finds it by its name. ``at_once``: processes; others wait."""

    def __init__(
        self, function: Callable[[bytes], bytes], limits: Limits | None = None, at_once: int = AT_ONCE
    ) -> None:
        self._name = f"{function.__module__}:{function.__qualname__}"
        self._limits = limits or Limits()
        self._pool = ThreadPoolExecutor(at_once, "confined")

    async def run(self, given: bytes) -> bytes:
        """What the function returns. When the caller is cancelled, the process is killed.

        Raises:
            TooCostly: it was ended at one of the limits.
            Failed: it raised something, or crashed.
        """
        work = _Work(self._name, self._limits, given)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work.result)
        finally:
            work.end()


class _Work:
    """One process; `result` blocks, in a thread of the pool."""

    def __init__(self, name: str, limits: Limits, given: bytes) -> None:
        self._name = name
        self._limits = limits
        self._given = given
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._ended = False

    def end(self) -> None:
        """Kill the process if there is one, and start none."""
        with self._lock:
            self._ended = True
            if self._process is not None:
                self._process.kill()  # does nothing to one that has been waited for

    def result(self) -> bytes:
        limits = self._limits
        with open(os.memfd_create("given"), "w+b") as given, open(os.memfd_create("result"), "w+b") as result:
            given.write(self._given)
            given.seek(0)
            command = [sys.executable, "-E", "-s", "-m", "backplane.confined", self._name, str(limits.wall_s)]
            command += [str(each) for each in (limits.cpu_s, limits.memory_bytes, limits.result_bytes)]
            with self._lock:
                if self._ended:
                    raise Failed("cancelled")
                self._process = process = subprocess.Popen(
                    command, cwd=_ROOT, env={}, stdin=given, stdout=result, stderr=subprocess.DEVNULL,
                    start_new_session=True,
                )  # fmt: skip
            try:
                status = process.wait(_STARTING_S + limits.wall_s)
            except subprocess.TimeoutExpired:
                status = -signal.SIGALRM
            finally:
                process.kill()
                process.wait()
            result.seek(0)
            return self._judged(status, result.read(limits.result_bytes))

    def _judged(self, status: int, result: bytes) -> bytes:
        if status == 0:
            return result
        if status in (_OUT_OF_MEMORY, -signal.SIGKILL):  # which we send only after the wait: else the kernel's choice
            raise TooCostly("memory")
        if status == _TOO_LONG:
            raise TooCostly("result")
        if status in (-signal.SIGXCPU, -signal.SIGALRM):
            raise TooCostly("time")
        frames = result.decode("utf-8", "replace").split("\n") if status == _FAILED else []
        _log.error("confined function failed", kind=self._name, status=status, stack=tuple(frames))
        raise Failed(self._name)


def _confine(wall_s: float, cpu_s: int, memory_bytes: int, result_bytes: int) -> None:
    """From here on this process may do no more than that."""
    os.nice(_NICENESS)
    with suppress(OSError):  # when the machine runs out of memory, this process goes first
        Path("/proc/self/oom_score_adj").write_text("1000")
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    cpu_s += 1 + int(sum(resource.getrusage(resource.RUSAGE_SELF)[:2]))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 1))  # SIGXCPU tells us why, a second later comes SIGKILL
    for kind, most in (
        (resource.RLIMIT_AS, pages * resource.getpagesize() + memory_bytes),
        (resource.RLIMIT_FSIZE, result_bytes),
        (resource.RLIMIT_NOFILE, _DESCRIPTORS),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(kind, (most, most))
    signal.setitimer(signal.ITIMER_REAL, wall_s)


def main(name: str, wall_s: str, cpu_s: str, memory_bytes: str, result_bytes: str) -> int:
    """In the child: the status tells what became of the work, and the standard output holds the result."""
    module, _, function = name.partition(":")
    work: Callable[[bytes], bytes] = getattr(importlib.import_module(module), function)
    _confine(float(wall_s), int(cpu_s), int(memory_bytes), int(result_bytes))
    try:
        result = work(sys.stdin.buffer.read())
    except MemoryError:
        return _OUT_OF_MEMORY
    except Exception as error:
        frames = (type(error).__name__, *frames_of_trace(error.__traceback__))
        sys.stdout.buffer.write("\n".join(frames).encode())
        sys.stdout.flush()
        return _FAILED
    if len(result) > int(result_bytes):
        return _TOO_LONG
    sys.stdout.buffer.write(result)
    sys.stdout.flush()
    return 0


if __name__ == "__main__":
    status = main(*sys.argv[1:])
    os._exit(status)  # freeing what is left takes time, and may fail where memory has run out
