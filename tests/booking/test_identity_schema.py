"""The tables of identity: what their constraints refuse, whatever a handler forgets."""

from datetime import UTC, datetime
from uuid import UUID

import asyncpg
import pytest

from backplane.ids import uuid7
from backplane.postgres import Connection, Database

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


async def person(connection: Connection) -> UUID:
    made = uuid7(NOW)
    await connection.execute("INSERT INTO person (id, created_at) VALUES ($1, $2)", made, NOW)
    return made


async def clinic(database: Database, slug: str) -> int:
    async with database.platform() as connection:
        made = await connection.fetchval("INSERT INTO tenant (slug, name) VALUES ($1, $1) RETURNING id", slug)
        assert isinstance(made, int)
        return made


async def test_the_platform_is_tenant_one(database: Database) -> None:
    async with database.tenant(1) as connection:
        assert await connection.fetchval("SELECT slug FROM tenant") == "platform"


async def test_a_clinic_has_no_platform_admin(database: Database) -> None:
    async with database.tenant(await clinic(database, "a")) as connection:
        with pytest.raises(asyncpg.CheckViolationError):
            await connection.execute(
                "INSERT INTO membership (id, person_id, role, created_at) VALUES ($1, $2, 'platform_admin', $3)",
                uuid7(NOW),
                await person(connection),
                NOW,
            )


async def test_a_session_has_one_living_refresh_token(database: Database) -> None:
    async with database.tenant(1) as connection:
        session = uuid7(NOW)
        await connection.execute(
            "INSERT INTO session (id, person_id, amr, created_at, seen_at, expires_at)"
            " VALUES ($1, $2, '{}', $3, $3, $3)",
            session,
            await person(connection),
            NOW,
        )
        token = (
            "INSERT INTO refresh_token (id, session_id, secret_hash, created_at, expires_at)"
            " VALUES ($1, $2, '\\x00', $3, $3)"
        )
        await connection.execute(token, uuid7(NOW), session, NOW)
        with pytest.raises(asyncpg.UniqueViolationError):
            await connection.execute(token, uuid7(NOW), session, NOW)


async def test_the_application_never_sees_signing_keys(database: Database) -> None:
    async with database.tenant(1) as connection:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.fetch("SELECT * FROM signing_key")
