"""How many packets a core forwards, beside the physical limit and a peer, in one run.

    python benchmarks/forwarding.py [--quick] [--peer janus] [--json FILE] [--plot FILE] [--rounds N] [--only NAME]

The server has core 0 and the load generator core 1, in processes of their own; real DTLS, real SRTP with a key per
participant. A publisher sends 1.8 Mbps of video in frames and 50 audio packets a second. Figures are packets forwarded
per second of the server process's CPU time: all threads, user and system. In between the limit is measured on the same
core: a bare C loop that decrypts once, encrypts once per receiver, sends in batches, and does nothing else. Turns
alternate and the table shows medians: on a shared machine only ratios of one run mean anything. Beside a peer there is
also that loop at the load's own pace: what anybody could make of so light a load. README.md tells how to read it all.
"""

import argparse
import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import janus, process
from benchmarks.bars import Verdict, machine, progress, show_verdicts
from benchmarks.crowd import Scenario, Server
from benchmarks.memory import Memory, measure_memory
from benchmarks.plot import write_plot
from benchmarks.rounds import LOAD_CPU, PACED, SERVER_CPU, Row, Settings, measure
from benchmarks.wadud import WadudServer
from rtc._wire import Srtp

SCENARIOS = (
    Scenario("1 to 10", 1, 10),
    Scenario("1 to 50", 1, 50),
    Scenario("1 to 200", 1, 200),
    Scenario("10 rooms of 1 to 50", 10, 50),
    Scenario("20 two-person rooms", 20, 0),
    Scenario("100 two-person rooms", 100, 0),
    Scenario("250 two-person rooms", 250, 0),
)
PEER_SCENARIOS = ("1 to 10", "1 to 50", "20 two-person rooms")  # what the peer carries without loss
SCALED = ("10 rooms of 1 to 50", "250 two-person rooms")  # repeated at half load and near a full core
_GCM = 7  # AEAD_AES_128_GCM, RFC 7714 section 14.2
HALF, NEARLY_FULL = 0.5, 0.85
HALF_WIDTH = 0.12  # so far from half load is still half load
HALF_TRIES = 3
MOST_PARTICIPANTS = 3600  # of one worker
MOST_PAIRS = 400  # what the load generator can play on one core
SHARE_BARS = {"1 to 50": 0.65, "10 rooms of 1 to 50": 0.65, "100 two-person rooms": 0.55, "250 two-person rooms": 0.55}
PEER_BARS = {"1 to 50": 8.0, "20 two-person rooms": 6.0}
LATENCY_BAR_US = 2000
IDLE_BAR_KIB, SENDING_BAR_KIB = 128, 1024


def at_load(scenario: Scenario, load: float, wanted: float) -> Scenario | None:
    """The same shape with as many rooms as make ``wanted`` of a core, ``load`` being what it makes now."""
    rooms = round(scenario.rooms * wanted / load) if load else 0
    rooms = min(rooms, MOST_PARTICIPANTS // (scenario.subscribers + 1) if scenario.subscribers else MOST_PAIRS)
    if rooms < 1:
        return None
    shape = f"rooms of 1 to {scenario.subscribers}" if scenario.subscribers else "two-person rooms"
    return replace(scenario, name=f"{rooms} {shape}", rooms=rooms)


def describe(options: argparse.Namespace) -> str:
    sockets = "that coalesce (UDP_GRO)" if options.gro else "that take datagram by datagram"
    peer = f"; Janus {janus.version()}" if options.peer else ""
    arriving = "; frames arrive coalesced" if options.gso else ""
    idle = "may sleep" if options.let_sleep else "kept awake"
    return f"{machine()}, {idle}{peer}; AES-GCM by {crypto_library()}; receivers' sockets {sockets}{arriving}"


def crypto_library() -> str:
    """Who encrypts in our server here: ipsec-mb or openssl."""
    return Srtp(_GCM, bytes(16), bytes(12)).backend


HEADLINE = (
    f"{'scenario':<24} {'server':<13} {'packets per':>12} {'limit':>9} {'share':>6} {'load':>5} {'forwarded':>10}"
    f" {'loss':>8} {'added latency, ms':>18}\n"
    f"{'':<24} {'':<13} {'CPU second':>12} {'':>9} {'':>6} {'':>5} {'per s':>10} {'':>8} {'p50':>9}{'p99':>9}"
)


def line_of(row: Row) -> str:
    return (
        f"{row.scenario:<24} {row.server:<13} {row.packets_per_cpu_s:>12,.0f} {row.limit_per_cpu_s:>9,.0f}"
        f" {row.share_of_limit:>6.0%} {row.load:>5.0%} {row.forwarded_per_s:>10,.0f} {row.loss_percent:>7.2f}%"
        f" {row.latency_p50_us / 1000:>9.2f}{row.latency_p99_us / 1000:>9.2f}"
    )


def show(rows: Sequence[Row]) -> None:
    progress("")
    for row in rows:
        print(line_of(row), flush=True)
        for remark in row.remarks:
            print(f"{'':<24} ! {remark}", flush=True)


def verdicts(rows: Sequence[Row], memory: Memory | None) -> list[Verdict]:
    """The bars of the project that this run says something about."""
    found = {(row.scenario, row.server): row for row in rows}
    result = []
    for name, share in SHARE_BARS.items():
        for server, both in (("wadud", ""), ("wadud openssl", ", both with OpenSSL")):
            if row := found.get((name, server)):
                text = f"{name}: {row.share_of_limit:.0%} of the limit{both} (bar {share:.0%})"
                result.append(Verdict(text, row.share_of_limit >= share))
    for name, factor in PEER_BARS.items():
        ours, theirs = found.get((name, "wadud")), found.get((name, "janus"))
        if ours and theirs:
            ratio = ours.packets_per_cpu_s / theirs.packets_per_cpu_s
            result.append(Verdict(f"{name}: {ratio:.1f} times Janus (bar {factor:.0f})", ratio >= factor))
    for row in rows:
        if row.server == "wadud" and abs(row.load - HALF) <= HALF_WIDTH:
            text = f"{row.scenario}: {row.latency_p99_us / 1000:.2f} ms added at p99, load {row.load:.0%} (bar 2)"
            result.append(Verdict(text, row.latency_p99_us <= LATENCY_BAR_US))
    if memory:
        idle = f"{memory.idle_kib:.0f} KiB per idle participant (bar {IDLE_BAR_KIB})"
        sending = f"{memory.sending_kib:.0f} KiB per sending participant (bar {SENDING_BAR_KIB})"
        result.append(Verdict(idle, memory.idle_kib <= IDLE_BAR_KIB))
        result.append(Verdict(sending, memory.sending_kib <= SENDING_BAR_KIB))
    return result


def bounds(rows: Sequence[Row]) -> list[str]:
    """What the limit itself makes of the peer, at full speed and at the load's pace: what the peer's bars ask of us."""
    found = {(row.scenario, row.server): row for row in rows}
    result = []
    for name, factor in PEER_BARS.items():
        paced, theirs = found.get((name, PACED)), found.get((name, "janus"))
        if paced and theirs:
            full, at_pace = (
                figure / theirs.packets_per_cpu_s for figure in (theirs.limit_per_cpu_s, paced.packets_per_cpu_s)
            )
            asked = factor / full
            result.append(
                f"{name}: the limit is {full:.1f} times Janus, so {factor:.0f} times are {asked:.0%} of it;"
                f" at the pace of this load it is {at_pace:.1f} times Janus"
            )
    return result


Measure = Callable[[Scenario, Sequence[Callable[[], Server]]], Awaitable[Row]]


async def one_at_half(row: Row, scenario: Scenario, one: Measure) -> tuple[Scenario, Row]:
    """The same shape at half load, in a few tries: the machine's speed changes from minute to minute."""
    for _ in range(HALF_TRIES):
        if abs(row.load - HALF) <= HALF_WIDTH / 2:
            break
        scaled = at_load(scenario, row.load, HALF)
        if not scaled or scaled.rooms == scenario.rooms:
            break
        scenario, row = scaled, await one(scaled, [WadudServer])
    return scenario, row


async def run(options: argparse.Namespace, spinner: int | None) -> tuple[list[Row], Memory | None]:
    settings = Settings(options.rounds, options.seconds, options.gro, options.gso, spinner=spinner)
    chosen = [scenario for scenario in SCENARIOS if not options.only or scenario.name in options.only]
    if options.quick:
        chosen = [scenario for scenario in chosen if scenario.name in PEER_SCENARIOS or options.only]
    rows: list[Row] = []
    crypto = crypto_library()

    async def one(scenario: Scenario, makers: Sequence[Callable[[], Server]]) -> Row:
        beside_peer = any(maker is janus.JanusServer for maker in makers)
        found = await measure(scenario, makers, settings, progress, paced=beside_peer)
        show(found)
        rows.extend(found)
        return found[0]

    for scenario in chosen:
        makers: list[Callable[[], Server]] = [WadudServer]
        if crypto != "openssl" and scenario.name in SHARE_BARS:
            makers.append(partial(WadudServer, "openssl"))
        if options.peer == "janus" and scenario.name in PEER_SCENARIOS:
            makers.append(janus.JanusServer)
        row = await one(scenario, makers)
        if scenario.name in SCALED and not options.only:
            half = await one_at_half(row, scenario, one)
            scaled = at_load(half[0], half[1].load, NEARLY_FULL)
            if scaled and scaled.rooms not in (scenario.rooms, half[0].rooms):
                await one(scaled, [WadudServer])
    memory = None
    if not options.no_memory:
        progress("memory per participant")
        memory = await measure_memory(10 if options.quick else 50)
        progress("")
    return rows, memory


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="one short round of the small scenarios")
    parser.add_argument("--peer", choices=["janus"], help="this server too, with the same load (installs it when root)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="write the ratios as a picture (SVG)")
    parser.add_argument(
        "--gso", action="store_true", help="frames may reach the server coalesced, as over a network card"
    )
    parser.add_argument("--gro", action="store_true", help="receivers' sockets take runs of datagrams (UDP_GRO)")
    parser.add_argument("--rounds", type=int, default=3, help="of every scenario (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=4.0, help="counted stretch of a round (default: %(default)s)")
    names = ", ".join(scenario.name for scenario in SCENARIOS)
    parser.add_argument("--only", action="append", metavar="NAME", help=f"this scenario only (repeatable): {names}")
    parser.add_argument("--share", action="store_true", help="do not wait for the end of another benchmark")
    parser.add_argument("--let-sleep", action="store_true", help="do not keep the server's core awake while it is idle")
    parser.add_argument("--no-memory", action="store_true", help="leave out memory per participant")
    options = parser.parse_args(argv)
    if options.quick:
        options.rounds, options.seconds = 1, min(options.seconds, 1.5)
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """0 when every bar that was measured is met, 1 when one is missed."""
    options = arguments(argv)
    process.end_as_by_ctrl_c()
    if (os.cpu_count() or 1) < 2:
        print("This needs two cores: one for the server, one for the load generator.", file=sys.stderr)
        return 2
    os.sched_setaffinity(0, {LOAD_CPU})
    process.go_first()
    if options.peer:
        janus.ensure_installed()
    with contextlib.ExitStack() as stack:
        if not options.share:
            stack.enter_context(process.alone())
        spinner = None if options.let_sleep else stack.enter_context(process.awake(SERVER_CPU))
        description = describe(options)
        print(f"{description}\n\n{HEADLINE}", flush=True)
        rows, memory = asyncio.run(run(options, spinner))
    if memory:
        idle, sending = f"{memory.idle_kib:,.0f} KiB connected and idle", f"{memory.sending_kib:,.0f} KiB sending"
        peak = f"{memory.peak_kib:,.0f} KiB at the peak of joining"
        print(f"\nMemory of the server process per participant: {idle}, {peak}, {sending}")
    found = verdicts(rows, memory)
    met = show_verdicts(found)
    for text in bounds(rows):
        print(f"       {text}")
    if options.json:
        content = {
            "machine": description,
            "rows": [asdict(row) for row in rows],
            "memory": asdict(memory) if memory else None,
            "bars": [asdict(verdict) for verdict in found],
        }
        options.json.write_text(json.dumps(content, indent=2))
    if options.plot:
        write_plot(rows, options.plot)
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
