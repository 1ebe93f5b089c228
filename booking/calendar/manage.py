"""Doctors and staff keep hours: schedules with their rules, overrides of dates, holidays, and time that is taken.

A schedule is written as a whole, with its rules, so that what is shown is what was sent. Every change is recorded and
tells `availability.changed`. Appointments that lie outside the new hours stay; the answer names them, for they were
promised and only people can move them.
"""

import asyncio
from bisect import bisect_right
from datetime import date, datetime, time, timedelta
from itertools import accumulate
from typing import Annotated, Final
from uuid import UUID

import msgspec
from msgspec import Meta, Struct

from backplane.api import Call, Routes
from backplane.ids import uuid7
from backplane.postgres import Connection
from booking.calendar import recurrence, zones
from booking.calendar.access import MANAGE, NOT_FOUND, changed, managed
from booking.calendar.hours import windows
from booking.calendar.slots import STRETCH_DAYS
from booking.calendar.store import load_calendar
from booking.refusals import Invalid

MAX_SCHEDULES: Final = 20
MAX_RULES: Final = 100
MAX_ALL_RULES: Final = 200  # of one provider: each day's hours are worked out from all of them
MAX_EXDATES: Final = 366
MAX_OVERRIDES: Final = 1000
RULE_MUST_HAPPEN_WITHIN: Final = timedelta(days=5 * 366)
CONFLICT_DAYS: Final = 90

routes = Routes(tag="hours")

# to the minute
LocalTime = Annotated[str, Meta(pattern="^([01][0-9]|2[0-3]):[0-5][0-9]$")]
Name = Annotated[str, Meta(max_length=120)]
Weekday = Annotated[int, Meta(ge=1, le=7)]


class Hours(Struct, forbid_unknown_fields=True, frozen=True):
    """Wall-clock hours. ``closes`` not after ``opens``: until the next date; 00:00 to 00:00: the whole day."""

    opens: LocalTime
    closes: LocalTime


class RuleBody(Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """Hours, or with ``closed`` a break, on ``weekdays`` (Monday is 1) or by ``rrule`` (RFC 5545, dates counted from
    ``valid_from``); both dates of validity are included."""

    opens: LocalTime
    closes: LocalTime
    closed: bool = False
    weekdays: Annotated[list[Weekday], Meta(min_length=1, max_length=7)] = msgspec.field(
        default_factory=lambda: list(range(1, 8))
    )
    rrule: Annotated[str, Meta(max_length=recurrence.MAX_TEXT)] | None = None
    exdates: Annotated[list[date], Meta(max_length=MAX_EXDATES)] = []
    valid_from: date | None = None
    valid_until: date | None = None


class ScheduleBody(Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """``timezone``: that of the location or of the provider when left out. ``location``: where these hours are kept;
    none: they serve every visit. ``daily_cap``: visits that may begin on one date."""

    name: Name = ""
    location: UUID | None = None
    timezone: Annotated[str, Meta(max_length=64)] | None = None
    daily_cap: Annotated[int, Meta(ge=1, le=500)] | None = None
    rules: Annotated[list[RuleBody], Meta(max_length=MAX_RULES)] = []


class OverrideView(Struct, frozen=True):
    day: date
    hours: list[Hours]


class ScheduleView(Struct, frozen=True, kw_only=True):
    """``overrides``: those of today and later. ``conflicts``: appointments of the next 90 days outside all hours; only
    told after a change."""

    id: UUID
    provider: UUID
    name: str
    location: UUID | None
    timezone: str
    daily_cap: int | None
    rules: list[RuleBody]
    overrides: list[OverrideView] = []
    conflicts: list[UUID] = []


class OverrideBody(Struct, forbid_unknown_fields=True, frozen=True):
    """The hours of the date in place of all rules; none: closed."""

    hours: Annotated[list[Hours], Meta(max_length=24)] = []


_BAD: Final = {404: ("not_found",), 422: ("unknown_timezone", "unknown_location", "bad_rule", "too_many")}


@routes.get("/v1/providers/{provider}/schedules", right=MANAGE, etag=True, problems=NOT_FOUND)
async def list_schedules(call: Call, provider: UUID) -> list[ScheduleView]:
    """All hours of a provider."""
    async with call.db.tenant(call.tenant.id) as connection:
        await managed(call, connection, provider)
        rows = await connection.fetch("SELECT id FROM schedule WHERE provider_id = $1 ORDER BY id", provider)
        return [await _view(connection, row["id"], call.now) for row in rows]


@routes.post("/v1/providers/{provider}/schedules", right=MANAGE, status=201, problems=_BAD)
async def add_schedule(call: Call, provider: UUID, body: ScheduleBody) -> ScheduleView:
    """Add hours in one zone, at one location or for every visit."""
    async with call.transaction() as connection:
        await managed(call, connection, provider)
        if await connection.fetchval("SELECT count(*) FROM schedule WHERE provider_id = $1", provider) >= MAX_SCHEDULES:
            raise Invalid("too_many", f"A provider has at most {MAX_SCHEDULES} schedules. Change one of them.")
        schedule = uuid7(call.now)
        zone = await _zone(connection, body, provider)
        await connection.execute(
            """INSERT INTO schedule (id, provider_id, name, location_id, timezone, daily_cap, created_at)
               VALUES ($1, $2, $3, $4, $5, $6, $7)""",
            schedule, provider, body.name, body.location, zone, body.daily_cap, call.now,
        )  # fmt: skip
        await _write_rules(connection, schedule, body.rules, call.now)
        await changed(call, connection, provider, "schedule.added", {"schedule": str(schedule)}, call.now)
        return await _view(connection, schedule, call.now, conflicts=True)


@routes.put("/v1/schedules/{schedule}", right=MANAGE, problems=_BAD)
async def replace_schedule(call: Call, schedule: UUID, body: ScheduleBody) -> ScheduleView:
    """Replace a schedule with its rules; its overrides stay."""
    async with call.transaction() as connection:
        provider = await _of_schedule(call, connection, schedule)
        zone = await _zone(connection, body, provider)
        await connection.execute(
            "UPDATE schedule SET name = $2, location_id = $3, timezone = $4, daily_cap = $5 WHERE id = $1",
            schedule, body.name, body.location, zone, body.daily_cap,
        )  # fmt: skip
        await connection.execute("DELETE FROM schedule_rule WHERE schedule_id = $1", schedule)
        await _write_rules(connection, schedule, body.rules, call.now)
        await changed(call, connection, provider, "schedule.changed", {"schedule": str(schedule)}, call.now)
        return await _view(connection, schedule, call.now, conflicts=True)


@routes.delete("/v1/schedules/{schedule}", right=MANAGE, problems=NOT_FOUND)
async def remove_schedule(call: Call, schedule: UUID) -> None:
    """Remove a schedule with its rules and overrides."""
    async with call.transaction() as connection:
        provider = await _of_schedule(call, connection, schedule)
        await connection.execute("DELETE FROM schedule WHERE id = $1", schedule)
        await changed(call, connection, provider, "schedule.removed", {"schedule": str(schedule)}, call.now)


@routes.put("/v1/schedules/{schedule}/overrides/{day}", right=MANAGE, problems=_BAD)
async def set_override(call: Call, schedule: UUID, day: date, body: OverrideBody) -> ScheduleView:
    """Set the hours of one date."""
    async with call.transaction() as connection:
        provider = await _of_schedule(call, connection, schedule)
        count = await connection.fetchval("SELECT count(*) FROM schedule_override WHERE schedule_id = $1", schedule)
        if count >= MAX_OVERRIDES:
            raise Invalid("too_many", "There are too many overrides. Remove some of past dates.")
        await connection.execute(
            """INSERT INTO schedule_override (schedule_id, day, opens, closes) VALUES ($1, $2, $3, $4)
               ON CONFLICT (schedule_id, day) DO UPDATE SET opens = excluded.opens, closes = excluded.closes""",
            schedule,
            day,
            [time.fromisoformat(each.opens) for each in body.hours],
            [time.fromisoformat(each.closes) for each in body.hours],
        )
        facts: dict[str, object] = {"schedule": str(schedule), "day": day.isoformat()}
        await changed(call, connection, provider, "schedule.override_set", facts, call.now)
        return await _view(connection, schedule, call.now, conflicts=True)


@routes.delete("/v1/schedules/{schedule}/overrides/{day}", right=MANAGE, problems=NOT_FOUND)
async def remove_override(call: Call, schedule: UUID, day: date) -> None:
    """Let the rules decide about the date again."""
    async with call.transaction() as connection:
        provider = await _of_schedule(call, connection, schedule)
        await connection.execute("DELETE FROM schedule_override WHERE schedule_id = $1 AND day = $2", schedule, day)
        facts: dict[str, object] = {"schedule": str(schedule), "day": day.isoformat()}
        await changed(call, connection, provider, "schedule.override_removed", facts, call.now)


async def _of_schedule(call: Call, connection: Connection, schedule: UUID) -> UUID:
    provider = await connection.fetchval("SELECT provider_id FROM schedule WHERE id = $1 FOR UPDATE", schedule)
    return await managed(call, connection, provider, "schedule")


async def _zone(connection: Connection, body: ScheduleBody, provider: UUID) -> str:
    """The zone of the hours. Invalid."""
    zone: str | None = None
    if body.location is not None:
        zone = await connection.fetchval("SELECT timezone FROM location WHERE id = $1", body.location)
        if zone is None:
            raise Invalid("unknown_location", "There is no such location here. Add it first.")
    name = body.timezone or zone or await connection.fetchval("SELECT timezone FROM provider WHERE id = $1", provider)
    if name not in zones.names():
        raise Invalid("unknown_timezone", "Give an IANA time zone such as Asia/Karachi.")
    return str(name)


async def _write_rules(connection: Connection, schedule: UUID, rules: list[RuleBody], now: datetime) -> None:
    others = await connection.fetchval(
        """SELECT count(*) FROM schedule_rule r JOIN schedule s ON s.id = r.schedule_id
           WHERE s.id <> $1 AND s.provider_id = (SELECT provider_id FROM schedule WHERE id = $1)""",
        schedule,
    )
    if others + len(rules) > MAX_ALL_RULES:
        raise Invalid("too_many", f"A provider has at most {MAX_ALL_RULES} rules in all schedules. Remove some.")
    for number, rule in enumerate(rules, 1):
        if fault := _fault(rule, now):
            raise Invalid("bad_rule", f"Rule {number}: {fault}.")
        await asyncio.sleep(0)  # each may look at five years of days
    await connection.executemany(
        """INSERT INTO schedule_rule (id, schedule_id, opens, closes, closed, weekdays, rrule, exdates, valid_from,
               valid_until) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)""",
        [
            (
                uuid7(now), schedule, time.fromisoformat(rule.opens), time.fromisoformat(rule.closes), rule.closed,
                sorted(set(rule.weekdays)), rule.rrule, rule.exdates, rule.valid_from, rule.valid_until,
            )
            for rule in rules
        ],
    )  # fmt: skip


def _fault(rule: RuleBody, now: datetime) -> str | None:
    """What is wrong with a rule, for people."""
    if rule.valid_from and rule.valid_until and rule.valid_until < rule.valid_from:
        return "valid_until is before valid_from"
    if rule.rrule is None:
        return None
    if rule.valid_from is None:
        return "an rrule needs valid_from, from which its dates are counted"
    try:
        read = recurrence.parse(rule.rrule)
        if read.count is not None:
            return "give valid_until in place of COUNT"
        start = max(rule.valid_from, now.date())
        upcoming = recurrence.occurrences(read, rule.valid_from, start, start + RULE_MUST_HAPPEN_WITHIN)
        if next(upcoming, None) is None:
            return "the rrule has no date in the next five years"
    except (ValueError, OverflowError) as error:
        return str(error)
    return None


async def _view(connection: Connection, schedule: UUID, now: datetime, *, conflicts: bool = False) -> ScheduleView:
    row = await connection.fetchrow("SELECT * FROM schedule WHERE id = $1", schedule)
    assert row is not None
    rules = await connection.fetch("SELECT * FROM schedule_rule WHERE schedule_id = $1 ORDER BY id", schedule)
    today = now.astimezone(zones.zone(row["timezone"])).date()
    overrides = await connection.fetch(
        "SELECT * FROM schedule_override WHERE schedule_id = $1 AND day >= $2 ORDER BY day", schedule, today
    )
    return ScheduleView(
        id=schedule,
        provider=row["provider_id"],
        name=row["name"],
        location=row["location_id"],
        timezone=row["timezone"],
        daily_cap=row["daily_cap"],
        rules=[
            RuleBody(
                opens=_text(each["opens"]),
                closes=_text(each["closes"]),
                closed=each["closed"],
                weekdays=each["weekdays"],
                rrule=each["rrule"],
                exdates=each["exdates"],
                valid_from=each["valid_from"],
                valid_until=each["valid_until"],
            )
            for each in rules
        ],
        overrides=[
            OverrideView(each["day"], [Hours(_text(a), _text(b)) for a, b in zip(each["opens"], each["closes"])])
            for each in overrides
        ],
        conflicts=await _conflicts(connection, row["provider_id"], now) if conflicts else [],
    )


async def _conflicts(connection: Connection, provider: UUID, now: datetime) -> list[UUID]:
    end = now + timedelta(days=CONFLICT_DAYS)
    calendar = await load_calendar(connection, provider, now, end)
    rows = await connection.fetch(
        """SELECT id, during FROM appointment WHERE provider_id = $1 AND starts_at >= $2 AND starts_at < $3
               AND status IN ('requested', 'confirmed') AND NOT overridden ORDER BY starts_at""",
        provider,
        now,
        end,
    )

    outside: list[UUID] = []
    while rows:  # a fortnight after another, so that others are served meanwhile
        start = rows[0]["during"].lower
        stretch = start + timedelta(days=STRETCH_DAYS)
        open_ = windows(calendar, start, stretch)
        starts, reaches = [each.start for each in open_], list(accumulate((each.reach for each in open_), max))
        at_hand = [row for row in rows if row["during"].lower < stretch]
        for row in at_hand:
            begun = bisect_right(starts, row["during"].lower.timestamp())
            if not begun or reaches[begun - 1] < row["during"].upper.timestamp():
                outside.append(row["id"])
        rows = rows[len(at_hand) :]
        await asyncio.sleep(0)
    return outside


def _text(at: time) -> str:
    return at.isoformat(timespec="minutes")
