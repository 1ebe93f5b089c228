"""What must be true of the rows, whatever has happened; asked in plain SQL that knows nothing of the constraint."""

import asyncio

import asyncpg

from tests.support import clock

# The list of the exclusion constraint is written out once more: a test that read it from there would prove nothing.
_LIVE = "('held', 'requested', 'confirmed', 'checked_in', 'in_progress', 'interrupted')"

_OVERLAPS = f"""
SELECT count(*) FROM appointment a JOIN appointment b ON a.provider_id = b.provider_id AND a.id < b.id
WHERE a.status IN {_LIVE} AND b.status IN {_LIVE} AND NOT a.overridden AND NOT b.overridden
    AND lower(a.occupied) < upper(b.occupied) AND lower(b.occupied) < upper(a.occupied)"""

# of every appointment: how many times each was told, and where its life stands
_TOLD = """
SELECT a.id, a.status, a.version,
    (SELECT count(*) FROM transition t WHERE t.appointment_id = a.id) AS transitions,
    (SELECT count(*) FROM audit_entry e WHERE e.subject_kind = 'appointment' AND e.subject_id = a.id) AS audited,
    (SELECT count(*) FROM outbox o WHERE o.aggregate = 'appointment' AND o.aggregate_id = a.id) AS events,
    (SELECT t.to_status FROM transition t WHERE t.appointment_id = a.id AND t.seat_id IS NULL
        ORDER BY t.id DESC LIMIT 1) AS last
FROM appointment a"""

_ORPHANS = """
SELECT (SELECT count(*) FROM transition t WHERE NOT EXISTS (SELECT FROM appointment a WHERE a.id = t.appointment_id))
    + (SELECT count(*) FROM outbox o WHERE o.aggregate = 'appointment'
        AND NOT EXISTS (SELECT FROM appointment a WHERE a.id = o.aggregate_id))
    + (SELECT count(*) FROM audit_entry e WHERE e.subject_kind = 'appointment'
        AND NOT EXISTS (SELECT FROM appointment a WHERE a.id = e.subject_id))"""

# An answer that is kept speaks of an appointment that is there; one that is not finished is never seen.
_KEPT = """
SELECT count(*) FROM idempotency i WHERE i.route = 'POST /v1/appointments' AND (
    i.state <> 'done' OR i.status <> 201 OR NOT EXISTS (
        SELECT FROM appointment a WHERE a.id = (convert_from(i.body, 'UTF8')::jsonb ->> 'id')::uuid))"""


async def deadlocks(url: str) -> int:
    """How many Postgres has counted in this database."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("SELECT pg_stat_clear_snapshot()")
        count: int = await connection.fetchval(
            "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        )
        return count
    finally:
        await connection.close()


async def whole(url: str) -> int:
    """Nothing overlaps, nothing is half told; the number of transitions."""
    connection = await asyncpg.connect(url)
    try:
        assert await connection.fetchval(_OVERLAPS) == 0, "two visits at one time"
        assert await connection.fetchval(_ORPHANS) == 0, "something is told of an appointment that is not there"
        assert await connection.fetchval(_KEPT) == 0, "an answer is kept that is not true"
        total = 0
        for row in await connection.fetch(_TOLD):
            assert row["transitions"] == row["audited"] == row["events"] > 0, dict(row)
            assert row["last"] == row["status"], dict(row)
            total += row["transitions"]
        sent = await connection.fetchval("SELECT count(*) FROM outbox WHERE aggregate = 'appointment'")
        assert sent == await connection.fetchval("SELECT count(*) FROM transition") == total
        return total
    finally:
        await connection.close()


# A job that was cut off in the middle waits for the end of its lease, one that failed for its next try: up to minutes,
# which a test need not sit through.
_HURRY = """
UPDATE job SET run_at = least(run_at, now()), locked_until = NULL, state = 'waiting'
WHERE kind = 'mail' AND (state = 'running' OR (state = 'waiting' AND attempts > 0))"""

_UNMAILED = """
SELECT count(*) FROM appointment a WHERE a.status = 'confirmed' AND NOT EXISTS (
    SELECT FROM mail m WHERE m.appointment_id = a.id AND m.kind = 'confirmation' AND m.state = 'sent')"""


async def all_mailed(url: str, seconds: float = 60.0) -> None:
    """Waits until every booking was confirmed by a mail."""
    connection = await asyncpg.connect(url)
    try:
        give_up = clock.now() + seconds
        while unmailed := await connection.fetchval(_UNMAILED):
            assert clock.now() < give_up, f"{unmailed} mails are missing"
            await asyncio.sleep(1)
            await connection.execute(_HURRY)
            await connection.execute("NOTIFY job")
    finally:
        await connection.close()


async def message_ids(url: str) -> list[str]:
    """Of every mail that counts as sent."""
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch("SELECT message_id FROM mail WHERE state = 'sent'")
        return [row["message_id"] for row in rows]
    finally:
        await connection.close()
