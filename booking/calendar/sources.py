"""Calendars elsewhere that take a provider's time here: their addresses, and the job that reads them again.

Reading is an errand: the fetch has no transaction open, and what was read replaces the older blocks in one. A source
that fails keeps what was read last, with the code of the failure beside it, for a doctor's time does not become free
because a server is away.
"""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Annotated, Final
from urllib.parse import urlsplit
from uuid import UUID

from asyncpg import Range
from msgspec import Meta, Struct

from backplane.api import Call, Routes
from backplane.ids import uuid7
from backplane.jobs import Errand, Job, JobRow, schedule, withdraw
from backplane.postgres import Connection, Database
from booking.calendar.access import MANAGE, NOT_FOUND, changed, managed
from booking.calendar.fetch import Fetcher, FetchError, checked_url
from booking.calendar.ics_in import MAX_BYTES, BadCalendar, Files, Imported
from booking.calendar.upkeep import availability_changed
from booking.refusals import Invalid

KIND: Final = "calendar.ics_in"
REFRESH: Final = timedelta(minutes=30)
AFTER_FAILURE: Final = timedelta(hours=1)
PAST: Final = timedelta(days=1)
FUTURE: Final = timedelta(days=400)
MAX_SOURCES: Final = 10

routes = Routes(tag="hours")


class NewSource(Struct, forbid_unknown_fields=True):
    """``url``: of a calendar file (http, https or webcal) that anybody who has the address may read."""

    url: Annotated[str, Meta(min_length=8, max_length=2000)]
    name: Annotated[str, Meta(max_length=120)] = ""


class Source(Struct, frozen=True, kw_only=True):
    """``host``: of the address, which is a secret and not shown again. ``error``: code of why the last try failed:
    bad_url, not_public, unreachable, refused, too_large, too_many_redirects, not_a_calendar, too_many_entries,
    takes_too_long. ``entries``: blocks of taken time."""

    id: UUID
    name: str
    host: str
    fetched_at: datetime | None
    error: str | None
    entries: int


@routes.get("/v1/providers/{provider}/calendars", right=MANAGE, problems=NOT_FOUND)
async def list_sources(call: Call, provider: UUID) -> list[Source]:
    """Calendars elsewhere that take the provider's time."""
    async with call.db.tenant(call.tenant.id) as connection:
        await managed(call, connection, provider)
        rows = await connection.fetch("SELECT * FROM ics_source WHERE provider_id = $1 ORDER BY id", provider)
    return [
        Source(
            id=row["id"],
            name=row["name"],
            host=urlsplit(row["url"]).hostname or "",
            fetched_at=row["fetched_at"],
            error=row["error"],
            entries=row["entries"],
        )
        for row in rows
    ]


@routes.post(
    "/v1/providers/{provider}/calendars", right=MANAGE, status=201,
    problems={404: ("not_found",), 422: ("bad_url", "too_many")},
)  # fmt: skip
async def add_source(call: Call, provider: UUID, body: NewSource) -> Source:
    """Let a calendar elsewhere take the provider's time; it is read within a minute, then every half hour."""
    try:
        url = checked_url(body.url)
    except FetchError:
        raise Invalid("bad_url", "Give the https address of a calendar file, without a user or port.") from None
    async with call.transaction() as connection:
        await managed(call, connection, provider)
        if await connection.fetchval("SELECT count(*) FROM ics_source WHERE provider_id = $1", provider) >= MAX_SOURCES:
            raise Invalid("too_many", f"A provider has at most {MAX_SOURCES} calendars. Remove one.")
        source = uuid7(call.now)
        await connection.execute(
            "INSERT INTO ics_source (id, provider_id, name, url, created_at) VALUES ($1, $2, $3, $4, $5)",
            source, provider, body.name, url, call.now,
        )  # fmt: skip
        await _plan(connection, source, call.now)
        await changed(call, connection, provider, "calendar.added", {"source": str(source)}, call.now)
    host = urlsplit(url).hostname or ""
    return Source(id=source, name=body.name, host=host, fetched_at=None, error=None, entries=0)


@routes.post("/v1/calendars/{source}/refresh", right=MANAGE, status=204, problems=NOT_FOUND)
async def refresh_source(call: Call, source: UUID) -> None:
    """Read the calendar again now."""
    async with call.transaction() as connection:
        await _of_source(call, connection, source)
        await _plan(connection, source, call.now)


@routes.delete("/v1/calendars/{source}", right=MANAGE, problems=NOT_FOUND)
async def remove_source(call: Call, source: UUID) -> None:
    """Give the time that it took free again."""
    async with call.transaction() as connection:
        provider = await _of_source(call, connection, source)
        await connection.execute("DELETE FROM ics_source WHERE id = $1", source)
        await withdraw(connection, _key(source))
        await changed(call, connection, provider, "calendar.removed", {"source": str(source)}, call.now)


class Reader:
    """Reads sources again. ``handlers`` is for the scheduler."""

    def __init__(self, database: Database, clock: Callable[[], datetime], fetcher: Fetcher | None = None) -> None:
        self._database = database
        self._clock = clock
        self._fetcher = fetcher or Fetcher()
        self._files = Files()

    @property
    def handlers(self) -> Mapping[str, Errand]:
        return {KIND: Errand(self.refresh)}

    async def refresh(self, job: JobRow, now: datetime) -> None:
        """Read the source that the job names, and plan the next time."""
        async with self._database.tenant(job.tenant) as connection:
            row = await connection.fetchrow(
                """SELECT s.url, s.etag, s.provider_id, s.fetched_at, p.timezone
                   FROM ics_source s JOIN provider p ON p.id = s.provider_id WHERE s.id = $1""",
                job.subject,
            )
        if row is None:
            return
        # what has not changed must still be read again now and then: repetitions move into the range
        old = row["fetched_at"] is None or now - row["fetched_at"] > timedelta(days=1)
        try:
            fetched = await self._fetcher.get(row["url"], MAX_BYTES, None if old else row["etag"])
            imported = None
            if fetched.content is not None:
                imported = await self._files.read(fetched.content, row["timezone"], now - PAST, now + FUTURE)
        except (FetchError, BadCalendar) as error:
            async with self._database.tenant(job.tenant) as connection, connection.transaction():
                await connection.execute("UPDATE ics_source SET error = $2 WHERE id = $1", job.subject, str(error))
                await _plan(connection, job.subject, now + AFTER_FAILURE)
            return
        async with self._database.tenant(job.tenant) as connection, connection.transaction():
            known = await connection.fetchval("SELECT true FROM ics_source WHERE id = $1 FOR UPDATE", job.subject)
            if known is None:
                return
            if imported is None:
                await connection.execute("UPDATE ics_source SET error = NULL WHERE id = $1", job.subject)
            elif await _replace(connection, job.subject, row["provider_id"], imported, fetched.etag, now):
                await availability_changed(connection, row["provider_id"], now)
            await _plan(connection, job.subject, now + REFRESH)


async def _replace(
    connection: Connection, source: UUID, provider: UUID, imported: Imported, etag: str | None, now: datetime
) -> bool:
    """Whether anything changed."""
    before = await connection.fetch("SELECT during, uid FROM busy WHERE source_id = $1", source)
    after = [(Range(block.start, block.end), block.uid) for block in imported.blocks]
    await connection.execute(
        "UPDATE ics_source SET etag = $2, fetched_at = $3, error = NULL, entries = $4 WHERE id = $1",
        source, etag, now, len(after),
    )  # fmt: skip
    if {(row["during"], row["uid"]) for row in before} == set(after):
        return False
    await connection.execute("DELETE FROM busy WHERE source_id = $1", source)
    await connection.executemany(
        "INSERT INTO busy (id, provider_id, source_id, during, uid) VALUES ($1, $2, $3, $4, $5)",
        [(uuid7(now), provider, source, during, uid) for during, uid in after],
    )
    return True


async def _of_source(call: Call, connection: Connection, source: UUID) -> UUID:
    provider = await connection.fetchval("SELECT provider_id FROM ics_source WHERE id = $1 FOR UPDATE", source)
    return await managed(call, connection, provider, "calendar")


async def _plan(connection: Connection, source: UUID, at: datetime) -> None:
    await schedule(connection, Job(key=_key(source), kind=KIND, subject=source, run_at=at))


def _key(source: UUID) -> str:
    return f"{KIND}:{source}"
