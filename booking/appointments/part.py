"""What the server takes up of this package: routes, jobs, and the two ports that joining asks for."""

from typing import Final

from backplane.api import Routes
from booking.appointments import changing, making, reading
from booking.appointments.changes import Life
from booking.appointments.claims import VisitsNow
from booking.appointments.desk import DESK, Desk

ROUTES: Final[tuple[Routes, ...]] = (making.routes, changing.routes, reading.routes)

__all__ = ["DESK", "ROUTES", "Desk", "Life", "VisitsNow"]
