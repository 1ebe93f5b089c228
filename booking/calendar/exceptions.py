"""Days and hours that are not to be booked: holidays of a clinic, a location or a provider, and time that is taken."""

from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Final
from uuid import UUID

from asyncpg import Range
from msgspec import Meta, Struct

from backplane.api import Call, Routes
from backplane.ids import uuid7
from backplane.postgres import Connection
from booking.calendar.access import MANAGE, MANAGE_CLINIC, NOT_FOUND, changed, managed, not_found
from booking.calendar.upkeep import availability_changed
from booking.refusals import Invalid

MAX_HOLIDAYS: Final = 500
MAX_HOLIDAY_DAYS: Final = 366
MAX_BUSY: Final = 1000
MAX_BUSY_DAYS: Final = 370
_YEARS: Final = range(2000, 2200)

routes = Routes(tag="hours")

Instant = Annotated[datetime, Meta(tz=True)]


class NewHoliday(Struct, forbid_unknown_fields=True, kw_only=True):
    """Both days are included. Of one ``provider``, of one ``location``, or of the whole clinic without both."""

    first_day: date
    last_day: date
    name: Annotated[str, Meta(max_length=120)] = ""
    provider: UUID | None = None
    location: UUID | None = None


class Holiday(Struct, frozen=True, kw_only=True):
    id: UUID
    first_day: date
    last_day: date
    name: str
    provider: UUID | None
    location: UUID | None


class NewBusy(Struct, forbid_unknown_fields=True):
    """Time that is taken by something else."""

    start: Instant
    end: Instant


class Busy(Struct, frozen=True, kw_only=True):
    """``source``: the imported calendar that it comes from; None: entered here."""

    id: UUID
    start: datetime
    end: datetime
    source: UUID | None


@routes.get("/v1/holidays", right=MANAGE, etag=True)
async def list_holidays(call: Call) -> list[Holiday]:
    """Holidays that are not over: the clinic's, and those of providers whose hours one may change."""
    who = call.principal
    async with call.db.tenant(call.tenant.id) as connection:
        rows = await connection.fetch(
            """SELECT h.* FROM holiday h LEFT JOIN provider p ON p.id = h.provider_id
               WHERE h.last_day >= $1 AND (h.provider_id IS NULL OR $2 OR p.person_id = $3)
               ORDER BY h.first_day, h.id""",
            call.now.date() - timedelta(days=1),
            who.may(MANAGE_CLINIC),
            who.person,
        )
    return [_holiday(row["id"], NewHoliday(
        first_day=row["first_day"], last_day=row["last_day"], name=row["name"], provider=row["provider_id"],
        location=row["location_id"],
    )) for row in rows]  # fmt: skip


@routes.post(
    "/v1/holidays", right=MANAGE, status=201,
    problems={403: ("forbidden",), 404: ("not_found",), 422: ("bad_range", "unknown_location", "too_many")},
)  # fmt: skip
async def add_holiday(call: Call, body: NewHoliday) -> Holiday:
    """Close one or more days. For the clinic or a location this needs the right for the whole clinic."""
    if not timedelta() <= body.last_day - body.first_day < timedelta(days=MAX_HOLIDAY_DAYS):
        raise Invalid("bad_range", f"Give a last day from the first one on, at most {MAX_HOLIDAY_DAYS} days.")
    if body.provider is None:
        call.require(MANAGE_CLINIC)
    async with call.transaction() as connection:
        if body.provider is not None:
            await managed(call, connection, body.provider)
        known = await connection.fetchval("SELECT EXISTS (SELECT FROM location WHERE id = $1)", body.location)
        if body.location is not None and not known:
            raise Invalid("unknown_location", "There is no such location here. Add it first.")
        if (
            await connection.fetchval("SELECT count(*) FROM holiday WHERE last_day >= $1", call.now.date())
            >= MAX_HOLIDAYS
        ):
            raise Invalid("too_many", "There are too many holidays. Remove some.")
        holiday = uuid7(call.now)
        await connection.execute(
            """INSERT INTO holiday (id, provider_id, location_id, name, first_day, last_day, created_at)
               VALUES ($1, $2, $3, $4, $5, $6, $7)""",
            holiday, body.provider, body.location, body.name, body.first_day, body.last_day, call.now,
        )  # fmt: skip
        await _tell(call, connection, body.provider, "holiday.added", holiday)
    return _holiday(holiday, body)


@routes.delete("/v1/holidays/{holiday}", right=MANAGE, problems=NOT_FOUND)
async def remove_holiday(call: Call, holiday: UUID) -> None:
    """Open these days again."""
    async with call.transaction() as connection:
        row = await connection.fetchrow("SELECT provider_id FROM holiday WHERE id = $1 FOR UPDATE", holiday)
        if row is None:
            raise not_found("holiday")
        if row["provider_id"] is not None:
            await managed(call, connection, row["provider_id"], "holiday")
        elif not call.may(MANAGE_CLINIC):
            raise not_found("holiday")
        await connection.execute("DELETE FROM holiday WHERE id = $1", holiday)
        await _tell(call, connection, row["provider_id"], "holiday.removed", holiday)


@routes.get("/v1/providers/{provider}/busy", right=MANAGE, etag=True, problems=NOT_FOUND)
async def list_busy(call: Call, provider: UUID) -> list[Busy]:
    """Time from now on that is taken by other business, imported or entered here; the first thousand."""
    async with call.db.tenant(call.tenant.id) as connection:
        await managed(call, connection, provider)
        rows = await connection.fetch(
            """SELECT id, during, source_id FROM busy WHERE provider_id = $1 AND upper(during) > $2
               ORDER BY lower(during), id LIMIT $3""",
            provider,
            call.now,
            MAX_BUSY,
        )
    return [
        Busy(
            id=row["id"],
            start=row["during"].lower.astimezone(UTC),
            end=row["during"].upper.astimezone(UTC),
            source=row["source_id"],
        )
        for row in rows
    ]


@routes.post(
    "/v1/providers/{provider}/busy", right=MANAGE, status=201,
    problems={404: ("not_found",), 422: ("bad_range", "too_many")},
)  # fmt: skip
async def add_busy(call: Call, provider: UUID, body: NewBusy) -> Busy:
    """Take time out. Appointments in it stay."""
    start, end = body.start, body.end
    if not (start.year in _YEARS and end.year in _YEARS and start < end <= start + timedelta(days=MAX_BUSY_DAYS)):
        raise Invalid("bad_range", f"Give an end after the start, at most {MAX_BUSY_DAYS} days later.")
    async with call.transaction() as connection:
        await managed(call, connection, provider)
        count = await connection.fetchval(
            "SELECT count(*) FROM busy WHERE provider_id = $1 AND source_id IS NULL AND upper(during) > $2",
            provider,
            call.now,
        )
        if count >= MAX_BUSY:
            raise Invalid("too_many", "There is too much taken time. Use the hours instead.")
        busy = uuid7(call.now)
        await connection.execute(
            "INSERT INTO busy (id, provider_id, during) VALUES ($1, $2, $3)", busy, provider, Range(start, end)
        )
        await changed(call, connection, provider, "busy.added", {"busy": str(busy)}, call.now)
    return Busy(id=busy, start=start.astimezone(UTC), end=end.astimezone(UTC), source=None)


@routes.delete("/v1/busy/{busy}", right=MANAGE, problems=NOT_FOUND)
async def remove_busy(call: Call, busy: UUID) -> None:
    """Give the time free again; imported time is changed where it comes from."""
    async with call.transaction() as connection:
        provider = await connection.fetchval(
            "SELECT provider_id FROM busy WHERE id = $1 AND source_id IS NULL FOR UPDATE", busy
        )
        await managed(call, connection, provider, "taken time")
        await connection.execute("DELETE FROM busy WHERE id = $1", busy)
        await changed(call, connection, provider, "busy.removed", {"busy": str(busy)}, call.now)


def _holiday(holiday: UUID, body: NewHoliday) -> Holiday:
    return Holiday(
        id=holiday,
        first_day=body.first_day,
        last_day=body.last_day,
        name=body.name,
        provider=body.provider,
        location=body.location,
    )


async def _tell(call: Call, connection: Connection, provider: UUID | None, action: str, holiday: UUID) -> None:
    """A holiday of the clinic is a change of everybody's hours."""
    if provider is not None:
        await changed(call, connection, provider, action, {"holiday": str(holiday)}, call.now)
        return
    for row in await connection.fetch("SELECT DISTINCT provider_id FROM schedule"):
        await availability_changed(connection, row["provider_id"], call.now)
