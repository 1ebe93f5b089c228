"""A line of waiting people: who is next, who keeps a place, and how long it will take. Pure.

A line is one provider's on one day, and the day turns at three in the morning of the provider's zone, so that a visit
which runs past midnight stays in its line and yesterday's people are never counted today. For `NIGHT_LASTS` after the
turn the line is that of both days: who came before three is still waiting after it. A person whose page is gone keeps
the place for `GRACE`; after it they no longer stand before anybody.

The wait is a range, or nothing. It is made from what this line has shown today: the lengths of its finished visits,
at least `MIN_VISITS` of them, and the time that the running visit has lasted. Nothing from other days, other doctors or
the calendar goes in, because a promise that fails is worse than none.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final
from uuid import UUID
from zoneinfo import ZoneInfo

GRACE: Final = timedelta(minutes=5)
DAY_TURNS: Final = timedelta(hours=3)
NIGHT_LASTS: Final = timedelta(hours=6)
TURNED_BACK: Final = timedelta(minutes=30)  # Chatham's clocks go from 3:45 back to 2:45: who came at 3:00 still waits
MIN_VISITS: Final = 3
LAST_VISITS: Final = 12
LONGEST_WAIT: Final = timedelta(hours=4)  # a larger figure says only that something is wrong


@dataclass(frozen=True, slots=True)
class Waiting:
    """One person in line. Lower ranks come first, then earlier days and lower numbers."""

    ticket: UUID
    day: date
    no: int
    rank: int
    seen_at: datetime

    def keeps_place(self, now: datetime) -> bool:
        return abs(now - self.seen_at) < GRACE  # long before or after: the clock was set


@dataclass(frozen=True, slots=True)
class Wait:
    """From and to, in whole minutes."""

    low_min: int
    high_min: int


def queue_day(at: datetime, timezone: str) -> date:
    """The day of the line in which somebody stands who comes at ``at``."""
    return (at.astimezone(ZoneInfo(timezone)) - DAY_TURNS).date()


def line_days(now: datetime, timezone: str) -> list[date]:
    """The days whose people make up the line now, in order: the present one, in a night that of yesterday too."""
    return sorted({queue_day(now - before, timezone) for before in (NIGHT_LASTS, TURNED_BACK, timedelta(0))})


def in_order(line: Sequence[Waiting], now: datetime) -> list[Waiting]:
    """Those who keep their place, first to last."""
    return sorted((each for each in line if each.keeps_place(now)), key=lambda each: (each.rank, each.day, each.no))


def position(line: Sequence[Waiting], ticket: UUID, now: datetime) -> int | None:
    """1 for who is next; None for who has lost the place or never stood in this line."""
    for place, each in enumerate(in_order(line, now), 1):
        if each.ticket == ticket:
            return place
    return None


def wait(
    place: int, visits: Sequence[timedelta], running: timedelta | None, delay: timedelta = timedelta(0)
) -> Wait | None:
    """How long the person at ``place`` will wait, None when it cannot be known.

    ``visits``: lengths of today's finished visits of this line, oldest first. ``running``: how long the visit that
    is on has lasted, None when nobody is in. ``delay``: what the doctor announced and has not yet passed.
    """
    lately = sorted(visits[-LAST_VISITS:])
    if len(lately) < MIN_VISITS:
        return None
    short, long = lately[len(lately) // 4], lately[(3 * len(lately)) // 4]
    ahead = place - 1
    low, high = ahead * short, ahead * long
    if running is not None:
        low += max(timedelta(0), short - running)
        # A visit that already lasts longer than most tells nothing but that it goes on.
        high += max(short / 2, long - running)
    low, high = max(low, delay), max(high, delay)
    if high > LONGEST_WAIT:
        return None
    return Wait(_minutes(low), max(_minutes(low), _minutes(high + timedelta(seconds=59))))


def _minutes(length: timedelta) -> int:
    return int(length.total_seconds() // 60)
