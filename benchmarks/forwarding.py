"""How many packets a core forwards, beside the physical limit and a peer, in one run.

    python -m benchmarks.forwarding [--quick] [--peer janus] [--json FILE] [--gso] [--rounds N] [--only NAME]

The server runs on core 0, the load generator on core 1, in separate processes; real DTLS handshakes, real SRTP with a key per
participant. A publisher sends 1.8 Mbps of video in frames and 50 audio packets a second. Figures are packets
forwarded per second of the whole server process's CPU time (all its threads, user and system). The limit is measured in between, on the same core:
a bare C loop that decrypts once, encrypts once per receiver and sends in batches, and does nothing else. Rounds alternate; the table shows medians.
Only ratios of one run mean anything on a shared machine.
"""

import argparse
import ctypes
import json
import os
import platform
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.build import library
from benchmarks.load import Generator, LoadResult
from benchmarks.servers import JanusServer, Server, WadudServer

SERVER_CPU, LOAD_CPU = 0, 1
WARM_UP_S = 4.0  # until every packet cache has been filled once: memory touched for the first time is slow


@dataclass(frozen=True, slots=True)
class Scenario:
    """`rooms` rooms of one publisher with `subscribers` receivers each; 0 subscribers = two people who both publish."""

    name: str
    rooms: int
    subscribers: int

    @property
    def publishers(self) -> int:
        return self.rooms if self.subscribers else 2 * self.rooms

    @property
    def fanout(self) -> int:
        return self.subscribers or 1


SCENARIOS = [
    Scenario("1 to 10", 1, 10),
    Scenario("1 to 50", 1, 50),
    Scenario("1 to 200", 1, 200),
    Scenario("10 rooms of 1 to 50", 10, 50),
    Scenario("20 two-person rooms", 20, 0),
    Scenario("100 two-person rooms", 100, 0),
    Scenario("250 two-person rooms", 250, 0),
]
PEER_SCENARIOS = {"1 to 10", "1 to 50", "20 two-person rooms"}  # what the peer carries without loss


@dataclass(frozen=True, slots=True)
class Row:
    scenario: str
    server: str
    per_cpu_second: float
    load_of_core: float
    loss: float
    latency_p50_us: int
    latency_p99_us: int
    limit_per_cpu_second: float

    @property
    def share(self) -> float:
        return self.per_cpu_second / self.limit_per_cpu_second if self.limit_per_cpu_second else 0.0


def progress(text: str) -> None:
    print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def measure_limit(scenario: Scenario, seconds: float) -> float:
    measure = library("bare_loop").measure_limit
    measure.restype = ctypes.c_double
    before = os.sched_getaffinity(0)
    try:
        return float(measure(scenario.publishers, scenario.fanout, ctypes.c_double(seconds), SERVER_CPU, LOAD_CPU))
    finally:
        os.sched_setaffinity(0, before)


def measure_server(
    make: Callable[[], Server], scenario: Scenario, seconds: float, gso: bool
) -> tuple[LoadResult, float]:
    """The generator's counts and the CPU seconds that the server spent meanwhile."""
    with make() as server:
        participants = server.fill(scenario.rooms, scenario.subscribers)
        generator = Generator(participants, sample=16, gso=gso)
        with server.consent_kept():
            generator.run(WARM_UP_S, measure=False)
            before = server.cpu_seconds()
            result = generator.run(seconds, measure=True)
            spent = server.cpu_seconds() - before
        generator.close()
    assert result is not None
    if result.refused or not result.received:
        raise SystemExit(f"{scenario.name}: {result.refused} packets did not authenticate, {result.received} arrived")
    return result, spent


def measure(
    scenario: Scenario, servers: dict[str, Callable[[], Server]], rounds: int, seconds: float, gso: bool
) -> list[Row]:
    limits: list[float] = []
    results: dict[str, list[tuple[LoadResult, float]]] = {name: [] for name in servers}
    for number in range(rounds):
        for name, make in servers.items():
            progress(f"{scenario.name}: {name}, round {number + 1} of {rounds}")
            results[name].append(measure_server(make, scenario, seconds, gso))
        progress(f"{scenario.name}: limit, round {number + 1} of {rounds}")
        limits.append(measure_limit(scenario, min(1.0, seconds)))
    limit = statistics.median(limits)
    rows = []
    for name, found in results.items():
        rows.append(
            Row(
                scenario.name,
                name,
                statistics.median(result.received / spent for result, spent in found),
                statistics.median(spent / result.seconds for result, spent in found),
                statistics.median(result.loss for result, _ in found),
                int(statistics.median(result.latency_p50_us for result, _ in found)),
                int(statistics.median(result.latency_p99_us for result, _ in found)),
                limit,
            )
        )
    return rows


def print_rows(rows: Sequence[Row]) -> None:
    progress("")
    for row in rows:
        print(
            f"{row.scenario:<22} {row.server:<7} {row.per_cpu_second:>10,.0f} {row.limit_per_cpu_second:>10,.0f} {row.share:>6.0%}"
            f" {row.load_of_core:>6.0%} {row.loss:>8.3%} {row.latency_p50_us / 1000:>8.2f} {row.latency_p99_us / 1000:>8.2f}",
            flush=True,
        )


def print_memory(memory: dict[str, float]) -> None:
    print("\nMemory of the real server per participant (resident KiB):")
    print(f"  connected, idle {memory['idle_kib']:,.0f}   sending audio and video {memory['sending_kib']:,.0f}")


def verdicts(rows: Sequence[Row], memory: dict[str, float]) -> list[tuple[str, bool]]:
    """The bars of the project, each with whether this run meets it."""
    found = {(row.scenario, row.server): row for row in rows}
    bars: list[tuple[str, bool]] = []
    for name, share in (
        ("1 to 50", 0.65),
        ("10 rooms of 1 to 50", 0.65),
        ("100 two-person rooms", 0.55),
        ("250 two-person rooms", 0.55),
    ):
        if row := found.get((name, "wadud")):
            bars.append((f"{name}: {row.share:.0%} of the limit (bar {share:.0%})", row.share >= share))
    for name, factor in (("1 to 50", 8), ("20 two-person rooms", 6)):
        ours, theirs = found.get((name, "wadud")), found.get((name, "janus"))
        if ours and theirs:
            ratio = ours.per_cpu_second / theirs.per_cpu_second
            bars.append((f"{name}: {ratio:.1f} times Janus (bar {factor})", ratio >= factor))
    half = [row for row in rows if row.server == "wadud" and row.load_of_core <= 0.5]
    if half:
        worst = max(half, key=lambda row: row.latency_p99_us)
        text = f"p99 {worst.latency_p99_us / 1000:.2f} ms added at {worst.load_of_core:.0%} load, {worst.scenario} (bar 2 ms)"
        bars.append((text, worst.latency_p99_us <= 2000))
    if memory:
        bars.append((f"{memory['idle_kib']:.0f} KiB per idle participant (bar 128)", memory["idle_kib"] <= 128))
        bars.append(
            (f"{memory['sending_kib']:.0f} KiB per sending participant (bar 1024)", memory["sending_kib"] <= 1024)
        )
    return bars


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.forwarding", description=(__doc__ or "").split("\n\n")[0]
    )
    parser.add_argument("--quick", action="store_true", help="one short round of the smaller scenarios")
    parser.add_argument(
        "--peer", choices=["janus"], help="measure this server too, with the same load (installs it when root)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    parser.add_argument(
        "--gso", action="store_true", help="publishers hand whole frames to the kernel (arrivals can then be coalesced)"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0, help="measured stretch per round (default: %(default)s)")
    parser.add_argument("--only", action="append", metavar="NAME", help="this scenario only (repeatable)")
    parser.add_argument("--no-memory", action="store_true", help="leave out memory per participant")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    options = arguments(argv)
    os.sched_setaffinity(0, {LOAD_CPU})
    chosen = [s for s in SCENARIOS if not options.only or s.name in options.only]
    if options.quick:
        chosen, options.rounds, options.seconds = [s for s in chosen if s.publishers * s.fanout <= 50], 1, 1.5
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Linux {platform.release()}; publishers send {'with' if options.gso else 'without'} GSO"
    )
    print(
        f"{'scenario':<22} {'server':<7} {'packets/s':>10} {'limit':>10} {'share':>6} {'load':>6} {'loss':>8} {'p50 ms':>8} {'p99 ms':>8}"
    )
    rows: list[Row] = []
    for scenario in chosen:
        servers: dict[str, Callable[[], Server]] = {"wadud": lambda: WadudServer(SERVER_CPU)}
        if options.peer == "janus" and (scenario.name in PEER_SCENARIOS or options.only):
            servers["janus"] = lambda: JanusServer(SERVER_CPU)
        found = measure(scenario, servers, options.rounds, options.seconds, options.gso)
        print_rows(found)
        rows += found
    memory: dict[str, float] = {}
    if not options.no_memory:
        from benchmarks.memory import measure_memory

        progress("memory per participant")
        memory = measure_memory(20 if options.quick else 100)
        progress("")
        print_memory(memory)
    bars = verdicts(rows, memory)
    print()
    for text, met in bars:
        print(f"{'met   ' if met else 'MISSED'} {text}")
    if options.json:
        data = {"rows": [asdict(row) | {"share": row.share} for row in rows], "memory": memory, "bars": bars}
        options.json.write_text(json.dumps(data, indent=2))
    return 0 if all(met for _, met in bars) else 1


if __name__ == "__main__":
    sys.exit(main())
