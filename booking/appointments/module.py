"""This part of booking as `booking.application` takes it; `Life` and `VisitsNow` are what joining asks for.

The application that serves `ROUTES` must hold the same `BookingContext` under the key `BOOKING_CONTEXT`.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Final

from backplane.api import Routes
from backplane.postgres import Database
from booking.application import Module
from booking.appointments import appointment_routes, booking_routes, change_routes, sweeper, waitlist
from booking.appointments.changes import Life
from booking.appointments.claims import VisitsNow
from booking.appointments.context import BOOKING_CONTEXT, BookingContext

SWEEP_EVERY_S: Final = 5.0
ROUTES: Final[tuple[Routes, ...]] = (
    booking_routes.routes,
    change_routes.routes,
    appointment_routes.routes,
    waitlist.routes,
)


def appointments(database: Database, context: BookingContext, clock: Callable[[], datetime]) -> Module:
    """The part, with the sweep that ends holds."""

    async def holds() -> None:
        await sweeper.sweep(database, clock())

    return Module(
        routes=ROUTES,
        consumers=[waitlist.consumer(context)],
        jobs=waitlist.HANDLERS,
        sweeps=[("holds", SWEEP_EVERY_S, holds)],
    )


__all__ = ["BOOKING_CONTEXT", "ROUTES", "BookingContext", "Life", "VisitsNow", "appointments"]
