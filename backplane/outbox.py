"""Events leave the database by way of a table, so that what is committed is told and what is not is not.

`emit` writes a row in the transaction of the business. The `OutboxPublisher` appends rows to the bus and marks them. It
reads only rows whose transaction is older than every one still running (``tx < pg_snapshot_xmin``): a row that commits
late is then never skipped. Rows go out in the order of their ids; two transactions that change the same aggregate wait
for each other on its row, so the order per aggregate is the order of what happened. The lock on the row of
``outbox_relay`` lets one publisher work at a time, whichever process it lives in: two would overtake each other.

A crash between append and commit repeats a batch, and a bus that lost its memory (another incarnation) gets all that is
kept once more: events arrive at least once, and consumers know them by id (`consumers`).

NOTIFY makes commits queue behind one lock, which costs half of the throughput. So an event notifies only while the
publisher sleeps; an awake one looks by itself every few milliseconds, and polling covers what is missed in between.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

import msgspec

from backplane.bus import STREAM_LENGTH, Bus, BusUnavailable
from backplane.ids import uuid7
from backplane.logs import Log
from backplane.pace import Pace
from backplane.postgres import Connection, Database, DatabaseUnavailable, Row

_log = Log(__name__)

STREAM: Final = "events"
CHANNEL: Final = "outbox"
BATCH: Final = 1000
KEEP: Final = timedelta(hours=6)
AWAKE_PAUSE_S: Final = 0.01
AWAKE_LOOKS: Final = 20
POLL_S: Final = 1.0
TRIM_EVERY_S: Final = 5.0
SWEEP_EVERY_S: Final = 60.0
SWEEP_BATCH: Final = 10_000

Scalar = str | int | bool | None


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """What happened to one aggregate. ``payload``: ids and minimal facts, never a name, an address or a free text."""

    type: str
    aggregate: str
    aggregate_id: UUID
    payload: Mapping[str, Scalar] = {}


class Fact(msgspec.Struct, frozen=True, kw_only=True):
    """An event as consumers get it. ``id`` tells a repetition; ``v`` is raised when the shape of payloads changes."""

    id: UUID
    tenant: int
    type: str
    aggregate: str
    aggregate_id: UUID
    payload: dict[str, Scalar]
    at: datetime
    traceparent: str | None = None
    v: int = 1


class _Written(msgspec.Struct, frozen=True, kw_only=True):
    """A `Fact` on its way out, whose payload is JSON already."""

    id: UUID
    tenant: int
    type: str
    aggregate: str
    aggregate_id: UUID
    payload: msgspec.Raw
    at: datetime
    traceparent: str | None = None
    v: int = 1


_EMIT: Final = f"""
WITH added AS (
    INSERT INTO outbox (event_id, tenant_id, aggregate, aggregate_id, type, payload, traceparent, at)
    VALUES ($1, coalesce($2::bigint, app_tenant()), $3, $4, $5, $6, $7, $8)
)
SELECT pg_notify('{CHANNEL}', '') FROM outbox_relay WHERE asleep"""

_WAITING: Final = """
SELECT id, event_id, tenant_id, type, aggregate, aggregate_id, payload::text AS payload, at, traceparent FROM outbox
WHERE relayed_at IS NULL AND tx < pg_snapshot_xmin(pg_current_snapshot())
ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED"""

_SWEEP: Final = """
DELETE FROM outbox WHERE id = ANY(ARRAY(
    SELECT id FROM outbox WHERE relayed_at < $1 ORDER BY relayed_at LIMIT $2 FOR UPDATE SKIP LOCKED))"""

_encoder = msgspec.json.Encoder()


async def emit(
    connection: Connection, event: Event, now: datetime, *, tenant: int | None = None, traceparent: str | None = None
) -> UUID:
    """Writes the event in the caller's transaction and returns its id. ``tenant``: needed by the platform only."""
    event_id = uuid7(now)
    await connection.execute(
        _EMIT,
        event_id,
        tenant,
        event.aggregate,
        event.aggregate_id,
        event.type,
        dict(event.payload),
        traceparent,
        now,
    )
    return event_id


class OutboxPublisher:
    """Moves events from the outbox to the stream ``STREAM`` of ``bus``. Any number of processes may run one."""

    def __init__(self, database: Database, bus: Bus, clock: Callable[[], datetime], *, batch: int = BATCH) -> None:
        self._database = database
        self._bus = bus
        self._clock = clock
        self._batch = batch
        self._room = 0  # in the stream, before it is measured again
        self._waited = timedelta(0)  # the oldest of the last batch
        self._wake = asyncio.Event()

    async def step(self) -> int:
        """Publish one batch and say how many events it held; 0 as well when another publisher is at work or consumers
        are too far behind. Raises BusUnavailable and DatabaseUnavailable; the rows stay then."""
        if self._room <= 0 and not await self._make_room():
            _log.warning("consumers are behind", count=STREAM_LENGTH)
            return 0
        incarnation = await self._bus.incarnation()
        async with self._database.platform() as connection, connection.transaction():
            state = await connection.fetchrow(
                "SELECT incarnation, commit_later() FROM outbox_relay FOR UPDATE SKIP LOCKED"
            )
            if state is None:
                return 0
            if state["incarnation"] != incarnation:
                await connection.execute("UPDATE outbox SET relayed_at = NULL WHERE relayed_at IS NOT NULL")
                await connection.execute("UPDATE outbox_relay SET incarnation = $1", incarnation)
            rows = await connection.fetch(_WAITING, self._batch)
            if rows:
                self._waited = self._clock() - rows[0]["at"]
                self._room -= len(rows)
                await self._bus.append(STREAM, [_encode(row) for row in rows])
                await connection.execute(
                    "UPDATE outbox SET relayed_at = $2 WHERE id = ANY($1)", [row["id"] for row in rows], self._clock()
                )
        return len(rows)

    async def sweep(self) -> int:
        """Deletes what was published longer than `KEEP` ago and says how many rows that were."""
        async with self._database.platform() as connection:
            tag = await connection.execute(_SWEEP, self._clock() - KEEP, SWEEP_BATCH)
        return int(tag.split()[-1])

    async def run(self) -> None:
        """Publish until cancelled; goes on by itself after Postgres or the bus were away."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._database.listen(CHANNEL, self._wake.set))
            tasks.create_task(self._every(TRIM_EVERY_S, self._trim))
            tasks.create_task(self._every(SWEEP_EVERY_S, self._sweep_all))
            tasks.create_task(self._work())

    async def _make_room(self) -> bool:
        length = await self._bus.length(STREAM)
        if length >= STREAM_LENGTH:
            await self._bus.trim(STREAM)
            length = await self._bus.length(STREAM)
        # a part of it: other publishers fill it too
        self._room = min(STREAM_LENGTH - length, max(1, STREAM_LENGTH // 10))
        return self._room > 0

    async def _work(self) -> None:
        pace = Pace.here()
        idle = 0
        while True:
            try:
                async with pace.turn() as turn:
                    count = await self.step()
                    turn.idle, turn.waited = not count, self._waited
                idle = 0 if count else idle + 1
                if idle < AWAKE_LOOKS:
                    if count < self._batch:  # let a few gather: every batch is a commit
                        await asyncio.sleep(AWAKE_PAUSE_S)
                    continue
                if await self._sleep():
                    idle = 0
            except (BusUnavailable, DatabaseUnavailable):
                _log.warning("publisher waits")
                await asyncio.sleep(POLL_S)
            except Exception:
                _log.error("publisher failed")
                await asyncio.sleep(POLL_S)

    async def _sleep(self) -> bool:
        """Asks for notifications, looks once more for what came before that, and waits; whether there is work."""
        self._wake.clear()
        await self._set_asleep(True)
        if not await self.step():
            try:
                async with asyncio.timeout(POLL_S):
                    await self._wake.wait()
            except TimeoutError:
                return False
        await self._set_asleep(False)
        return True

    async def _set_asleep(self, asleep: bool) -> None:
        async with self._database.platform() as connection:
            await connection.execute("UPDATE outbox_relay SET asleep = $1 WHERE asleep <> $1", asleep)

    async def _trim(self) -> None:
        await self._bus.trim(STREAM)

    async def _sweep_all(self) -> None:
        while await self.sweep() == SWEEP_BATCH:
            pass

    async def _every(self, seconds: float, do: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await do()
            except (BusUnavailable, DatabaseUnavailable):
                pass  # the work above tells it
            except Exception:
                _log.error("publisher housekeeping failed")
            await asyncio.sleep(seconds)


def decode(body: bytes) -> Fact:
    """An entry of the stream. Raises msgspec.DecodeError."""
    return msgspec.json.decode(body, type=Fact)


def _encode(row: Row) -> bytes:
    return _encoder.encode(
        _Written(
            id=row["event_id"],
            tenant=row["tenant_id"],
            type=row["type"],
            aggregate=row["aggregate"],
            aggregate_id=row["aggregate_id"],
            payload=msgspec.Raw(row["payload"].encode()),
            at=row["at"].astimezone(UTC),
            traceparent=row["traceparent"],
        )
    )
