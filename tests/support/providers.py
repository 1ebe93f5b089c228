"""Clinics and listed providers for tests, as onboarding would leave them, without its steps."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from backplane.ids import uuid7
from backplane.postgres import Connection, Database
from backplane.principal import Tenant
from booking.providers.index import reindex


async def add_clinic(database: Database, slug: str = "gulberg") -> Tenant:
    async with database.platform() as connection:
        number = await connection.fetchval("INSERT INTO tenant (slug, name) VALUES ($1, $1) RETURNING id", slug)
    return Tenant(number, slug, slug)


async def add_person(connection: Connection, name: str, now: datetime) -> UUID:
    person = uuid7(now)
    await connection.execute("INSERT INTO person (id, name, created_at) VALUES ($1, $2, $3)", person, name, now)
    return person


async def add_provider(
    connection: Connection,
    name: str,
    now: datetime,
    *,
    specialties: Sequence[str] = ("general-practice",),
    languages: Sequence[str] = ("en",),
    gender: str | None = "female",
    at: tuple[float, float] | None = None,
    price_minor: int | None = 100_000,
    kind: str = "video",
    stars: Sequence[int] = (),
    free_in: timedelta | None = timedelta(days=1),
    online: bool = False,
    licensed_for: timedelta | None = timedelta(days=365),
    status: str = "approved",
    person: UUID | None = None,
    slug: str | None = None,
) -> UUID:
    """A provider of the connection's tenant with a verified licence and one service."""
    provider = uuid7(now)
    location = None
    if at is not None:
        location = uuid7(now)
        await connection.execute(
            "INSERT INTO location (id, name, latitude, longitude, timezone, created_at) VALUES ($1, $2, $3, $4, $5, $6)",
            location, "Shifa House", at[0], at[1], "Asia/Karachi", now,
        )  # fmt: skip
    person = person or await add_person(connection, name, now)
    await connection.execute(
        """
        INSERT INTO provider (id, person_id, status, slug, display_name, gender, languages, specialties, timezone,
                              location_id, online_until, next_free_at, rating_sum, rating_count, created_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 'Asia/Karachi', $9, $10, $11, $12, $13, $14)""",
        provider, person, status, slug or f"dr-{provider}", name, gender, list(languages), list(specialties), location,
        now + timedelta(minutes=30) if online else None, None if free_in is None else now + free_in,
        sum(stars), len(stars), now,
    )  # fmt: skip
    if price_minor is not None:
        await connection.execute(
            """
            INSERT INTO service (id, provider_id, name, kind, minutes, price_minor, created_at)
            VALUES ($1, $2, 'Consultation', $3, 15, $4, $5)""",
            uuid7(now), provider, kind, price_minor, now,
        )  # fmt: skip
    await connection.execute(
        """
        INSERT INTO credential (id, provider_id, kind, number, issuer, country, expires_at, state, created_at)
        VALUES ($1, $2, 'licence', $3, 'PMDC', 'PK', $4, 'verified', $5)""",
        uuid7(now), provider, str(uuid4()), None if licensed_for is None else now + licensed_for, now,
    )  # fmt: skip
    async with connection.transaction():
        await reindex(connection, provider, now)
    return provider
