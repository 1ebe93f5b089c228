"""Calendars in Postgres: what `hours` and `slots` work on, read in two queries.

`Hours` is what booking asks; its view of what is taken may be a moment old, and the constraint decides. A hold that has
run out takes nothing, whether or not somebody has swept it away yet.
"""

from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from typing import Final, Protocol
from uuid import UUID

import msgspec
from msgspec import Struct

from backplane.postgres import Connection, Row
from booking.calendar.hours import Calendar, Rule, Schedule, Span
from booking.calendar.slots import Range, ServiceTimes, free_slots, is_free

# how far a visit with its buffers, or a local date with a cap, may reach over the edge of what is asked
MARGIN: Final = timedelta(days=2)

_CALENDAR: Final = """
SELECT s.id, s.location_id, s.timezone, s.daily_cap,
    (SELECT jsonb_agg(jsonb_build_object(
        'opens', r.opens, 'closes', r.closes, 'closed', r.closed, 'weekdays', r.weekdays, 'rrule', r.rrule,
        'exdates', r.exdates, 'valid_from', r.valid_from, 'valid_until', r.valid_until) ORDER BY r.id)
     FROM schedule_rule r WHERE r.schedule_id = s.id AND (r.valid_until IS NULL OR r.valid_until >= $2)) AS rules,
    (SELECT jsonb_agg(jsonb_build_object('day', o.day, 'opens', o.opens, 'closes', o.closes))
     FROM schedule_override o WHERE o.schedule_id = s.id AND o.day BETWEEN $2 AND $3) AS overrides,
    (SELECT array_agg(DISTINCT day::date)
     FROM holiday h, generate_series(greatest(h.first_day, $2), least(h.last_day, $3), interval '1 day') AS day
     WHERE h.first_day <= $3 AND h.last_day >= $2 AND (h.provider_id IS NULL OR h.provider_id = s.provider_id)
        AND (h.location_id IS NULL OR h.location_id = s.location_id)) AS holidays
FROM schedule s WHERE s.provider_id = $1 ORDER BY s.id"""

_TAKEN: Final = """
SELECT lower(a.occupied) AS start, upper(a.occupied) AS end, lower(a.during) AS visit,
    CASE WHEN a.kind = 'class' AND a.service_id = $5 AND a.status IN ('confirmed', 'checked_in')
        THEN a.capacity - a.seats_taken ELSE 0 END AS seats_left
FROM appointment a
WHERE a.provider_id = $1 AND lower(a.during) >= $2 AND lower(a.during) < $3 AND a.id IS DISTINCT FROM $6
    AND (a.status IN ('requested', 'confirmed', 'checked_in', 'in_progress', 'interrupted')
        OR a.status = 'held' AND a.hold_until > $4)
UNION ALL
SELECT lower(b.during), upper(b.during), NULL, 0 FROM busy b
WHERE b.provider_id = $1 AND upper(b.during) > $2 AND lower(b.during) < $3"""

SERVICE_COLUMNS: Final = """minutes, step_minutes, buffer_before_minutes, buffer_after_minutes, notice_minutes,
    horizon_days, capacity, location_id"""


class _RuleRow(Struct):
    opens: str
    closes: str
    closed: bool
    weekdays: frozenset[int]
    rrule: str | None
    exdates: frozenset[date]
    valid_from: date | None
    valid_until: date | None


class _OverrideRow(Struct):
    day: date
    opens: list[str]
    closes: list[str]


class Asked(Protocol):
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


def times_of(service: Asked) -> ServiceTimes:
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
    first, last = (start - 2 * MARGIN).date(), (end + 2 * MARGIN).date()
    return Calendar(tuple(_schedule(row) for row in await connection.fetch(_CALENDAR, provider, first, last)))


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


class Hours:
    """The calendar as booking asks it."""

    async def refusal(
        self, connection: Connection, service: Asked, start: datetime, now: datetime, without: UUID | None = None
    ) -> str | None:
        """None when a visit may begin at ``start``, else the code of a `Refusal`."""
        calendar = await load_calendar(connection, service.provider, start, start)
        taken = await load_taken(connection, service.provider, start, start, now, service.id, without)
        return is_free(calendar, times_of(service), taken, start, now)

    async def free(
        self, connection: Connection, service: Asked, start: datetime, end: datetime, now: datetime, most: int
    ) -> list[datetime]:
        """The first free starts in [``start``, ``end``)."""
        calendar = await load_calendar(connection, service.provider, start, end)
        taken = await load_taken(connection, service.provider, start, end, now, service.id)
        return [slot.start for slot in free_slots(calendar, times_of(service), taken, start, end, now)[:most]]


def _schedule(row: Row) -> Schedule:
    return Schedule(
        zone=row["timezone"],
        location=row["location_id"],
        rules=tuple(_rule(each) for each in msgspec.convert(row["rules"] or [], list[_RuleRow])),
        overrides={
            each.day: spans(each.opens, each.closes)
            for each in msgspec.convert(row["overrides"] or [], list[_OverrideRow])
        },
        holidays=frozenset(row["holidays"] or ()),
        daily_cap=row["daily_cap"],
    )


def _rule(row: _RuleRow) -> Rule:
    return Rule(
        span=Span(time.fromisoformat(row.opens), time.fromisoformat(row.closes)),
        weekdays=row.weekdays,
        rrule=row.rrule,
        exdates=row.exdates,
        valid_from=row.valid_from,
        valid_until=row.valid_until,
        closed=row.closed,
    )


def spans(opens: Sequence[str], closes: Sequence[str]) -> tuple[Span, ...]:
    return tuple(Span(time.fromisoformat(a), time.fromisoformat(b)) for a, b in zip(opens, closes))
