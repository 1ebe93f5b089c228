"""What each kind of live watch shows, read from the database.

A view that a ticket no longer gives is `Gone`: the watch ends with the reason, so a page that was replaced by another
device, or whose visit has moved, stops at once and says so. A cancelled visit is shown to the last: the waiting person
must see why it ends.
"""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Final, Literal

from msgspec import Struct

from backplane.postgres import Connection
from booking.instant import request_views
from booking.links.link import Seat
from booking.visits.live_messages import (
    Bye,
    InstantPush,
    InstantView,
    Kind,
    LiveTicket,
    PlacePush,
    Push,
    QueuePush,
    RingsPush,
    RingView,
    VisitPush,
)
from booking.visits.views import QueueView, VisitView, queue_view, seats_of, visit_view
from booking.visits.visit import load
from booking.visits.visitors import Visitor, takes_part
from booking.waiting_room.tickets import Lines, line_once
from booking.waiting_room.walk_in import TicketView, ticket_view


class Gone(Struct, frozen=True):
    reason: Literal["moved", "replaced", "gone", "failed"]


# ``lines``: what was read of lines in this moment, shared by all that is shown in it.
Shown = VisitView | QueueView | TicketView | InstantView | list[RingView] | Gone
Show = Callable[[Connection, LiveTicket, int, datetime, Lines], Awaitable[Shown]]


async def show_visit(connection: Connection, ticket: LiveTicket, after: int, now: datetime, lines: Lines) -> Shown:
    visit = await load(connection, ticket.key)
    if visit is None:
        return Gone("gone")
    if not visit.status.startswith("cancelled"):
        if visit.epoch != ticket.epoch:
            return Gone("replaced")
        in_class = visit.patient is None and ticket.seat is Seat.PATIENT
        if in_class and not await takes_part(connection, visit, ticket.holder):
            return Gone("gone")
    seats = await seats_of(connection, visit, now)
    own = next((row for row in seats if (row["seat"], row["holder"]) == (ticket.seat.word, ticket.holder)), None)
    if own is not None and own["device"] not in (None, ticket.device):
        return Gone("moved")
    if own is not None and own["revoked_at"] is not None:
        return Gone("gone")
    who = Visitor(ticket.seat, ticket.holder, ticket.device, None, ticket.seat.word)
    return await visit_view(connection, visit, who, now, after=after, seats=seats, lines=lines)


async def show_queue(connection: Connection, ticket: LiveTicket, after: int, now: datetime, lines: Lines) -> Shown:
    line = await line_once(connection, ticket.key, now, lines)
    if not line.days:
        return Gone("gone")
    return await queue_view(connection, ticket.key, line, now)


async def show_place(connection: Connection, ticket: LiveTicket, after: int, now: datetime, lines: Lines) -> Shown:
    return await ticket_view(connection, ticket.key, now, lines) or Gone("gone")


async def show_instant(connection: Connection, ticket: LiveTicket, after: int, now: datetime, lines: Lines) -> Shown:
    return await request_views.instant_view(connection, ticket.key) or Gone("gone")


async def show_rings(connection: Connection, ticket: LiveTicket, after: int, now: datetime, lines: Lines) -> Shown:
    return await request_views.rings_of(connection, ticket.key, now)


SOURCES: Final[Mapping[Kind, Show]] = {
    Kind.VISIT: show_visit,
    Kind.QUEUE: show_queue,
    Kind.PLACE: show_place,
    Kind.INSTANT: show_instant,
    Kind.RINGS: show_rings,
}


def as_push(id: int, seq: int, shown: Shown) -> Push:
    """What is shown as a message to the watch of that id."""
    match shown:
        case VisitView():
            return VisitPush(id, seq, shown)
        case QueueView():
            return QueuePush(id, seq, shown)
        case TicketView():
            return PlacePush(id, seq, shown)
        case InstantView():
            return InstantPush(id, seq, shown)
        case Gone():
            return Bye(id, seq, shown.reason)
    return RingsPush(id, seq, shown)
