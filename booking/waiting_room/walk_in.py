"""Walk-in tickets: standing in a doctor's line without an appointment, with a live position.

Who is called gets an appointment at that moment, made by booking under the same constraint as every other one
(`MakesVisits`); until then there is nothing but the ticket. One ticket per person and doctor at a time.
"""

from datetime import datetime
from typing import Final, Protocol
from uuid import UUID

from aiohttp import web
from msgspec import Struct

from backplane.api import Call, Routes
from backplane.postgres import Connection
from booking.links.link import Seat
from booking.refusals import Conflict, NotFound
from booking.rights import VISITORS
from booking.visits.views import WaitRange
from booking.visits.visit import Visit, need
from booking.waiting_room import tickets
from live.notes import note_after

MAX_WAITING: Final = 100
routes = Routes(tag="queue")


class MakesVisits(Protocol):
    """Booking, as far as visits without a booking need it."""

    async def visit_now(
        self, connection: Connection, *, provider: UUID, patient: UUID, reason: str, timezone: str, now: datetime
    ) -> UUID | None:
        """A confirmed appointment that begins now; None when the doctor's time is taken or nothing is on offer."""


class NoTime(Conflict):
    """The doctor's time is taken, or nothing is on offer."""

    def __init__(self) -> None:
        super().__init__("time_taken", "Your next appointment begins too soon for a visit now.")


VISITS_NOW: Final = web.AppKey("visits_now", MakesVisits)


class TicketView(Struct, frozen=True):
    """``state``: waiting, admitted (then ``appointment`` is set), done, left, denied, cancelled or no_show."""

    ticket: UUID
    no: int
    state: str
    provider: UUID
    position: int | None
    wait: WaitRange | None
    appointment: UUID | None


@routes.post(
    "/v1/queues/{provider}/tickets",
    right="queue.read",
    visitors=VISITORS,
    status=201,
    problems={404: (), 409: ("queue_full", "not_taking")},
)
async def take(call: Call, provider: UUID) -> TicketView:
    """Stand in a doctor's line; the ticket of before when one is waiting already"""
    patient = call.principal.person
    async with call.transaction() as connection:
        row = await connection.fetchrow("SELECT status, online_until FROM provider WHERE id = $1", provider)
        days = await tickets.days_of(connection, provider, call.now)
        if row is None or not days or row["status"] != "approved":
            raise NotFound("not_found", "There is no such doctor here.")
        if row["online_until"] is None or row["online_until"] <= call.now:
            raise Conflict("not_taking", "This doctor takes nobody without an appointment now. Book a time.")
        await tickets.lock(connection, provider, days)
        before = await connection.fetchrow(
            """SELECT id, day FROM queue_ticket WHERE provider_id = $1 AND patient_id = $2 AND kind = 'walk_in'
               AND state = 'waiting'""",
            provider,
            patient,
        )
        if before is not None and before["day"] in days:
            ticket = before["id"]
            await tickets.come_back(connection, ticket, call.now)
        else:
            if before is not None:  # a page that was left open since another day
                await tickets.close(connection, before["id"], "left", call.now)
            line = await tickets.read_line(connection, provider, days, call.now)
            if len(line.waiting) >= MAX_WAITING:
                raise Conflict("queue_full", "This line is full. Book a time instead.")
            ticket = await tickets.take_ticket(
                connection,
                provider=provider,
                day=days[-1],
                kind="walk_in",
                appointment=None,
                patient=patient,
                rank=call.now,
                now=call.now,
            )
        view = await ticket_view(connection, ticket, call.now)
    assert view is not None
    note_after(call, provider)
    return view


@routes.get("/v1/queue-tickets/{ticket}", right="queue.read", problems={404: ()})
async def read_ticket(call: Call, ticket: UUID) -> TicketView:
    """One's own ticket: position and wait. Reading it keeps the place"""
    async with call.transaction() as connection:
        await _own(call, connection, ticket)
        await tickets.come_back(connection, ticket, call.now)
        view = await ticket_view(connection, ticket, call.now)
    assert view is not None
    return view


@routes.delete("/v1/queue-tickets/{ticket}", right="queue.read", problems={404: ()})
async def give_up(call: Call, ticket: UUID) -> None:
    """Leave the line"""
    async with call.transaction() as connection:
        provider = await _own(call, connection, ticket)
        await tickets.close(connection, ticket, "left", call.now)
    note_after(call, provider)


async def ticket_view(
    connection: Connection, ticket: UUID, now: datetime, lines: tickets.Lines | None = None
) -> TicketView | None:
    """``lines``: as in `visit_view`."""
    row = await connection.fetchrow(
        "SELECT id, no, state, provider_id, appointment_id FROM queue_ticket WHERE id = $1", ticket
    )
    if row is None:
        return None
    place, wait = None, None
    if row["state"] == "waiting":
        line = await tickets.line_once(connection, row["provider_id"], now, {} if lines is None else lines)
        place, wait = line.position(ticket, now), line.wait(ticket, now)
    return TicketView(
        row["id"],
        row["no"],
        row["state"],
        row["provider_id"],
        place,
        None if wait is None else WaitRange(wait.low_min, wait.high_min),
        row["appointment_id"],
    )


async def visit_for_walk_in(call: Call, connection: Connection, ticket: UUID) -> Visit | None:
    """The visit of a walk-in who is called now; None for who has just left. Raises NoTime."""
    row = await connection.fetchrow(
        """SELECT q.provider_id, q.patient_id, p.timezone FROM queue_ticket q JOIN person p ON p.id = q.patient_id
           WHERE q.id = $1 AND q.state = 'waiting' FOR UPDATE OF q""",
        ticket,
    )
    if row is None:
        return None
    appointment = await call.request.app[VISITS_NOW].visit_now(
        connection,
        provider=row["provider_id"],
        patient=row["patient_id"],
        reason="",
        timezone=row["timezone"],
        now=call.now,
    )
    if appointment is None:
        raise NoTime
    await connection.execute("UPDATE queue_ticket SET appointment_id = $2 WHERE id = $1", ticket, appointment)
    # The seat waits for its device: the page of the ticket checks in with this appointment and is let in.
    await connection.execute(
        """INSERT INTO visit_seat (appointment_id, seat, holder, state, arrived_at)
           VALUES ($1, $2, $3, 'waiting', $4)""",
        appointment,
        Seat.PATIENT.word,
        row["patient_id"],
        call.now,
    )
    return await need(connection, appointment)


async def _own(call: Call, connection: Connection, ticket: UUID) -> UUID:
    provider: UUID | None = await connection.fetchval(
        "SELECT provider_id FROM queue_ticket WHERE id = $1 AND patient_id = $2", ticket, call.principal.person
    )
    if provider is None:
        raise NotFound("not_found", "There is no such ticket of yours.")
    return provider
