"""Opening hours: rules in the wall-clock time of a place, turned into windows of instants.

A schedule is one provider's hours in one zone, at one location or anywhere. Its rules open or break on weekdays or on
the dates of an RRULE, between two dates. Hours belong to the date on which they begin: a night shift that closes at
06:00 is of the evening before, so a holiday or a date override on that morning does not touch it. On a holiday nothing
opens. A date with an override has exactly the override's hours, none if it lists none, holiday or not, and rules break
them no more. Breaks cut whatever lies under them, also what began the evening before.

Windows of one location do not overlap: a later one begins where the earlier ends. That makes the start of a window,
which anchors the grid of slots, depend on two days before it and on nothing else; the same start is on the grid
whichever stretch is asked for.
"""

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from itertools import islice
from typing import Final
from uuid import UUID
from zoneinfo import ZoneInfo

from msgspec import Struct

from booking.calendar import recurrence, zones

EVERY_DAY: Final = frozenset(range(1, 8))
_DAY: Final = timedelta(days=1)
_DAWN: Final = date(1, 1, 1)


class Span(Struct, frozen=True):
    """Wall-clock hours of a date. When ``closes`` is not after ``opens`` they end on the next date; 00:00 to 00:00 is
    the whole day."""

    opens: time
    closes: time


class Rule(Struct, frozen=True):
    """Hours (or, with ``closed``, a break) on ``weekdays`` (ISO: Monday is 1), or on the dates of ``rrule`` counted
    from ``valid_from``; both dates of validity are included."""

    span: Span
    weekdays: frozenset[int] = EVERY_DAY
    rrule: str | None = None
    exdates: frozenset[date] = frozenset()
    valid_from: date | None = None
    valid_until: date | None = None
    closed: bool = False


class Schedule(Struct, frozen=True):
    """Hours at one location, or anywhere when it is None. ``daily_cap``: visits that may begin on one local date."""

    zone: str
    location: UUID | None = None
    rules: tuple[Rule, ...] = ()
    overrides: Mapping[date, tuple[Span, ...]] = {}
    holidays: frozenset[date] = frozenset()
    daily_cap: int | None = None


class Calendar(Struct, frozen=True):
    """All schedules of one provider."""

    schedules: tuple[Schedule, ...] = ()


class Window(Struct, frozen=True):
    """Open from ``start`` to ``end``, both as seconds of the epoch. ``reach`` is how far the doors stay open when the
    windows that follow at the same place without a pause are counted in."""

    start: int
    end: int
    reach: int
    schedule: Schedule


def windows(calendar: Calendar, start: datetime, end: datetime, location: UUID | None = None) -> list[Window]:
    """What is open in [``start``, ``end``), in the order of starts; windows at the edges are given whole.

    ``location`` leaves out schedules of other locations; a schedule without one serves all.
    """
    places: dict[UUID | None, list[tuple[int, int, Schedule]]] = {}
    for schedule in calendar.schedules:
        if location is None or schedule.location is None or schedule.location == location:
            places.setdefault(schedule.location, []).extend(_pieces(schedule, start, end))
    first, last = int(start.timestamp()), int(end.timestamp())
    found = [
        window
        for pieces in places.values()
        for window in _in_a_row(pieces)
        if window.start < last and window.end > first
    ]
    found.sort(key=lambda window: window.start)
    return found


def _pieces(schedule: Schedule, start: datetime, end: datetime) -> list[tuple[int, int, Schedule]]:
    """Open stretches of one schedule, breaks cut out. Begins early enough for `_in_a_row` and ends late enough for the
    reach of the last one."""
    place = zones.zone(schedule.zone)
    first = _shifted(start.astimezone(place).date(), -3)
    last = _shifted(end.astimezone(place).date(), 3)
    opened: list[tuple[int, int]] = []
    shut: list[tuple[int, int]] = []
    for rule in schedule.rules:
        into = shut if rule.closed else opened
        for day in _dates(rule, first, last):
            if day not in schedule.overrides and (rule.closed or day not in schedule.holidays):
                into.append(_instants(rule.span, day, place))
    for day, spans in schedule.overrides.items():
        if first <= day < last:
            opened.extend(_instants(span, day, place) for span in spans)
    shut = _trimmed(shut)
    opened = _trimmed(opened)
    return [(a, b, schedule) for a, b in (_without(opened, shut) if shut else opened)]


def _dates(rule: Rule, first: date, last: date) -> list[date]:
    """The dates of ``rule`` in [``first``, ``last``)."""
    if rule.valid_from is not None:
        first = max(first, rule.valid_from)
    if rule.valid_until is not None:
        last = min(last, _shifted(rule.valid_until, 1))
    if first >= last:
        return []
    if rule.rrule is not None:
        # by the month, so that the expansions are the same ones again and again, and remembered
        begin, end = first.replace(day=1), _shifted(last.replace(day=1), 31)
        read = recurrence.parse(rule.rrule)
        anchor = rule.valid_from or date(2000, 1, 1)
        found = recurrence.dates(read, anchor, begin, end, recurrence.until_date(read))
        return [day for day in found if first <= day < last and day not in rule.exdates]
    days = (first + timedelta(days=n) for n in range((last - first).days))
    return [day for day in days if day.isoweekday() in rule.weekdays and day not in rule.exdates]


# Many have the same hours, and the same days are looked at again and again.
@lru_cache(maxsize=1 << 16)
def _instants(span: Span, day: date, place: ZoneInfo) -> tuple[int, int]:
    ends_on = day if span.closes > span.opens else _shifted(day, 1)
    opens = zones.opening(datetime.combine(day, span.opens), place)
    closes = zones.closing(datetime.combine(ends_on, span.closes), place)
    return int(opens.timestamp()), int(closes.timestamp())


def _trimmed(opened: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """In order, a later one beginning where the earlier ends; of those that begin together the longest remains."""
    left: list[tuple[int, int]] = []
    for start, end in sorted(opened, key=lambda piece: (piece[0], -piece[1])):
        start = max(start, left[-1][1]) if left else start
        if start < end:
            left.append((start, end))
    return left


def _without(opened: list[tuple[int, int]], shut: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """``opened`` less ``shut``; both in the order of starts, and none of ``shut`` overlaps another."""
    left: list[tuple[int, int]] = []
    passed = 0  # of ``shut`` lie before everything that comes
    for start, end in opened:
        while passed < len(shut) and shut[passed][1] <= start:
            passed += 1
        for a, b in islice(shut, passed, None):
            if a >= end:
                break
            if a > start:
                left.append((start, a))
            start = max(start, b)
            if start >= end:
                break
        if start < end:
            left.append((start, end))
    return left


def _in_a_row(pieces: list[tuple[int, int, Schedule]]) -> list[Window]:
    """Windows of one place: none overlaps another, and each knows how far it reaches."""
    pieces.sort(key=lambda piece: (piece[0], -piece[1]))
    row: list[tuple[int, int, Schedule]] = []
    until = 0
    for start, end, schedule in pieces:
        start = max(start, until) if row else start
        if start < end:
            row.append((start, end, schedule))
            until = end
    found: list[Window] = []
    reach, following = 0, -1
    for start, end, schedule in reversed(row):
        reach = reach if end == following else end
        following = start
        found.append(Window(start, end, reach, schedule))
    found.reverse()
    return found


def _shifted(day: date, days: int) -> date:
    """``day`` moved, held inside the calendar."""
    try:
        return day + days * _DAY
    except OverflowError:
        return date.max if days > 0 else _DAWN


def at(seconds: int) -> datetime:
    """The instant of so many seconds of the epoch."""
    return datetime.fromtimestamp(seconds, UTC)
