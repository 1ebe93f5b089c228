"""Booking's live topics: what each shows of a visit, a line, a place in it, a request and what rings.

A view that a ticket no longer gives is `Gone`: the watch ends with the reason, so a page that was replaced by another
device, or whose visit has moved, stops at once and says so. A cancelled visit is shown to the last: the waiting person
must see why it ends.
"""

from collections.abc import Sequence
from enum import IntEnum
from typing import Final
from uuid import UUID

from booking.instant.request_views import InstantView, RingView, instant_view, rings_of
from booking.links.link import Seat
from booking.visits.presence import PlacePresence, RequestPresence, SeatPresence
from booking.visits.views import QueueView, VisitView, queue_view, seats_of, visit_view
from booking.visits.visit import load
from booking.visits.visitors import Visitor, takes_part
from booking.waiting_room.tickets import Line, line_once
from booking.waiting_room.walk_in import TicketView, ticket_view
from live.tickets import Ticket
from live.topics import Gone, Round, Topic


class Kind(IntEnum):
    """What a ticket lets one watch. The numbers are signed."""

    VISIT = 1
    QUEUE = 2
    PLACE = 3
    INSTANT = 4
    RINGS = 5


class _Lines(dict[UUID, Line]):
    """A line that many pages show is read once for all of them."""


async def _visit(reading: Round, ticket: Ticket, after: int) -> VisitView | Gone:
    connection, now, seat = reading.connection, reading.now, Seat(ticket.role)
    visit = await load(connection, ticket.key)
    if visit is None:
        return Gone("gone")
    if not visit.status.startswith("cancelled"):
        if visit.epoch != ticket.epoch:
            return Gone("replaced")
        in_class = visit.patient is None and seat is Seat.PATIENT
        if in_class and not await takes_part(connection, visit, ticket.holder):
            return Gone("gone")
    seats = await seats_of(connection, visit, now)
    own = next((row for row in seats if (row["seat"], row["holder"]) == (seat.word, ticket.holder)), None)
    if own is not None and own["device"] not in (None, ticket.device):
        return Gone("moved")
    if own is not None and own["revoked_at"] is not None:
        return Gone("gone")
    who = Visitor(seat, ticket.holder, ticket.device, None, seat.word)
    return await visit_view(connection, visit, who, now, after=after, seats=seats, lines=reading.kept(_Lines))


async def _queue(reading: Round, ticket: Ticket, after: int) -> QueueView | Gone:
    line = await line_once(reading.connection, ticket.key, reading.now, reading.kept(_Lines))
    if not line.days:
        return Gone("gone")
    return await queue_view(reading.connection, ticket.key, line, reading.now)


async def _place(reading: Round, ticket: Ticket, after: int) -> TicketView | Gone:
    shown = await ticket_view(reading.connection, ticket.key, reading.now, reading.kept(_Lines))
    return shown or Gone("gone")


async def _instant(reading: Round, ticket: Ticket, after: int) -> InstantView | Gone:
    return await instant_view(reading.connection, ticket.key) or Gone("gone")


async def _rings(reading: Round, ticket: Ticket, after: int) -> Sequence[RingView]:
    return await rings_of(reading.connection, ticket.key, reading.now)


TOPICS: Final = (
    Topic(Kind.VISIT, "visit", _visit, presence=SeatPresence()),
    Topic(Kind.QUEUE, "queue", _queue, personal=False),
    Topic(Kind.PLACE, "place", _place, personal=False, presence=PlacePresence()),
    Topic(Kind.INSTANT, "instant", _instant, personal=False, presence=RequestPresence()),
    Topic(Kind.RINGS, "rings", _rings, personal=False),
)
