"""The shared port under load: idle WebSockets, TURN over TLS and HTTPS at once, on one server process.

    python benchmarks/port.py [--sockets N] [--relays N] [--seconds S] [--peer coturn] [--json FILE]

The whole product (`python -m server.main --self-signed`) is on core 0; all clients are one process on core 1, each
with a TLS connection of its own to the one port. HTTPS is measured three times in one run: with nothing else, beside
idle WebSockets, beside these and voice through TURN over TLS. README.md tells how to read the figures. The exit status
is 1 when a connection was lost, refused or not answered, or a voice packet did not come back.
"""

import argparse
import asyncio
import contextlib
import json
import os
import resource
import ssl
import sys
import tempfile
import time
from collections.abc import Awaitable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final, TypeVar

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import uvloop

from benchmarks import coturn, port_http, process
from benchmarks.port_clients import Echo, Flows, IdleSocket, TurnTls, open_relay, open_socket, talk
from benchmarks.port_http import Answers, HttpConnection, quantile
from benchmarks.port_server import CoturnTls, PortServer, thread_cpu_s
from benchmarks.relay_server import CREDENTIALS
from benchmarks.rounds import LOAD_CPU, SERVER_CPU
from turn.stun import Address

KEPT_PER_S, FRESH_PER_S = 100.0, 10.0  # HTTPS requests of a steady minute
SPEAK_S = 10.0  # the page's interval of pings while it waits
AT_ONCE = 32
SETTLE_S = 1.0
MOST_S = 3.0  # of "as many requests as come through"
HANDSHAKES = 300
SOURCES: Final = [f"127.1.{number // 250}.{number % 250 + 1}" for number in range(500)]  # limits are per address
T = TypeVar("T")


@dataclass(slots=True)
class Stretch:
    """A span of time: CPU seconds of the server by thread, and of the load."""

    name: str
    seconds: float = 0.0
    threads: dict[str, float] = field(default_factory=dict)
    load_cpu_s: float = 0.0
    answers: Answers | None = None
    most_per_s: float = 0.0
    flows: Flows | None = None

    @property
    def cpu_s(self) -> float:
        return sum(self.threads.values())

    @property
    def relayed(self) -> int:
        """Packets that the relay carried, each way counted."""
        return 0 if self.flows is None else self.flows.sent + self.flows.received


async def watched(name: str, pid: int, *work: Awaitable[object]) -> Stretch:
    """What servers and load used while ``work`` was done."""
    stretch = Stretch(name)
    before, own, begin = thread_cpu_s(pid), time.process_time(), time.perf_counter()
    for found in await asyncio.gather(*work):
        if isinstance(found, Answers):
            stretch.answers = found
        elif isinstance(found, float):
            stretch.most_per_s = found
    after = thread_cpu_s(pid)
    stretch.seconds, stretch.load_cpu_s = time.perf_counter() - begin, time.process_time() - own
    stretch.threads = {thread: after[thread] - before.get(thread, 0.0) for thread in after}
    return stretch


async def many(count: int, opened: Sequence[Awaitable[T]]) -> tuple[list[T], list[str]]:
    """Those that came up, ``count`` at a time, and why others did not."""
    gate, failures = asyncio.Semaphore(count), list[str]()

    async def one(opening: Awaitable[T]) -> T | None:
        async with gate:
            try:
                return await opening
            except (OSError, TimeoutError) as error:
                failures.append(str(error) or type(error).__name__)
                return None

    return [found for found in await asyncio.gather(*map(one, opened)) if found is not None], failures


async def logins(server: Address, tls: ssl.SSLContext, count: int) -> list[tuple[str, str]]:
    """Relay credentials of so many people with room tokens of their own."""
    found = []
    connection = await HttpConnection.open(server, tls, SOURCES[-1])
    room = json.loads(await connection.post("/v1/rooms", b"{}"))["room"]
    for number in range(count):
        if number % 50 == 0:
            connection.close()
            connection = await HttpConnection.open(server, tls, SOURCES[-1 - number // 50])
        token = json.loads(await connection.post(f"/v1/rooms/{room}/tokens", b'{"name":"load"}'))["token"]
        given = json.loads(await connection.post("/v1/ice-servers", b"{}", token))["ice_servers"][0]
        found.append((given["username"], given["credential"]))
    connection.close()
    return found


async def speaking(sockets: Sequence[IdleSocket]) -> None:
    """What the pages say while they wait, one after the other; until cancelled."""
    while True:
        begin = time.perf_counter()
        for number, each in enumerate(sockets):
            each.speak()
            ahead = SPEAK_S * number / len(sockets) - (time.perf_counter() - begin)
            if ahead > 0.002:
                await asyncio.sleep(ahead)
        await asyncio.sleep(max(0.0, SPEAK_S - (time.perf_counter() - begin)))


@dataclass(slots=True)
class Result:
    stretches: list[Stretch] = field(default_factory=list)
    sockets: tuple[int, int] = (0, 0)
    """Opened, and still open at the end."""
    relays: tuple[int, int] = (0, 0)
    failures: list[str] = field(default_factory=list)
    handshakes_per_s: float = 0.0
    handshake_cpu_ms: float = 0.0
    socket_kib: float = 0.0
    relay_kib: float = 0.0
    heard: int = 0
    """Frames of the server at every WebSocket, at least."""


def memory_kib(pid: int) -> float:
    return process.proportional_kib(pid)


async def measure(server: PortServer, options: argparse.Namespace) -> Result:
    """Everything but the peer."""
    result, pid, tls = Result(), server.pid, server.trust()
    steady = SOURCES[-20:]

    async def https(name: str) -> None:
        work = port_http.steadily(server.address, tls, steady, options.seconds, KEPT_PER_S, FRESH_PER_S)
        result.stretches.append(await watched(name, pid, work))

    async def most(name: str) -> None:
        work = port_http.at_most(server.address, tls, steady[:8], MOST_S)
        result.stretches.append(await watched(name, pid, work))

    progress("HTTPS alone")
    await port_http.handshakes(server.address, tls, SOURCES[0], 50)  # what is loaded lazily
    await https("HTTPS alone")
    await most("HTTPS alone, most")
    shaken = await watched("handshakes", pid, port_http.handshakes(server.address, tls, SOURCES[0], HANDSHAKES))
    result.handshakes_per_s, result.handshake_cpu_ms = HANDSHAKES / shaken.seconds, 1000 * shaken.cpu_s / HANDSHAKES

    progress(f"{options.sockets} WebSockets")
    before = memory_kib(pid)
    opened, failures = await many(
        AT_ONCE, [open_socket(server.address, tls, SOURCES[n % 400]) for n in range(options.sockets)]
    )
    result.failures += failures
    speaker = asyncio.create_task(speaking(opened))
    await asyncio.sleep(SETTLE_S)
    result.socket_kib = (memory_kib(pid) - before) / max(1, len(opened))
    result.stretches.append(await watched("idle WebSockets", pid, asyncio.sleep(options.seconds)))
    await https("HTTPS and WebSockets")

    progress(f"{options.relays} TURN/TLS clients")
    flows, echo = Flows(), Echo()
    people = await logins(server.address, tls, options.relays)
    before = memory_kib(pid)
    clients, failures = await many(
        AT_ONCE,
        [open_relay(server.address, tls, SOURCES[n], n, flows, login, echo.address) for n, login in enumerate(people)],
    )
    result.failures += failures
    await asyncio.sleep(SETTLE_S)
    result.relay_kib = (memory_kib(pid) - before) / max(1, len(clients))
    result.stretches.append(await voice("WebSockets and voice", pid, clients, flows, options.seconds))

    progress("all at once")
    flows = share(clients)
    work = port_http.steadily(server.address, tls, steady, options.seconds, KEPT_PER_S, FRESH_PER_S)
    result.stretches.append(await watched("all at once", pid, talk(clients, options.seconds), work))
    result.stretches[-1].flows = flows
    flows = share(clients)
    work_most = port_http.at_most(server.address, tls, steady[:8], MOST_S)
    result.stretches.append(await watched("all at once, most", pid, talk(clients, MOST_S), work_most))
    result.stretches[-1].flows = flows

    speaker.cancel()
    result.sockets = len(opened), sum(each.up for each in opened)
    result.relays = len(clients), sum(each.up for each in clients)
    result.heard = min((each.heard for each in opened), default=0)
    for idle in opened:
        idle.close()
    for client in clients:
        client.close()
    echo.close()
    return result


def share(clients: Sequence[TurnTls]) -> Flows:
    """A new count for all of them."""
    flows = Flows()
    for client in clients:
        client.count_in(flows)
    return flows


async def voice(name: str, pid: int, clients: Sequence[TurnTls], flows: Flows, seconds: float) -> Stretch:
    stretch = await watched(name, pid, talk(clients, seconds))
    stretch.flows = flows
    return stretch


async def measure_peer(server: PortServer, options: argparse.Namespace, directory: Path) -> Stretch:
    """The same voice through coturn, with the same certificate."""
    peer, tls, flows, echo = CoturnTls(server.certificate()), server.trust(), Flows(), Echo()
    pid = peer.start(SERVER_CPU, directory)
    try:
        clients, failures = await many(
            AT_ONCE,
            [
                open_relay(peer.address, tls, SOURCES[n], n, flows, CREDENTIALS, echo.address)
                for n in range(options.relays)
            ],
        )
        if failures:
            print(f"! coturn refused {len(failures)} clients: {failures[0]}")
        await asyncio.sleep(SETTLE_S)
        stretch = await voice("voice through coturn", pid, clients, flows, options.seconds)
        for each in clients:
            each.close()
        return stretch
    finally:
        peer.stop()
        echo.close()


def show(result: Result) -> None:
    progress("")
    print(
        f"{'':<24} {'server CPU':>10} {'Python':>7} {'load':>5} {'relayed/s':>10} {'µs each':>8} {'Python':>7}"
        f" {'lost':>5}"
        f" {'round trip, ms':>15} {'HTTPS kept, ms':>15} {'with handshake':>15} {'most/s':>7}"
    )
    for row in result.stretches:
        main = row.threads.get("python", 0.0)
        line = f"{row.name:<24} {row.cpu_s / row.seconds:>10.1%} {main / row.seconds:>7.1%}"
        line += f" {row.load_cpu_s / row.seconds:>5.0%}"
        if row.flows is not None:
            trips, relayed = row.flows.round_trips_us, row.relayed
            line += (
                f" {relayed / (row.seconds - 1):>10,.0f} {1e6 * row.cpu_s / relayed:>8.1f} {1e6 * main / relayed:>7.1f}"
            )
            line += f" {row.flows.sent - row.flows.received:>5}"
            line += f" {quantile(trips, 0.5) / 1000:>7.2f}{quantile(trips, 0.99) / 1000:>8.2f}"
        else:
            line += " " * 50
        if row.answers is not None:
            for times in (row.answers.kept_ms, row.answers.fresh_ms):
                line += f" {quantile(times, 0.5):>7.2f}{quantile(times, 0.99):>8.2f}"
        elif row.most_per_s:
            line += f"{row.most_per_s:>40,.0f}"
        print(line)
    print(f"\nWebSockets: {result.sockets[0]} opened, {result.sockets[1]} still up, {result.socket_kib:.1f} KiB each,")
    print(f"  each heard from the server at least {result.heard} times")
    print(f"TURN/TLS: {result.relays[0]} opened, {result.relays[1]} still up, {result.relay_kib:.1f} KiB each")
    print(
        f"New connections: {result.handshakes_per_s:.0f}/s, with a request {result.handshake_cpu_ms:.2f} ms of CPU each"
    )
    for failure in sorted(set(result.failures)):
        print(f"! {result.failures.count(failure)} connections failed: {failure}")


def faults(result: Result, options: argparse.Namespace) -> list[str]:
    """What must not happen, of what happened."""
    found = []
    if result.sockets != (options.sockets, options.sockets):
        found.append(f"{options.sockets} WebSockets were wanted, {result.sockets} were opened and stayed")
    if result.relays != (options.relays, options.relays):
        found.append(f"{options.relays} TURN clients were wanted, {result.relays} were opened and stayed")
    for row in result.stretches:
        if row.flows is not None and (row.flows.sent != row.flows.received or row.flows.strange):
            found.append(f"{row.name}: {row.flows.sent - row.flows.received} packets did not come back")
        if row.answers is not None and row.answers.failed:
            found.append(f"{row.name}: {row.answers.failed} requests were not answered")
    return found


def progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def figures(result: Result) -> dict[str, object]:
    """Everything, with latencies as quantiles."""
    rows: list[dict[str, object]] = []
    for row in result.stretches:
        each: dict[str, object] = {"name": row.name, "seconds": row.seconds, "threads": row.threads}
        each |= {"load_cpu_s": row.load_cpu_s, "most_per_s": row.most_per_s, "relayed": row.relayed}
        samples = {"round_trip_us": row.flows.round_trips_us} if row.flows else {}
        if row.answers is not None:
            samples |= {"kept_ms": row.answers.kept_ms, "fresh_ms": row.answers.fresh_ms}
        for name, values in samples.items():
            each[name] = {f"p{share:g}": quantile(values, share / 100) for share in (50, 95, 99, 100)}
        if row.flows is not None:
            each |= {"sent": row.flows.sent, "received": row.flows.received}
        rows.append(each)
    return {**{k: v for k, v in asdict(result).items() if k != "stretches"}, "stretches": rows}


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--sockets", type=int, default=2000, help="idle WebSockets (default: %(default)s)")
    parser.add_argument("--relays", type=int, default=200, help="TURN/TLS clients (default: %(default)s, at most 400)")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each stretch (default: %(default)s)")
    parser.add_argument("--peer", choices=["coturn"], help="the same voice through Debian's coturn afterwards")
    parser.add_argument("--share", action="store_true", help="do not wait for the end of another benchmark")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there")
    return parser.parse_args(argv)


def run(options: argparse.Namespace) -> Result:
    with tempfile.TemporaryDirectory(prefix="wadud-port-") as name:
        directory = Path(name)
        server = PortServer(SERVER_CPU, directory)
        try:
            result = uvloop.run(measure(server, options))
        finally:
            server.stop()
        if options.peer:
            result.stretches.append(uvloop.run(measure_peer(server, options, directory)))
    return result


def main(argv: Sequence[str] | None = None) -> int:
    options = arguments(argv)
    process.end_as_by_ctrl_c()
    if options.peer and not coturn.is_installed():
        print("coturn is not installed; as root: apt-get install coturn", file=sys.stderr)
        return 2
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if (os.cpu_count() or 1) > 1:
        os.sched_setaffinity(0, {LOAD_CPU})
    with contextlib.nullcontext() if options.share else process.alone():
        process.go_first()
        result = run(options)
    show(result)
    found = faults(result, options)
    for fault in found:
        print(f"! {fault}")
    if options.json:
        options.json.write_text(json.dumps(figures(result), indent=2))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
