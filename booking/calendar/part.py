"""This part of booking as `booking.application` takes it: routes, consumer, jobs and sweeps."""

from collections.abc import Callable
from datetime import datetime
from typing import Final

from backplane.postgres import Database
from booking.application import Part
from booking.calendar import exceptions, manage, routes, upkeep

ZONE_DATA_S: Final = 6 * 3600.0
ROUTES: Final = (routes.routes, manage.routes, exceptions.routes)


def calendar(database: Database, clock: Callable[[], datetime]) -> Part:
    """The part, with its look at every clinic when the zone data are of another release."""

    async def zone_data() -> None:
        await upkeep.look_after_zone_data(database, clock())

    return Part(
        routes=ROUTES,
        consumers=[upkeep.CONSUMER],
        jobs=upkeep.HANDLERS,
        sweeps=[("zone data", ZONE_DATA_S, zone_data)],
    )
