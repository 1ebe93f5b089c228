"""The calendar around one start: for bookings, which come far more often than hours change.

What is taken is read with everything else that a booking reads, in one statement (`COLUMNS`). The hours are kept in
memory, whole, from a few days ago to beyond every horizon; the same statement tells which state the clinic's hours are
in (booking/sql/0010_calendar_version.sql), and what was kept of another state is read anew. So a booking sees hours as
fresh as if it had read them, for the price of one number.
"""

from collections import OrderedDict
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Final
from uuid import UUID

from msgspec import Struct

from backplane.postgres import Connection, Row
from booking.calendar.hours import Calendar
from booking.calendar.slots import Range
from booking.calendar.store import MARGIN, TAKEN, load_calendars, ranges

MOST_KEPT: Final = 5_000
# longer than any horizon (service.horizon_days)
_AHEAD: Final = timedelta(days=735)

# Beside `service s` and `provider p`.
COLUMNS: Final = "calendar_state.*, coalesce((SELECT version FROM calendar_version), 0) AS calendar_version"


def join(since: str, until: str, now: str) -> str:
    """SQL that `COLUMNS` need, of the SQL of `around` and of the time now."""
    taken = TAKEN.format(provider="p.id", start=since, end=until, now=now, service="s.id", without="NULL")
    return f"\nCROSS JOIN LATERAL ({taken}) AS calendar_state"


def around(start: datetime) -> tuple[datetime, datetime]:
    """From when to when one must know what is taken, to say whether a visit may begin at ``start``."""
    return start - MARGIN, start + MARGIN


class CalendarState(Struct, frozen=True):
    """``version``: of the clinic's hours; ``taken``: around the start."""

    version: int
    taken: list[Range]


def state_of(row: Row) -> CalendarState:
    """Of a row with `COLUMNS`."""
    return CalendarState(row["calendar_version"], ranges(row))


class _Entry(Struct, frozen=True):
    version: int
    day: date
    calendar: Calendar


class CalendarCache:
    """Calendars of this process, those last used."""

    def __init__(self) -> None:
        self._entries: OrderedDict[UUID, _Entry] = OrderedDict()

    async def get(self, connection: Connection, provider: UUID, version: int, now: datetime) -> Calendar:
        """The hours of ``provider``, as they are in ``version``."""
        await self.read(connection, {provider: version}, now)
        self._entries.move_to_end(provider)
        return self._entries[provider].calendar

    async def read(self, connection: Connection, wanted: Mapping[UUID, int], now: datetime) -> None:
        """Has those who are not kept in that version read, in one go."""
        day = now.date()
        missing = []
        for provider, version in wanted.items():
            entry = self._entries.get(provider)
            if entry is None or (entry.version, entry.day) != (version, day):
                missing.append(provider)
        if not missing:
            return
        # read after the version was: it may be newer than that, and is then read once more
        for provider, calendar in (await load_calendars(connection, missing, now, now + _AHEAD)).items():
            self._entries[provider] = _Entry(wanted[provider], day, calendar)
            self._entries.move_to_end(provider)
        while len(self._entries) > max(MOST_KEPT, len(wanted)):
            self._entries.popitem(last=False)
