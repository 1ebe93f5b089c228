"""Free slots: the grid of a service over the windows of a calendar, less what is taken.

Everything here is in absolute time. Slots step from the start of each window; hours that follow without a pause are
one stretch for a visit that runs over their border. A visit with its buffers must not touch the taken ranges, which
carry their own buffers; buffers may lie outside the hours. A slot lies between the minimum notice and the horizon,
both counted from ``now``. No instant lies in a gap of the clocks, so no slot begins at a time that nobody can read.

A class that has begun to fill is a taken range that still offers itself, at its own time, while seats are left.
"""

import asyncio
from bisect import bisect_right
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import date, datetime, timedelta
from enum import StrEnum
from math import ceil
from typing import Final
from uuid import UUID

from msgspec import Struct

from booking.calendar import zones
from booking.calendar.hours import Calendar, Schedule, Window, at, windows

STRETCH_DAYS: Final = 14
MINUTE_S: Final = 60
DAY_S: Final = 86400


class ServiceTimes(Struct, frozen=True):
    """What a service asks of the calendar. ``capacity`` above 1 is a class."""

    minutes: int
    step_minutes: int = 15
    buffer_before_minutes: int = 0
    buffer_after_minutes: int = 0
    notice_minutes: int = 0
    horizon_days: int = 60
    capacity: int = 1
    location: UUID | None = None


class Range(Struct, frozen=True):
    """Taken time, half-open, buffers included. ``visit`` is when the visit in it begins, None for other business;
    ``seats_left`` above 0 only for a class of the very service that is asked about."""

    start: datetime
    end: datetime
    visit: datetime | None = None
    seats_left: int = 0


class Slot(Struct, frozen=True):
    """What can be booked. ``location`` is that of the service or else of the hours; ``zone`` is that of the hours."""

    start: datetime
    end: datetime
    location: UUID | None
    zone: str
    seats: int


class NotOffered(StrEnum):
    """Why a start cannot be booked."""

    TOO_SOON = "too_soon"
    TOO_FAR = "too_far"
    OUTSIDE_HOURS = "outside_hours"
    NOT_ON_GRID = "not_on_grid"
    DAY_FULL = "day_full"
    TAKEN = "taken"


def occupied(service: ServiceTimes, start: datetime) -> Range:
    """The time that a visit at ``start`` takes from the provider."""
    return Range(
        start - timedelta(minutes=service.buffer_before_minutes),
        start + timedelta(minutes=service.minutes + service.buffer_after_minutes),
        visit=start,
    )


def free_slots(
    calendar: Calendar,
    service: ServiceTimes,
    taken: Sequence[Range],
    start: datetime,
    end: datetime,
    now: datetime,
) -> list[Slot]:
    """Slots that begin in [``start``, ``end``), in order. ``taken`` must hold all ranges that reach into it, a day more
    on both sides when a schedule has a daily cap."""
    return [slot for part in _stretches(calendar, service, taken, start, end, now) for slot in part]


async def in_turns(
    calendar: Calendar,
    service: ServiceTimes,
    taken: Sequence[Range],
    start: datetime,
    end: datetime,
    now: datetime,
) -> AsyncIterator[list[Slot]]:
    """As `free_slots`, a fortnight (a day, where there are many schedules) after another.

    Between two of them the event loop serves others: two months may hold hundreds of rules and thousands of slots.
    """
    for part in _stretches(calendar, service, taken, start, end, now):
        yield part
        await asyncio.sleep(0)


async def next_free(
    calendar: Calendar,
    service: ServiceTimes,
    taken: Sequence[Range],
    now: datetime,
    after: datetime | None = None,
    until: datetime | None = None,
) -> Slot | None:
    """The first slot that begins not before ``after`` and before ``until``, or None within the horizon. In turns."""
    last = now + timedelta(days=service.horizon_days, seconds=1)
    last = last if until is None else min(last, until)
    async for part in in_turns(calendar, service, taken, after or now, last, now):
        if part:
            return part[0]
    return None


def is_free(
    calendar: Calendar, service: ServiceTimes, taken: Sequence[Range], start: datetime, now: datetime
) -> NotOffered | None:
    """None when a visit may begin at ``start``, else the first reason against it in the order of `NotOffered`."""
    if start < now + timedelta(minutes=service.notice_minutes):
        return NotOffered.TOO_SOON
    if start > now + timedelta(days=service.horizon_days):
        return NotOffered.TOO_FAR
    if any(each.visit == start and each.seats_left > 0 for each in taken):
        return None
    moment = int(start.timestamp())
    length, step = service.minutes * MINUTE_S, service.step_minutes * MINUTE_S
    fitting = [
        window
        for window in windows(calendar, start, start + timedelta(seconds=1), service.location)
        if window.start <= moment and moment + length <= window.reach
    ]
    if not fitting:
        return NotOffered.OUTSIDE_HOURS
    if start.microsecond or not (fitting := [each for each in fitting if (moment - each.start) % step == 0]):
        return NotOffered.NOT_ON_GRID
    if not any(_Caps(taken).allows(window.schedule, moment) for window in fitting):
        return NotOffered.DAY_FULL
    return NotOffered.TAKEN if _Busy(service, taken).at(moment) else None


def _stretches(
    calendar: Calendar,
    service: ServiceTimes,
    taken: Sequence[Range],
    start: datetime,
    end: datetime,
    now: datetime,
) -> Iterator[list[Slot]]:
    busy, caps = _Busy(service, taken), _Caps(taken)
    days = timedelta(days=max(1, STRETCH_DAYS // max(1, len(calendar.schedules) // 2)))
    while start < end:
        stop = min(start + days, end)
        yield list(_slots(calendar, service, taken, busy, caps, start, stop, now))
        start = stop


def _slots(
    calendar: Calendar,
    service: ServiceTimes,
    taken: Sequence[Range],
    busy: "_Busy",
    caps: "_Caps",
    start: datetime,
    end: datetime,
    now: datetime,
) -> Iterator[Slot]:
    first = max(start, now + timedelta(minutes=service.notice_minutes))
    horizon = now + timedelta(days=service.horizon_days)
    if first >= end or first > horizon:
        return
    # seconds from here on: a month has a thousand slots
    low = ceil(first.timestamp())
    high = min(ceil(end.timestamp()), int(horizon.timestamp()) + 1)
    length, step = service.minutes * MINUTE_S, service.step_minutes * MINUTE_S
    classes = _open_classes(taken, low, high)
    upcoming = 0
    seen = -1
    for moment, window in _grid(windows(calendar, first, end, service.location), low, high, length, step):
        while upcoming < len(classes) and int((whole := classes[upcoming]).start.timestamp()) <= moment:
            upcoming += 1
            yield _of_class(whole, service, window.schedule.zone)
        if moment == seen or busy.at(moment) or not caps.allows(window.schedule, moment):
            continue
        seen = moment
        yield Slot(
            at(moment),
            at(moment + length),
            service.location or window.schedule.location,
            window.schedule.zone,
            service.capacity,
        )
    zone = calendar.schedules[0].zone if calendar.schedules else "UTC"
    for whole in classes[upcoming:]:
        yield _of_class(whole, service, zone)


def _grid(found: Sequence[Window], low: int, high: int, length: int, step: int) -> Iterator[tuple[int, Window]]:
    """All steps in the order of time; windows of several places may lie over one another."""
    steps: list[tuple[int, Window]] = []
    mixed = False
    frontier = low
    for window in found:
        if window.start >= frontier:
            yield from _in_order(steps, mixed)
            steps, mixed = [], False
        skipped = max(0, low - window.start + step - 1) // step
        last = min(window.end - 1, window.reach - length, high - 1)
        mine = [(moment, window) for moment in range(window.start + skipped * step, last + 1, step)]
        mixed = mixed or bool(steps)
        steps += mine
        frontier = max(frontier, window.end)
    yield from _in_order(steps, mixed)


def _in_order(steps: list[tuple[int, Window]], mixed: bool) -> list[tuple[int, Window]]:
    return sorted(steps, key=lambda pair: pair[0]) if mixed else steps


class _Busy:
    """What the buffers and the length of a service make of the taken ranges: starts that are not possible."""

    def __init__(self, service: ServiceTimes, taken: Sequence[Range]) -> None:
        before = service.buffer_before_minutes * MINUTE_S
        after = (service.minutes + service.buffer_after_minutes) * MINUTE_S
        ends: list[int] = []
        starts: list[int] = []
        # a start s collides with [a, b) when s - before < b and s + after > a
        forbidden = sorted(
            (int(each.start.timestamp()) - after, ceil(each.end.timestamp()) + before)
            for each in taken
            if each.start < each.end
        )
        for a, b in forbidden:
            if ends and a < ends[-1]:
                ends[-1] = max(ends[-1], b)
            else:
                starts.append(a)
                ends.append(b)
        self._starts, self._ends = starts, ends

    def at(self, moment: int) -> bool:
        index = bisect_right(self._starts, moment - 1) - 1
        return index >= 0 and moment < self._ends[index]


class _Caps:
    """Visits per local date, counted for schedules that have a cap."""

    def __init__(self, taken: Sequence[Range]) -> None:
        self._taken = taken
        self._counts: dict[str, Counter[date]] = {}

    def allows(self, schedule: Schedule, moment: int) -> bool:
        if schedule.daily_cap is None:
            return True
        place = zones.zone(schedule.zone)
        counts = self._counts.get(schedule.zone)
        if counts is None:
            counts = Counter(each.visit.astimezone(place).date() for each in self._taken if each.visit is not None)
            self._counts[schedule.zone] = counts
        return counts[at(moment).astimezone(place).date()] < schedule.daily_cap


def _open_classes(taken: Sequence[Range], low: int, high: int) -> list[Slot]:
    """Classes with seats left that begin in [``low``, ``high``), their end not yet right."""
    return sorted(
        (
            Slot(each.visit, each.end, None, "", each.seats_left)
            for each in taken
            if each.visit is not None and each.seats_left > 0 and low <= each.visit.timestamp() < high
        ),
        key=lambda slot: slot.start,
    )


def _of_class(whole: Slot, service: ServiceTimes, zone: str) -> Slot:
    return Slot(whole.start, whole.start + timedelta(minutes=service.minutes), service.location, zone, whole.seats)
