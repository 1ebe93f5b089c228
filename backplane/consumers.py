"""Consumers of events: one group per concern, each event once per group as far as anybody can tell.

The bus delivers at least once. An effect and the note that the event is dealt with (``consumed_event``) are written in
one transaction, so a repetition finds the note and does nothing; a crash before the commit leaves neither, and the
entry is claimed by whoever lives. An event whose handler fails leaves the stream, so that it holds nobody up, and waits
in ``dead_letter`` for its next try, with growing gaps, then for an operator (`replay`).

Order: a group with one running consumer sees an aggregate's events in order, except one that is tried again. A handler
must therefore look at the row as it is now and not believe that the event is the last word.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import msgspec

from backplane.bus import Bus, BusUnavailable, Entry
from backplane.logs import Log
from backplane.outbox import STREAM, Fact, decode
from backplane.postgres import Connection, Database, DatabaseUnavailable

_log = Log(__name__)

BATCH: Final = 100
WAIT_S: Final = 2.0
PAUSE_S: Final = 1.0
RETRY_POLL_S: Final = 2.0
# Longer than any handler takes; a living consumer acknowledges entry by entry.
CLAIM_AFTER_S: Final = 60.0
RETRY_LEASE: Final = timedelta(seconds=60)
MAX_ATTEMPTS: Final = 8
# An entry that so many consumers took and never acknowledged kills them.
MAX_DELIVERIES: Final = 4
FIRST_GAP_S: Final = 5
LONGEST_GAP_S: Final = 3600
REMEMBER: Final = timedelta(days=7)

# Gets a connection of the event's tenant inside the transaction that notes the event as dealt with.
Handler = Callable[[Connection, Fact, datetime], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Consumer:
    """A concern: its name is the group's, ``handlers`` go by type of event; other types do not concern it."""

    name: str
    handlers: Mapping[str, Handler]


def gap_after(attempts: int) -> timedelta:
    """Pause before the next try: 5 s, 20 s, 80 s, ... up to an hour."""
    return timedelta(seconds=min(FIRST_GAP_S * 4 ** (attempts - 1), LONGEST_GAP_S))


class Worker:
    """Runs one consumer in this process."""

    def __init__(self, database: Database, bus: Bus, consumer: Consumer, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._bus = bus
        self._consumer = consumer
        self._clock = clock
        self._name = secrets.token_hex(6)
        self._taken: list[Entry] = []  # and not dealt with: the database was away

    async def run(self) -> None:
        """Consumes until cancelled; goes on by itself after Postgres or the bus were away."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._loop(self._consume))
            tasks.create_task(self._loop(self._retry))
            tasks.create_task(self._loop(self._sweep))

    async def step(self, *, wait_s: float = 0.001, claim_after_s: float = CLAIM_AFTER_S) -> int:
        """Takes what dead consumers left and then what is new, and says how many entries that were.

        What a lost server interrupts is kept and comes first in the next step: nothing waits for the time after which
        a consumer counts as dead, and no entry is delivered anew, and in the end given up, because of a long outage.
        """
        name = self._consumer.name
        if not self._taken:
            self._taken = await self._bus.claim(STREAM, name, self._name, BATCH, claim_after_s)
            self._taken += await self._bus.take(STREAM, name, self._name, BATCH, wait_s)
        count = len(self._taken)
        while self._taken:
            await self._deal_with(self._taken[0])
            await self._bus.acknowledge(STREAM, name, [self._taken[0].id])
            del self._taken[0]
        return count

    async def retry_step(self) -> bool:
        """Tries one failed event whose time has come; whether there was one."""
        now = self._clock()
        async with self._database.platform() as connection:
            # the lease makes it ours; a crash leaves it to whoever looks after its end
            row = await connection.fetchrow(
                """UPDATE dead_letter SET retry_at = $2::timestamptz + $3::interval WHERE id = (
                       SELECT id FROM dead_letter WHERE consumer = $1 AND retry_at <= $2
                       ORDER BY retry_at LIMIT 1 FOR UPDATE SKIP LOCKED)
                   RETURNING id, event, attempts""",
                self._consumer.name,
                now,
                RETRY_LEASE,
            )
        if row is None:
            return False
        fact = msgspec.convert(row["event"], Fact)
        if await self._handle(fact):
            async with self._database.platform() as connection:
                await connection.execute("DELETE FROM dead_letter WHERE id = $1", row["id"])
        return True

    async def sweep(self) -> None:
        """Forgets events that are too old to be repeated."""
        async with self._database.platform() as connection:
            await connection.execute(
                "DELETE FROM consumed_event WHERE consumer = $1 AND at < $2",
                self._consumer.name,
                self._clock() - REMEMBER,
            )

    async def _deal_with(self, entry: Entry) -> None:
        try:
            fact = decode(entry.body)
        except msgspec.DecodeError:
            _log.error("entry is no event")
            return
        if fact.type not in self._consumer.handlers:
            return
        if entry.deliveries > MAX_DELIVERIES:
            await self._park(fact, "its consumers died", dead=True)
        else:
            await self._handle(fact)

    async def _handle(self, fact: Fact) -> bool:
        """Whether the event is dealt with, now or earlier. A failure is parked; a lost server is raised."""
        now = self._clock()
        try:
            async with self._database.tenant(fact.tenant) as connection, connection.transaction():
                first = await connection.fetchval(
                    "INSERT INTO consumed_event (consumer, event_id, at) VALUES ($1, $2, $3) "
                    "ON CONFLICT DO NOTHING RETURNING true",
                    self._consumer.name,
                    fact.id,
                    now,
                )
                if first:
                    await self._consumer.handlers[fact.type](connection, fact, now)
        except (DatabaseUnavailable, BusUnavailable):
            raise
        except Exception as error:
            _log.error("event handler failed", kind=fact.type)
            await self._park(fact, type(error).__name__)
            return False
        return True

    async def _park(self, fact: Fact, error: str, *, dead: bool = False) -> None:
        now = self._clock()
        async with self._database.platform() as connection, connection.transaction():
            attempts = await connection.fetchval(
                """INSERT INTO dead_letter (consumer, event_id, event, error, at, attempts)
                   VALUES ($1, $2, $3, $4, $5, 1)
                   ON CONFLICT (consumer, event_id) DO UPDATE
                       SET error = excluded.error, attempts = dead_letter.attempts + 1
                   RETURNING attempts""",
                self._consumer.name,
                fact.id,
                msgspec.to_builtins(fact),
                error,
                now,
            )
            dead = dead or attempts >= MAX_ATTEMPTS
            await connection.execute(
                "UPDATE dead_letter SET retry_at = $3 WHERE consumer = $1 AND event_id = $2",
                self._consumer.name,
                fact.id,
                None if dead else now + gap_after(attempts),
            )
        if dead:
            _log.error("event is dead", kind=fact.type)

    async def _consume(self) -> None:
        await self._bus.join(STREAM, self._consumer.name)
        while True:
            await self.step(wait_s=WAIT_S)

    async def _retry(self) -> None:
        while True:
            if not await self.retry_step():
                await asyncio.sleep(RETRY_POLL_S)

    async def _sweep(self) -> None:
        while True:
            await self.sweep()
            await asyncio.sleep(RETRY_LEASE.total_seconds())

    async def _loop(self, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await work()
            except (DatabaseUnavailable, BusUnavailable):
                _log.warning("consumer waits", kind=self._consumer.name)
            except Exception:
                _log.error("consumer failed", kind=self._consumer.name)
            await asyncio.sleep(PAUSE_S)


async def replay(connection: Connection, consumer: str, now: datetime, event_id: UUID | None = None) -> int:
    """Gives the dead events of a consumer, or one of them, a new life; ``connection`` of the platform. How many."""
    tag = await connection.execute(
        """UPDATE dead_letter SET retry_at = $2, replayed_at = $2, attempts = 0
           WHERE consumer = $1 AND retry_at IS NULL AND ($3::uuid IS NULL OR event_id = $3)""",
        consumer,
        now,
        event_id,
    )
    return int(tag.split()[-1])
