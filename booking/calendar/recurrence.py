"""RFC 5545 recurrence rules as sets of local dates.

Only dates are expanded, never instants: at what instant a local time lies is for the zone of each date to say. A rule
of dates repeats daily or more seldom, so everything it can say about a date is a property of that date (its weekday,
its number in the month, its week) or of the order inside one period (BYSETPOS). Hence an expansion looks once at each
day of the stretch that is asked for, whole periods at its two ends, and at nothing else: the work grows with the length
of that stretch and with nothing that a rule says. A rule that never happens costs as much as one that always does.

The table of section 3.3.10 tells some parts to widen a period and others to narrow it. Since a period is here the set
of all of its days, both are the same: what does not fit is left out.
"""

import re
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from functools import lru_cache
from itertools import islice
from typing import Final

from msgspec import Struct

MAX_TEXT: Final = 300
MAX_COUNT: Final = 5000
MAX_DAYS: Final = 3660  # of one expansion; a rule with COUNT is counted from its beginning
MAX_INTERVAL: Final = 1000
MAX_VALUES: Final = 31
_FREQUENCIES: Final = ("DAILY", "WEEKLY", "MONTHLY", "YEARLY")
_DAYS: Final = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
_SIGNED: Final = re.compile(r"[+-]?[1-9][0-9]{0,2}")
_WEEKDAY: Final = re.compile(r"([+-]?[1-9][0-9]?)?(MO|TU|WE|TH|FR|SA|SU)")
_UNTIL: Final = re.compile(r"([0-9]{8})(T[0-9]{6}Z?)?")
_LARGEST: Final = {"BYMONTHDAY": 31, "BYSETPOS": 366, "BYYEARDAY": 366, "BYWEEKNO": 53}
_LARGEST_WEEKDAY: Final = 53
_DAY: Final = timedelta(days=1)

Test = Callable[[date], bool]


class Recurrence(Struct, frozen=True):
    """A rule that has been looked at. ``until`` is as written: a date, a wall-clock time, or an instant with Z.

    ``parts``: BYMONTH and the like with their numbers. ``weekdays``: of BYDAY, each with its number in the month or
    year, 0 for all of them.
    """

    frequency: str
    interval: int
    parts: tuple[tuple[str, tuple[int, ...]], ...]
    weekdays: tuple[tuple[int, int], ...]
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
    if until is not None:
        _date(until)
    week_start = given.pop("WKST", "MO")
    if week_start not in _DAYS:
        raise ValueError("WKST is a day such as MO")
    weekdays = _weekdays(given.pop("BYDAY")) if "BYDAY" in given else ()
    return Recurrence(
        frequency=frequency,
        interval=interval,
        parts=tuple((name, _numbers(name, value)) for name, value in given.items()),
        weekdays=weekdays,
        until=until,
        count=None if count is None else _number(count, "COUNT", MAX_COUNT),
        week_start=_DAYS.index(week_start),
    )


def _weekdays(text: str) -> tuple[tuple[int, int], ...]:
    """(number, weekday) of each value of BYDAY."""
    read = [_WEEKDAY.fullmatch(each) for each in _values("BYDAY", text)]
    found = [(int(match[1] or 0), _DAYS.index(match[2])) for match in read if match is not None]
    if len(found) < len(read) or any(abs(number) > _LARGEST_WEEKDAY for number, _ in found):
        raise ValueError("BYDAY is not understood")
    return tuple(found)


def _numbers(name: str, text: str) -> tuple[int, ...]:
    """The numbers of one of the other parts."""
    if name == "BYMONTH":
        return tuple(_number(each, name, 12) for each in _values(name, text))
    if name not in _LARGEST:
        raise ValueError(f"a recurrence rule of dates has no {name[:20]}")
    values = _values(name, text)
    if not all(_SIGNED.fullmatch(each) and abs(int(each)) <= _LARGEST[name] for each in values):
        raise ValueError(f"{name} is not understood")
    return tuple(int(each) for each in values)


def _values(name: str, text: str) -> list[str]:
    values = text.split(",")
    if len(values) > MAX_VALUES:
        raise ValueError(f"{name} has at most {MAX_VALUES} values")
    return values


def _number(text: str, name: str, most: int) -> int:
    if not re.fullmatch("[0-9]{1,6}", text) or not 1 <= int(text) <= most:
        raise ValueError(f"{name} is a number from 1 to {most}")
    return int(text)


def _date(until: str) -> date:
    match = _UNTIL.fullmatch(until)
    try:
        if match is not None:
            return date.fromisoformat(match[1])
    except ValueError:
        pass
    raise ValueError("UNTIL is a date such as 20261231")


def until_date(rule: Recurrence) -> date | None:
    """The date part of UNTIL."""
    return None if rule.until is None else _date(rule.until)


def occurrences(rule: Recurrence, first: date, start: date, end: date, until: date | None = None) -> Iterator[date]:
    """The dates of ``rule``, counted from ``first``, in [``start``, ``end``), none after ``until``, one after another.

    Raises:
        ValueError: more than `MAX_DAYS` are asked for, or the rule has a COUNT and began too long ago to be counted.
    """
    if until is not None and until < end:
        end = until + _DAY  # cannot overflow: ``end`` lies behind it
    start = max(start, first)
    if start >= end:
        return iter(())
    begin = start if rule.count is None else first
    if end.toordinal() - begin.toordinal() > MAX_DAYS:
        raise ValueError("a rule with COUNT began too long ago" if rule.count else "too many days at once")
    found: Iterator[date] = (
        day for period in _periods(rule, first, begin, end) for day in period if first <= day < end
    )
    if rule.count is not None:
        found = islice(found, rule.count)
    return (day for day in found if day >= start)


@lru_cache(maxsize=8192)
def dates(rule: Recurrence, first: date, start: date, end: date, until: date | None = None) -> tuple[date, ...]:
    """`occurrences`, remembered: for opening hours, which are asked for a few months at a time again and again."""
    return tuple(occurrences(rule, first, start, end, until))


def _periods(rule: Recurrence, first: date, begin: date, end: date) -> Iterator[list[date]]:
    """For each period of the rule that reaches into [``begin``, ``end``) its dates, in order."""
    fits = _fitting(rule, first)
    parts = dict(rule.parts)
    places = parts.get("BYSETPOS")
    for opens, closes in _stretches(rule, first, begin, end):
        period = [day for n in range(opens, closes) if fits(day := date.fromordinal(n))]
        if places is not None:
            chosen = {place - 1 if place > 0 else len(period) + place for place in places}
            period = [day for place, day in enumerate(period) if place in chosen]
        yield period


def _stretches(rule: Recurrence, first: date, begin: date, end: date) -> Iterator[tuple[int, int]]:
    """First day and the day after the last, as ordinals, of each period from the one of ``begin`` on, by the interval
    from the one of ``first`` on."""
    step = rule.interval
    if rule.frequency in ("DAILY", "WEEKLY"):
        long = 1 if rule.frequency == "DAILY" else 7
        anchor = first.toordinal()
        if rule.frequency == "WEEKLY":
            anchor -= (first.weekday() - rule.week_start) % 7
        opens = anchor + (begin.toordinal() - anchor) // (long * step) * (long * step)
        for at in range(opens, end.toordinal(), long * step):
            yield max(at, 1), min(at + long, date.max.toordinal() + 1)
        return
    long = 1 if rule.frequency == "MONTHLY" else 12
    anchor = (first.year * 12 + first.month - 1) // long * long
    month = anchor + (begin.year * 12 + begin.month - 1 - anchor) // (long * step) * (long * step)
    while (opens := _first_of_month(month)) < end.toordinal():
        yield opens, _first_of_month(month + long)
        month += long * step


def _first_of_month(month: int) -> int:
    """``month``: months since the year 0."""
    year, index = divmod(month, 12)
    return date(year, index + 1, 1).toordinal() if year <= date.max.year else date.max.toordinal() + 1


def _fitting(rule: Recurrence, first: date) -> Test:
    """Whether a date fits all parts but BYSETPOS; what the rule does not say is taken from its first date."""
    parts = {name: frozenset(values) for name, values in rule.parts}
    weekdays = rule.weekdays
    if not weekdays and not parts.keys() & {"BYMONTHDAY", "BYYEARDAY", "BYWEEKNO"}:
        if rule.frequency == "WEEKLY":
            weekdays = ((0, first.weekday()),)
        elif rule.frequency in ("MONTHLY", "YEARLY"):
            parts["BYMONTHDAY"] = frozenset((first.day,))
            if rule.frequency == "YEARLY":
                parts.setdefault("BYMONTH", frozenset((first.month,)))
    elif "BYWEEKNO" in parts and not weekdays:
        weekdays = ((0, first.weekday()),)
    tests: list[Test] = []
    if (months := parts.get("BYMONTH")) is not None:
        tests.append(lambda day: day.month in months)
    if weekdays:
        tests.append(_by_weekday(rule.frequency, weekdays, of_month="BYMONTH" in parts))
    if (numbers := parts.get("BYMONTHDAY")) is not None:
        tests.append(lambda day: day.day in numbers or day.day - _month_days(day) - 1 in numbers)
    if (year_days := parts.get("BYYEARDAY")) is not None:
        tests.append(lambda day: _year_day(day) in year_days or _year_day(day) - _year_days(day.year) - 1 in year_days)
    if (weeks := parts.get("BYWEEKNO")) is not None:
        tests.append(lambda day: not weeks.isdisjoint(_week_numbers(day, rule.week_start)))
    return lambda day: all(test(day) for test in tests)


def _by_weekday(frequency: str, weekdays: tuple[tuple[int, int], ...], *, of_month: bool) -> Test:
    if frequency in ("DAILY", "WEEKLY"):  # a number means nothing there
        weekdays = tuple((0, weekday) for _, weekday in weekdays)
    every = frozenset(weekday for number, weekday in weekdays if number == 0)
    numbered = frozenset(pair for pair in weekdays if pair[0])
    of_year = frequency == "YEARLY" and not of_month

    def fits(day: date) -> bool:
        weekday = day.weekday()
        if weekday in every:
            return True
        if not numbered:
            return False
        at, long = (_year_day(day), _year_days(day.year)) if of_year else (day.day, _month_days(day))
        return ((at - 1) // 7 + 1, weekday) in numbered or (-((long - at) // 7) - 1, weekday) in numbered

    return fits


def _month_days(day: date) -> int:
    return 31 if day.month == 12 else (date(day.year, day.month + 1, 1) - date(day.year, day.month, 1)).days


def _year_day(day: date) -> int:
    return day.toordinal() - date(day.year, 1, 1).toordinal() + 1


def _year_days(year: int) -> int:
    return date(year, 12, 31).toordinal() - date(year, 1, 1).toordinal() + 1


def _week_numbers(day: date, week_start: int) -> tuple[int, int]:
    """The number of the week of ``day`` in its year, from the front and from behind: a week belongs to the year in
    which at least four of its days lie, so to that of its fourth day."""
    fourth = min(max(day.toordinal() - (day.weekday() - week_start) % 7 + 3, 1), date.max.toordinal())
    middle = date.fromordinal(fourth)
    at = _year_day(middle)
    return (at - 1) // 7 + 1, -((_year_days(middle.year) - at) // 7) - 1
