"""Allocations of a TURN server: how many per second it makes, and what each holds of its memory.

One allocation is the full cycle of a client that knows nothing yet: Allocate, the challenge 401, Allocate with
credentials, ChannelBind to a peer elsewhere; three requests and answers. Refresh with lifetime 0 follows when all are
there, outside of the count. Memory is the growth of the proportional set size (Pss) with every allocation alive and
bound; what the kernel holds for the sockets is not in it, for any server.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks import process
from benchmarks.relay_client import Request
from benchmarks.relay_rounds import SERVER_CPU, cpu_s
from benchmarks.relay_server import TurnServer

_WINDOW = 64  # clients that are at it at the same time
_FIRST = 10  # allocations before memory is counted: what is made once is made then
_REST_S = 0.3  # before memory is read: what a server does after its answer
_CLEAN_UP_S = 1.5  # after the end of allocations: coturn lets them go a second later


@dataclass(frozen=True, slots=True)
class Pace:
    """Allocations by one server; a figure per round."""

    server: str
    per_cpu_s: list[float]
    per_s: list[float]
    repeated: int
    """Requests sent again because no answer came."""

    @property
    def median_per_cpu_s(self) -> float:
        return statistics.median(self.per_cpu_s)

    @property
    def median_per_s(self) -> float:
        return statistics.median(self.per_s)


@dataclass(frozen=True, slots=True)
class Memory:
    """KiB that each of so many allocations adds."""

    server: str
    empty_kib: float
    """Of the whole server before."""
    each_kib: dict[int, float]


def measure_pace(
    makers: Sequence[Callable[[], TurnServer]], count: int, rounds: int, progress: Callable[[str], None]
) -> list[Pace]:
    """``count`` allocations in every round, in turns. ConnectionError when a server refuses one."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="wadud-relay-")))
        started = [_start(stack, make, directory) for make in makers]
        paces = [Pace(server.name, [], [], 0) for server, _ in started]
        for number in range(rounds + 1):  # the first one warms up
            for index, (server, pid) in enumerate(started):
                progress(f"allocations, round {number} of {rounds}: {server.name}")
                client = server.client(count if number else count // 4, talking=False)
                try:
                    spent = cpu_s(pid)
                    made = client.transact(Request.OPEN, window=_WINDOW)
                    spent = cpu_s(pid) - spent
                    client.transact(Request.CLOSE, window=_WINDOW)
                finally:
                    client.close()
                time.sleep(_CLEAN_UP_S)
                if number:
                    pace = paces[index]
                    pace.per_cpu_s.append(made["done"] / spent)
                    pace.per_s.append(made["done"] / made.wall_s)
                    paces[index] = Pace(pace.server, pace.per_cpu_s, pace.per_s, pace.repeated + made["repeated"])
    return paces


def measure_memory(
    makers: Sequence[Callable[[], TurnServer]], counts: Sequence[int], progress: Callable[[str], None]
) -> list[Memory]:
    """With each of ``counts`` (rising) allocations in a fresh server."""
    found = []
    for make in makers:
        with ExitStack() as stack:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="wadud-relay-")))
            server, pid = _start(stack, make, directory)
            client = server.client(_FIRST + counts[-1], talking=False)
            stack.callback(client.close)
            client.transact(Request.OPEN, 0, _FIRST)
            time.sleep(_REST_S)
            empty, each, there = pss_kib(pid), {}, 0
            for count in counts:
                progress(f"memory of {count:,} allocations: {server.name}")
                client.transact(Request.OPEN, _FIRST + there, count - there, window=_WINDOW)
                there = count
                time.sleep(_REST_S)
                each[count] = (pss_kib(pid) - empty) / count
            found.append(Memory(server.name, empty, each))
    return found


def pss_kib(pid: int) -> float:
    """Memory of the process with all its descendants."""
    return sum(process.proportional_kib(each) for each in process.family(pid))


def _start(stack: ExitStack, make: Callable[[], TurnServer], directory: Path) -> tuple[TurnServer, int]:
    server = make()
    folder = directory / server.name
    folder.mkdir()
    stack.callback(server.stop)
    return server, server.start(SERVER_CPU, folder)
