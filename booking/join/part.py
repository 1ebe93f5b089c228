"""Joining put together: its routes, the events that it hears, the jobs that it does."""

from typing import Final

from booking.join import desk, exchange, invites, visit_routes
from booking.queue import walk_in

ROUTES: Final = (exchange.routes, visit_routes.routes, invites.routes, desk.routes, walk_in.routes)
