"""Calendars in Postgres: what `hours` and `slots` work on, read in one query.

A view of what is taken may be a moment old; the constraint decides. A hold that has run out takes nothing, whether or
not somebody has swept it away yet.
"""

from collections.abc import Iterator, Sequence
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from typing import Final, Protocol
from uuid import UUID

import msgspec
from msgspec import Struct

from backplane.postgres import Connection, Row
from booking.calendar.hours import Calendar, Rule, Schedule, Span
from booking.calendar.slots import Range, ServiceTimes

# how far a visit with its buffers, or a local date with a cap, may reach over the edge of what is asked
MARGIN: Final = timedelta(days=2)

# JSON, because one text is read, and remembered, faster than rows of arrays
_CALENDAR_OF: Final = """
SELECT json_agg(json_build_object(
    'zone', s.timezone, 'location', s.location_id, 'daily_cap', s.daily_cap,
    'rules', (SELECT json_agg(json_build_object(
        'opens', r.opens, 'closes', r.closes, 'closed', r.closed, 'weekdays', r.weekdays, 'rrule', r.rrule,
        'exdates', r.exdates, 'valid_from', r.valid_from, 'valid_until', r.valid_until) ORDER BY r.id)
     FROM schedule_rule r WHERE r.schedule_id = s.id AND (r.valid_until IS NULL OR r.valid_until >= $2)),
    'overrides', (SELECT json_agg(json_build_object('day', o.day, 'opens', o.opens, 'closes', o.closes) ORDER BY o.day)
     FROM schedule_override o WHERE o.schedule_id = s.id AND o.day BETWEEN $2 AND $3),
    'holidays', (SELECT json_agg(json_build_array(h.first_day, h.last_day) ORDER BY h.first_day, h.last_day)
     FROM holiday h WHERE h.first_day <= $3 AND h.last_day >= $2
        AND (h.provider_id IS NULL OR h.provider_id = s.provider_id)
        AND (h.location_id IS NULL OR h.location_id = s.location_id))) ORDER BY s.id)::text
FROM schedule s WHERE s.provider_id = {provider}"""
_CALENDAR: Final = _CALENDAR_OF.format(provider="$1")
_CALENDARS: Final = f"""
SELECT asked.provider, ({_CALENDAR_OF.format(provider="asked.provider")}) AS schedules
FROM unnest($1::uuid[]) AS asked (provider)"""

_TAKEN_ROWS: Final = """
SELECT lower(a.occupied) AS start, upper(a.occupied) AS end, a.starts_at AS visit,
    CASE WHEN a.kind = 'class' AND a.service_id = {service} AND a.status IN ('confirmed', 'checked_in')
        THEN a.capacity - a.seats_taken ELSE 0 END AS seats_left
FROM appointment a
WHERE a.provider_id = {provider} AND a.starts_at >= {start} AND a.starts_at < {end} AND a.id IS DISTINCT FROM {without}
    AND (a.status IN ('requested', 'confirmed', 'checked_in', 'in_progress', 'interrupted')
        OR a.status = 'held' AND a.hold_until > {now})
UNION ALL
SELECT lower(b.during), upper(b.during), NULL, 0 FROM busy b
WHERE b.provider_id = {provider} AND upper(b.during) > {start} AND lower(b.during) < {end}"""
_TAKEN: Final = _TAKEN_ROWS.format(provider="$1", start="$2", end="$3", now="$4", service="$5", without="$6")

# `_TAKEN_ROWS` as one row: see `ranges`
TAKEN: Final = f"""
SELECT array_agg(x.start) AS starts, array_agg(x.end) AS ends, array_agg(x.visit) AS visits,
    array_agg(x.seats_left) AS left
FROM ({_TAKEN_ROWS}) AS x"""
# both in one go
_BOTH: Final = f"""
SELECT ({_CALENDAR}) AS schedules, t.* FROM (
    {TAKEN.format(provider="$1", start="$4", end="$5", now="$6", service="$7", without="$8")}) AS t"""

SERVICE_COLUMNS: Final = """minutes, step_minutes, buffer_before_minutes, buffer_after_minutes, notice_minutes,
    horizon_days, capacity, location_id"""


class _RuleRow(Struct):
    opens: time
    closes: time
    closed: bool
    weekdays: frozenset[int]
    rrule: str | None
    exdates: frozenset[date]
    valid_from: date | None
    valid_until: date | None


class _OverrideRow(Struct):
    day: date
    opens: list[time]
    closes: list[time]


class _ScheduleRow(Struct):
    zone: str
    location: UUID | None
    daily_cap: int | None
    rules: list[_RuleRow] | None
    overrides: list[_OverrideRow] | None
    holidays: list[tuple[date, date]] | None


class BookedService(Protocol):
    """What is needed of a service and its provider."""

    @property
    def id(self) -> UUID: ...
    @property
    def provider(self) -> UUID: ...
    @property
    def location(self) -> UUID | None: ...
    @property
    def minutes(self) -> int: ...
    @property
    def step_minutes(self) -> int: ...
    @property
    def buffer_before_minutes(self) -> int: ...
    @property
    def buffer_after_minutes(self) -> int: ...
    @property
    def notice_minutes(self) -> int: ...
    @property
    def horizon_days(self) -> int: ...
    @property
    def capacity(self) -> int: ...


def times_of(service: BookedService) -> ServiceTimes:
    return ServiceTimes(
        service.minutes,
        service.step_minutes,
        service.buffer_before_minutes,
        service.buffer_after_minutes,
        service.notice_minutes,
        service.horizon_days,
        service.capacity,
        service.location,
    )


def times_of_row(row: Row) -> ServiceTimes:
    """Of a row with `SERVICE_COLUMNS`."""
    return ServiceTimes(
        row["minutes"],
        row["step_minutes"],
        row["buffer_before_minutes"],
        row["buffer_after_minutes"],
        row["notice_minutes"],
        row["horizon_days"],
        row["capacity"],
        row["location_id"],
    )


async def load_calendar(connection: Connection, provider: UUID, start: datetime, end: datetime) -> Calendar:
    """The hours of ``provider`` as far as they matter for [``start``, ``end``)."""
    days = _days(start, end)
    return _calendar(await connection.fetchval(_CALENDAR, provider, *days), *days)


async def load_calendars(
    connection: Connection, providers: Sequence[UUID], start: datetime, end: datetime
) -> dict[UUID, Calendar]:
    """`load_calendar` of many."""
    days = _days(start, end)
    rows = await connection.fetch(_CALENDARS, providers, *days)
    return {row["provider"]: _calendar(row["schedules"], *days) for row in rows}


async def load_taken(
    connection: Connection,
    provider: UUID,
    start: datetime,
    end: datetime,
    now: datetime,
    service: UUID | None = None,
    without: UUID | None = None,
) -> list[Range]:
    """What takes the time of ``provider`` in [``start``, ``end``). Classes of ``service`` tell the seats that are left;
    the appointment ``without`` is left out, for it wants to move."""
    rows = await connection.fetch(_TAKEN, provider, start - MARGIN, end + MARGIN, now, service, without)
    return [Range(row["start"], row["end"], row["visit"], max(0, row["seats_left"])) for row in rows]


async def load(
    connection: Connection,
    provider: UUID,
    start: datetime,
    end: datetime,
    now: datetime,
    service: UUID | None = None,
    without: UUID | None = None,
) -> tuple[Calendar, list[Range]]:
    """`load_calendar` and `load_taken` in one go."""
    days = _days(start, end)
    row = await connection.fetchrow(_BOTH, provider, *days, start - MARGIN, end + MARGIN, now, service, without)
    assert row is not None
    return _calendar(row["schedules"], *days), ranges(row)


def ranges(row: Row) -> list[Range]:
    """Of a row of `TAKEN`."""
    taken = zip(row["starts"] or (), row["ends"] or (), row["visits"] or (), row["left"] or ())
    return [Range(a, b, visit, max(0, left)) for a, b, visit, left in taken]


def _days(start: datetime, end: datetime) -> tuple[date, date]:
    return (start - 2 * MARGIN).date(), (end + 2 * MARGIN).date()


# Half of a thousand doctors have hours like somebody else's, and one doctor's are asked for again and again.
@lru_cache(maxsize=4096)
def _calendar(text: str | None, first: date, last: date) -> Calendar:
    rows = msgspec.json.decode(text or "[]", type=list[_ScheduleRow])
    return Calendar(tuple(_schedule(row, first, last) for row in rows))


def _schedule(row: _ScheduleRow, first: date, last: date) -> Schedule:
    return Schedule(
        zone=row.zone,
        location=row.location,
        rules=tuple(_rule(each) for each in row.rules or ()),
        overrides={each.day: spans(each.opens, each.closes) for each in row.overrides or ()},
        holidays=frozenset(day for a, b in row.holidays or () for day in _each_day(max(a, first), min(b, last))),
        daily_cap=row.daily_cap,
    )


def _each_day(first: date, last: date) -> Iterator[date]:
    return (first + timedelta(days=n) for n in range((last - first).days + 1))


def _rule(row: _RuleRow) -> Rule:
    return Rule(
        span=Span(row.opens, row.closes),
        weekdays=row.weekdays,
        rrule=row.rrule,
        exdates=row.exdates,
        valid_from=row.valid_from,
        valid_until=row.valid_until,
        closed=row.closed,
    )


def spans(opens: Sequence[time], closes: Sequence[time]) -> tuple[Span, ...]:
    return tuple(Span(a, b) for a, b in zip(opens, closes))
