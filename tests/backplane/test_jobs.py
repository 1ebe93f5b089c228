"""Jobs in fake time: done when due, once, by whoever lives."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from backplane import jobs
from backplane.jobs import LEASE, Errand, Handler, Job, JobRow, Later, Scheduler, schedule, withdraw
from backplane.postgres import Connection, Database
from tests.support.tasks import running

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
VISIT = UUID("0194fdc2-fa2f-7cc0-81d3-ff1212345678")
TENANT = 7
HOUR = timedelta(hours=1)


class World:
    """A clock, a list of what was done, and a way for jobs to fail."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.now = NOW
        self.done: list[str] = []
        self.error: BaseException | None = None

    def clock(self) -> datetime:
        return self.now

    async def handle(self, connection: Connection, job: JobRow, now: datetime) -> None:
        await self.run(job, now)
        await connection.execute(
            "INSERT INTO consumed_event (consumer, event_id, at) VALUES ($1, gen_random_uuid(), $2)", job.key, now
        )
        if self.error is not None:
            raise self.error

    async def run(self, job: JobRow, now: datetime) -> None:
        assert now == self.now
        self.done.append(job.key)

    async def fail(self, job: JobRow, now: datetime) -> None:
        await self.run(job, now)
        if self.error is not None:
            raise self.error

    def scheduler(self, handlers: Mapping[str, Handler | Errand] | None = None, concurrency: int = 8) -> Scheduler:
        handlers = handlers or {"remind": self.handle, "mail": Errand(self.fail)}
        return Scheduler(self.database, handlers, self.clock, concurrency=concurrency, max_attempts=3)

    async def add(self, key: str, run_at: datetime, kind: str = "remind", replace: bool = True) -> bool:
        async with self.database.tenant(TENANT) as connection, connection.transaction():
            job = Job(key=key, kind=kind, subject=VISIT, run_at=run_at, payload={"hours": 24})
            return await schedule(connection, job, replace)

    async def withdraw(self, key: str) -> bool:
        async with self.database.tenant(TENANT) as connection:
            return await withdraw(connection, key)

    async def states(self) -> dict[str, str]:
        async with self.database.tenant(TENANT) as connection:
            rows = await connection.fetch("SELECT key, state FROM job ORDER BY key")
        return {row["key"]: row["state"] for row in rows}

    async def effects(self) -> int:
        async with self.database.platform() as connection:
            return int(await connection.fetchval("SELECT count(*) FROM consumed_event"))


@pytest.fixture
def world(database: Database) -> World:
    return World(database)


async def test_a_job_is_done_at_its_time_and_not_before(world: World) -> None:
    await world.add("a", NOW + HOUR)
    scheduler = world.scheduler()
    world.now = NOW + HOUR - timedelta(microseconds=1)
    assert await scheduler.step() == 0
    assert await scheduler.next_at() == NOW + HOUR
    world.now = NOW + HOUR
    assert [await scheduler.step(), await scheduler.step()] == [1, 0]
    assert (world.done, await world.states()) == (["a"], {"a": "done"})
    assert await scheduler.next_at() is None


async def test_a_handler_gets_the_job_as_it_was_scheduled(world: World) -> None:
    given: list[JobRow] = []

    async def take(connection: Connection, job: JobRow, now: datetime) -> None:
        assert await connection.fetchval("SELECT app_tenant()") == TENANT
        given.append(job)

    await world.add("a", NOW)
    await world.scheduler({"remind": take}).step()
    (job,) = given
    assert (job.tenant, job.key, job.subject, job.run_at, job.payload, job.attempts) == (
        *(TENANT, "a", VISIT, NOW),
        *({"hours": 24}, 1),
    )


async def test_the_same_key_moves_a_job(world: World) -> None:
    assert await world.add("a", NOW)
    assert await world.add("a", NOW + HOUR)
    assert not await world.add("a", NOW, replace=False)
    assert await world.scheduler().step() == 0
    world.now += HOUR
    assert await world.scheduler().step() == 1
    assert not await world.add("a", NOW, replace=False)
    assert await world.scheduler().step() == 0
    assert await world.add("a", NOW)
    assert await world.scheduler().step() == 1


async def test_a_withdrawn_job_is_not_done(world: World) -> None:
    await world.add("a", NOW)
    assert await world.withdraw("a")
    assert not await world.withdraw("a")
    assert not await world.withdraw("unknown")
    assert await world.scheduler().step() == 0
    assert await world.states() == {"a": "withdrawn"}


async def test_many_schedulers_share_the_work_and_do_each_job_once(world: World) -> None:
    for number in range(60):
        await world.add(f"{number:02}", NOW)
    schedulers = [world.scheduler(concurrency=4) for _ in range(4)]
    while any(await asyncio.gather(*(each.step() for each in schedulers))):
        pass
    assert sorted(world.done) == [f"{number:02}" for number in range(60)]
    assert await world.effects() == 60


async def test_a_failed_job_leaves_no_effect_and_is_tried_again_with_growing_gaps(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    await world.add("a", NOW)
    scheduler = world.scheduler()
    world.error = ValueError("Amina Bibi")
    gaps = []
    await scheduler.step()
    while (at := await scheduler.next_at()) is not None:
        gaps.append((at - world.now).total_seconds())
        world.now = at
        await scheduler.step()
    assert gaps == [5, 10]
    assert (await world.states(), await world.effects()) == ({"a": "failed"}, 0)
    async with world.database.tenant(TENANT) as connection:
        assert await connection.fetchval("SELECT last_error FROM job") == "ValueError"


async def test_a_job_for_which_the_world_is_not_ready_is_never_given_up(world: World) -> None:
    await world.add("a", NOW, kind="mail")
    scheduler = world.scheduler()
    world.error = Later("the mail server is away")
    for _ in range(20):
        assert await scheduler.step() == 1
        at = await scheduler.next_at()
        assert at is not None
        assert at - world.now <= timedelta(seconds=jobs.LONGEST_GAP_S)
        world.now = at
    world.error = None
    assert await scheduler.step() == 1
    assert await world.states() == {"a": "done"}


@pytest.mark.parametrize("kind", ["remind", "mail"])
async def test_a_job_whose_process_died_is_taken_over_when_its_lease_ends(world: World, kind: str) -> None:
    await world.add("a", NOW, kind=kind)
    world.error = asyncio.CancelledError()
    await world.scheduler().step()
    world.error = None
    assert await world.states() == {"a": "running"}
    assert await world.scheduler().step() == 0
    world.now += LEASE
    assert await world.scheduler().step() == 1
    assert (await world.states(), await world.effects()) == ({"a": "done"}, 1 if kind == "remind" else 0)


async def test_a_lease_from_before_the_clock_was_set_back_holds_nobody_up(world: World) -> None:
    await world.add("a", NOW - timedelta(days=2))
    world.error = asyncio.CancelledError()
    await world.scheduler().step()
    world.error = None
    world.now -= timedelta(days=1)
    assert await world.scheduler().step() == 1
    assert await world.states() == {"a": "done"}


async def test_a_job_that_is_withdrawn_or_moved_during_its_errand_stays_so(world: World) -> None:
    async def withdraw_and_move(job: JobRow, now: datetime) -> None:
        if job.key == "a":
            await world.withdraw("a")
        else:
            await world.add("b", NOW + HOUR)

    await world.add("a", NOW)
    await world.add("b", NOW)
    assert await world.scheduler({"remind": Errand(withdraw_and_move)}).step() == 2
    assert await world.states() == {"a": "withdrawn", "b": "waiting"}


async def test_a_job_that_was_taken_over_is_finished_by_the_new_owner_only(world: World) -> None:
    async def slow(job: JobRow, now: datetime) -> None:
        if job.attempts == 1:
            world.now += LEASE
            assert await scheduler.step() == 1
            world.done.append("late")

    scheduler = world.scheduler({"remind": Errand(slow)})
    await world.add("a", NOW)
    await scheduler.step()
    async with world.database.tenant(TENANT) as connection:
        assert await connection.fetchval("SELECT attempts FROM job WHERE state = 'done'") == 2


async def test_jobs_of_other_kinds_are_left_to_others(world: World) -> None:
    await world.add("a", NOW, kind="unheard")
    assert await world.scheduler().step() == 0
    assert await world.states() == {"a": "waiting"}


async def test_jobs_that_ended_are_swept_but_failed_ones_stay(world: World) -> None:
    for key in ("done", "failed", "waiting"):
        await world.add(key, NOW)
        async with world.database.tenant(TENANT) as connection:
            await connection.execute("UPDATE job SET state = $1 WHERE key = $1", key)
    world.now += jobs.KEEP + HOUR
    await world.scheduler().sweep()
    assert list(await world.states()) == ["failed", "waiting"]


async def test_a_running_scheduler_is_woken_for_a_job_that_is_due(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "POLL_S", 60.0)
    finished: asyncio.Queue[str] = asyncio.Queue()

    async def tell(connection: Connection, job: JobRow, now: datetime) -> None:
        finished.put_nowait(job.key)

    async with running(world.scheduler({"remind": tell}, concurrency=2).run()):
        for number in range(5):
            await world.add(str(number), NOW)
        async with asyncio.timeout(10):
            assert sorted([await finished.get() for _ in range(5)]) == ["0", "1", "2", "3", "4"]


async def test_one_slow_job_does_not_hold_up_the_others(world: World) -> None:
    release, finished = asyncio.Event(), asyncio.Queue[str]()

    async def work(job: JobRow, now: datetime) -> None:
        if job.key == "slow":
            await release.wait()
        finished.put_nowait(job.key)

    await world.add("slow", NOW - HOUR)
    async with running(world.scheduler({"remind": Errand(work)}, concurrency=2).run()):
        async with asyncio.timeout(10):
            for number in range(4):
                await world.add(str(number), NOW)
                assert await finished.get() == str(number)
            release.set()
            assert await finished.get() == "slow"


@pytest.fixture
async def impatient(database: Database, database_url: str) -> AsyncIterator[World]:
    """Whose statements are given up when they wait for somebody's lock."""
    async with database.platform() as connection:
        await connection.execute("RESET ROLE")
        name = await connection.fetchval("SELECT quote_ident(current_database())")
        await connection.execute(f"ALTER DATABASE {name} SET lock_timeout = '20ms'")
    opened = await Database.open(database_url)
    yield World(opened)
    await opened.close()


async def test_a_sweep_that_the_database_gives_up_ends_no_scheduler(
    impatient: World, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "PAUSE_S", 0.001)
    swept, done = asyncio.Event(), asyncio.Event()

    async def tell() -> int:
        try:
            return await sweep()
        finally:
            swept.set()

    async def work(job: JobRow, now: datetime) -> None:
        done.set()

    scheduler = impatient.scheduler({"remind": Errand(work)})
    sweep = scheduler.sweep
    monkeypatch.setattr(scheduler, "sweep", tell)
    async with asyncio.timeout(10), database.platform() as other, running(scheduler.run()):
        async with other.transaction():
            await other.execute("RESET ROLE; LOCK TABLE job")
            await swept.wait()
        await impatient.add("a", NOW)
        await done.wait()


async def test_a_failure_that_cannot_be_noted_ends_no_scheduler(impatient: World, database: Database) -> None:
    await impatient.add("a", NOW)
    async with database.platform() as other:

        async def fail(job: JobRow, now: datetime) -> None:
            impatient.done.append(job.key)
            if len(impatient.done) == 1:
                await other.execute("SELECT 1 FROM job FOR UPDATE")
                raise ValueError

        scheduler = impatient.scheduler({"remind": Errand(fail)})
        async with other.transaction():
            assert await scheduler.step() == 1
        assert await impatient.states() == {"a": "running"}
        impatient.now += LEASE
        assert await scheduler.step() == 1
        assert (impatient.done, await impatient.states()) == (["a", "a"], {"a": "done"})


async def test_more_than_one_sweep_deletes_at_once_go_in_several(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "SWEEP_BATCH", 2)
    for number in range(5):
        await world.add(str(number), NOW)
    async with world.database.tenant(TENANT) as connection:
        await connection.execute("UPDATE job SET state = 'done'")
    world.now += jobs.KEEP + HOUR
    scheduler = world.scheduler()
    assert [await scheduler.sweep() for _ in range(4)] == [2, 2, 1, 0]
