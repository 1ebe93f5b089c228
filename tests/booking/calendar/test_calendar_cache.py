"""Hours that are kept in memory are never older than the statement that a booking reads."""

from contextlib import suppress
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio

from backplane.postgres import Connection
from booking.calendar import cache, store
from booking.calendar.cache import CalendarCache
from tests.support.calendar import NOW, World

MORNING = {"rules": [{"opens": "09:00", "closes": "11:00"}]}


@pytest_asyncio.fixture(autouse=True)
async def hours(world: World) -> None:
    await world.amina.send("POST", f"/v1/providers/{world.doctor}/schedules", MORNING, 201)


async def version(connection: Connection) -> int:
    return int(await connection.fetchval("SELECT coalesce((SELECT version FROM calendar_version), 0)"))


class Counted:
    """Counts how often a calendar is read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0

        async def load(*given: Any) -> Any:
            self.count += 1
            return await store.load_calendars(*given)

        monkeypatch.setattr(cache, "load_calendars", load)


async def test_every_change_of_hours_raises_the_version_once_a_transaction(world: World) -> None:
    async with world.database.tenant(world.tenant.id) as connection:
        seen = [await version(connection)]

        async def after(*statements: str) -> bool:
            async with connection.transaction():
                for statement in statements:
                    await connection.execute(statement)
                assert await version(connection) == seen[-1], "at the end only"
            seen.append(await version(connection))
            return seen[-1] == seen[-2] + 1

        day = "INSERT INTO schedule_override (schedule_id, day) SELECT id, '2026-05-0{}' FROM schedule"
        holiday = (
            "INSERT INTO holiday (id, first_day, last_day, created_at)"
            " VALUES (gen_random_uuid(), '2026-06-01', '2026-06-02', now())"
        )
        assert await after("UPDATE schedule SET daily_cap = 3")
        assert await after("UPDATE schedule_rule SET closes = '16:00'", day.format(1), day.format(2))
        assert await after(holiday)
        assert await after("DELETE FROM holiday")
        assert await after("DELETE FROM schedule")
        assert not await after("SELECT 1")


async def test_a_calendar_is_read_once_until_the_hours_change_or_the_day_does(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted, kept, now = Counted(monkeypatch), CalendarCache(), NOW
    async with world.database.tenant(world.tenant.id) as connection:
        for _ in range(3):
            before = await kept.get(connection, world.doctor, await version(connection), now)
        assert counted.count == 1
        await connection.execute("UPDATE schedule_rule SET closes = '16:00'")
        changed = await kept.get(connection, world.doctor, await version(connection), now)
        assert before != changed
        await kept.get(connection, world.doctor, await version(connection), now + timedelta(days=1))
        assert counted.count == 3


async def test_what_is_rolled_back_changes_no_version(world: World) -> None:
    async with world.database.tenant(world.tenant.id) as connection:
        seen = await version(connection)
        with suppress(KeyError):
            async with connection.transaction():
                await connection.execute("UPDATE schedule SET daily_cap = 3")
                raise KeyError
        assert await version(connection) == seen


async def test_memory_is_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    counted, kept = Counted(monkeypatch), CalendarCache()
    monkeypatch.setattr(cache, "MOST_KEPT", 1)
    async with world.database.tenant(world.tenant.id) as connection:
        for doctor in (world.doctor, uuid4(), world.doctor):
            await kept.get(connection, doctor, 1, NOW)
    assert counted.count == 3


async def test_many_are_read_in_one_go_and_only_those_that_are_not_kept(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted, kept = Counted(monkeypatch), CalendarCache()
    stranger = uuid4()
    async with world.database.tenant(world.tenant.id) as connection:
        alone = await store.load_calendar(connection, world.doctor, NOW, NOW + timedelta(days=735))
        await kept.read(connection, {world.doctor: 1, stranger: 1}, NOW)
        assert await kept.get(connection, world.doctor, 1, NOW) == alone
        assert (await kept.get(connection, stranger, 1, NOW)).schedules == ()
        assert counted.count == 1
        await kept.read(connection, {world.doctor: 1, stranger: 2}, NOW)
        assert counted.count == 2
