"""RFC 5545 recurrence rules as sets of local dates.

dateutil expands dates and never instants: over zoneinfo it gives times that do not exist and takes the first of two
silently. It walks from the beginning of a rule, so an expansion begins at the period that holds the wanted start; only
a COUNT must be counted from its beginning, which must be young then. And it looks at the end only when it has found a
date, so a rule that never happens makes it walk to the year 9999. The calendar repeats itself after 400 years: the
expansion is done in the last ones before that.
"""

import re
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from itertools import islice
from typing import Final

from dateutil.rrule import rrule, rrulestr
from msgspec import Struct

MAX_TEXT: Final = 300
MAX_COUNT: Final = 5000
MAX_COUNTED_DAYS: Final = 3660
MAX_INTERVAL: Final = 1000
MAX_VALUES: Final = 31
_CYCLE_YEARS: Final = 400
_CYCLE: Final = timedelta(days=146097)
_FREQUENCIES: Final = ("DAILY", "WEEKLY", "MONTHLY", "YEARLY")
_DAYS: Final = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
_VALUES: Final = {
    "BYDAY": re.compile(r"[+-]?\d{0,2}(?:MO|TU|WE|TH|FR|SA|SU)"),
    "BYMONTHDAY": re.compile(r"[+-]?(?:[1-9]|[12]\d|3[01])"),
    "BYMONTH": re.compile(r"[1-9]|1[0-2]"),
    "BYSETPOS": re.compile(r"[+-]?[1-9]\d{0,2}"),
    "BYYEARDAY": re.compile(r"[+-]?[1-9]\d{0,2}"),
    "BYWEEKNO": re.compile(r"[+-]?[1-9]\d?"),
}
_UNTIL: Final = re.compile(r"(\d{8})(T\d{6}Z?)?")


class Recurrence(Struct, frozen=True):
    """A rule that has been looked at. ``until`` is as written: a date, a wall-clock time, or an instant with Z."""

    frequency: str
    interval: int
    parts: tuple[tuple[str, str], ...]
    until: str | None
    count: int | None
    week_start: int


@lru_cache(maxsize=4096)
def parse(text: str) -> Recurrence:
    """Read a RECUR value such as ``FREQ=MONTHLY;BYDAY=1MO``.

    Raises:
        ValueError: it is no rule, or repeats more often than daily.
    """
    text = text.strip().upper().removeprefix("RRULE:").rstrip(";")
    if len(text) > MAX_TEXT:
        raise ValueError(f"a recurrence rule has at most {MAX_TEXT} characters")
    given: dict[str, str] = {}
    for part in text.split(";"):
        name, equals, value = part.partition("=")
        if not equals or not value or name in given:
            raise ValueError("a recurrence rule is written NAME=VALUE;NAME=VALUE, each name once")
        given[name] = value
    frequency = given.pop("FREQ", "")
    if frequency not in _FREQUENCIES:
        raise ValueError(f"FREQ is one of {', '.join(_FREQUENCIES)}")
    interval = _number(given.pop("INTERVAL", "1"), "INTERVAL", MAX_INTERVAL)
    count = given.pop("COUNT", None)
    until = given.pop("UNTIL", None)
    if until is not None and not _UNTIL.fullmatch(until):
        raise ValueError("UNTIL is a date such as 20261231")
    week_start = given.pop("WKST", "MO")
    if week_start not in _DAYS:
        raise ValueError("WKST is a day such as MO")
    for name, value in given.items():
        if (form := _VALUES.get(name)) is None:
            raise ValueError(f"a recurrence rule of dates has no {name[:20]}")
        values = value.split(",")
        if len(values) > MAX_VALUES or not all(form.fullmatch(each) for each in values):
            raise ValueError(f"{name} is not understood")
    rule = Recurrence(
        frequency=frequency,
        interval=interval,
        parts=tuple(given.items()),
        until=until,
        count=None if count is None else _number(count, "COUNT", MAX_COUNT),
        week_start=_DAYS.index(week_start),
    )
    try:
        rrulestr(_text(rule, date(2026, 1, 1)), dtstart=datetime(2026, 1, 1))
    except (ValueError, TypeError, IndexError) as error:
        raise ValueError(f"the recurrence rule does not hold together: {error}") from None
    return rule


def until_date(rule: Recurrence) -> date | None:
    """The date part of UNTIL."""
    return None if rule.until is None else datetime.strptime(rule.until[:8], "%Y%m%d").date()


@lru_cache(maxsize=8192)
def dates(rule: Recurrence, first: date, start: date, end: date, until: date | None = None) -> tuple[date, ...]:
    """The dates of ``rule``, counted from ``first``, in [``start``, ``end``), none after ``until``.

    Raises:
        ValueError: the rule has a COUNT and began too long ago to be counted.
    """
    if until is not None:
        end = min(end, until + timedelta(days=1))
    start = max(start, first)
    if start >= end:
        return ()
    if rule.count is None:
        begin = _aligned(rule, first, start)
    elif (end - first).days > MAX_COUNTED_DAYS:
        raise ValueError("a rule with COUNT began too long ago")
    else:
        begin = first
    shift = (date.max.year - end.year) // _CYCLE_YEARS * _CYCLE
    rule_set = rrulestr(_text(rule, first), dtstart=datetime.combine(begin + shift, time()))
    assert isinstance(rule_set, rrule)  # one line makes one rule
    last = datetime.combine(end - timedelta(days=1) + shift, time())
    found: Iterator[datetime] = iter(rule_set.replace(until=last))
    if rule.count is not None:
        found = islice(found, rule.count)
    return tuple(day for at in found if (day := at.date() - shift) >= start)


def _aligned(rule: Recurrence, first: date, start: date) -> date:
    """The beginning of the last period of the rule that begins not after ``start``."""
    step = rule.interval
    if rule.frequency == "DAILY":
        return first + timedelta(days=(start - first).days // step * step)
    if rule.frequency == "WEEKLY":
        week = first - timedelta(days=(first.weekday() - rule.week_start) % 7)
        return week + timedelta(days=(start - week).days // (7 * step) * 7 * step)
    if rule.frequency == "MONTHLY":
        months = ((start.year - first.year) * 12 + start.month - first.month) // step * step
        years, month = divmod(first.month - 1 + months, 12)
        return date(first.year + years, month + 1, 1)
    if any(name == "BYWEEKNO" for name, _ in rule.parts):
        return first  # its weeks reach over the turn of the year
    return date(first.year + (start.year - first.year) // step * step, 1, 1)


def _text(rule: Recurrence, first: date) -> str:
    """The rule without its bounds, with what it takes from its first date written out."""
    parts = dict(rule.parts)
    if not parts.keys() & {"BYDAY", "BYMONTHDAY", "BYYEARDAY", "BYWEEKNO"}:
        if rule.frequency == "WEEKLY":
            parts["BYDAY"] = _DAYS[first.weekday()]
        elif rule.frequency == "MONTHLY":
            parts["BYMONTHDAY"] = str(first.day)
        elif rule.frequency == "YEARLY":
            parts.setdefault("BYMONTH", str(first.month))
            parts["BYMONTHDAY"] = str(first.day)
    elif "BYWEEKNO" in parts and "BYDAY" not in parts:
        parts["BYDAY"] = _DAYS[first.weekday()]
    heads = [f"FREQ={rule.frequency}", f"INTERVAL={rule.interval}", f"WKST={_DAYS[rule.week_start]}"]
    return ";".join([*heads, *(f"{name}={value}" for name, value in parts.items())])


def _number(text: str, name: str, most: int) -> int:
    if not re.fullmatch(r"\d{1,6}", text) or not 1 <= int(text) <= most:
        raise ValueError(f"{name} is a number from 1 to {most}")
    return int(text)
