"""Writes the OpenAPI document of everything that the server declares, as /openapi.json gives it, without a server.

    python -m server.openapi FILE

The types of the pages' requests and answers are made from it (web/scripts/types.mjs).
"""

import sys
from pathlib import Path
from typing import Final

import msgspec

from backplane.openapi import document
from booking.appointments.module import ROUTES as APPOINTMENTS
from booking.assembly import REFUSALS
from booking.calendar.module import ROUTES as CALENDAR
from booking.identity.routes import ROUTES as IDENTITY
from booking.providers.module import ROUTES as PROVIDERS
from booking.visits.module import ROUTES as VISITS

ROUTES: Final = (*IDENTITY, *PROVIDERS, *CALENDAR, *APPOINTMENTS, *VISITS)


def openapi() -> bytes:
    """The document as JSON."""
    return msgspec.json.encode(document([route for group in ROUTES for route in group.all], everywhere=REFUSALS))


if __name__ == "__main__":
    file = Path(sys.argv[1])
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(openapi())
