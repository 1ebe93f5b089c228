"""Coming to a visit: links, seats, the waiting room, tokens for the call, and what the call tells the appointment."""

from typing import Final

from booking.join import exchange

ROUTES: Final = (exchange.routes,)
