"""Tickets for the live socket: each is asked for over HTTP by whoever may see the thing."""

from uuid import UUID

from backplane.api import Call, Routes
from booking.links.link import Seat
from booking.refusals import Denied, NotFound
from booking.visits.live_topics import Kind
from booking.visits.visit import need
from booking.visits.visitors import visitor
from booking.waiting_room.line_routes import WhichQueue, own_provider
from live.routes import LiveTicketGiven, given
from live.tickets import Ticket

routes = Routes(tag="live")


@routes.post(
    "/v1/visits/{appointment}/live",
    right="visit.join",
    guests="appointment",
    problems={403: ("not_your_visit",), 404: (), 410: ()},
)
async def visit_ticket(call: Call, appointment: UUID) -> LiveTicketGiven:
    """A ticket to watch one's visit"""
    async with call.transaction() as connection:
        visit = await need(connection, appointment)
        who = await visitor(call, connection, visit)
    ticket = Ticket(
        Kind.VISIT, visit.tenant, visit.provider, appointment, who.seat, who.holder, who.device, visit.epoch
    )
    return given(call, ticket)


@routes.post("/v1/queue/live", right="queue.manage", problems={403: ("not_your_queue",), 404: ()})
async def queue_ticket(call: Call, body: WhichQueue) -> LiveTicketGiven:
    """A ticket to watch a line"""
    async with call.transaction() as connection:
        own = await own_provider(connection, call.principal)
    provider = body.provider or own
    if provider is None:
        raise NotFound("not_found", "Say whose line: you have none of your own.")
    if provider != own and not call.may("queue.manage.clinic"):
        raise Denied("not_your_queue", "This line is another doctor's.")
    return given(call, _of(call, Kind.QUEUE, provider, provider, Seat.DOCTOR))


@routes.post("/v1/queue-tickets/{ticket}/live", right="queue.read", problems={404: ()})
async def place_ticket(call: Call, ticket: UUID) -> LiveTicketGiven:
    """A ticket to watch one's place in a line"""
    async with call.transaction() as connection:
        provider = await connection.fetchval(
            "SELECT provider_id FROM queue_ticket WHERE id = $1 AND patient_id = $2", ticket, call.principal.person
        )
    if provider is None:
        raise NotFound("not_found", "There is no such ticket of yours.")
    return given(call, _of(call, Kind.PLACE, provider, ticket, Seat.PATIENT))


@routes.post("/v1/instant-requests/{request}/live", right="instant.request", problems={404: ()})
async def instant_ticket(call: Call, request: UUID) -> LiveTicketGiven:
    """A ticket to watch one's request for a doctor now"""
    async with call.transaction() as connection:
        found = await connection.fetchval(
            "SELECT true FROM instant_request WHERE id = $1 AND patient_id = $2", request, call.principal.person
        )
    if not found:
        raise NotFound("not_found", "There is no such request of yours.")
    return given(call, _of(call, Kind.INSTANT, request, request, Seat.PATIENT))


@routes.post("/v1/instant-rings/live", right="instant.answer", problems={404: ()})
async def rings_ticket(call: Call) -> LiveTicketGiven:
    """A ticket to watch the requests that ring at oneself"""
    async with call.transaction() as connection:
        provider = await own_provider(connection, call.principal)
    if provider is None:
        raise NotFound("not_found", "You are no doctor here.")
    return given(call, _of(call, Kind.RINGS, provider, provider, Seat.DOCTOR))


def _of(call: Call, kind: Kind, subject: UUID, key: UUID, seat: Seat) -> Ticket:
    who = call.principal
    return Ticket(kind, call.tenant.id, subject, key, seat, who.person, who.session)
