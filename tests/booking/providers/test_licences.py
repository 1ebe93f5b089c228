"""Licences that run out, by a clock that is put forward: warnings, the end, and renewals in between."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from backplane.jobs import Scheduler
from backplane.postgres import Database
from backplane.principal import Tenant
from booking.providers import licences, onboarding
from booking.providers.onboarding import Actor
from booking.providers.search import Wanted, find
from tests.support.providers import Clock, add_clinic, add_provider

NOW = datetime(2026, 5, 4, 9, tzinfo=UTC)
DAY = timedelta(days=1)


class Practice:
    """One listed provider whose licence ends in 100 days, and the jobs of its clinic."""

    def __init__(self, database: Database, clinic: Tenant, provider: UUID) -> None:
        self.database = database
        self.clinic = clinic
        self.provider = provider
        self.clock = Clock(NOW)
        self.scheduler = Scheduler(database, licences.HANDLERS, self.clock)

    async def at(self, days: float) -> None:
        """Puts the clock forward day by day, so that every job runs when it is due."""
        end = NOW + timedelta(days=days)
        while self.clock.now < end:
            self.clock.now = min(self.clock.now + DAY, end)
            while await self.scheduler.step():
                pass

    async def told(self) -> list[tuple[str, object]]:
        async with self.database.platform() as connection:
            rows = await connection.fetch("SELECT type, payload, at FROM outbox ORDER BY id")
        return [(row["type"], row["payload"].get("days", row["payload"].get("cause"))) for row in rows]

    async def status(self) -> tuple[str, int]:
        async with self.database.tenant(self.clinic.id) as connection:
            status = await connection.fetchval("SELECT status FROM provider")
            page = await find(connection, self.clinic.id, Wanted(), cursor=None, limit=5, now=self.clock.now)
        return status, len(page.found)

    async def renew(self, days: float) -> None:
        async with self.database.tenant(self.clinic.id) as connection, connection.transaction():
            await connection.execute(
                "UPDATE credential SET expires_at = $1 WHERE kind = 'licence'", NOW + timedelta(days=days)
            )
            await licences.watch(connection, self.provider, self.clock.now)
            await onboarding.reindex(connection, self.provider, self.clock.now)


@pytest.fixture
async def practice(database: Database) -> Practice:
    clinic = await add_clinic(database)
    async with database.tenant(clinic.id) as connection, connection.transaction():
        provider = await add_provider(connection, "Ayesha Khan", NOW, licensed_for=100 * DAY)
        await licences.watch(connection, provider, NOW)
    return Practice(database, clinic, provider)


async def test_warnings_come_30_7_and_1_day_before_and_then_the_end(practice: Practice) -> None:
    await practice.at(69.9)
    assert await practice.told() == []
    await practice.at(70)
    assert await practice.told() == [("doctor.licence_expiring", 30)]
    await practice.at(92.9)
    assert len(await practice.told()) == 1
    await practice.at(99.5)
    assert await practice.told() == [("doctor.licence_expiring", days) for days in (30, 7, 1)]
    assert await practice.status() == ("approved", 1)
    await practice.at(100)
    assert (await practice.told())[-1] == ("doctor.suspended", "licence_expired")
    assert await practice.status() == ("suspended", 0)
    await practice.at(140)
    assert len(await practice.told()) == 4


async def test_a_late_scheduler_shows_nobody_meanwhile(practice: Practice) -> None:
    practice.clock.now = NOW + 100 * DAY
    assert await practice.status() == ("approved", 0)


async def test_a_renewal_takes_the_warnings_back_and_sets_new_ones(practice: Practice) -> None:
    await practice.at(71)
    await practice.renew(200)
    await practice.at(169)
    assert await practice.told() == [("doctor.licence_expiring", 30)]
    assert await practice.status() == ("approved", 1)
    await practice.at(200)
    assert [what for _, what in await practice.told()] == [30, 30, 7, 1, "licence_expired"]


async def test_a_job_that_nobody_took_back_looks_again_and_does_nothing(practice: Practice) -> None:
    async with practice.database.tenant(practice.clinic.id) as connection:
        await connection.execute("UPDATE credential SET expires_at = NULL")  # without telling anybody
    await practice.at(101)
    assert await practice.told() == []


async def test_a_licence_verified_with_five_days_left_is_warned_of_once_more(database: Database) -> None:
    clinic = await add_clinic(database)
    async with database.tenant(clinic.id) as connection, connection.transaction():
        provider = await add_provider(connection, "Bilal", NOW, licensed_for=5 * DAY)
        await licences.watch(connection, provider, NOW)
    practice = Practice(database, clinic, provider)
    await practice.at(6)
    assert [what for _, what in await practice.told()] == [1, "licence_expired"]


async def test_the_renewed_licence_of_the_same_number_takes_the_place_of_the_old(practice: Practice) -> None:
    async with practice.database.tenant(practice.clinic.id) as connection, connection.transaction():
        old = await connection.fetchrow("SELECT * FROM credential")
        assert old is not None
        renewal = UUID(int=9)
        await connection.execute(
            """
            INSERT INTO credential (id, provider_id, kind, number, issuer, country, expires_at, created_at)
            VALUES ($1, $2, 'licence', $3, 'PMDC', 'PK', $4, $5)""",
            renewal, practice.provider, old["number"], NOW + 400 * DAY, NOW,
        )  # fmt: skip
        await connection.execute(
            "INSERT INTO application (provider_id, applied_at) VALUES ($1, $2)", practice.provider, NOW
        )
        await onboarding.decide_credential(
            connection, practice.provider, renewal, True, Actor(UUID(int=3), "platform_admin"), NOW
        )
        states = await connection.fetch("SELECT state FROM credential ORDER BY expires_at")
    assert [row["state"] for row in states] == ["replaced", "verified"]
    await practice.at(369)
    assert await practice.told() == []
    assert await practice.status() == ("approved", 1)


async def test_of_a_suspended_provider_nothing_is_told(practice: Practice) -> None:
    async with practice.database.tenant(practice.clinic.id) as connection:
        await connection.execute("UPDATE provider SET status = 'suspended'")
    await practice.at(101)
    assert await practice.told() == []
