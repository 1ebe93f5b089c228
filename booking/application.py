"""The booking half of one server process, put together: what it answers, what it does by itself, what it needs.

Every part of booking names its routes, its consumers of events and its jobs; here they are gathered, given the same
database, bus and clock, and run beside each other. Any number of processes may run the same: claims, leases and
constraints in Postgres decide who does what. A loop that fails is a bug: it is logged, and begins again.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from backplane.api import Routes
from backplane.audit import Sealer
from backplane.bus import Bus, BusUnavailable
from backplane.consumers import Consumer, Worker
from backplane.idempotency import forget_expired
from backplane.jobs import Errand, Handler, Scheduler
from backplane.logs import Log
from backplane.outbox import OutboxPublisher
from backplane.postgres import Database, DatabaseUnavailable

SEAL_EVERY_S: Final = 1.0
FORGET_EVERY_S: Final = 600.0
PAUSE_S: Final = 1.0
_log = Log(__name__)

Step = Callable[[], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Module:
    """What one part of booking brings. ``sweeps``: steps that are done again and again, with the seconds between."""

    routes: Sequence[Routes] = ()
    consumers: Sequence[Consumer] = ()
    jobs: Mapping[str, Handler | Errand] = field(default_factory=dict)
    sweeps: Sequence[tuple[str, float, Step]] = ()


@asynccontextmanager
async def at_work(
    database: Database, bus: Bus, parts: Sequence[Module], clock: Callable[[], datetime]
) -> AsyncIterator[None]:
    """Publisher, consumers, jobs and sweeps run while the block does. ValueError when two parts name the same job."""
    jobs: dict[str, Handler | Errand] = {}
    for part in parts:
        if both := jobs.keys() & part.jobs.keys():
            raise ValueError(f"two parts do {sorted(both)}")
        jobs |= part.jobs
    sealer = Sealer(database)

    async def forget() -> None:
        async with database.platform() as connection:
            await forget_expired(connection, clock())

    sweeps = [
        ("seal", SEAL_EVERY_S, sealer.seal),
        ("forget", FORGET_EVERY_S, forget),
        *(sweep for part in parts for sweep in part.sweeps),
    ]
    tasks = [
        asyncio.create_task(_again_and_again(*each))
        for each in (
            ("publisher", PAUSE_S, OutboxPublisher(database, bus, clock).run),
            ("jobs", PAUSE_S, Scheduler(database, jobs, clock).run),
            *(
                (consumer.name, PAUSE_S, Worker(database, bus, consumer, clock).run)
                for part in parts
                for consumer in part.consumers
            ),
            *sweeps,
        )
    ]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=PAUSE_S)


async def _again_and_again(name: str, pause_s: float, step: Step) -> None:
    while True:
        try:
            await step()
        except (DatabaseUnavailable, BusUnavailable):
            _log.warning("work waits", kind=name)
        except Exception:
            _log.error("work failed", kind=name)
        await asyncio.sleep(pause_s)
