"""The calendar as booking asks it: may a visit begin then, and what else is free?"""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from backplane.postgres import Connection
from booking.calendar.cache import CalendarCache, CalendarState
from booking.calendar.slots import in_turns, is_free
from booking.calendar.store import BookedService, load, times_of


class CachedCalendar:
    """The calendar as booking asks it."""

    def __init__(self) -> None:
        self._kept = CalendarCache()

    async def refusal(
        self,
        connection: Connection,
        service: BookedService,
        start: datetime,
        now: datetime,
        without: UUID | None = None,
        seen: CalendarState | None = None,
    ) -> str | None:
        """None when a visit may begin at ``start``, else the code of a `NotOffered`."""
        if seen is not None:
            calendar = await self._kept.get(connection, service.provider, seen.version, now)
            return is_free(calendar, times_of(service), seen.taken, start, now)
        calendar, taken = await load(connection, service.provider, start, start, now, service.id, without)
        return is_free(calendar, times_of(service), taken, start, now)

    async def read_ahead(
        self, connection: Connection, asked: Sequence[tuple[BookedService, CalendarState]], now: datetime
    ) -> None:
        """Reads in one go what `refusal` will need for all of them."""
        await self._kept.read(connection, {service.provider: seen.version for service, seen in asked}, now)

    async def free(
        self, connection: Connection, service: BookedService, start: datetime, end: datetime, now: datetime, most: int
    ) -> list[datetime]:
        """The first free starts in [``start``, ``end``)."""
        calendar, taken = await load(connection, service.provider, start, end, now, service.id)
        found: list[datetime] = []
        async for part in in_turns(calendar, times_of(service), taken, start, end, now):
            found += [slot.start for slot in part]
            if len(found) >= most:
                break
        return found[:most]
