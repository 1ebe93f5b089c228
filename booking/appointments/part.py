"""This part of booking as `booking.application` takes it; `Life` and `VisitsNow` are what joining asks for.

The application that serves `ROUTES` must hold the same `Desk` under the key `DESK`.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Final

from backplane.api import Routes
from backplane.postgres import Database
from booking.application import Part
from booking.appointments import changing, making, reading, sweeper, waitlist
from booking.appointments.changes import Life
from booking.appointments.claims import VisitsNow
from booking.appointments.desk import DESK, Desk

SWEEP_EVERY_S: Final = 5.0
ROUTES: Final[tuple[Routes, ...]] = (making.routes, changing.routes, reading.routes, waitlist.routes)


def appointments(database: Database, desk: Desk, clock: Callable[[], datetime]) -> Part:
    """The part, with the sweep that ends holds."""

    async def holds() -> None:
        await sweeper.sweep(database, clock())

    return Part(
        routes=ROUTES,
        consumers=[waitlist.consumer(desk)],
        jobs=waitlist.HANDLERS,
        sweeps=[("holds", SWEEP_EVERY_S, holds)],
    )


__all__ = ["DESK", "ROUTES", "Desk", "Life", "VisitsNow", "appointments"]
