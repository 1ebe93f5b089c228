"""This part of booking as `booking.application` takes it: routes, consumer, jobs and sweeps."""

from collections.abc import Callable
from datetime import datetime
from typing import Final

from backplane.postgres import Database
from booking.application import Module
from booking.calendar import exceptions, ics_out, manage, routes, sources, upkeep
from booking.calendar.fetch import Fetcher

ZONE_DATA_S: Final = 6 * 3600.0
ROUTES: Final = (routes.routes, manage.routes, exceptions.routes, sources.routes, ics_out.routes)


def calendar(database: Database, clock: Callable[[], datetime], fetcher: Fetcher | None = None) -> Module:
    """The part, with its look at every clinic when the zone data are of another release."""

    async def zone_data() -> None:
        await upkeep.look_after_zone_data(database, clock())

    return Module(
        routes=ROUTES,
        consumers=[upkeep.CONSUMER],
        jobs={**upkeep.HANDLERS, **sources.Reader(database, clock, fetcher).handlers},
        sweeps=[("zone data", ZONE_DATA_S, zone_data)],
    )
