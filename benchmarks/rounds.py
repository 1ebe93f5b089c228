"""One scenario, measured: the servers in turns (A B C A B C ...), the limit before and after each, medians in the end.

Each turn has a server of its own, with its own people: where their memory happens to lie makes two processes of the
same code differ by up to a fifth, and that luck shall be drawn anew. A turn is a warm-up, a stretch that counts packets
and CPU time, and a stretch that measures latency by the kernel's arrival times, which cost the sender a little and are
off before. The machine is faster and slower by the quarter of a minute, so what a turn is compared with is the mean of
the limit on both sides of it. A turn that strangers on the same hardware disturbed, by the hypervisor's own account and
whatever it gave, is taken again, while a scenario takes no more than twice its turns.

At the end of a round the limit may have a turn at the load's own pace, as a row that no bar is judged by.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import process
from benchmarks.crowd import Scenario, Server, fill
from benchmarks.endpoint import Endpoint
from benchmarks.generator import Generator, Totals
from benchmarks.limit import Limit, Paced, measure_limit, measure_paced

SERVER_CPU, LOAD_CPU = 0, 1
_WARM_UP_S = 4.0  # until every packet cache has been filled once: memory touched for the first time is slow
_LATENCY_SHARE = 0.6  # of the counted stretch
PACED = "limit, paced"
_DISTURBED = 0.02  # of both cores together, not given by the hypervisor in some stretch


@dataclass(frozen=True, slots=True)
class Settings:
    rounds: int = 3
    seconds: float = 4.0
    gro: bool = False
    """Receivers' sockets take runs of datagrams at once; without it the sender's core pays for cutting them up."""
    gso: bool = False
    """Publishers' frames may arrive as one, as a network card's receive offload delivers them."""
    sample: int = 16
    spinner: int | None = None
    """The process that keeps the server's core awake, see `process.awake`: no work of others."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of one server."""

    counted: Totals
    timed: Totals
    limits: tuple[Limit, Limit]
    """Before and after."""
    cpu_s: float
    outside_s: float
    """Network work for the server that the kernel did in a thread of its own, charged to nobody."""
    others_s: float
    """What else ran on the server's core."""
    stolen_most: float
    """Share of the stretch that was stolen most, on both cores together."""

    @property
    def packets_per_cpu_s(self) -> float:
        return self.counted["received"] / self.cpu_s if self.cpu_s else 0.0

    @property
    def limit_per_cpu_s(self) -> float:
        return statistics.fmean(limit.packets_per_cpu_s for limit in self.limits)


@dataclass(frozen=True, slots=True)
class Row:
    """The medians of one server in one scenario."""

    scenario: str
    server: str
    rooms: int
    packets_per_cpu_s: float
    limit_per_cpu_s: float
    share_of_limit: float
    """Median of the turns' own ratios."""
    load: float
    """CPU seconds per second."""
    forwarded_per_s: float
    loss_percent: float
    latency_p50_us: float
    latency_p99_us: float
    rounds: list[float] = field(default_factory=list)
    """Packets per CPU second of every round."""
    remarks: list[str] = field(default_factory=list)
    taken_again: int = 0
    """Turns that were disturbed and left out."""


async def measure(
    scenario: Scenario,
    make_servers: Sequence[Callable[[], Server]],
    settings: Settings,
    progress: Callable[[str], None],
    *,
    paced: bool = False,
) -> list[Row]:
    """A row per server and, when ``paced``, one of the limit at that load. ConnectionError, TimeoutError when somebody
    cannot join."""
    turns: dict[str, list[Turn]] = {}
    again: dict[str, int] = {}
    loops: list[Paced] = []
    for number in range(settings.rounds):
        where = f"{scenario.name}, round {number + 1} of {settings.rounds}"
        for make in make_servers:
            server = make()
            turn = await _turn(server, scenario, settings, where, progress)
            while turn.stolen_most > _DISTURBED and again.get(server.name, 0) < settings.rounds:
                again[server.name] = again.get(server.name, 0) + 1
                other = await _turn(make(), scenario, settings, f"{where}, again", progress)
                turn = min(turn, other, key=lambda turn: turn.stolen_most)
            turns.setdefault(server.name, []).append(turn)
        if paced:
            progress(f"{where}: {PACED}")
            loops.append(_paced(scenario, settings))
    rows = [_row(scenario, name, found, again.get(name, 0)) for name, found in turns.items()]
    return [*rows, paced_row(scenario, loops, rows[0].limit_per_cpu_s)] if loops else rows


def paced_row(scenario: Scenario, loops: Sequence[Paced], limit_per_cpu_s: float) -> Row:
    """The bare loop at the load's own pace as a row: medians."""
    figures = [loop.packets_per_cpu_s for loop in loops]
    return Row(
        scenario.name,
        PACED,
        scenario.rooms,
        statistics.median(figures),
        limit_per_cpu_s,
        statistics.median(figures) / limit_per_cpu_s,
        statistics.median(loop.load for loop in loops),
        statistics.median(loop.forwarded_per_s for loop in loops),
        100 - statistics.median(loop.arrived_percent for loop in loops),
        statistics.median(loop.latency_p50_us for loop in loops),
        statistics.median(loop.latency_p99_us for loop in loops),
        figures,
    )


class _Stolen:
    """What the hypervisor took of both cores, stretch by stretch."""

    def __init__(self) -> None:
        self.most = 0.0
        """Share of the stretch in which it took most."""

    @contextmanager
    def watched(self) -> Iterator[None]:
        began, before = time.monotonic(), self._so_far()
        yield
        self.most = max(self.most, (self._so_far() - before) / (time.monotonic() - began))

    def _so_far(self) -> float:
        return sum(process.core_times(cpu).stolen for cpu in (SERVER_CPU, LOAD_CPU))


def _limit(scenario: Scenario, settings: Settings, crypto: str) -> Limit:
    return measure_limit(
        scenario.sources,
        scenario.receivers,
        min(settings.seconds, 2.0),
        cpu=SERVER_CPU,
        sink_cpu=LOAD_CPU,
        gro=settings.gro,
        crypto=crypto,
    )


def _paced(scenario: Scenario, settings: Settings) -> Paced:
    return measure_paced(
        scenario.sources,
        scenario.receivers,
        min(settings.seconds, 2.0),
        cpu=SERVER_CPU,
        sink_cpu=LOAD_CPU,
        gro=settings.gro,
    )


def _spun(settings: Settings) -> float:
    return process.cpu_s(settings.spinner) if settings.spinner else 0.0


async def _turn(
    server: Server, scenario: Scenario, settings: Settings, where: str, progress: Callable[[str], None]
) -> Turn:
    generator = Generator(sample=settings.sample, gro=settings.gro, gso=settings.gso)
    people: list[Endpoint] = []
    stolen = _Stolen()
    progress(f"{where}: limit {server.crypto}")
    with stolen.watched():
        before = _limit(scenario, settings, server.crypto)
    with tempfile.TemporaryDirectory(prefix="wadud-benchmark-") as directory:
        try:
            pid = await server.start(SERVER_CPU, Path(directory))
            people += await fill(server, scenario, generator, progress)
            progress(f"{where}: {server.name}")
            await generator.run_beside(min(_WARM_UP_S, 2 * settings.seconds))
            with stolen.watched():
                core, spun, spent = process.core_times(SERVER_CPU), _spun(settings), process.cpu_s(pid)
                counted = await generator.run_beside(settings.seconds)
                spent = process.cpu_s(pid) - spent
                spun, after = _spun(settings) - spun, process.core_times(SERVER_CPU)
            generator.kernel_times(True)
            with stolen.watched():
                timed = await generator.run_beside(max(1.0, settings.seconds * _LATENCY_SHARE))
        finally:
            await server.stop()
            generator.close()
            for endpoint in people:
                endpoint.close()
    with stolen.watched():
        limits = before, _limit(scenario, settings, server.crypto)
    outside = after.soft_interrupts - core.soft_interrupts
    others = max(0.0, after.busy - core.busy - spent - outside - spun)
    return Turn(counted, timed, limits, spent, outside, others, stolen.most)


def _row(scenario: Scenario, name: str, turns: Sequence[Turn], again: int) -> Row:
    def middle(values: Sequence[float]) -> float:
        return statistics.median(values)

    figures = [turn.packets_per_cpu_s for turn in turns]
    return Row(
        scenario.name,
        name,
        scenario.rooms,
        middle(figures),
        middle([turn.limit_per_cpu_s for turn in turns]),
        middle([turn.packets_per_cpu_s / turn.limit_per_cpu_s for turn in turns]),
        middle([turn.cpu_s / turn.counted.wall_s for turn in turns]),
        middle([turn.counted["received"] / turn.counted.wall_s for turn in turns]),
        middle([turn.counted.loss_percent for turn in turns]),
        middle([turn.timed.latency_us(0.5) for turn in turns]),
        middle([turn.timed.latency_us(0.99) for turn in turns]),
        figures,
        _remarks(turns, again),
        again,
    )


def _remarks(turns: Sequence[Turn], again: int) -> list[str]:
    """What makes a figure doubtful."""
    remarks = []
    late_us = statistics.median(turn.counted["late_ns"] / max(1, turn.counted["bursts"]) / 1000 for turn in turns)
    if late_us > 1000:
        remarks.append(f"the generator sent {late_us / 1000:.1f} ms late on average")
    forged = sum(turn.counted["forged"] + turn.timed["forged"] + turn.counted["rtcp_bad"] for turn in turns)
    if forged:
        remarks.append(f"{forged} packets did not authenticate")
    silent = max(turn.counted["silent_streams"] for turn in turns)
    if silent:
        remarks.append(f"{silent} streams carried nothing")
    if not all(turn.counted["checked"] for turn in turns):
        remarks.append("nothing was decrypted")
    others = max(turn.others_s / turn.counted.wall_s for turn in turns)
    if others > 0.05:
        remarks.append(f"something else took {others:.0%} of the server's core")
    if again:
        remarks.append(f"{again} turns were disturbed and taken again")
    stolen = max(turn.stolen_most for turn in turns)
    if stolen > _DISTURBED:
        remarks.append(f"the hypervisor took up to {stolen:.0%} of the cores")
    outside = max(turn.outside_s / turn.cpu_s if turn.cpu_s else 0 for turn in turns)
    if outside > 0.02:
        remarks.append(f"{outside:.0%} more network work in the kernel's own thread")
    if min(limit.arrived_percent for turn in turns for limit in turn.limits) < 98:
        remarks.append("the limit's packets did not all arrive")
    return remarks
