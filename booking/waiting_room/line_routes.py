"""The other side of the waiting room: a doctor's own line, or any line of the clinic for its front desk.

Everything that changes the line holds its lock and is told to all screens after the commit. Admitting somebody twice,
or the same person from two screens, is one admission: the second answer says that nobody waits there.
"""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Annotated, Literal
from uuid import UUID

from msgspec import Meta, Struct

from backplane.api import Call, Routes
from backplane.postgres import Connection
from backplane.principal import Principal
from booking.access_policy import runs_line
from booking.links.link import Seat
from booking.refusals import Conflict, Denied, NotFound, Refusal
from booking.visits.room_names import identity
from booking.visits.views import QueueView, queue_view
from booking.visits.visit import JOINING, Visit, need
from booking.visits.visit_routes import MessageKept, NewMessage
from booking.visits.visitors import doctor_of, takes_part
from booking.waiting_room import admittance, tickets
from booking.waiting_room.walk_in import NoTime, visit_for_walk_in
from live.notes import note_after

routes = Routes(tag="queue")


class WhichQueue(Struct, frozen=True, forbid_unknown_fields=True):
    """``provider``: whose line; one's own when it is left out."""

    provider: UUID | None = None


class Delay(Struct, frozen=True, forbid_unknown_fields=True):
    minutes: Annotated[int, Meta(ge=0, le=480)]
    provider: UUID | None = None


class Swap(Struct, frozen=True, forbid_unknown_fields=True):
    first: UUID
    second: UUID
    reason: Literal["urgent", "late", "agreed", "interpreter", "technical"]
    provider: UUID | None = None


class Who(Struct, frozen=True, forbid_unknown_fields=True):
    """``holder``: as in the visit's list of others; the patient when it is left out."""

    seat: Literal["patient", "third"] = "patient"
    holder: UUID | None = None


class DeskMessage(NewMessage, frozen=True, forbid_unknown_fields=True):
    """``patient``: of a class, the only one who is to read it; everybody who waits when it is left out."""

    patient: UUID | None = None


class Called(Struct, frozen=True):
    ticket: UUID
    appointment: UUID
    patient: UUID


class Reopened(Struct, frozen=True):
    until: datetime


@routes.get("/v1/queue", right="queue.manage", problems={403: ("not_your_queue",), 404: ()})
async def read_queue(call: Call, query: WhichQueue) -> QueueView:
    """Who waits and who is in, in order"""
    async with call.transaction() as connection:
        provider, days = await _line(call, connection, query.provider)
        line = await tickets.read_line(connection, provider, days, call.now)
        return await queue_view(connection, provider, line, call.now)


@routes.post(
    "/v1/queue/next",
    right="queue.manage",
    problems={403: ("not_your_queue",), 404: ("nobody_waits", "not_found"), 409: ()},
)
async def admit_next(call: Call, body: WhichQueue) -> Called:
    """Let in whoever is next and has the page open"""
    async with call.transaction() as connection:
        provider, days = await _line(call, connection, body.provider)
        await tickets.lock(connection, provider, days)
        called, refused = None, None
        for ticket in await tickets.those_here(connection, provider, days, call.now):
            visit, patient = await admittance.visit_of_ticket(connection, ticket)
            if visit is None and refused is None:
                try:
                    visit = await visit_for_walk_in(call, connection, ticket)
                except NoTime as no_time:  # whose time it is may stand behind
                    refused = no_time
            # Somebody whose visit's hours are over, or who leaves just now, must not hold up the line.
            if (
                visit is not None
                and visit.enterable(call.now)
                and await admittance.admit(connection, visit, Seat.PATIENT, patient, call.now)
            ):
                called = Called(ticket, visit.appointment, patient)
                break
        if called is None:
            raise refused or NotFound("nobody_waits", "Nobody whose page is open waits in this line.")
    note_after(call, provider)
    return called


@routes.post("/v1/queue/delay", right="queue.manage", problems={403: ("not_your_queue",), 404: ()})
async def announce_delay(call: Call, body: Delay) -> None:
    """Tell everybody in line that the doctor is late; 0 takes it back"""
    async with call.transaction() as connection:
        provider, days = await _line(call, connection, body.provider)
        await admittance.announce_delay(connection, provider, days[-1], body.minutes, call.now)
    note_after(call, provider)


@routes.post(
    "/v1/queue/swap", right="queue.manage", problems={403: ("not_your_queue",), 404: (), 409: ("not_waiting",)}
)
async def swap(call: Call, body: Swap) -> None:
    """Exchange two places, with the reason"""
    async with call.transaction() as connection:
        provider, days = await _line(call, connection, body.provider)
        await tickets.lock(connection, provider, days)
        by = call.principal.person
        await admittance.swap(connection, provider, days, body.first, body.second, body.reason, by, call.now)
    note_after(call, provider)


@routes.post(
    "/v1/visits/{appointment}/admit",
    right="queue.manage",
    problems={403: ("not_your_queue",), 404: ("not_found", "nobody_waits"), 409: ("not_open",)},
)
async def admit(call: Call, appointment: UUID, body: Who) -> None:
    """Let one person in; of a class everybody who waits, unless one is named"""
    async with call.transaction() as connection:
        visit = await _visit(call, connection, appointment)
        if visit.patient is None and body.seat == "patient" and body.holder is None:
            people = [(Seat.PATIENT, holder) for holder in await admittance.patients_waiting(connection, appointment)]
        else:
            people = [_whom(visit, body)]
        admitted = [await admittance.admit(connection, visit, *each, call.now) for each in people]
        if not any(admitted):
            raise NotFound("nobody_waits", "This person does not wait, or is in already.")
    note_after(call, visit.provider)


@routes.post(
    "/v1/visits/{appointment}/deny",
    right="queue.manage",
    problems={403: ("not_your_queue",), 404: ("not_found", "nobody_waits")},
)
async def deny(call: Call, appointment: UUID, body: Who) -> None:
    """Turn one person away, or put them out of the call"""
    joining = call.request.app[JOINING]
    async with call.transaction() as connection:
        visit = await _visit(call, connection, appointment)
        seat, holder = _whom(visit, body)
        by = call.principal.person
        if not await admittance.deny(connection, visit, seat, holder, by, call.now):
            raise NotFound("nobody_waits", "This person is not here.")
    await joining.rooms.put_out(joining.names.name(visit.room), identity(seat, holder))
    note_after(call, visit.provider)


@routes.post("/v1/visits/{appointment}/vouch", right="queue.manage", problems={403: ("not_your_queue",), 404: ()})
async def vouch(call: Call, appointment: UUID) -> None:
    """Let the patient take the seat without the year of birth: somebody here knows who it is"""
    async with call.transaction() as connection:
        visit = await _visit(call, connection, appointment)
        await admittance.vouch(connection, visit, call.principal.person, call.now)


@routes.post(
    "/v1/visits/{appointment}/desk-messages",
    right="queue.manage",
    status=201,
    problems={403: ("not_your_queue",), 404: ("not_found", "nobody_waits"), 409: ("too_many_messages",)},
)
async def write(call: Call, appointment: UUID, body: DeskMessage) -> MessageKept:
    """A message from the clinic to those who wait for a visit"""
    async with call.transaction() as connection:
        visit = await _visit(call, connection, appointment)
        if body.patient is not None and not await takes_part(connection, visit, body.patient):
            raise NotFound("nobody_waits", "This person has no seat in the visit.")
        person = call.principal.person
        seat = "doctor" if person == visit.doctor else "clinic"
        number = await admittance.say(connection, visit, seat, person, body.body, call.now, body.patient)
    note_after(call, visit.provider)
    return MessageKept(number)


@routes.post(
    "/v1/visits/{appointment}/no-show",
    right="queue.manage",
    problems={403: ("not_your_queue",), 404: (), 409: ("not_now",)},
)
async def mark_no_show(call: Call, appointment: UUID) -> None:
    """The patient did not come"""
    joining = call.request.app[JOINING]
    async with call.transaction() as connection:
        visit = await _visit(call, connection, appointment)
        role = "doctor" if call.principal.person == visit.doctor else "staff"
        marked = call.now >= visit.starts_at and await joining.lifecycle.change(
            connection,
            appointment,
            "no_show_patient",
            actor=call.principal.person,
            role=role,
            cause="did_not_come",
            now=call.now,
        )
        if not marked:
            raise Conflict("not_now", "Only a visit whose time has come and that has not begun can be missed.")
        await admittance.over(connection, appointment, "no_show", call.now)
    await joining.rooms.revoke_room(joining.names.name(visit.room))
    note_after(call, visit.provider)


@routes.post("/v1/visits/{appointment}/end", right="visit.host", problems={403: ("not_your_visit",), 404: ()})
async def end(call: Call, appointment: UUID) -> None:
    """End the visit for everybody"""
    joining = call.request.app[JOINING]
    async with call.transaction() as connection:
        visit = await need(connection, appointment)
        who = await doctor_of(call, visit)
        await admittance.end(connection, joining.lifecycle, visit, who.holder, "ended", call.now)
    await joining.rooms.revoke_room(joining.names.name(visit.room))
    note_after(call, visit.provider)


@routes.post(
    "/v1/visits/{appointment}/call-again",
    right="visit.host",
    problems={403: ("not_your_visit",), 404: (), 409: ("not_open",)},
)
async def call_again(call: Call, appointment: UUID) -> Reopened:
    """Open the visit once more for an hour; the links that were sent work again"""
    async with call.transaction() as connection:
        visit = await need(connection, appointment)
        who = await doctor_of(call, visit)
        until = await admittance.call_again(connection, visit, who.holder, call.now)
    note_after(call, visit.provider)
    return Reopened(until)


def _whom(visit: Visit, body: Who) -> tuple[Seat, UUID]:
    holder = body.holder or (visit.patient if body.seat == "patient" else None)
    if holder is None:
        raise NotFound("nobody_waits", "Say who: this visit has more than one such seat.")
    return Seat[body.seat.upper()], holder


async def _visit(call: Call, connection: Connection, appointment: UUID) -> Visit:
    visit = await need(connection, appointment)
    if not runs_line(call.principal, is_own=call.principal.person == visit.doctor):
        raise _not_yours()
    return visit


async def _line(call: Call, connection: Connection, provider: UUID | None) -> tuple[UUID, Sequence[date]]:
    """Whose line the caller may run, and its days now."""
    own = await own_provider(connection, call.principal)
    wanted = provider or own
    if wanted is None:
        raise NotFound("not_found", "Say whose line: you have none of your own.")
    if not runs_line(call.principal, is_own=wanted == own):
        raise _not_yours()
    days = await tickets.days_of(connection, wanted, call.now)
    if not days:
        raise NotFound("not_found", "There is no such doctor here.")
    return wanted, days


async def own_provider(connection: Connection, who: Principal) -> UUID | None:
    """What the person is here as a doctor."""
    provider: UUID | None = await connection.fetchval("SELECT id FROM provider WHERE person_id = $1", who.person)
    return provider


def _not_yours() -> Refusal:
    return Denied("not_your_queue", "This line is another doctor's.")
