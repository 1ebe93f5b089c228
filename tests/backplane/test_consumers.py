"""Batches of events: one transaction for many, and every promise kept that was made for each."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest

from backplane import consumers
from backplane.bus import BusUnavailable, Entry, LocalBus
from backplane.consumers import Batched, Consumer, Handler, Worker, waves
from backplane.outbox import STREAM, Event, Fact, OutboxPublisher, emit
from backplane.postgres import Connection, Database

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
NOTED = "SELECT count(*) FROM consumed_event"


def noon() -> datetime:
    return NOW


class Stream(LocalBus):
    """A bus that is asked for things and may break before an acknowledgement."""

    def __init__(self, database: Database) -> None:
        super().__init__()
        self.database = database
        self.broken: BaseException | None = None
        self.noted_at_acknowledge: list[int] = []
        self.claims = 0

    async def acknowledge(self, stream: str, group: str, ids: Sequence[str]) -> None:
        if ids:
            async with self.database.platform() as connection:
                self.noted_at_acknowledge.append(await connection.fetchval(NOTED))
        if self.broken is not None:
            raise self.broken
        await super().acknowledge(stream, group, ids)

    async def claim(self, stream: str, group: str, consumer: str, count: int, idle_s: float) -> list[Entry]:
        self.claims += 1
        return await super().claim(stream, group, consumer, count, idle_s)

    async def fill(self, *events: tuple[int, UUID, int]) -> None:
        """Tenant, aggregate and number of each."""
        await self.join(STREAM, "effects")
        async with self.database.platform() as connection, connection.transaction():
            for tenant, aggregate, number in events:
                event = Event(type="seen", aggregate="visit", aggregate_id=aggregate, payload={"number": number})
                await emit(connection, event, NOW, tenant=tenant)
        await OutboxPublisher(self.database, self, noon).step()


class Effects:
    """Effects are rows; the handler fails or dies at the numbers that are named."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.errors: dict[int, BaseException] = {}

    async def one(self, connection: Connection, fact: Fact, now: datetime) -> None:
        number = fact.payload["number"]
        assert isinstance(number, int)
        await connection.execute(
            """INSERT INTO job (key, kind, subject, run_at, payload)
               VALUES ($1, pg_current_xact_id()::text, $2, $3, '{}')""",
            str(number),
            fact.aggregate_id,
            now,
        )
        if number in self.errors:
            raise self.errors[number]

    async def many(self, connection: Connection, facts: Sequence[Fact], now: datetime) -> None:
        assert len({fact.aggregate_id for fact in facts}) == len(facts)
        for fact in facts:
            await self.one(connection, fact, now)

    def worker(self, *, together: bool = False, at_once: int = 20) -> Worker:
        handler: Handler | Batched = Batched(self.many) if together else self.one
        return Worker(self.stream.database, self.stream, Consumer("effects", {"seen": handler}, at_once), noon)

    async def done(self) -> list[int]:
        """In the order in which it was done."""
        async with self.stream.database.platform() as connection:
            return [int(row["key"]) for row in await connection.fetch("SELECT key FROM job ORDER BY id")]

    async def transactions(self) -> list[set[int]]:
        async with self.stream.database.platform() as connection:
            rows = await connection.fetch("SELECT array_agg(key) AS keys FROM job GROUP BY kind ORDER BY min(id)")
        return [set(map(int, row["keys"])) for row in rows]

    async def parked(self) -> list[tuple[int, str]]:
        async with self.stream.database.platform() as connection:
            rows = await connection.fetch("SELECT event, error FROM dead_letter ORDER BY id")
        return [(row["event"]["payload"]["number"], row["error"]) for row in rows]


@pytest.fixture
def stream(database: Database) -> Stream:
    return Stream(database)


@pytest.fixture
def effects(stream: Stream) -> Effects:
    return Effects(stream)


async def test_events_of_a_tenant_share_a_transaction(stream: Stream, effects: Effects) -> None:
    await stream.fill(*((tenant, uuid4(), 10 * tenant + number) for number in range(3) for tenant in (7, 8)))
    assert await effects.worker(together=True, at_once=2).step() == 6
    assert await effects.transactions() == [{70, 71}, {72}, {80, 81}, {82}]


async def test_handlers_that_take_one_event_have_a_transaction_each(stream: Stream, effects: Effects) -> None:
    await stream.fill(*((7, uuid4(), number) for number in range(3)))
    assert await effects.worker(at_once=2).step() == 3
    assert await effects.transactions() == [{0}, {1}, {2}]


async def test_two_processes_deal_with_many_one_after_the_other(
    stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each takes a part of the stream with the same aggregates in another order; neither may wait for the other's."""
    one, other = uuid4(), uuid4()
    seen: list[int] = []

    async def many(connection: Connection, facts: Sequence[Fact], now: datetime) -> None:
        seen.append(len(facts))
        assert len(seen) % 2, "two at once"
        await asyncio.sleep(0.05)
        seen.append(len(facts))

    workers = [Worker(stream.database, stream, Consumer("effects", {"seen": Batched(many)}), noon) for _ in range(2)]
    await stream.fill((7, one, 0), (7, other, 1), (7, other, 2), (7, one, 3))
    monkeypatch.setattr(consumers, "BATCH", 2)
    assert await asyncio.gather(*(worker.step() for worker in workers)) == [2, 2]
    assert seen == [2, 2, 2, 2]


@pytest.mark.parametrize("together", [False, True])
async def test_one_event_that_fails_is_parked_and_the_others_are_done(
    stream: Stream, effects: Effects, together: bool
) -> None:
    await stream.fill(*((7, uuid4(), number) for number in range(5)), (8, uuid4(), 5))
    effects.errors = {2: ValueError()}
    worker = effects.worker(together=together)
    assert [await worker.step(), await worker.step()] == [6, 0]
    assert sorted(await effects.done()) == [0, 1, 3, 4, 5]
    assert await effects.parked() == [(2, "ValueError")]
    effects.errors = {}
    async with stream.database.platform() as connection:
        await connection.execute("UPDATE dead_letter SET retry_at = $1", NOW)
    assert await worker.retry_step()
    assert (await effects.done())[-1] == 2


async def test_entries_are_acknowledged_at_once_and_after_their_commit(stream: Stream, effects: Effects) -> None:
    await stream.fill(*((tenant, uuid4(), tenant) for tenant in range(2, 7)))
    await effects.worker().step()
    assert stream.noted_at_acknowledge == [5]


@pytest.mark.parametrize("end", [BusUnavailable(), asyncio.CancelledError()])
async def test_a_crash_between_commit_and_acknowledgement_repeats_nothing(
    stream: Stream, effects: Effects, end: BaseException
) -> None:
    await stream.fill(*((7, uuid4(), number) for number in range(3)))
    stream.broken = end
    dying = effects.worker()
    with pytest.raises(type(end)):
        await dying.step()
    stream.broken = None
    heir = dying if isinstance(end, BusUnavailable) else effects.worker()
    assert await heir.step(claim_after_s=0.0) == 3
    assert await heir.step(claim_after_s=0.0) == 0
    assert await effects.done() == [0, 1, 2]


@pytest.mark.parametrize("together", [False, True])
async def test_a_batch_keeps_the_order_of_every_aggregate(stream: Stream, effects: Effects, together: bool) -> None:
    visits = [uuid4() for _ in range(3)]
    await stream.fill(*((7, visits[number % 3 if number < 6 else 0], number) for number in range(9)))
    await effects.worker(together=together).step()
    done = await effects.done()
    for mine in ([0, 3, 6, 7, 8], [1, 4], [2, 5]):
        assert [number for number in done if number in mine] == mine


async def test_order_changes_between_aggregates_only(effects: Effects) -> None:
    a, b = uuid4(), uuid4()
    many, other = Batched(effects.many), Batched(effects.many)
    facts = [
        Fact(id=uuid4(), tenant=7, type=kind, aggregate="visit", aggregate_id=visit, payload={}, at=NOW)
        for kind, visit in [("told", a), ("ended", b), ("told", uuid4()), ("ended", a), ("told", b)]
    ]
    first, second, third, fourth, fifth = facts
    handled = list(waves(facts, {"told": many, "ended": effects.one}))
    assert handled == [(many, [first, third]), (effects.one, [second]), (effects.one, [fourth]), (many, [fifth])]
    assert many == other


async def test_an_event_twice_in_a_batch_is_handled_once(stream: Stream, effects: Effects) -> None:
    await stream.fill((7, uuid4(), 1), (7, uuid4(), 2))
    async with stream.database.platform() as connection:
        await connection.execute("UPDATE outbox SET relayed_at = NULL")
    await OutboxPublisher(stream.database, stream, noon).step()
    assert await effects.worker(together=True).step() == 4
    assert await effects.done() == [1, 2]


async def test_an_event_that_kills_its_consumers_takes_none_of_its_batch_with_it(
    stream: Stream, effects: Effects, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumers, "MAX_DELIVERIES", 2)
    await stream.fill(*((7, uuid4(), number) for number in range(5)))
    effects.errors = {2: asyncio.CancelledError()}
    for _ in range(2):
        with pytest.raises(asyncio.CancelledError):
            await effects.worker().step(claim_after_s=0.0)
    await effects.worker().step(claim_after_s=0.0)
    assert await effects.done() == [0, 1, 3, 4]
    assert await effects.parked() == [(2, "its consumers died")]


async def test_the_dead_are_looked_for_now_and_then(
    stream: Stream, effects: Effects, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = effects.worker()
    for _ in range(5):
        await worker.step()
    assert stream.claims == 1
    monkeypatch.setattr(consumers, "CLAIM_EVERY_S", 0.0)
    worker = effects.worker()
    for _ in range(5):
        await worker.step()
    assert stream.claims == 6


async def test_what_comes_after_the_commit_sees_its_effects_and_is_not_lost_with_a_bus(
    stream: Stream, effects: Effects
) -> None:
    await stream.fill(*((7, uuid4(), number) for number in range(3)))
    seen: list[int] = []

    async def after(facts: Sequence[Fact]) -> None:
        seen.append(len(facts) * len(await effects.done()))
        if len(seen) == 1:
            raise BusUnavailable

    worker = Worker(stream.database, stream, Consumer("effects", {"seen": effects.one}, after=after), noon)
    with pytest.raises(BusUnavailable):
        await worker.step()
    assert await worker.step() == 3
    assert (seen, await effects.done()) == ([9, 9], [0, 1, 2])


async def test_a_type_that_nobody_handles_is_told_and_not_noted(stream: Stream) -> None:
    await stream.fill((7, uuid4(), 1))
    told: list[Fact] = []

    async def after(facts: Sequence[Fact]) -> None:
        told.extend(facts)

    await Worker(stream.database, stream, Consumer("effects", {"seen": None}, after=after), noon).step()
    assert ([fact.payload for fact in told], stream.noted_at_acknowledge) == ([{"number": 1}], [0])
