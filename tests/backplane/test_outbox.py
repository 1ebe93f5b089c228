"""Events on their way from a transaction to the effects of consumers, through crashes of everything in between."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
import pytest_asyncio

from backplane import consumers, outbox
from backplane.bus import Bus, BusUnavailable, LocalBus
from backplane.consumers import MAX_ATTEMPTS, Consumer, Worker, replay
from backplane.logs import JsonFormatter
from backplane.outbox import STREAM, Event, Fact, OutboxPublisher, decode, emit
from backplane.postgres import Connection, Database, DatabaseUnavailable
from backplane.redis_bus import RedisBus
from tests.support.redis import RedisServer
from tests.support.tasks import running

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
VISIT = UUID("0194fdc2-fa2f-7cc0-81d3-ff1212345678")
TENANT = 7


def noon() -> datetime:
    return NOW


def booked(sequence: int, visit: UUID = VISIT) -> Event:
    return Event(type="appointment.booked", aggregate="appointment", aggregate_id=visit, payload={"sequence": sequence})


async def emit_all(database: Database, *sequences: int) -> list[UUID]:
    async with database.tenant(TENANT) as connection, connection.transaction():
        return [await emit(connection, booked(each), NOW) for each in sequences]


async def waiting(database: Database) -> int:
    async with database.platform() as connection:
        return int(await connection.fetchval("SELECT count(*) FROM outbox WHERE relayed_at IS NULL"))


async def seen(bus: Bus, group: str = "test") -> list[int]:
    await bus.join(STREAM, group)
    facts = [decode(each.body) for each in await bus.take(STREAM, group, "only", 10_000, 0.01)]
    return [int(fact.payload["sequence"] or 0) for fact in facts]


@pytest_asyncio.fixture(params=["local", "redis"])
async def bus(request: pytest.FixtureRequest) -> AsyncIterator[Bus]:
    made: Bus = LocalBus()
    if request.param == "redis":
        made = RedisBus(request.getfixturevalue("redis_process").url, prefix=f"test:{request.node.name}:")
    yield made
    await made.close()


class Effects:
    """A consumer whose effect is a row, which may be told to fail or to die."""

    def __init__(self) -> None:
        self.fail: Callable[[Fact], bool] = lambda _: False
        self.die = False
        self.consumer = Consumer("effects", {"appointment.booked": self.handle})

    async def handle(self, connection: Connection, fact: Fact, now: datetime) -> None:
        await connection.execute(
            "INSERT INTO job (key, kind, subject, run_at) VALUES ($1 || gen_random_uuid(), 'effect', $2, $3)",
            f"{fact.payload['sequence']}:",
            fact.aggregate_id,
            now,
        )
        if self.fail(fact):
            raise ValueError("Amina Bibi asked for it")
        if self.die:
            raise asyncio.CancelledError

    async def done(self, database: Database) -> list[int]:
        async with database.tenant(TENANT) as connection:
            rows = await connection.fetch("SELECT key FROM job ORDER BY id")
        return [int(row["key"].partition(":")[0]) for row in rows]


class Times:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


async def test_an_event_arrives_as_it_was_emitted(database: Database, bus: Bus) -> None:
    (event_id,) = await emit_all(database, 1)
    assert await OutboxPublisher(database, bus, noon).step() == 1
    await bus.join(STREAM, "test")
    (entry,) = await bus.take(STREAM, "test", "only", 10, 1.0)
    assert decode(entry.body) == Fact(
        id=event_id,
        tenant=TENANT,
        type="appointment.booked",
        aggregate="appointment",
        aggregate_id=VISIT,
        payload={"sequence": 1},
        at=NOW,
    )


async def test_a_transaction_that_fails_emits_nothing(database: Database, bus: Bus) -> None:
    async def book() -> None:
        async with database.tenant(TENANT) as connection, connection.transaction():
            await emit(connection, booked(1), NOW)
            raise KeyError

    with pytest.raises(KeyError):
        await book()
    assert await OutboxPublisher(database, bus, noon).step() == 0


async def test_a_late_commit_is_neither_skipped_nor_overtaken(database: Database, bus: Bus) -> None:
    relay = OutboxPublisher(database, bus, noon)
    async with database.tenant(TENANT) as slow, slow.transaction():
        await emit(slow, booked(1), NOW)
        await emit_all(database, 2)
        assert await relay.step() == 0
    assert await relay.step() == 2
    assert await seen(bus) == [1, 2]


async def test_batches_keep_the_order(database: Database, bus: Bus) -> None:
    await emit_all(database, *range(25))
    relay = OutboxPublisher(database, bus, noon, batch=10)
    assert [await relay.step() for _ in range(4)] == [10, 10, 5, 0]
    assert await seen(bus) == list(range(25))


async def test_several_relays_take_turns_and_no_event_goes_twice(database: Database, bus: Bus) -> None:
    await emit_all(database, *range(200))
    relays = [OutboxPublisher(database, bus, noon, batch=7) for _ in range(4)]
    while await waiting(database):
        await asyncio.gather(*(relay.step() for relay in relays))
    assert await seen(bus) == list(range(200))


async def test_relayed_rows_are_swept_after_a_while(database: Database) -> None:
    bus, times = LocalBus(), Times()
    await emit_all(database, 1, 2)
    relay = OutboxPublisher(database, bus, times)
    await relay.step()
    assert await relay.sweep() == 0
    times.now += outbox.KEEP + timedelta(seconds=1)
    await emit_all(database, 3)
    assert await relay.sweep() == 2
    assert await waiting(database) == 1


async def test_a_bus_that_lost_its_memory_gets_everything_again(database: Database) -> None:
    await emit_all(database, 1, 2)
    await OutboxPublisher(database, LocalBus(), noon).step()
    reborn = LocalBus()
    relay = OutboxPublisher(database, reborn, noon)
    assert [await relay.step(), await relay.step()] == [2, 0]
    assert await seen(reborn) == [1, 2]


async def test_without_redis_rows_wait_and_go_later(
    database: Database, redis_server: RedisServer, redis_bus: RedisBus
) -> None:
    relay = OutboxPublisher(database, redis_bus, noon)
    await emit_all(database, 1)
    await relay.step()
    redis_server.kill()
    await emit_all(database, 2)
    with pytest.raises(BusUnavailable):
        await relay.step()
    assert await waiting(database) == 1
    await asyncio.to_thread(redis_server.start)
    while await relay.step():
        pass
    assert await seen(redis_bus) == [1, 2]  # what Redis had forgotten came again


async def test_the_relay_holds_back_when_consumers_are_behind(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "STREAM_LENGTH", 2)
    bus = LocalBus()
    await bus.join(STREAM, "slow")
    relay = OutboxPublisher(database, bus, noon, batch=2)
    await emit_all(database, 1, 2, 3)
    assert [await relay.step(), await relay.step()] == [2, 0]
    entries = await bus.take(STREAM, "slow", "only", 2, 0.01)
    await bus.acknowledge(STREAM, "slow", [each.id for each in entries])
    assert await relay.step() == 1


async def test_a_running_relay_is_woken_by_an_event(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "POLL_S", 60.0)  # so that only a notification can wake it in time
    monkeypatch.setattr(outbox, "AWAKE_LOOKS", 1)
    bus = LocalBus()
    await bus.join(STREAM, "test")
    async with running(OutboxPublisher(database, bus, noon).run()):
        for sequence in range(3):
            await emit_all(database, sequence)
            (entry,) = await bus.take(STREAM, "test", "only", 10, 10.0)
            assert decode(entry.body).payload == {"sequence": sequence}


async def test_an_event_handled_once_is_not_handled_again(database: Database, bus: Bus) -> None:
    effects = Effects()
    await emit_all(database, 1, 2)
    await bus.join(STREAM, "effects")
    for _ in range(2):  # a relay that crashed between append and commit
        await OutboxPublisher(database, bus, noon).step()
        async with database.platform() as connection:
            await connection.execute("UPDATE outbox SET relayed_at = NULL")
    worker = Worker(database, bus, effects.consumer, noon)
    assert await worker.step() == 4
    assert await effects.done(database) == [1, 2]


async def test_what_a_dying_consumer_had_is_done_by_another_exactly_once(database: Database, bus: Bus) -> None:
    effects = Effects()
    await emit_all(database, 1, 2, 3)
    await OutboxPublisher(database, bus, noon).step()
    await bus.join(STREAM, "effects")
    effects.die = True
    with pytest.raises(asyncio.CancelledError):
        await Worker(database, bus, effects.consumer, noon).step()
    assert await effects.done(database) == []
    effects.die = False
    assert await Worker(database, bus, effects.consumer, noon).step(claim_after_s=0.0) == 3
    assert await effects.done(database) == [1, 2, 3]


async def test_what_a_lost_database_interrupts_goes_on_at_once_and_is_delivered_once(
    database: Database, bus: Bus
) -> None:
    effects = Effects()
    away = True

    async def handle(connection: Connection, fact: Fact, now: datetime) -> None:
        if away:
            raise DatabaseUnavailable
        await effects.handle(connection, fact, now)

    await emit_all(database, 1, 2, 3)
    await bus.join(STREAM, "effects")
    await OutboxPublisher(database, bus, noon).step()
    worker = Worker(database, bus, Consumer("effects", {"appointment.booked": handle}), noon)
    for _ in range(consumers.MAX_DELIVERIES + 1):  # as long an outage as it likes
        with pytest.raises(DatabaseUnavailable):
            await worker.step(claim_after_s=0.0)
    away = False
    assert await worker.step() == 3
    assert await effects.done(database) == [1, 2, 3]


async def test_an_event_that_fails_is_tried_again_with_growing_gaps_and_then_dies(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    bus, effects, times = LocalBus(), Effects(), Times()
    effects.fail = lambda fact: fact.payload["sequence"] == 1
    await emit_all(database, 1, 2)
    await bus.join(STREAM, "effects")
    await OutboxPublisher(database, bus, times).step()
    worker = Worker(database, bus, effects.consumer, times)
    await worker.step()
    assert await effects.done(database) == [2]
    gaps = []
    while (at := await retry_at(database)) is not None:
        assert not await worker.retry_step()
        gaps.append((at - times.now).total_seconds())
        times.now = at
        assert await worker.retry_step()
    assert gaps == [5, 20, 80, 320, 1280, 3600, 3600]
    assert len(gaps) == MAX_ATTEMPTS - 1
    async with database.platform() as connection:
        row = await connection.fetchrow("SELECT error, attempts FROM dead_letter")
        assert row is not None
        assert (row["error"], row["attempts"]) == ("ValueError", MAX_ATTEMPTS)
        effects.fail = lambda _: False
        assert await replay(connection, "effects", times.now) == 1
    assert await worker.retry_step()
    assert not await worker.retry_step()
    assert await effects.done(database) == [2, 1]
    lines = "".join(JsonFormatter().format(record) for record in caplog.records)
    assert "event is dead" in lines
    assert "Amina" not in lines


async def test_an_event_that_kills_its_consumers_is_set_aside(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumers, "MAX_DELIVERIES", 2)
    bus, effects = LocalBus(), Effects()
    effects.die = True
    await emit_all(database, 1)
    await OutboxPublisher(database, bus, noon).step()
    await bus.join(STREAM, "effects")
    for _ in range(2):
        with pytest.raises(asyncio.CancelledError):
            await Worker(database, bus, effects.consumer, noon).step(claim_after_s=0.0)
    assert await Worker(database, bus, effects.consumer, noon).step(claim_after_s=0.0) == 1
    assert await retry_at(database) is None
    async with database.platform() as connection:
        assert await connection.fetchval("SELECT error FROM dead_letter") == "its consumers died"


async def test_events_of_another_type_do_not_concern_a_consumer(database: Database) -> None:
    bus, effects = LocalBus(), Effects()
    await bus.join(STREAM, "effects")
    async with database.platform() as connection:
        event = Event(type="queue.joined", aggregate="queue", aggregate_id=VISIT)
        await emit(connection, event, NOW, tenant=TENANT)
    await OutboxPublisher(database, bus, noon).step()
    assert await Worker(database, bus, effects.consumer, noon).step() == 1
    async with database.platform() as connection:
        assert await connection.fetchval("SELECT count(*) FROM consumed_event") == 0


async def test_all_parts_running_bring_every_event_to_its_effect_through_a_lost_redis(
    database: Database, redis_server: RedisServer, redis_bus: RedisBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("POLL_S", "TRIM_EVERY_S"):
        monkeypatch.setattr(outbox, name, 0.05)
    for name in ("PAUSE_S", "WAIT_S"):
        monkeypatch.setattr(consumers, name, 0.05)
    effects = Effects()
    workers = [Worker(database, redis_bus, effects.consumer, noon) for _ in range(2)]
    async with running(OutboxPublisher(database, redis_bus, noon).run(), *(worker.run() for worker in workers)):
        for sequence in range(30):
            await emit_all(database, sequence)
            if sequence in (10, 20):
                await asyncio.to_thread(redis_server.restart)
        async with asyncio.timeout(20):
            while len(await effects.done(database)) < 30:  # noqa: ASYNC110 (the database wakes nobody)
                await asyncio.sleep(0.02)
    assert sorted(await effects.done(database)) == list(range(30))


async def retry_at(database: Database) -> datetime | None:
    async with database.platform() as connection:
        at: datetime | None = await connection.fetchval("SELECT retry_at FROM dead_letter")
    return at
