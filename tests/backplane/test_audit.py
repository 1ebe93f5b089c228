"""The journal: sealed in order, and no byte or row of it can change unseen."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import pytest
import pytest_asyncio

from backplane import audit
from backplane.audit import Entry, Head, Sealer, Verdict, record, seal, verify
from backplane.postgres import Connection, Database

NOW = datetime(2030, 1, 1, 12, 0, 0, 123456, tzinfo=UTC)
DOCTOR = UUID("018f0000-0000-7000-8000-000000000001")


def entry(number: int) -> Entry:
    facts = {"z": number, "a": {"price_minor": 1500, "share": 0.1, "text": "نوٹ"}, "tiny": 1e-7}
    return Entry(
        actor=DOCTOR if number % 2 else None,
        actor_role="doctor" if number % 2 else "system",
        action="note.signed",
        subject_kind="note",
        subject_id=UUID(int=number),
        facts=facts,
    )


async def write(database: Database, tenant: int, numbers: range) -> None:
    async with database.tenant(tenant) as connection, connection.transaction():
        for number in numbers:
            await record(connection, entry(number), NOW + timedelta(seconds=number))


async def verdict(database: Database, tenant: int = 1, anchor: Head | None = None) -> Verdict:
    async with database.tenant(tenant) as connection:
        return await verify(connection, tenant, anchor)


@pytest_asyncio.fixture
async def forger(database_url: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """One who may do all: the superuser with the triggers switched off."""
    connection = await asyncpg.connect(database_url)
    await connection.execute("SET session_replication_role = replica")
    yield connection
    await connection.close()


async def test_entries_are_sealed_per_tenant_in_order(database: Database) -> None:
    await write(database, 1, range(5))
    await write(database, 2, range(3))
    assert await seal(database) == 8
    assert await seal(database) == 0
    await write(database, 1, range(5, 7))
    assert (await verdict(database)).unsealed == 2
    assert await seal(database) == 2
    for tenant, count in ((1, 7), (2, 3)):
        found = await verdict(database, tenant)
        assert (found.sound, found.head.n, found.unsealed) == (True, count, 0)
    async with database.tenant(1) as connection:
        order = await connection.fetch("SELECT entry_id FROM audit_seal ORDER BY n")
        assert order == sorted(order)


async def test_the_hash_is_that_of_the_documented_bytes(database: Database) -> None:
    await write(database, 1, range(1))
    await seal(database)
    async with database.tenant(1) as connection:
        row = await connection.fetchrow("SELECT e.*, s.hash FROM audit_entry e JOIN audit_seal s ON s.entry_id = e.id")
    assert row is not None
    expected = (
        f'[{row["id"]},1,"2030-01-01T12:00:00.123456+00:00",null,"system","note.signed","note",'
        '"00000000-0000-0000-0000-000000000000",'
        '{"a":{"price_minor":1500,"share":0.1,"text":"نوٹ"},"tiny":1e-7,"z":0}]'
    )
    assert audit.canonical(row).decode() == expected
    assert row["hash"] == audit.link(audit.GENESIS, row)


async def test_what_an_older_transaction_may_still_add_is_waited_for(database: Database) -> None:
    sealer = Sealer(database)
    async with database.tenant(1) as older, database.tenant(1) as younger, older.transaction():
        await record(older, entry(1), NOW)
        await record(younger, entry(2), NOW)
        assert await sealer.seal() == 0, "the entry of the open transaction would come before"
    assert await sealer.seal() == 2
    await write(database, 1, range(3, 5))
    assert await sealer.seal() == 2
    assert await sealer.seal() == 0
    assert (await verdict(database)).sound


async def test_many_batches_make_one_chain(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "SEAL_BATCH", 7)
    monkeypatch.setattr(audit, "WALK_BATCH", 4)
    await write(database, 1, range(20))
    assert await seal(database) == 20
    assert (await verdict(database)).head.n == 20


async def test_sealers_at_the_same_time_make_one_chain(database: Database) -> None:
    await write(database, 1, range(50))
    await write(database, 2, range(50))
    assert sum(await asyncio.gather(*(seal(database) for _ in range(4)))) == 100
    for tenant in (1, 2):
        found = await verdict(database, tenant)
        assert (found.sound, found.head.n) == (True, 50)


@pytest.mark.parametrize(
    ("forgery", "reason"),
    [
        ("UPDATE audit_entry SET action = 'note.signeD' WHERE subject_id = $1", "has changed"),
        ("UPDATE audit_entry SET at = at + interval '1 microsecond' WHERE subject_id = $1", "has changed"),
        ("UPDATE audit_entry SET facts = facts || '{\"z\": 9}' WHERE subject_id = $1", "has changed"),
        ("UPDATE audit_entry SET actor = gen_random_uuid() WHERE subject_id = $1", "has changed"),
        ("DELETE FROM audit_entry WHERE subject_id = $1", "the entry is missing"),
        (
            "DELETE FROM audit_seal WHERE entry_id = (SELECT id FROM audit_entry WHERE subject_id = $1)",
            "a seal is missing",
        ),
        (
            "UPDATE audit_seal SET hash = set_byte(hash, 31, 255 - get_byte(hash, 31))"
            " WHERE entry_id = (SELECT id FROM audit_entry WHERE subject_id = $1)",
            "has changed",
        ),
        (
            "UPDATE audit_seal SET prev_hash = set_byte(prev_hash, 0, 255 - get_byte(prev_hash, 0))"
            " WHERE entry_id = (SELECT id FROM audit_entry WHERE subject_id = $1)",
            "does not follow",
        ),
    ],
)
async def test_a_changed_byte_or_a_missing_row_is_found_at_its_place(
    forgery: str, reason: str, database: Database, forger: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    await write(database, 1, range(1, 10))
    await seal(database)
    assert await forger.execute(forgery, UUID(int=4)) in ("UPDATE 1", "DELETE 1")
    found = await verdict(database)
    assert (found.sound, found.broken_at) == (False, 4)
    assert reason in found.reason


async def test_a_chain_cut_short_or_made_anew_differs_from_its_anchor(
    database: Database, forger: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    await write(database, 1, range(1, 10))
    await seal(database)
    anchor = (await verdict(database)).head
    assert (await verdict(database, anchor=anchor)).sound
    await forger.execute("DELETE FROM audit_seal WHERE n = 9")
    await forger.execute("DELETE FROM audit_entry WHERE subject_id = $1", UUID(int=9))
    assert (await verdict(database)).sound
    assert (await verdict(database, anchor=anchor)).reason == "the chain ends before the anchor"
    await write(database, 1, range(10, 12))
    await seal(database)
    found = await verdict(database, anchor=anchor)
    assert (found.broken_at, found.reason) == (9, "the chain differs from the anchor")


async def test_an_entry_lives_and_dies_with_its_deed(database: Database) -> None:
    class ChangedMindError(Exception):
        pass

    async def change_mind(connection: Connection) -> None:
        async with connection.transaction():
            await record(connection, entry(1), NOW)
            raise ChangedMindError

    async with database.tenant(1) as connection:
        with pytest.raises(ChangedMindError):
            await change_mind(connection)
    assert await seal(database) == 0


async def test_the_platform_writes_into_the_journal_it_names(database: Database) -> None:
    async with database.platform() as connection:
        await record(connection, entry(1), NOW, tenant=2)
        with pytest.raises(asyncpg.NotNullViolationError):
            await record(connection, entry(2), NOW)
    async with database.tenant(1) as connection:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await record(connection, entry(3), NOW, tenant=2)
    assert await seal(database) == 1
    assert (await verdict(database, 2)).head.n == 1


async def test_a_tenant_cannot_read_or_verify_the_journal_of_another(database: Database) -> None:
    await write(database, 2, range(3))
    await seal(database)
    async with database.tenant(1) as connection:
        assert await connection.fetchval("SELECT count(*) FROM audit_entry") == 0
        assert (await verify(connection, 2)).head.n == 0


async def test_entries_restored_from_another_cluster_are_sealed(
    database: Database, forger: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    await write(database, 1, range(1))
    await forger.execute("UPDATE audit_entry SET tx = '9000000000000'::xid8")
    assert await seal(database) == 1
