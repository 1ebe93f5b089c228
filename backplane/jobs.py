"""Work for a later time: a table of jobs that any number of processes work off together.

A job is known by its key: scheduling the same key again moves it, withdrawing takes it back. A scheduler claims what is
due with SKIP LOCKED and a lease, and whoever finds a lease that has run out takes the job over, so a process that
dies costs a minute and no job. A `Handler` works in the transaction that finishes the job: its effect in the database
happens once. An `Errand` is for effects outside (a mail): it runs without a transaction, at least once, and a job that
was withdrawn or moved while it ran stays so.

Failures are tried again with growing gaps and end as ``failed`` with the type of the error; `Later` says that nothing
is wrong with the job and the world is not ready. Times are absolute, so a job set for 24 hours before a visit runs 24
hours before it, whatever clocks are put forward that night.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import msgspec

from backplane.logs import Log
from backplane.outbox import Scalar
from backplane.pace import Pace
from backplane.postgres import Connection, Database, DatabaseUnavailable, Row

_log = Log(__name__)

CHANNEL: Final = "job"
LEASE: Final = timedelta(seconds=60)
# Errands must give up before their lease ends.
ERRAND_TIMEOUT_S: Final = 45.0
POLL_S: Final = 10.0
PAUSE_S: Final = 1.0
CONCURRENCY: Final = 8
MAX_ATTEMPTS: Final = 12
FIRST_GAP_S: Final = 5
LONGEST_GAP_S: Final = 900
KEEP: Final = timedelta(days=7)
SWEEP_EVERY_S: Final = 300.0
SWEEP_BATCH: Final = 10_000


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What to do, and when. ``key`` is unique in the tenant; ``payload``: ids and minimal facts only."""

    key: str
    kind: str
    subject: UUID
    run_at: datetime
    payload: Mapping[str, Scalar] = {}


@dataclass(frozen=True, slots=True)
class JobRow:
    """A job that is being done. ``attempts`` counts from 1."""

    id: int
    tenant: int
    key: str
    kind: str
    subject: UUID
    run_at: datetime
    payload: Mapping[str, Scalar]
    attempts: int


class Later(Exception):
    """Raised by a handler: try again after a growing gap, however often."""


Handler = Callable[[Connection, JobRow, datetime], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Errand:
    """A handler with an effect outside the database; ``run`` gets no connection. It may run more than once."""

    run: Callable[[JobRow, datetime], Awaitable[None]]


# A job that is due before the next poll wakes the schedulers. Sorted, so that two who write the same do not lock.
_SCHEDULE: Final = f"""
WITH written AS (
    INSERT INTO job (tenant_id, key, kind, subject, run_at, payload)
    SELECT coalesce($1::bigint, app_tenant()), key, kind, subject, run_at, payload::jsonb
    FROM unnest($2::text[], $3::text[], $4::uuid[], $5::timestamptz[], $6::text[])
        AS asked (key, kind, subject, run_at, payload) ORDER BY key
    ON CONFLICT (tenant_id, key) DO UPDATE SET
        kind = excluded.kind, subject = excluded.subject, run_at = excluded.run_at, payload = excluded.payload,
        state = 'waiting', attempts = 0, locked_until = NULL, last_error = NULL
    WHERE $7
    RETURNING run_at
), woken AS (
    SELECT pg_notify('{CHANNEL}', '') FROM written WHERE run_at < clock_timestamp() + interval '{POLL_S} seconds'
)
SELECT count(*) + 0 * (SELECT count(*) FROM woken) FROM written"""

# Two lists, so that each is read from its index in order and no more of it than is taken. A lease that would last
# longer than any may was given before the clock was set back.
_CLAIM: Final = """
UPDATE job SET state = 'running', locked_until = $1::timestamptz + $2::interval, attempts = attempts + 1
WHERE id = ANY(ARRAY(
        SELECT id FROM job WHERE state = 'waiting' AND run_at <= $1 AND kind = ANY($3)
        ORDER BY run_at LIMIT $4 FOR UPDATE SKIP LOCKED)
    || ARRAY(
        SELECT id FROM job WHERE state = 'running' AND (locked_until <= $1 OR locked_until > $1 + 2 * $2::interval)
            AND kind = ANY($3)
        ORDER BY locked_until LIMIT $4 FOR UPDATE SKIP LOCKED))
RETURNING id, tenant_id, key, kind, subject, run_at, payload, attempts, locked_until"""

# The lease is the proof that the job is still ours: it was neither moved, nor withdrawn, nor taken over.
_MINE: Final = "id = $1 AND state = 'running' AND locked_until = $2"
_FINISH: Final = """
UPDATE job SET state = 'done', locked_until = NULL, last_error = NULL
FROM unnest($1::bigint[], $2::timestamptz[]) AS mine (mine, lease)
WHERE id = mine AND state = 'running' AND locked_until = lease"""

_SWEEP: Final = """
DELETE FROM job WHERE id = ANY(ARRAY(
    SELECT id FROM job WHERE state IN ('done', 'withdrawn') AND run_at < $1 LIMIT $2 FOR UPDATE SKIP LOCKED))"""


async def schedule(connection: Connection, job: Job, replace: bool = True, *, tenant: int | None = None) -> bool:
    """Writes the job in the caller's transaction; a job of the same key, whatever became of it, is replaced, or stays
    with ``replace=False``. Whether it was written. ``tenant``: needed by the platform only."""
    return bool(await schedule_all(connection, [job], replace, tenant=tenant))


async def schedule_all(
    connection: Connection, jobs: Sequence[Job], replace: bool = True, *, tenant: int | None = None
) -> int:
    """As `schedule`, several of one tenant and of different keys in one statement; how many were written."""
    written: int = await connection.fetchval(
        _SCHEDULE,
        tenant,
        [job.key for job in jobs],
        [job.kind for job in jobs],
        [job.subject for job in jobs],
        [job.run_at for job in jobs],
        [msgspec.json.encode(job.payload).decode() for job in jobs],
        replace,
    )
    return written


async def hold(connection: Connection, key: str) -> None:
    """Until the transaction ends the job of this key does not run. For who locks what its handler locks, and changes
    the job after it: a handler has the job first."""
    await connection.execute("SELECT 1 FROM job WHERE key = $1 FOR UPDATE", key)


async def withdraw(connection: Connection, key: str) -> bool:
    """Takes back the job that is waiting or running under this key; whether there was one."""
    tag = await connection.execute(
        "UPDATE job SET state = 'withdrawn', locked_until = NULL WHERE key = $1 AND state IN ('waiting', 'running')",
        key,
    )
    return tag != "UPDATE 0"


def gap_after(attempts: int) -> timedelta:
    """Pause before the next try: 5 s, 10 s, 20 s, ... up to a quarter of an hour."""
    return timedelta(seconds=min(FIRST_GAP_S * 2 ** min(attempts - 1, 20), LONGEST_GAP_S))


class Scheduler:
    """Does jobs of the kinds that ``handlers`` name. Any number of processes may run one."""

    def __init__(
        self,
        database: Database,
        handlers: Mapping[str, Handler | Errand],
        clock: Callable[[], datetime],
        *,
        concurrency: int = CONCURRENCY,
        max_attempts: int = MAX_ATTEMPTS,
    ) -> None:
        self._database = database
        self._handlers = dict(handlers)
        self._clock = clock
        self._concurrency = concurrency
        self._max_attempts = max_attempts
        self._ended: list[tuple[int, datetime]] = []  # errands that are not noted as done yet, with their leases
        self._finishing = asyncio.Lock()
        self._wake = asyncio.Event()

    async def step(self) -> int:
        """Does what is due now, at most as many jobs as may run at once, and says how many it took."""
        rows = await self._claim(self._concurrency)
        async with asyncio.TaskGroup() as tasks:
            for row in rows:
                tasks.create_task(self._do(row))
        return len(rows)

    async def next_at(self) -> datetime | None:
        """When the next job is due, or a lease ends."""
        async with self._database.platform() as connection:
            at: datetime | None = await connection.fetchval(
                "SELECT least((SELECT min(run_at) FROM job WHERE state = 'waiting' AND kind = ANY($1)), "
                "(SELECT min(locked_until) FROM job WHERE state = 'running' AND kind = ANY($1)))",
                list(self._handlers),
            )
        return at

    async def sweep(self) -> int:
        """Deletes jobs that ended longer than `KEEP` ago, except failed ones, which an operator should see: at most
        `SWEEP_BATCH`, and says how many."""
        async with self._database.platform() as connection:
            tag = await connection.execute(_SWEEP, self._clock() - KEEP, SWEEP_BATCH)
        return int(tag.split()[-1])

    async def run(self) -> None:
        """Works until cancelled; goes on by itself after Postgres was away."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._database.listen(CHANNEL, self._wake.set))
            tasks.create_task(self._work(tasks))
            tasks.create_task(self._sweep())

    async def _claim(self, count: int) -> list[Row]:
        async with self._database.platform() as connection:
            return await connection.fetch(_CLAIM, self._clock(), LEASE, list(self._handlers), count)

    async def _work(self, tasks: asyncio.TaskGroup) -> None:
        pace = Pace.here()
        running: set[asyncio.Task[None]] = set()

        def ended(task: asyncio.Task[None]) -> None:
            running.discard(task)
            self._wake.set()

        while True:
            self._wake.clear()
            if len(running) >= self._concurrency:
                await self._wake.wait()
                continue
            try:
                async with pace.turn() as turn:
                    rows = await self._claim(self._concurrency - len(running))
                    turn.idle = not rows
                for row in rows:
                    task = tasks.create_task(self._do(row))
                    running.add(task)
                    task.add_done_callback(ended)
                if rows:
                    continue
                at = await self.next_at()
            except DatabaseUnavailable:
                _log.warning("scheduler waits")
                await asyncio.sleep(PAUSE_S)
                continue
            except Exception:
                _log.error("scheduler failed")
                await asyncio.sleep(PAUSE_S)
                continue
            wait_s = POLL_S if at is None else min(max((at - self._clock()).total_seconds(), 0.0), POLL_S)
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._wake.wait()

    async def _sweep(self) -> None:
        while True:
            try:
                while await self.sweep() == SWEEP_BATCH:
                    pass
            except DatabaseUnavailable:
                _log.warning("scheduler waits")
            except Exception:
                _log.error("sweep of jobs failed")
            await asyncio.sleep(SWEEP_EVERY_S)

    async def _do(self, row: Row) -> None:
        job = JobRow(
            row["id"], row["tenant_id"], row["key"], row["kind"], row["subject"], row["run_at"], row["payload"],
            row["attempts"],
        )  # fmt: skip
        lease: datetime = row["locked_until"]
        handler = self._handlers[job.kind]
        try:
            if isinstance(handler, Errand):
                async with asyncio.timeout(ERRAND_TIMEOUT_S):
                    await handler.run(job, self._clock())
                await self._finish_errand(job, lease)
            else:
                async with self._database.tenant(job.tenant) as connection, connection.transaction():
                    mine = await connection.fetchval(f"SELECT true FROM job WHERE {_MINE} FOR UPDATE", job.id, lease)
                    if mine:
                        await handler(connection, job, self._clock())
                        await connection.execute(_FINISH, [job.id], [lease])
        except DatabaseUnavailable:
            _log.warning("job interrupted", kind=job.kind)  # its lease ends
        except Exception as error:
            await self._postpone(job, lease, error)

    async def _finish_errand(self, job: JobRow, lease: datetime) -> None:
        """Those that end while others are being noted are noted together. What a lost server prevents is done again."""
        self._ended.append((job.id, lease))
        async with self._finishing:
            ended, self._ended = self._ended, []
            if ended:
                async with self._database.platform() as connection:
                    await connection.execute(_FINISH, [id_ for id_, _ in ended], [lease for _, lease in ended])

    async def _postpone(self, job: JobRow, lease: datetime, error: Exception) -> None:
        failed = job.attempts >= self._max_attempts and not isinstance(error, Later)
        if not isinstance(error, Later):
            _log.error("job failed", kind=job.kind, state="failed" if failed else "waiting")
        try:
            async with self._database.tenant(job.tenant) as connection:
                await connection.execute(
                    f"UPDATE job SET state = $3, run_at = $4, last_error = $5, locked_until = NULL WHERE {_MINE}",
                    job.id,
                    lease,
                    "failed" if failed else "waiting",
                    job.run_at if failed else self._clock() + gap_after(job.attempts),
                    f"{type(error).__name__}: {error}"[:200] if isinstance(error, Later) else type(error).__name__,
                )
        except DatabaseUnavailable:
            _log.warning("job interrupted", kind=job.kind)
        except Exception:  # such as a row that somebody holds; its lease ends as well
            _log.error("job not postponed", kind=job.kind)
