"""Calendars from elsewhere, read as taken time (RFC 5545).

A stranger's file is read only through icalendar, within limits of size, number and time, and by the server only in a
process of its own (`backplane.confined`): icalendar writes out every change of a zone that a file describes, and a zone
may be described as changing each second. Such zones are refused before that. Of an entry only its time is kept. Free
(TRANSP:TRANSPARENT) and cancelled entries take none; an all-day or floating entry means the owner's zone. Recurrences
are expanded as local dates (`recurrence`), and each local time becomes an instant as section 3.3.5 says: one in a gap
is read with the offset before it, one that comes twice is the first. An entry with RECURRENCE-ID replaces the instance
that it names. A rule that is not understood leaves its first instance, and is counted.
"""

import re
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Final

import msgspec
from icalendar import Calendar, Component
from msgspec import Struct

from backplane.confined import Confined, Failed, Limits, TooCostly
from booking.calendar import recurrence, zones

MAX_BYTES: Final = 2 * 1024 * 1024
MAX_ENTRIES: Final = 5000
MAX_BLOCKS: Final = 5000
MAX_LENGTH: Final = timedelta(days=366)
BUDGET_S: Final = 4.0  # of processor time
LIMITS: Final = Limits(wall_s=15.0, cpu_s=5, memory_bytes=256 * 1024 * 1024, result_bytes=4 * 1024 * 1024)
_DAY: Final = timedelta(days=1)
_FOLD: Final = re.compile(rb"\r?\n[ \t]")
_TOO_OFTEN: Final = re.compile(rb"FREQ[ \t]*=[ \t]*(?:SECONDLY|MINUTELY|HOURLY)")


class BadCalendar(ValueError):
    """The file cannot be taken; the text is a stable code."""


class Block(Struct, frozen=True, order=True):
    """Taken time, half-open."""

    start: datetime
    end: datetime
    uid: str


class Imported(Struct, frozen=True):
    """``not_understood``: entries or rules that were left out."""

    blocks: list[Block]
    not_understood: int


class _Asked(Struct, frozen=True, array_like=True):
    content: bytes
    zone: str
    start: datetime
    end: datetime


class _Told(Struct, frozen=True, array_like=True):
    imported: Imported | None
    refused: str = ""


def answer(asked: bytes) -> bytes:
    """`read` for a process of its own: msgpack of `_Asked` to that of `_Told`."""
    given = msgspec.msgpack.decode(asked, type=_Asked)
    try:
        told = _Told(read(given.content, given.zone, given.start, given.end))
    except BadCalendar as error:
        told = _Told(None, str(error))
    return msgspec.msgpack.encode(told)


class Files:
    """Reads files of strangers, each in a process of its own, a few at once."""

    def __init__(self, limits: Limits = LIMITS) -> None:
        self._confined = Confined(answer, limits)

    async def read(self, content: bytes, zone: str, start: datetime, end: datetime) -> Imported:
        """As the function `read`; what asks for too much memory is ``too_large``."""
        asked = msgspec.msgpack.encode(_Asked(content, zone, start, end))
        try:
            told = msgspec.msgpack.decode(await self._confined.run(asked), type=_Told)
        except TooCostly as error:
            raise BadCalendar("takes_too_long" if str(error) == "time" else "too_large") from None
        except Failed:  # it is in the log
            raise BadCalendar("not_a_calendar") from None
        if told.imported is None:
            raise BadCalendar(told.refused)
        return told.imported


def _zones_that_change_often(content: bytes) -> bool:
    """Whether a VTIMEZONE has a rule that repeats more often than daily."""
    described = _FOLD.sub(b"", content.upper()).split(b"BEGIN:VTIMEZONE")[1:]
    return any(_TOO_OFTEN.search(each.partition(b"END:VTIMEZONE")[0]) for each in described)


def read(
    content: bytes, zone: str, start: datetime, end: datetime, clock: Callable[[], float] = time.process_time
) -> Imported:
    """What is taken in [``start``, ``end``). ``zone``: of whose calendar it is. Gives up after `BUDGET_S`, but only
    between two entries: what icalendar does with the file before that has no end of its own.

    Raises:
        BadCalendar: ``too_large``, ``not_a_calendar``, ``too_many_entries`` or ``takes_too_long``.
    """
    if len(content) > MAX_BYTES:
        raise BadCalendar("too_large")
    if content.count(b"BEGIN:") > MAX_ENTRIES:
        raise BadCalendar("too_many_entries")
    if _zones_that_change_often(content):
        raise BadCalendar("not_a_calendar")
    give_up = clock() + BUDGET_S
    try:
        calendar = Calendar.from_ical(content)
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        # a parser of a stranger's text; what it trips over is the stranger's fault
        raise BadCalendar("not_a_calendar") from None
    if not isinstance(calendar, Calendar):
        raise BadCalendar("not_a_calendar")
    events = calendar.walk("VEVENT")
    home = zones.zone(zone)
    replaced: dict[str, set[datetime]] = {}
    bad = 0
    for event in events:
        try:
            if (instance := _first(event, "RECURRENCE-ID")) is not None:
                replaced.setdefault(_uid(event), set()).add(_instant(instance, home))
        except (ValueError, TypeError, OverflowError):
            bad += 1
    blocks: set[Block] = set()
    for event in events:
        if clock() > give_up:
            raise BadCalendar("takes_too_long")
        try:
            if _takes_time(event):
                without = replaced.get(_uid(event), set()) if "RECURRENCE-ID" not in event else set()
                for begin, finish in _instances(event, home, start, end):
                    if begin < end and finish > start and begin < finish and begin not in without:
                        blocks.add(Block(begin, min(finish, begin + MAX_LENGTH), _uid(event)))
        except (ValueError, TypeError, OverflowError, AttributeError):
            bad += 1
        if len(blocks) > MAX_BLOCKS:
            raise BadCalendar("too_many_entries")
    return Imported(sorted(blocks), bad)


def _takes_time(event: Component) -> bool:
    return (
        str(event.get("TRANSP", "")).upper() != "TRANSPARENT"
        and str(event.get("STATUS", "")).upper() != "CANCELLED"
        and "DTSTART" in event
    )


def _instances(event: Component, home: tzinfo, start: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
    first = _first(event, "DTSTART")
    if first is None:
        raise ValueError("DTSTART is no time")
    whole_days = not isinstance(first, datetime)
    begin = _instant(first, home)
    if (last := _first(event, "DTEND")) is not None:
        long = _instant(last, home) - begin
        days = last - first if whole_days and not isinstance(last, datetime) else None
    else:
        duration = event.get("DURATION")
        long = duration.dt if duration is not None else (_DAY if whole_days else timedelta())
        days = long if whole_days else None
    if long > MAX_LENGTH:
        raise ValueError("too long")
    excluded = {_instant(each, home) for each in _listed(event, "EXDATE")}

    def instance(at: date | datetime) -> tuple[datetime, datetime]:
        opens = _instant(at, home)
        return opens, _instant(at + days, home) if days is not None else opens + long

    found: list[date | datetime] = [first, *_listed(event, "RDATE")]
    rules = event.get("RRULE", [])
    trouble: ValueError | None = None
    for rule in rules if isinstance(rules, list) else [rules]:
        try:
            found.extend(_dates(rule.to_ical().decode(), first, home, start - long - 2 * _DAY, end + 2 * _DAY))
        except ValueError as error:
            trouble = error
    for at in found:
        opens, closes = instance(at)
        if opens not in excluded:
            yield opens, closes
    if trouble is not None:
        raise trouble


def _dates(text: str, first: date | datetime, home: tzinfo, start: datetime, end: datetime) -> list[date | datetime]:
    """The instances of a rule, at the wall-clock time of the first."""
    rule = recurrence.parse(text)
    until = recurrence.until_date(rule)
    if not isinstance(first, datetime):
        place, day = home, first
    else:
        place, day = first.tzinfo or home, first.date()
        if rule.until is not None and len(rule.until) > 8 and until is not None:
            limit = datetime.strptime(rule.until.rstrip("Z"), "%Y%m%dT%H%M%S")
            if rule.until.endswith("Z"):
                limit = limit.replace(tzinfo=UTC).astimezone(place).replace(tzinfo=None)
            until = limit.date() if limit.time() >= first.time() else limit.date() - _DAY
    found = recurrence.occurrences(rule, day, start.astimezone(place).date(), end.astimezone(place).date(), until)
    if isinstance(first, datetime):
        return [datetime.combine(each, first.timetz().replace(tzinfo=None), first.tzinfo) for each in found]
    return list(found)


def _first(event: Component, name: str) -> date | datetime | None:
    """The time of a property, or None when there is none."""
    value = event.get(name)
    if value is None:
        return None
    at = getattr(value, "dt", None)
    if not isinstance(at, date):
        raise ValueError(f"{name} is no time")
    return at


def _listed(event: Component, name: str) -> Iterable[date | datetime]:
    """The times of a property that may come several times, each with several values; of periods their beginning."""
    value = event.get(name, [])
    for each in value if isinstance(value, list) else [value]:
        for item in each.dts:
            at = item.dt[0] if isinstance(item.dt, tuple) else item.dt
            if isinstance(at, date):
                yield at


def _instant(at: date | datetime, home: tzinfo) -> datetime:
    """RFC 5545 section 3.3.5; fold 0 of PEP 495 says the same."""
    if not isinstance(at, datetime):
        at = datetime(at.year, at.month, at.day)
    return (at if at.tzinfo is not None else at.replace(tzinfo=home)).astimezone(UTC)


def _uid(event: Component) -> str:
    return str(event.get("UID", ""))[:255]
