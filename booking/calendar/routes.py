"""Free slots over HTTP: what patients see, and the preview of a doctor, which is the same by the same code.

Instants are UTC; beside them stands the wall clock of the zone that was asked for and of the doctor's, with offsets,
so that the hour that comes twice in autumn is told apart.
"""

from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Final
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Meta, Struct

from backplane.api import Call, Routes
from backplane.postgres import Connection
from booking.calendar import zones
from booking.calendar.access import MANAGE, managed, not_found
from booking.calendar.slots import Slot, in_turns, next_free
from booking.calendar.store import SERVICE_COLUMNS, load, times_of_row
from booking.refusals import Invalid

MAX_DAYS: Final = 62
DEFAULT_DAYS: Final = 31
_FIRST_YEAR, _LAST_YEAR = 2000, 2200

routes = Routes(tag="calendar")

# a local date of the zone asked for, or an instant
When = Annotated[str, Meta(pattern=r"^\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}(:\d{2})?(Z|[+-]\d{2}:\d{2}))?$")]


class SlotQuery(Struct, forbid_unknown_fields=True, kw_only=True):
    """``from`` and ``to``: dates of ``tz``, or instants; at most 62 days apart, ``to`` not included. ``tz``: IANA."""

    service: UUID
    start: When | None = msgspec.field(default=None, name="from")
    end: When | None = msgspec.field(default=None, name="to")
    tz: Annotated[str, Meta(max_length=64)] | None = None


class FreeSlot(Struct, frozen=True, kw_only=True):
    """``local``: on the clocks of the zone asked for; ``at_provider``: on those where the hours are kept. ``seats``:
    how many are left, 1 when it is no class."""

    start: datetime
    end: datetime
    local: str
    at_provider: str
    seats: int
    location: UUID | None


class Slots(Struct, frozen=True, kw_only=True):
    """``next``: the first slot from ``to`` on, for leafing on when nothing is free before."""

    provider: UUID
    service: UUID
    zone: str
    provider_zone: str
    slots: list[FreeSlot]
    next: datetime | None


_PROBLEMS: Final = {404: ("not_found",), 422: ("unknown_timezone", "bad_range")}


@routes.get("/v1/providers/{provider}/slots", etag=True, problems=_PROBLEMS)
async def list_slots(call: Call, provider: UUID, query: SlotQuery) -> Slots:
    """Free slots of a service of a listed provider, a month at a time."""
    async with call.db.tenant(call.tenant.id) as connection:
        return await _slots(call, connection, provider, query, listed=True)


@routes.get("/v1/providers/{provider}/slots/preview", right=MANAGE, etag=True, problems=_PROBLEMS)
async def preview_slots(call: Call, provider: UUID, query: SlotQuery) -> Slots:
    """What patients would see, also before the provider or the service is listed."""
    async with call.db.tenant(call.tenant.id) as connection:
        await managed(call, connection, provider)
        return await _slots(call, connection, provider, query, listed=False)


async def _slots(call: Call, connection: Connection, provider: UUID, query: SlotQuery, *, listed: bool) -> Slots:
    row = await connection.fetchrow(
        f"""SELECT s.id, {", ".join("s." + name.strip() for name in SERVICE_COLUMNS.split(","))}, p.timezone
            FROM service s JOIN provider p ON p.id = s.provider_id
            WHERE s.id = $1 AND p.id = $2 AND (NOT $3 OR s.active AND p.status = 'approved')""",
        query.service,
        provider,
        listed,
    )
    if row is None:
        raise not_found("service of this provider")
    name = query.tz or row["timezone"]
    start, end = _stretch(query, name, call.now)
    service = times_of_row(row)
    calendar, taken = await load(connection, provider, start, end, call.now, query.service)
    found: list[FreeSlot] = []
    async for part in in_turns(calendar, service, taken, start, end, call.now):
        found += [_free(slot, name) for slot in part]
    following: Slot | None = None
    if not found and end < (horizon := call.now + timedelta(days=service.horizon_days)):
        calendar, taken = await load(connection, provider, end, horizon, call.now, query.service)
        following = await next_free(calendar, service, taken, call.now, max(end, call.now))
    return Slots(
        provider=provider,
        service=query.service,
        zone=name,
        provider_zone=row["timezone"],
        slots=found,
        next=None if following is None else following.start,
    )


def _free(slot: Slot, here: str) -> FreeSlot:
    local = _on_the_clock(slot.start, here)
    return FreeSlot(
        start=slot.start,
        end=slot.end,
        local=local,
        # mostly the same zone, and a month has a thousand slots
        at_provider=local if slot.zone == here else _on_the_clock(slot.start, slot.zone),
        seats=slot.seats,
        location=slot.location,
    )


def _on_the_clock(at: datetime, zone: str) -> str:
    return at.astimezone(zones.zone(zone)).isoformat(timespec="minutes")


def _stretch(query: SlotQuery, name: str, now: datetime) -> tuple[datetime, datetime]:
    """What was asked for, as instants. Invalid."""
    try:
        place = zones.zone(name)
    except zones.UnknownZone:
        raise Invalid("unknown_timezone", "Give an IANA time zone such as Asia/Karachi.") from None
    start = now if query.start is None else _instant(query.start, place)
    end = start + timedelta(days=DEFAULT_DAYS) if query.end is None else _instant(query.end, place)
    if not start <= end <= start + timedelta(days=MAX_DAYS, hours=1):  # an hour for clocks that go back
        raise Invalid("bad_range", f"Ask for at most {MAX_DAYS} days, with `to` not before `from`.")
    return start, end


def _instant(text: str, place: ZoneInfo) -> datetime:
    try:
        if len(text) == 10:
            at = zones.opening(datetime.combine(date.fromisoformat(text), time()), place)
        else:
            at = datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        raise Invalid("bad_range", "Give dates such as 2026-03-01, or instants with a zone.") from None
    if not _FIRST_YEAR <= at.year < _LAST_YEAR:
        raise Invalid("bad_range", f"Give times between the years {_FIRST_YEAR} and {_LAST_YEAR}.")
    return at
