"""Nothing crosses from one clinic to another: neither in the database nor over HTTP.

Tables are read from the catalogue of Postgres and endpoints from the OpenAPI document, so that what is added later is
held to the same without a line here.
"""

import asyncpg
import pytest

from tests.booking.proofs.rows import TABLES
from tests.booking.proofs.world import World

pytestmark = pytest.mark.asyncio(loop_scope="module")

# Tables that belong to the installation. Whoever adds one says here why a clinic may share it.
WITHOUT_TENANT = {
    "consumed_event": "random ids of events that a consumer has dealt with",
    "dead_letter": "events that operators look at; wadud_app has no right on it",
    "outbox_relay": "the lock of the relays, one row",
    "schema_migration": "what was done to the schema",
    "signing_key": "keys of the installation; wadud_app has no policy on it",
    "tenant": "the clinics themselves: the row whose id is one's own tenant",
}
EVERY_TABLE = """
    SELECT c.relname, c.relrowsecurity, c.relforcerowsecurity FROM pg_class c
    WHERE c.relkind IN ('r', 'p') AND c.relnamespace = current_schema()::regnamespace ORDER BY 1"""
POLICIES = """
    SELECT polname, polroles::regrole[]::text[] AS roles, polcmd::text AS command, polpermissive,
           pg_get_expr(polqual, polrelid) AS using, pg_get_expr(polwithcheck, polrelid) AS checking
    FROM pg_policy WHERE polrelid = $1::text::regclass ORDER BY 1"""


async def tenant_tables(world: World) -> list[str]:
    async with world.db.platform() as connection:
        return [row["relname"] for row in await connection.fetch(TABLES)]


async def test_every_table_belongs_to_a_tenant_or_says_why_not(served_world: World) -> None:
    async with served_world.db.platform() as connection:
        every = {row["relname"] for row in await connection.fetch(EVERY_TABLE)}
    assert every - set(await tenant_tables(served_world)) == set(WITHOUT_TENANT)


async def test_row_security_is_enabled_and_forced_on_every_tenant_table(served_world: World) -> None:
    wanted = {*(await tenant_tables(served_world)), "tenant", "signing_key"}
    async with served_world.db.platform() as connection:
        secured = {
            row["relname"]
            for row in await connection.fetch(EVERY_TABLE)
            if row["relrowsecurity"] and row["relforcerowsecurity"]
        }
    assert wanted - secured == set()


async def test_every_tenant_table_has_its_two_policies_and_no_other(served_world: World) -> None:
    own = "(tenant_id = app_tenant())"
    async with served_world.db.platform() as connection:
        for table in await tenant_tables(served_world):
            found = [tuple(row.values()) for row in await connection.fetch(POLICIES, table)]
            assert found == [
                ("platform", ["wadud_platform"], "*", True, "true", "true"),
                ("tenant", ["wadud_app"], "*", True, own, own),
            ], table


async def test_no_view_and_no_function_of_another_owner_looks_past_row_security(served_world: World) -> None:
    # Each that runs with the rights of its owner takes the tenant from app_tenant() itself.
    known = {"search_providers"}
    async with served_world.db.platform() as connection:
        views = await connection.fetch(
            "SELECT relname FROM pg_class WHERE relkind IN ('v', 'm') AND relnamespace = current_schema()::regnamespace"
        )
        definers = await connection.fetch(
            "SELECT proname, prosrc FROM pg_proc WHERE prosecdef AND pronamespace = current_schema()::regnamespace"
        )
    assert [row["relname"] for row in views] == []
    assert {row["proname"] for row in definers} == known
    assert all("app_tenant()" in row["prosrc"] for row in definers)


async def test_the_application_role_owns_nothing_and_bypasses_nothing(served_world: World) -> None:
    async with served_world.db.platform() as connection:
        roles = await connection.fetch(
            "SELECT rolname FROM pg_roles WHERE rolname IN ('wadud_app', 'wadud_platform')"
            " AND (rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb)"
        )
        owned = await connection.fetch(
            "SELECT relname FROM pg_class"
            " WHERE relkind IN ('r', 'p') AND relowner::regrole::text IN ('wadud_app', 'wadud_platform')"
        )
    assert [*roles, *owned] == []


async def test_every_tenant_table_has_a_row_of_both_clinics(served_world: World) -> None:
    async with served_world.db.platform() as connection:
        empty = [
            f"{table} has no row of {clinic.host}: write one in tests/booking/proofs/rows.py"
            for table in await tenant_tables(served_world)
            for clinic in (served_world.a, served_world.b)
            if not await connection.fetchval(f"SELECT EXISTS (SELECT FROM {table} WHERE tenant_id = $1)", clinic.tenant)
        ]
    assert empty == []


async def test_a_clinic_sees_its_own_rows_only_and_nobody_sees_any(served_world: World) -> None:
    for clinic in (served_world.a, served_world.b):
        async with served_world.db.tenant(clinic.tenant) as connection:
            for table in await tenant_tables(served_world):
                seen = await connection.fetch(f"SELECT DISTINCT tenant_id FROM {table}")
                assert [row["tenant_id"] for row in seen] == [clinic.tenant], table
            assert [row["id"] for row in await connection.fetch("SELECT id FROM tenant")] == [clinic.tenant]
    async with served_world.db.tenant(served_world.a.tenant) as connection, connection.transaction():
        await connection.execute("SELECT set_config('app.tenant', '', true)")
        for table in await tenant_tables(served_world):
            assert await connection.fetchval(f"SELECT count(*) FROM {table}") == 0, table


async def test_a_clinic_cannot_write_rows_of_another(served_world: World) -> None:
    a, b = served_world.a.tenant, served_world.b.tenant
    async with served_world.db.tenant(a) as connection:
        for table in await tenant_tables(served_world):
            columns = [
                row["attname"]
                for row in await connection.fetch(
                    "SELECT attname FROM pg_attribute WHERE attrelid = $1::text::regclass AND attnum > 0"
                    " AND NOT attisdropped AND attgenerated = '' AND attidentity <> 'a'",
                    table,
                )
            ]
            names = ", ".join(columns)
            copied = ", ".join("$1::bigint" if name == "tenant_id" else name for name in columns)
            # a copy of one's own row in another's name
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                async with connection.transaction():
                    await connection.execute(f"INSERT INTO {table} ({names}) SELECT {copied} FROM {table} LIMIT 1", b)
            # one's own row given away: refused by the policy, or because the table only grows
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                async with connection.transaction():
                    await connection.execute(f"UPDATE {table} SET tenant_id = $1", b)


async def test_a_clinic_cannot_change_or_delete_rows_of_another(served_world: World) -> None:
    a, b = served_world.a.tenant, served_world.b.tenant
    async with served_world.db.tenant(a) as connection:
        for table in await tenant_tables(served_world):
            for statement in (
                f"UPDATE {table} SET tenant_id = tenant_id WHERE tenant_id = $1",
                f"DELETE FROM {table} WHERE tenant_id = $1",
            ):
                try:
                    assert (await connection.execute(statement, b)).endswith(" 0"), statement
                except asyncpg.InsufficientPrivilegeError:
                    continue  # a table that only grows
