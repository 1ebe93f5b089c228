"""Consumers of events: one group per concern, each event once per group as far as anybody can tell.

The bus delivers at least once. An effect and the note that the event is dealt with (``consumed_event``) are written in
one transaction, so a repetition finds the note and does nothing; a crash before the commit leaves neither, and the
entry is claimed by whoever lives. Where a handler takes many, events of one tenant that come together share one
transaction, or have each its own when that fails. All are acknowledged after the commits, which wait for the disk: an
acknowledged entry is gone. An event whose handler fails leaves the stream, so that it holds nobody up, and waits in
``dead_letter`` for its next try, with growing gaps, then for an operator (`replay`).

Order: a group with one running consumer sees an aggregate's events in order, except one that is tried again. A handler
must therefore look at the row as it is now and not believe that the event is the last word.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from time import monotonic
from typing import Final
from uuid import UUID

import msgspec

from backplane.bus import Bus, BusUnavailable, Entry
from backplane.logs import Log
from backplane.outbox import STREAM, Fact, decode
from backplane.pace import Pace
from backplane.postgres import Connection, Database, DatabaseUnavailable

_log = Log(__name__)

BATCH: Final = 200
WAIT_S: Final = 2.0
PAUSE_S: Final = 1.0
RETRY_POLL_S: Final = 2.0
# Longer than a batch takes; should one take longer, two do the same and the second finds it done.
CLAIM_AFTER_S: Final = 60.0
CLAIM_EVERY_S: Final = 5.0
RETRY_LEASE: Final = timedelta(seconds=60)
MAX_ATTEMPTS: Final = 8
# An entry that so many consumers took and never acknowledged kills them.
MAX_DELIVERIES: Final = 4
FIRST_GAP_S: Final = 5
LONGEST_GAP_S: Final = 3600
REMEMBER: Final = timedelta(days=7)


class _Kind(msgspec.Struct):
    type: str


_kind: Final = msgspec.json.Decoder(_Kind)

# Gets a connection of the event's tenant inside the transaction that notes the event as dealt with.
Handler = Callable[[Connection, Fact, datetime], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Batched:
    """A handler that takes several events at once, of one tenant and each of another aggregate."""

    run: Callable[[Connection, Sequence[Fact], datetime], Awaitable[None]]


# One transaction of a consumer and a tenant at a time, in whichever process: two that deal with many each would take
# locks in different orders.
_NOTE: Final = """
INSERT INTO consumed_event (consumer, event_id, at)
SELECT $1, event_id, $3
FROM (SELECT pg_advisory_xact_lock(hashtext($1), hashint8($4))) AS turn, unnest($2::uuid[]) AS event_id
ON CONFLICT DO NOTHING RETURNING event_id"""


@dataclass(frozen=True, slots=True)
class Consumer:
    """A concern: its name is the group's, ``handlers`` go by type of event; other types do not concern it.
    ``at_once``: events in one transaction at most, for handlers that take many; others have one for each event,
    for they may lock what a request locks in another order. ``after``: told after the commit what was dealt with, now
    or earlier, to publish what may be lost; a type that has only this is handled by None."""

    name: str
    handlers: Mapping[str, Handler | Batched | None]
    at_once: int = 20
    after: Callable[[Sequence[Fact]], Awaitable[None]] | None = None


def gap_after(attempts: int) -> timedelta:
    """Pause before the next try: 5 s, 20 s, 80 s, ... up to an hour."""
    return timedelta(seconds=min(FIRST_GAP_S * 4 ** (attempts - 1), LONGEST_GAP_S))


def waves(
    facts: Sequence[Fact], handlers: Mapping[str, Handler | Batched | None]
) -> Iterator[tuple[Handler | Batched, list[Fact]]]:
    """The events by handler. The order changes only between aggregates: where one comes again, all that stands before
    it is handled first."""
    wave: dict[Handler | Batched, list[Fact]] = {}
    seen: set[UUID] = set()
    for fact in facts:
        if fact.aggregate_id in seen:
            yield from wave.items()
            wave, seen = {}, set()
        if (handler := handlers[fact.type]) is not None:
            wave.setdefault(handler, []).append(fact)
            seen.add(fact.aggregate_id)
    yield from wave.items()


class Worker:
    """Runs one consumer in this process."""

    def __init__(self, database: Database, bus: Bus, consumer: Consumer, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._bus = bus
        self._consumer = consumer
        self._clock = clock
        self._name = secrets.token_hex(6)
        self._fresh: list[Entry] = []  # taken, and not looked at
        self._taken: list[tuple[Entry, Fact | None]] = []  # and not dealt with: the database was away
        self._claim_at = 0.0

    async def run(self) -> None:
        """Consumes until cancelled; goes on by itself after Postgres or the bus were away."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._loop(self._consume))
            tasks.create_task(self._loop(self._retry))
            tasks.create_task(self._loop(self._sweep))

    async def step(self, *, wait_s: float = 0.001, claim_after_s: float | None = None) -> int:
        """Takes what dead consumers left and then what is new, deals with it, and says how many entries that were.
        The dead are looked for now and then, or now when ``claim_after_s`` says after what time one counts as dead."""
        await self._take(wait_s, claim_after_s)
        return await self._deal()

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

    async def _take(self, wait_s: float, claim_after_s: float | None = None) -> None:
        # What a lost server interrupted is kept and comes first: nothing waits for the time after which a consumer
        # counts as dead, and no entry is delivered anew, and in the end given up, because of a long outage.
        if self._taken or self._fresh:
            return
        name, entries = self._consumer.name, list[Entry]()
        if claim_after_s is not None or monotonic() >= self._claim_at:
            after_s = CLAIM_AFTER_S if claim_after_s is None else claim_after_s
            entries = await self._bus.claim(STREAM, name, self._name, BATCH, after_s)
            self._claim_at = monotonic() + CLAIM_EVERY_S
        if not entries:
            entries = await self._bus.take(STREAM, name, self._name, BATCH, wait_s)
        self._fresh = entries

    def _read(self) -> None:
        """Looks at what was taken: the events that concern this consumer, the others by their kind alone."""
        self._taken += [(entry, self._concerning(entry)) for entry in self._fresh]
        self._fresh = []

    async def _deal(self) -> int:
        """Deals with all that was taken. What a consumer has died of goes one by one from the start."""
        self._read()
        count = len(self._taken)
        if all(entry.deliveries == 1 for entry, _ in self._taken):
            done: list[str] = []
            for facts, entries in self._by_tenant():
                if not facts or await self._try(facts):
                    done += entries
            await self._acknowledge(done)
        await self._deal_singly()
        return count

    def _by_tenant(self) -> Iterator[tuple[list[Fact], list[str]]]:
        tenants: dict[int | None, list[tuple[Entry, Fact | None]]] = {}
        for each in self._taken:
            tenants.setdefault(None if each[1] is None else each[1].tenant, []).append(each)
        for some in tenants.values():
            for start in range(0, len(some), self._consumer.at_once):
                part = some[start : start + self._consumer.at_once]
                yield [fact for _, fact in part if fact is not None], [entry.id for entry, _ in part]

    async def _deal_singly(self) -> None:
        """Of a batch that killed its consumer only the culprit is left in the end: the first entry that was delivered
        too often. Those behind it only stood in the same queue."""
        culprit = next((entry for entry, _ in self._taken if entry.deliveries > MAX_DELIVERIES), None)
        while self._taken:
            entry, fact = self._taken[0]
            if fact is not None:
                if entry is culprit:
                    await self._park(fact, "its consumers died", dead=True)
                else:
                    await self._handle(fact)
            await self._acknowledge([entry.id])

    async def _acknowledge(self, ids: Sequence[str]) -> None:
        await self._bus.acknowledge(STREAM, self._consumer.name, ids)
        gone = set(ids)
        self._taken = [each for each in self._taken if each[0].id not in gone]

    def _concerning(self, entry: Entry) -> Fact | None:
        try:
            return decode(entry.body) if _kind.decode(entry.body).type in self._consumer.handlers else None
        except msgspec.DecodeError:
            _log.error("entry is no event")
            return None

    async def _try(self, facts: Sequence[Fact]) -> bool:
        """Whether all are dealt with, now or earlier; otherwise none is. A lost server is raised."""
        try:
            await self._do(facts)
        except (DatabaseUnavailable, BusUnavailable):
            raise
        except Exception:
            _log.warning("events go one by one", kind=self._consumer.name)
            return False
        return True

    async def _handle(self, fact: Fact) -> bool:
        """Whether the event is dealt with, now or earlier. A failure is parked; a lost server is raised."""
        try:
            await self._do([fact])
        except (DatabaseUnavailable, BusUnavailable):
            raise
        except Exception as error:
            _log.error("event handler failed", kind=fact.type)
            await self._park(fact, type(error).__name__)
            return False
        return True

    async def _do(self, facts: Sequence[Fact]) -> None:
        """Deals with events of a tenant; an error leaves some done and noted, and the others as they were."""
        for part in self._parts(facts):
            async with self._database.tenant(part[0].tenant) as connection, connection.transaction():
                await self._do_part(connection, part)
        if self._consumer.after is not None:
            await self._consumer.after(facts)

    def _parts(self, facts: Sequence[Fact]) -> Iterator[list[Fact]]:
        """The events that are handled, by transaction, in their order."""
        part: list[Fact] = []
        for fact in {fact.id: fact for fact in facts}.values():
            handler = self._consumer.handlers[fact.type]
            if isinstance(handler, Batched):
                part.append(fact)
            elif handler is not None:
                if part:
                    yield part
                yield [fact]
                part = []
        if part:
            yield part

    async def _do_part(self, connection: Connection, facts: Sequence[Fact]) -> None:
        """In one transaction: the note that the events are dealt with, and the effects of those that were not."""
        now = self._clock()
        ids = [fact.id for fact in facts]
        rows = await connection.fetch(_NOTE, self._consumer.name, ids, now, facts[0].tenant)
        new = {row["event_id"] for row in rows}
        for handler, some in waves([fact for fact in facts if fact.id in new], self._consumer.handlers):
            if isinstance(handler, Batched):
                await handler.run(connection, some, now)
            else:
                for fact in some:
                    await handler(connection, fact, now)

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
        pace = Pace.here()
        while True:
            await self._take(WAIT_S)
            if not self._fresh and not self._taken:
                continue
            async with pace.turn() as turn:
                self._read()
                times = [fact.at for _, fact in self._taken if fact is not None]
                turn.idle = not times
                if times:
                    turn.waited = self._clock() - times[0]
                await self._deal()

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
