"""Booking as a whole: search, slots, bookings, events and plain requests at 1,000, 10,000 and 100,000 providers.

    python -m benchmarks.booking [--sizes 1000,10000,100000] [--json FILE] [--plot FILE] [--quick]

Whole server processes over HTTP, a Postgres that waits for the disk at every commit, a Redis; each size is a clinic of
its own in one database. The client is in this process. Plain requests are measured with the server alone on one core
and the client on the other, in turns with a bare aiohttp handler; everything else shares all cores, as it would on a
machine of that size. The exit status is 1 when a bar is missed at the largest size.
"""

import argparse
import asyncio
import os
import random
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import msgspec
import uvloop
from redis.asyncio import Redis

from backplane.outbox import STREAM
from backplane.postgres import Database
from backplane.redis_bus import PREFIX
from benchmarks import booking_data, booking_hours, booking_servers, process, search
from benchmarks.booking_hours import Patient, Practice, free_starts, key_of
from benchmarks.booking_load import Load, drive, request
from benchmarks.booking_plot import write_plot
from benchmarks.booking_report import Figures, report, verdicts
from benchmarks.booking_servers import LOAD_CPU, SERVER_CPU, World
from benchmarks.search import percentile

_PATIENTS: Final = 400
_CONNECTIONS: Final = 48
_PLAIN_CONNECTIONS: Final = 16
_WARM_UP: Final = 800
_SEED: Final = 20
_SETTLE_S: Final = 240.0
_REST: Final = 0.2  # CPU seconds per second of all servers


@dataclass(frozen=True, slots=True)
class Pace:
    """How long things are looked at."""

    search_rounds: int = 30
    months: int = 400
    booking_s: float = 12.0
    events: int = 60_000
    single_events: int = 50
    plain_rounds: int = 3
    plain_s: float = 2.5


QUICK: Final = Pace(5, 60, 3.0, 20_000, 10, 1, 1.0)


def say(text: str) -> None:
    print(f"  ... {text}", file=sys.stderr, flush=True)


async def measure_size(world: World, database: Database, size: int, pace: Pace) -> Figures:
    now = datetime.now(UTC)
    slug = f"bench{size}"
    say(f"{size} providers: filling")
    tenant = await booking_data.clinic(database, slug)
    await booking_data.fill(database, tenant, size, seed=size, now=now)
    practice = await booking_hours.open_doors(database, tenant, slug, _PATIENTS, 5000, now)
    for table in ("schedule", "schedule_rule", "appointment", "person", "session"):
        await booking_data.analyze(database.url, table)
    figures = Figures(providers=size, others=await asyncio.to_thread(booking_servers.busy_share))
    say(f"{size} providers: searching")
    found = await search.measure(database, tenant, pace.search_rounds, datetime.now(UTC))
    figures.search_kinds = {kind: (statistics.median(times), percentile(times, 0.95)) for kind, times in found.items()}
    every = [each for times in found.values() for each in times]
    figures.search_p50_ms, figures.search_p95_ms = statistics.median(every), percentile(every, 0.95)
    rng = random.Random(_SEED)
    await _searches(world, practice, figures, pace, rng)
    await _months(world, practice, figures, pace, rng, now)
    patients = await booking_hours.signed_in(database, world.data, practice, datetime.now(UTC))
    await _bookings(world, database, practice, patients, figures, pace, now)
    await _events(world, database, tenant, figures, pace)
    await _settle(world, database)
    patients = await booking_hours.signed_in(database, world.data, practice, datetime.now(UTC))
    await _plain(world, practice, patients, figures, pace)
    return figures


async def _searches(world: World, practice: Practice, figures: Figures, pace: Pace, rng: random.Random) -> None:
    say(f"{figures.providers} providers: searching over HTTP")
    names = ("khan", "ahmed", "ayesha", "muhamad", "cardiologist lahore", "skin doctor karachi", "")
    host = f"{practice.slug}.localhost"
    asked = (
        request("GET", f"/v1/providers?q={rng.choice(names).replace(' ', '%20')}&limit=20", host)
        for _ in range(pace.months)
    )
    load = await drive(world.ports[:1], asked, 1)
    _only_good(load)
    figures.search_http_p50_ms = statistics.median(load.times_ms)
    figures.search_http_p95_ms = percentile(load.times_ms, 0.95)


async def _months(
    world: World, practice: Practice, figures: Figures, pace: Pace, rng: random.Random, now: datetime
) -> None:
    """Half of the doctors asked have visits all through the month."""
    say(f"{figures.providers} providers: month views")
    host = f"{practice.slug}.localhost"
    first = now.date() + timedelta(days=1)
    span = f"from={first}&to={first + timedelta(days=31)}"

    def asked(count: int) -> Iterator[bytes]:
        for _ in range(count):
            doctor = rng.choice(rng.choice((practice.busy, practice.free)))
            yield request("GET", f"/v1/providers/{doctor.provider}/slots?service={doctor.service}&{span}", host)

    await drive(world.ports[:1], asked(20), 1)
    load = await drive(world.ports[:1], asked(pace.months), 1)
    _only_good(load)
    figures.month_p50_ms = statistics.median(load.times_ms)
    figures.month_p95_ms = percentile(load.times_ms, 0.95)


async def _bookings(
    world: World,
    database: Database,
    practice: Practice,
    patients: list[Patient],
    figures: Figures,
    pace: Pace,
    now: datetime,
) -> None:
    say(f"{figures.providers} providers: bookings")
    host = f"{practice.slug}.localhost"
    rng = random.Random(_SEED)
    run = uuid4()

    def asked() -> Iterator[bytes]:
        for number, (doctor, start) in enumerate(free_starts(practice.free, now)):
            body = msgspec.json.encode({"service": doctor.service, "start": start})
            token = rng.choice(patients).token
            yield request("POST", "/v1/appointments", host, token, body, f"Idempotency-Key: {key_of(run, number)}")

    wanted = asked()
    await drive(world.ports, islice(wanted, _WARM_UP), _CONNECTIONS)  # statements are prepared, tokens looked at
    spent, stored = sum(map(process.cpu_s, world.pids)), booking_servers.postgres_cpu_s(world)
    load = await drive(world.ports, wanted, _CONNECTIONS, pace.booking_s)
    done = max(1, load.good) / 1000
    figures.booking_cpu_ms = (sum(map(process.cpu_s, world.pids)) - spent) / done
    figures.booking_postgres_ms = (booking_servers.postgres_cpu_s(world) - stored) / done
    _only_good(load)
    figures.bookings_per_s = load.per_s
    figures.settled_s = await _settle(world, database)
    figures.booking_whole_ms = (
        sum(map(process.cpu_s, world.pids)) - spent + booking_servers.postgres_cpu_s(world) - stored
    ) / done
    figures.booking_p50_ms = statistics.median(load.times_ms)
    figures.booking_p95_ms = percentile(load.times_ms, 0.95)


async def _settle(world: World, database: Database) -> float:
    """Until what was set off has been told and the consumers have come to rest; seconds."""
    say("waiting for the consumers")
    began = time.monotonic()
    async with database.platform() as connection:
        while await connection.fetchval("SELECT EXISTS (SELECT FROM outbox WHERE relayed_at IS NULL), pg_sleep(0.3)"):
            pass
    while time.monotonic() - began < _SETTLE_S:
        spent = sum(map(process.cpu_s, world.pids))
        await asyncio.sleep(1)
        if sum(map(process.cpu_s, world.pids)) - spent < _REST:
            break
    return time.monotonic() - began


async def _events(world: World, database: Database, tenant: int, figures: Figures, pace: Pace) -> None:
    """A backlog, from its commit to the last event in Redis; then single events, each until it is there."""
    say(f"{figures.providers} providers: events")
    client = Redis.from_url(world.redis_url)
    stream = f"{PREFIX}stream:{STREAM}"

    async def added() -> int:
        found: Any = await client.execute_command("XINFO", "STREAM", stream)  # type: ignore[no-untyped-call]
        facts = dict(zip(found[::2], found[1::2])) if isinstance(found, list) else found
        count: int = facts[b"entries-added"]
        return count

    async with database.platform() as connection:
        before = await added()
        await connection.execute(_BACKLOG, tenant, pace.events)
        began = time.perf_counter()
        while await added() - before < pace.events:
            if time.perf_counter() - began > 120:
                raise RuntimeError("the events do not arrive in Redis")
            await asyncio.sleep(0.005)
        figures.events_per_s = pace.events / (time.perf_counter() - began)
        times = []
        for _ in range(pace.single_events):
            before = await added()
            began = time.perf_counter()
            await connection.execute(_BACKLOG, tenant, 1)
            while await added() == before:
                pass  # every look gives the loop away
            times.append((time.perf_counter() - began) * 1000)
            await asyncio.sleep(0.02)
        figures.event_p50_ms, figures.event_p95_ms = statistics.median(times), percentile(times, 0.95)
    await client.aclose()


_BACKLOG: Final = """
INSERT INTO outbox (event_id, tenant_id, aggregate, aggregate_id, type, payload, at)
SELECT gen_random_uuid(), $1, 'benchmark', gen_random_uuid(), 'benchmark.event',
    jsonb_build_object('appointment', gen_random_uuid(), 'provider', gen_random_uuid(), 'service', gen_random_uuid(),
        'status', 'confirmed', 'start', '2026-05-04T09:00:00Z', 'end', '2026-05-04T09:15:00Z', 'sequence', n),
    now()
FROM generate_series(1, $2) AS n"""


@dataclass(slots=True)
class _Turns:
    per_cpu_s: list[float] = field(default_factory=list)
    per_s: list[float] = field(default_factory=list)


async def _plain(world: World, practice: Practice, patients: list[Patient], figures: Figures, pace: Pace) -> None:
    """The clinic that one is at, with a token: no database. In turns with the bare handler."""
    say(f"{figures.providers} providers: plain requests")
    host = f"{practice.slug}.localhost"
    asked = [request("GET", "/v1/tenant", host, patient.token) for patient in patients]
    probe = await drive(world.ports[:1], iter(asked), 1)
    _only_good(probe)
    booking_servers.pin(world.pids[0], {SERVER_CPU})
    booking_servers.pin(os.getpid(), {LOAD_CPU})
    ours, theirs = _Turns(), _Turns()
    try:
        with booking_servers.bare(probe.largest) as (pid, port):
            plain = [request("GET", "/", host, patient.token) for patient in patients]
            for _ in range(pace.plain_rounds):
                await _turn(theirs, pid, port, plain, pace.plain_s)
                await _turn(ours, world.pids[0], world.ports[0], asked, pace.plain_s)
    finally:
        booking_servers.spread([os.getpid(), *world.pids])
    figures.plain_per_cpu_s = statistics.median(ours.per_cpu_s)
    figures.plain_per_s = statistics.median(ours.per_s)
    figures.bare_per_cpu_s = statistics.median(theirs.per_cpu_s)
    figures.bare_per_s = statistics.median(theirs.per_s)
    figures.plain_share = statistics.median(a / b for a, b in zip(ours.per_cpu_s, theirs.per_cpu_s))


async def _turn(turns: _Turns, pid: int, port: int, asked: list[bytes], seconds: float) -> None:
    def again() -> Iterator[bytes]:
        while True:
            yield from asked

    await drive([port], again(), _PLAIN_CONNECTIONS, 0.3)
    spent = process.cpu_s(pid)
    load = await drive([port], again(), _PLAIN_CONNECTIONS, seconds)
    spent = process.cpu_s(pid) - spent
    _only_good(load)
    turns.per_cpu_s.append(load.good / spent)
    turns.per_s.append(load.per_s)


def _only_good(load: Load) -> None:
    if load.good != len(load.times_ms):
        raise RuntimeError(f"answers other than good: {dict(load.statuses)} {load.odd}")


async def run(sizes: list[int], servers: int, pace: Pace, progress: list[Figures]) -> None:
    with booking_servers.world(servers) as world:
        database = await Database.open(world.url)
        try:
            for size in sizes:
                figures = await measure_size(world, database, size, pace)
                progress.append(figures)
                print(report(figures), flush=True)
        finally:
            await database.close()
            for log in world.logs:
                bad = [line for line in log.read_text().splitlines() if '"error"' in line]
                if bad:
                    print(f"! {len(bad)} errors in a server's log, the first: {bad[0][:300]}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--sizes", default="1000,10000,100000")
    parser.add_argument("--servers", type=int, default=1, help="server processes (default 1, beside a busy Postgres)")
    parser.add_argument("--quick", action="store_true", help="short stretches: whether it works, not how fast")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    given = parser.parse_args()
    process.end_as_by_ctrl_c()
    found: list[Figures] = []
    with process.alone():
        process.go_first()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(
                run(
                    [int(size) for size in given.sizes.split(",")],
                    given.servers,
                    QUICK if given.quick else Pace(),
                    found,
                )
            )
    if given.json:
        given.json.write_bytes(msgspec.json.format(msgspec.json.encode(found)))
    if given.plot:
        write_plot(found, given.plot)
    judged = verdicts(found[-1])
    print("\n".join(verdict.line for verdict in judged))
    return 0 if all(verdict.met for verdict in judged) else 1


if __name__ == "__main__":
    sys.exit(main())
