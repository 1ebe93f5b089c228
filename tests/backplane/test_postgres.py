"""The pool against a real server: tenants stay apart, whatever happens to a connection."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import asyncpg
import pytest
import pytest_asyncio

from backplane import postgres
from backplane.postgres import Connection, Database, DatabaseBusy, DatabaseUnavailable
from backplane.problems import expected
from tests.support.server import free_port

NOW = datetime(2030, 1, 1, tzinfo=UTC)
INSERT = "INSERT INTO job (key, kind, subject, run_at, payload) VALUES ($1, 'x', gen_random_uuid(), $2, $3)"


async def add(connection: Connection, key: str, payload: object = None) -> None:
    await connection.execute(INSERT, key, NOW, payload or {})


async def keys(connection: Connection) -> list[str]:
    return [row["key"] for row in await connection.fetch("SELECT key FROM job ORDER BY key")]


async def scope(connection: Connection) -> tuple[str, str]:
    row = await connection.fetchrow("SELECT current_user AS role, current_setting('app.tenant', true) AS tenant")
    assert row is not None
    return row["role"], row["tenant"]


async def pid(connection: Connection) -> int:
    return int(await connection.fetchval("SELECT pg_backend_pid()"))


@pytest_asyncio.fixture
async def single(database_url: str) -> AsyncIterator[Database]:
    """A pool of one connection, so that every user has the one before him."""
    database = await Database.open(database_url, min_size=1, max_size=1)
    yield database
    await database.close()


@pytest_asyncio.fixture
async def operator(database_url: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """The superuser, beside the pool."""
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


async def test_a_tenant_sees_its_own_rows_only(database: Database) -> None:
    for tenant in (1, 2):
        async with database.tenant(tenant) as connection:
            await add(connection, f"of {tenant}")
    for tenant in (1, 2):
        async with database.tenant(tenant) as connection:
            assert await keys(connection) == [f"of {tenant}"]
            assert await connection.execute("UPDATE job SET attempts = 9") == "UPDATE 1"
            assert await connection.execute("DELETE FROM job WHERE key = 'of 1'") == f"DELETE {2 - tenant}"
    async with database.platform() as connection:
        assert await keys(connection) == ["of 2"]


async def test_without_a_tenant_there_are_no_rows(database: Database) -> None:
    async with database.tenant(1) as connection:
        await add(connection, "one")
        async with connection.transaction():
            await connection.execute("SELECT set_config('app.tenant', '', true)")
            assert await keys(connection) == []
            with pytest.raises(asyncpg.PostgresError):
                await add(connection, "whose?")


async def test_a_row_of_another_tenant_can_be_neither_made_nor_given_away(database: Database) -> None:
    insert = "INSERT INTO job (tenant_id, key, kind, subject, run_at) VALUES (2, 'k', 'x', gen_random_uuid(), now())"
    async with database.tenant(1) as connection:
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
            await connection.execute(insert)
        await add(connection, "mine")
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
            await connection.execute("UPDATE job SET tenant_id = 2")
    async with database.platform() as connection:
        await connection.execute(insert)


async def test_the_application_owns_nothing(database: Database) -> None:
    async with database.tenant(1) as connection:
        for statement in ("ALTER TABLE job DISABLE ROW LEVEL SECURITY", "DROP TABLE job", "CREATE TABLE mine (n int)"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)


async def test_every_table_with_a_tenant_forces_row_security(database: Database) -> None:
    async with database.platform() as connection:
        unguarded = await connection.fetch(
            """SELECT relname FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid
               WHERE relkind IN ('r', 'p') AND attname = 'tenant_id' AND NOT (relrowsecurity AND relforcerowsecurity)"""
        )
    assert unguarded == []


async def test_append_only_tables_refuse_everybody(
    database: Database, operator: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    async with database.tenant(1) as connection:
        await connection.execute("INSERT INTO audit_seal VALUES (1, 1, 1, '', '')")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("UPDATE audit_seal SET hash = 'x'")
    for statement in ("UPDATE audit_seal SET hash = 'x'", "DELETE FROM audit_seal", "TRUNCATE audit_seal"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append-only"):
            await operator.execute(statement)


async def test_the_scope_is_issued_only_when_it_changes(
    single: Database, operator: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    last = "SELECT query FROM pg_stat_activity WHERE application_name = 'wadud' AND datname = current_database()"
    async with single.tenant(7) as connection:
        await connection.fetchval("SELECT 'first'")
    async with single.tenant(7) as connection:
        assert await operator.fetchval(last) == "SELECT 'first'"
        assert await scope(connection) == ("wadud_app", "7")
    async with single.tenant(8) as connection:
        assert "set_config" in await operator.fetchval(last)
        assert await scope(connection) == ("wadud_app", "8")
    async with single.platform() as connection:
        assert await scope(connection) == ("wadud_platform", "")


async def test_after_an_error_in_a_transaction_the_next_tenant_is_itself(single: Database) -> None:
    async def fail() -> None:
        async with single.tenant(1) as connection, connection.transaction():
            await add(connection, "lost")
            await connection.fetchval("SELECT 1/0")

    with pytest.raises(asyncpg.DivisionByZeroError):
        await fail()
    async with single.tenant(2) as connection:
        assert not connection.in_transaction()
        assert await scope(connection) == ("wadud_app", "2")
    async with single.tenant(1) as connection:
        assert await keys(connection) == []


async def test_a_cancelled_query_leaves_a_clean_connection(single: Database) -> None:
    async def slow() -> None:
        async with single.tenant(1) as connection, connection.transaction():
            await add(connection, "lost")
            await connection.execute("SELECT pg_sleep(60)")

    for _ in range(3):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await slow()
        async with single.tenant(2) as connection:
            assert await scope(connection) == ("wadud_app", "2")
            assert await keys(connection) == []


async def test_cancelled_while_the_scope_is_set_nothing_is_believed(single: Database) -> None:
    async def visit(tenant: int) -> None:
        async with single.tenant(tenant) as connection:
            assert await scope(connection) == ("wadud_app", str(tenant))

    for turns in range(12):  # cancel at every step of the way
        task = asyncio.create_task(visit(turns + 100))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await visit(5)


async def test_a_killed_connection_is_unavailable_and_the_next_one_is_good(
    single: Database, operator: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    async def be_killed() -> None:
        async with single.tenant(1) as connection, connection.transaction():
            await operator.fetchval("SELECT pg_terminate_backend($1)", await pid(connection))
            await connection.fetchval("SELECT pg_sleep(5)")

    with pytest.raises(DatabaseUnavailable) as told:
        await be_killed()
    answer = expected(told.value)
    assert answer is not None
    assert (answer.status, answer.code, answer.headers) == (503, "database_unavailable", {"Retry-After": "2"})
    async with single.tenant(2) as connection:
        assert await scope(connection) == ("wadud_app", "2")
        killed = await pid(connection)
    await operator.fetchval("SELECT pg_terminate_backend($1, 5000)", killed)  # this time while it rests in the pool
    async with single.tenant(2) as connection:
        assert await scope(connection) == ("wadud_app", "2")
        assert await pid(connection) != killed


async def test_a_farewell_that_nobody_has_read_yet_is_seen(single: Database) -> None:
    async def kill(number: int) -> None:
        connection = await asyncpg.connect(single.url)
        assert await connection.fetchval("SELECT pg_terminate_backend($1, 5000)", number)
        await connection.close()

    async with single.tenant(2) as connection:
        killed = await pid(connection)
    with ThreadPoolExecutor() as beside:
        beside.submit(asyncio.run, kill(killed)).result()  # this loop stands still: it has read nothing
    async with single.tenant(2) as connection:
        assert await scope(connection) == ("wadud_app", "2")
        assert await pid(connection) != killed


async def test_what_a_statement_leaves_in_the_session_is_gone_for_the_next(single: Database) -> None:
    async with single.tenant(1) as connection:
        number = await pid(connection)
        await connection.fetchval("SELECT pg_advisory_lock(42)")
        await connection.execute("LISTEN gossip")
        await connection.execute("SET search_path = nowhere")
        await connection.execute("SET ROLE wadud_platform")
        await connection.execute("BEGIN; DECLARE c CURSOR WITH HOLD FOR SELECT 1; COMMIT")
    async with single.tenant(1) as connection:
        assert await pid(connection) == number
        assert await scope(connection) == ("wadud_app", "1")
        locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"
        assert await connection.fetchval(locks) == 0
        assert await connection.fetch("SELECT pg_listening_channels()") == []
        assert await connection.fetch("SELECT name FROM pg_cursors WHERE name = 'c'") == []
        assert await keys(connection) == []


async def test_a_transaction_opened_by_hand_is_rolled_back(single: Database) -> None:
    async with single.tenant(1) as connection:
        await connection.execute("BEGIN")
        await add(connection, "lost")
    async with single.tenant(1) as connection:
        assert not connection.in_transaction()
        assert await keys(connection) == []


async def test_a_returned_connection_is_closed_to_its_last_user(database: Database) -> None:
    async with database.tenant(1) as connection:
        pass
    with pytest.raises(asyncpg.InterfaceError):
        await connection.fetchval("SELECT 1")


async def test_an_inner_transaction_is_a_savepoint(database: Database) -> None:
    async def collide(connection: Connection) -> None:
        async with connection.transaction():
            await add(connection, "inner")
            await add(connection, "outer")

    async with database.tenant(1) as connection, connection.transaction():
        await add(connection, "outer")
        with pytest.raises(asyncpg.UniqueViolationError):
            await collide(connection)
        assert await keys(connection) == ["outer"]


async def test_jsonb_goes_in_and_out_as_plain_values(database: Database) -> None:
    value = {"text": "عائشہ", "list": [1, None, True, 2.5], "nested": {}}
    async with database.tenant(1) as connection:
        assert await connection.fetchval("SELECT $1::jsonb", value) == value
        await connection.executemany(INSERT, [("a", NOW, {"n": 1}), ("b", NOW, {"n": 2})])
        assert await connection.fetchval("SELECT sum((payload->>'n')::int) FROM job") == 3


async def test_a_statement_that_takes_too_long_is_ended(database_url: str) -> None:
    database = await Database.open(database_url, min_size=1, max_size=1, statement_timeout_s=0.1)
    async with database.tenant(1) as connection:
        with pytest.raises(DatabaseBusy) as told:
            await connection.execute("SELECT pg_sleep(30)")
        assert await connection.fetchval("SELECT 1") == 1
    answer = expected(told.value)
    assert answer is not None
    assert (answer.status, answer.code, answer.headers) == (503, "database_busy", {"Retry-After": "2"})
    await database.close()


async def test_of_two_who_lock_each_other_out_one_is_told_to_try_again(database: Database) -> None:
    async with database.tenant(1) as connection:
        await add(connection, "a")
        await add(connection, "b")
    both = asyncio.Barrier(2)

    async def lock(first: str, second: str) -> None:
        async with database.tenant(1) as connection, connection.transaction():
            await connection.execute("SELECT 1 FROM job WHERE key = $1 FOR UPDATE", first)
            await both.wait()
            await connection.execute("SELECT 1 FROM job WHERE key = $1 FOR UPDATE", second)

    told = await asyncio.gather(lock("a", "b"), lock("b", "a"), return_exceptions=True)
    assert [type(each) for each in told if each is not None] == [DatabaseBusy]


async def test_many_tenants_at_once_never_meet(database: Database) -> None:
    async def visit(tenant: int) -> None:
        for turn in range(10):
            async with database.tenant(tenant) as connection, connection.transaction():
                await add(connection, f"{tenant}-{turn}")
                assert await keys(connection) == sorted(f"{tenant}-{n}" for n in range(turn + 1))

    await asyncio.gather(*(visit(tenant) for tenant in range(1, 41)))


async def test_listening_hears_and_begins_with_a_call(database: Database) -> None:
    heard: asyncio.Queue[None] = asyncio.Queue()
    listening = asyncio.create_task(database.listen("bell", lambda: heard.put_nowait(None)))
    async with asyncio.timeout(10):
        await heard.get()
        async with database.platform() as connection:
            await connection.execute("NOTIFY bell")
        await heard.get()
        async with database.platform() as connection:
            await connection.execute("SELECT 1")
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)


async def test_a_server_that_answers_no_more_is_unavailable(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "_CLIENT_GRACE_S", -9.8)  # the client gives up before the server ends the statement
    database = await Database.open(database_url, min_size=1, max_size=1, statement_timeout_s=10)
    async with database.tenant(1) as connection:
        with pytest.raises(DatabaseUnavailable):
            await connection.execute("SELECT pg_sleep(10)")
    async with database.tenant(2) as connection:
        assert await scope(connection) == ("wadud_app", "2")
    await database.close()


async def test_a_pool_without_a_free_connection_is_unavailable(
    single: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "ACQUIRE_TIMEOUT_S", 0.05)
    async with single.tenant(1):
        with pytest.raises(DatabaseUnavailable):
            await single.tenant(1).__aenter__()


async def test_without_a_server_opening_gives_up_as_unavailable() -> None:
    with pytest.raises(DatabaseUnavailable):
        await Database.open(f"postgresql://nobody@127.0.0.1:{free_port()}/nothing", wait_s=0.3)


async def test_a_wrong_database_is_an_error_at_once(postgres_url: str) -> None:
    wrong = postgres_url.replace("wadud_template", "no_such_database")
    with pytest.raises(asyncpg.InvalidCatalogNameError):
        await Database.open(wrong)
