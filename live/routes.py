"""The live socket's route. Its tickets are given by routes of those who own the topics."""

from datetime import datetime

from aiohttp import web
from msgspec import Struct

from backplane.api import Call, Routes
from live.hub import HUB
from live.tickets import LIFETIME, Ticket

routes = Routes(tag="live")


class LiveTicketGiven(Struct, frozen=True):
    """`ticket`: shown on the socket before `expires_at`, once per watch."""

    ticket: str
    expires_at: datetime


def given(call: Call, ticket: Ticket) -> LiveTicketGiven:
    """The ticket as the answer of a route."""
    return LiveTicketGiven(call.request.app[HUB].tickets.sign(ticket, call.now), call.now + LIFETIME)


@routes.socket("/v1/visits/live", problems=(400, 426, 429, 503))
async def live(call: Call) -> web.StreamResponse:
    """Live views of visits, lines and requests: subprotocol wadud.visits.v1"""
    return await call.request.app[HUB].handle(call.request)
