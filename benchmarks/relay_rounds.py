"""One shape of relayed load, measured: servers and limit in turns (A B C A B C ...), medians in the end.

All of a shape are up and have their allocations at once; only one of them sees packets. A turn asks four things:

- at full core: as many packets as keep a fixed number under way, so the server is never idle and nothing can be lost;
- at the same load for all, which is small enough for everybody: a server pays for waking up there;
- the highest paced rate without loss, by bisection;
- latency at half of that rate, and, in the same breath, on a direct way without any server.
"""

import math
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import process
from benchmarks.relay_client import NOBODY, Load, RelayClient, Traffic
from benchmarks.relay_server import Relay

SERVER_CPU, LOAD_CPU = 0, 1
BURST = 8
SAME_LOAD = 40_000  # packets per second, both ways together
LOSS_ALLOWED = 1e-4
_WINDOW = 1024  # packets under way at full core; with half as many who naps is idle, twice as many overflow coturn
_WINDOW_EACH = 32  # and no more than this per stream
_WARM_UP_S = 0.3
_PROBE_S = 0.35
_PROBES = 9
_TRIES = 3  # of a probe: a machine that does other things loses packets now and then
_KEPT_UP = 0.98  # the load client sent as much as planned
_CLOSE_ENOUGH = 1.06  # between a rate without and one with loss
_KEEP_EVERY_S = 90.0  # permissions end after 300 s, RFC 8656 section 9


@dataclass(frozen=True, slots=True)
class Shape:
    name: str
    clients: int
    together: bool
    """Bursts go to the kernel as one message and may arrive as one (UDP_SEGMENT, UDP_GRO), as through network cards
    that do so; else packet by packet, sent and received."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of one server."""

    full_per_cpu_s: float
    full_per_s: float
    full_load: float
    """CPU seconds per second."""
    full_loss: float
    same_per_cpu_s: float
    same_load: float
    same_loss: float
    most_per_s: float
    most_by_client: bool
    """The load client could send no more."""
    half_per_s: float
    added_p50_us: float
    added_p99_us: float
    others: float
    """Share of the server's core that others took at full core."""
    stolen: float
    client_had: float
    """Share of its core that the load client had at the same load."""
    strange: int
    """Packets that came from somebody else or twice, or could not be sent."""


@dataclass(frozen=True, slots=True)
class Row:
    """The medians of one server in one shape; names as in `Turn`."""

    shape: str
    server: str
    full_per_cpu_s: float
    full_per_s: float
    same_per_cpu_s: float
    same_load: float
    most_per_s: float
    half_per_s: float
    added_p50_us: float
    added_p99_us: float
    rounds: list[Turn] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Contestant:
    relay: Relay
    pid: int
    client: RelayClient
    kept_at: float
    turns: list[Turn] = field(default_factory=list)


def measure(
    shape: Shape, makers: Sequence[Callable[[], Relay]], rounds: int, seconds: float, progress: Callable[[str], None]
) -> list[Row]:
    """A row per server. ConnectionError when one cannot be started or refuses a client."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="wadud-relay-")))
        contestants = []
        for number, make in enumerate(makers):
            folder = directory / str(number)
            folder.mkdir()
            relay = make()
            progress(f"{shape.name}: starting {relay.name}")
            stack.callback(relay.stop)
            pid = relay.start(SERVER_CPU, folder)
            client = relay.client(shape.clients, gro=shape.together)
            stack.callback(client.close)
            relay.admit(client)
            contestants.append(_Contestant(relay, pid, client, time.monotonic()))
        direct = RelayClient(NOBODY, clients=shape.clients, gro=shape.together)
        stack.callback(direct.close)
        direct.go_direct()
        for number in range(rounds):
            for each in contestants:
                progress(f"{shape.name}, round {number + 1} of {rounds}: {each.relay.name}")
                each.turns.append(_turn(each, direct, shape, seconds))
    return [_row(shape.name, each.relay.name, each.turns) for each in contestants]


def cpu_s(pid: int) -> float:
    """CPU time of the process with all its threads and descendants."""
    return sum(process.cpu_s(each) for each in process.family(pid))


def most_without_loss(run: Callable[[float], Traffic], guess: float) -> tuple[float, bool]:
    """The highest rate that ``run`` carries without loss, starting from ``guess``, and whether the sender was what
    set the limit."""
    low, high, rate, by_client = 0.0, math.inf, guess, False
    for _ in range(_PROBES):
        found = _carried(run, rate)
        if found is None or not found:
            high, by_client = rate, found is None
        else:
            low = rate
        if high <= low * _CLOSE_ENOUGH:
            break
        if low == 0:
            rate = high * 0.6
        else:
            rate = (low + high) / 2 if high < math.inf else low * 1.15
    return low, by_client


def _carried(run: Callable[[float], Traffic], rate: float) -> bool | None:
    """None: the client could not send at that rate."""
    found: bool | None = False
    for _ in range(_TRIES):
        traffic = run(rate)
        kept_up = traffic.sent_per_s >= rate * _KEPT_UP
        if kept_up and traffic.loss <= LOSS_ALLOWED:
            return True
        found = None if not kept_up else False
    return found


def _turn(each: _Contestant, direct: RelayClient, shape: Shape, seconds: float) -> Turn:
    if time.monotonic() - each.kept_at > _KEEP_EVERY_S:
        each.relay.keep(each.client)
        each.kept_at = time.monotonic()
    client, strange = each.client, 0

    def run(seconds: float, rate: float = 0.0, timed: bool = False) -> Traffic:
        nonlocal strange
        window = min(_WINDOW, _WINDOW_EACH * 2 * shape.clients)
        traffic = client.run(Load(seconds, rate, window, BURST, shape.together, timed))
        strange += traffic["alien"] + traffic["send_errors"] + traffic["reordered"]
        return traffic

    run(_WARM_UP_S)
    core, spent = process.core_times(SERVER_CPU), cpu_s(each.pid)
    full = run(seconds)
    full_cpu_s, after = cpu_s(each.pid) - spent, process.core_times(SERVER_CPU)
    spent = cpu_s(each.pid)
    same = run(seconds, SAME_LOAD)
    same_cpu_s = cpu_s(each.pid) - spent
    most, by_client, added = math.nan, False, (math.nan, math.nan)
    if each.relay.paced:
        most, by_client = most_without_loss(lambda rate: run(min(_PROBE_S, seconds), rate), full.received_per_s * 0.95)
    if most > 0:
        timed = run(seconds, most / 2, True)
        plain = direct.run(Load(min(seconds, 0.5), most / 2, 0, BURST, shape.together, True))
        added = (timed.latency_us(0.5) - plain.latency_us(0.5), timed.latency_us(0.99) - plain.latency_us(0.99))
    return Turn(
        full_per_cpu_s=sum(full.received) / full_cpu_s,
        full_per_s=full.received_per_s,
        full_load=full_cpu_s / full.wall_s,
        full_loss=full.loss,
        same_per_cpu_s=sum(same.received) / same_cpu_s,
        same_load=same_cpu_s / same.wall_s,
        same_loss=same.loss,
        most_per_s=most,
        most_by_client=by_client,
        half_per_s=most / 2,
        added_p50_us=added[0],
        added_p99_us=added[1],
        others=max(0.0, after.busy - core.busy - full_cpu_s) / full.wall_s,
        stolen=(after.stolen - core.stolen) / full.wall_s,
        client_had=same.cpu_s / same.send_s,
        strange=strange,
    )


def _row(shape: str, server: str, turns: list[Turn]) -> Row:
    def middle(name: str) -> float:
        return statistics.median(float(getattr(turn, name)) for turn in turns)

    return Row(
        shape,
        server,
        middle("full_per_cpu_s"),
        middle("full_per_s"),
        middle("same_per_cpu_s"),
        middle("same_load"),
        middle("most_per_s"),
        middle("half_per_s"),
        middle("added_p50_us"),
        middle("added_p99_us"),
        turns,
        _remarks(turns),
    )


def _remarks(turns: Sequence[Turn]) -> list[str]:
    """What makes a figure doubtful."""
    remarks = []
    others, stolen = max(turn.others for turn in turns), max(turn.stolen for turn in turns)
    if others > 0.05:
        remarks.append(f"something else took up to {others:.0%} of the server's core")
    had = min(turn.client_had for turn in turns)
    if had < 0.95:
        remarks.append(f"the load client had no more than {had:.0%} of its core")
    if stolen > 0.02:
        remarks.append(f"the hypervisor took up to {stolen:.0%} of the core")
    idle = 1 - min(turn.full_load + turn.others for turn in turns)
    if idle > 0.1:
        remarks.append(f"at full core the server waited for the load client up to {idle:.0%} of the time")
    if any(turn.most_by_client for turn in turns):
        remarks.append("the highest rate is what the load client can send")
    for where, loss in (("at full core", "full_loss"), ("at the same load", "same_loss")):
        most = max(float(getattr(turn, loss)) for turn in turns)
        if most > 10 * LOSS_ALLOWED:
            remarks.append(f"{most:.2%} were lost {where}")
    if any(turn.strange for turn in turns):
        remarks.append(f"{sum(turn.strange for turn in turns)} packets strayed, overtook others or could not be sent")
    return remarks


LIMITS = ("limit", "limit+nap")


def ratio(rows: Sequence[Row], ours: str, *theirs: str) -> float | None:
    """Median of the rounds' own ratios of packets per CPU second at full core, between two servers of one shape; of
    several others the best of each round counts."""
    found = {row.server: row for row in rows}
    others = [found[name].rounds for name in theirs if name in found]
    if ours not in found or not others:
        return None
    best: list[float] = [max(turn.full_per_cpu_s for turn in turns) for turns in zip(*others, strict=True)]
    return statistics.median(turn.full_per_cpu_s / other for turn, other in zip(found[ours].rounds, best, strict=True))
