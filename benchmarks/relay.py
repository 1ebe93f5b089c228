"""How many packets a core relays, beside coturn and the physical limit, in one run.

    python benchmarks/relay.py [--peer coturn] [--quick] [--rounds N] [--seconds S] [--json FILE] [--plot FILE.svg]

Our TURN server, Debian's coturn and a bare C loop carry the same load in turns, each alone on core 0, from one load
client on core 1: UDP clients with an allocation and a channel each, packets of 1,200 bytes both ways in bursts of 8, as
video frames are. Figures: packets that arrived by CPU second of the server (user and system, all threads) when it never
idles and at a small load; the highest rate without loss; latency added at half of it; allocations by second and by CPU
second; memory by allocation. README.md tells how to read the tables. The exit status is 1 when a bar is missed.
"""

import argparse
import contextlib
import json
import math
import os
import signal
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import coturn, process
from benchmarks.bars import Verdict, machine, progress, show_verdicts
from benchmarks.plot import write_bars
from benchmarks.relay_limit import BareRelay
from benchmarks.relay_rounds import LIMITS, LOAD_CPU, SAME_LOAD, Row, Shape, measure, ratio
from benchmarks.relay_server import Relay, TurnServer
from benchmarks.relay_sessions import Memory, Pace, measure_memory, measure_pace
from benchmarks.wadud_relay import WadudRelay

SHAPES = (
    Shape("100 clients, bursts", 100, True),
    Shape("100 clients, packet by packet", 100, False),
    Shape("1,000 clients, bursts", 1000, True),
    Shape("1 client, bursts", 1, True),
)
JUDGED = ("100 clients, bursts", "100 clients, packet by packet", "1,000 clients, bursts")
PEER_BAR, LIMIT_BAR = 2.0, 0.6
MEMORY_BAR_KIB = 16
NAP_US = 500  # of the limit where it is idle, as a server may nap that gathers packets
ALLOCATIONS = 2000  # of one round
HELD = (1000, 5000)  # allocations whose memory is taken

HEADLINE = (
    f"{'':<29} {'':<9} {'packets per':>12} {'times':>7} {'share of':>9} {'same load:':>11} {'CPU':>4}"
    f" {'packets/s':>10} {'added at half, ms':>18}\n"
    f"{'load':<29} {'server':<9} {'CPU second':>12} {'coturn':>7} {'limit':>9} {'per CPU s':>11} {'':>4}"
    f" {'no loss':>10} {'p50':>9}{'p99':>9}"
)


def describe(servers: Sequence[str]) -> str:
    return machine() + (f"; coturn {coturn.version()}" if "coturn" in servers else "")


def show(rows: Sequence[Row]) -> None:
    progress("")
    for row in rows:
        beside = ratio(rows, row.server, "coturn"), ratio(rows, row.server, *LIMITS)
        times = f"{beside[0]:.2f}" if beside[0] and row.server != "coturn" else ""
        share = f"{beside[1]:.0%}" if beside[1] and row.server not in LIMITS else ""
        line = (
            f"{row.shape:<29} {row.server:<9} {row.full_per_cpu_s:>12,.0f} {times:>7} {share:>9}"
            f" {row.same_per_cpu_s:>11,.0f} {row.same_load:>4.0%}"
        )
        if not math.isnan(row.most_per_s):
            line += f" {row.most_per_s:>10,.0f} {row.added_p50_us / 1000:>9.3f}{row.added_p99_us / 1000:>9.3f}"
        print(line, flush=True)
        for remark in row.remarks:
            print(f"{'':<29} ! {remark}", flush=True)


def show_sessions(paces: Sequence[Pace], memory: Sequence[Memory]) -> None:
    progress("")
    for pace in paces:
        each = f"{pace.median_per_cpu_s:,.0f} per CPU second, {pace.median_per_s:,.0f} per second"
        again = f"; {pace.repeated} requests were sent again" if pace.repeated else ""
        print(f"Allocations, {pace.server}: {each}{again}")
    for found in memory:
        each = ", ".join(f"{kib:.1f} KiB with {count:,}" for count, kib in found.each_kib.items())
        print(f"Memory per allocation, {found.server}: {each}; {found.empty_kib:,.0f} KiB with hardly any")


def verdicts(rows: Sequence[Row], paces: Sequence[Pace], memory: Sequence[Memory]) -> list[Verdict]:
    """The bars of the project that this run says something about."""
    result = []
    for name in JUDGED:
        of_shape = [row for row in rows if row.shape == name]
        times, share = ratio(of_shape, "wadud", "coturn"), ratio(of_shape, "wadud", *LIMITS)
        if times is not None:
            result.append(Verdict(f"{name}: {times:.2f} times coturn (bar {PEER_BAR:.0f})", times >= PEER_BAR))
        if share is not None:
            result.append(Verdict(f"{name}: {share:.0%} of the limit (bar {LIMIT_BAR:.0%})", share >= LIMIT_BAR))
    by_name = {pace.server: pace.per_cpu_s for pace in paces}
    if {"wadud", "coturn"} <= by_name.keys():
        times = statistics.median(
            ours / theirs for ours, theirs in zip(by_name["wadud"], by_name["coturn"], strict=True)
        )
        result.append(Verdict(f"allocations per CPU second: {times:.2f} times coturn (bar 1)", times >= 1))
    for found in memory:
        if found.server == "wadud":
            for count, kib in found.each_kib.items():
                text = f"{kib:.1f} KiB per allocation with {count:,} (bar {MEMORY_BAR_KIB})"
                result.append(Verdict(text, kib <= MEMORY_BAR_KIB))
    return result


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="one short round of the first load; few allocations")
    parser.add_argument("--peer", choices=["coturn"], help="this server too, with the same load")
    parser.add_argument("--without-ours", action="store_true", help="leave our own server out")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="write packets per CPU second as a picture (SVG)")
    parser.add_argument("--rounds", type=int, default=3, help="of every load (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=1.5, help="counted stretch of a turn (default: %(default)s)")
    names = "; ".join(shape.name for shape in SHAPES)
    parser.add_argument("--only", action="append", metavar="NAME", help=f"this load only (repeatable): {names}")
    parser.add_argument("--no-sessions", action="store_true", help="leave out allocations per second and memory")
    parser.add_argument("--share", action="store_true", help="do not wait for the end of another benchmark")
    options = parser.parse_args(argv)
    if options.quick:
        options.rounds, options.seconds = 1, min(options.seconds, 0.5)
        options.only = options.only or [SHAPES[0].name]
    return options


def run(options: argparse.Namespace) -> tuple[list[Row], list[Pace], list[Memory]]:
    servers: list[Callable[[], TurnServer]] = [] if options.without_ours else [WadudRelay]
    if options.peer:
        servers.append(coturn.CoturnRelay)
    rows: list[Row] = []
    for shape in SHAPES:
        if options.only and shape.name not in options.only:
            continue
        makers: list[Callable[[], Relay]] = [*servers, partial(BareRelay, shape.clients)]
        makers.append(partial(BareRelay, shape.clients, NAP_US))
        found = measure(shape, makers, options.rounds, options.seconds, progress)
        show(found)
        rows += found
    if options.no_sessions or not servers:
        return rows, [], []
    count = ALLOCATIONS // 4 if options.quick else ALLOCATIONS
    paces = measure_pace(servers, count, options.rounds, progress)
    memory = measure_memory(servers, HELD[:1] if options.quick else HELD, progress)
    print()
    show_sessions(paces, memory)
    return rows, paces, memory


def picture(rows: Sequence[Row], path: Path) -> None:
    bars = []
    for row in rows:
        most = max(other.full_per_cpu_s for other in rows if other.shape == row.shape)
        share, figure = row.full_per_cpu_s / most, f"{row.full_per_cpu_s:,.0f}"
        bars.append((f"{row.shape}, {row.server}", row.server, share, figure))
    write_bars("Packets relayed per CPU second; grey is what a bare C loop reached", bars, path)


def main(argv: Sequence[str] | None = None) -> int:
    """0 when every bar that was measured is met, 1 when one is missed."""
    options = arguments(argv)
    process.end_as_by_ctrl_c()
    if (os.cpu_count() or 1) < 2:
        print("This needs two cores: one for the server, one for the load client.", file=sys.stderr)
        return 2
    if options.peer and not coturn.is_installed():
        print("coturn is not installed; as root: apt-get install coturn", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # as Ctrl-C does: no server outlives this
    os.sched_setaffinity(0, {LOAD_CPU})
    process.go_first()
    with contextlib.nullcontext() if options.share else process.alone():
        where = describe([options.peer or ""])
        print(f"{where}; same load: {SAME_LOAD:,} packets/s\n\n{HEADLINE}", flush=True)
        rows, paces, memory = run(options)
    found = verdicts(rows, paces, memory)
    met = show_verdicts(found)
    if options.json:
        content = {
            "machine": where,
            "rows": [asdict(row) for row in rows],
            "allocations": [asdict(pace) for pace in paces],
            "memory": [asdict(each) for each in memory],
            "bars": [asdict(verdict) for verdict in found],
        }
        options.json.write_text(json.dumps(content, indent=2))
    if options.plot:
        picture(rows, options.plot)
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
