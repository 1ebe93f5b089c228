"""Holds, bookings, series and classes over HTTP."""

from collections.abc import Sequence
from contextlib import suppress
from uuid import UUID

from backplane.api import Call, Routes
from backplane.postgres import Connection
from booking.access_policy import party_to_run_class
from booking.appointments import claims, classes, series
from booking.appointments.appointment_routes import shown
from booking.appointments.bookable import service_of
from booking.appointments.claims import Claimed, Particulars, SlotRequest
from booking.appointments.context import command_of, context_of
from booking.appointments.record import need
from booking.appointments.views import (
    Appointment,
    Booked,
    ConflictingDate,
    NewAppointment,
    NewClass,
    NewHold,
    NewSeries,
    SeatEnded,
    Series,
    begun,
    start_of,
    zone_of,
)
from booking.refusals import Denied, Invalid, NotFound, Refusal
from booking.rights import VISITORS

routes = Routes(tag="booking")
_TAKEN = ("slot_taken", "slot_not_offered")


async def _shown(connection: Connection, call: Call, made: Claimed) -> Appointment:
    """What was made a moment ago need not be read."""
    if made.begun is not None:
        return begun(made.begun, private=made.private)
    return await shown(connection, call.principal, made.id, call.now)


@routes.post(
    "/v1/holds",
    right="appointment.hold",
    visitors=VISITORS,
    status=201,
    idempotent=True,
    problems={
        403: ("not_your_patient",),
        404: (),
        409: (*_TAKEN, "too_many_holds", "no_holds"),
        422: ("unknown_zone",),
    },
)
async def hold(call: Call, body: NewHold) -> Appointment:
    """Keep a slot for some minutes"""
    about = Particulars(patient=body.patient, reason=body.reason, timezone=zone_of(body.timezone))
    request = SlotRequest(call.principal, body.service, start_of(body.start), about, command_of(call), hold=True)
    async with call.transaction() as connection:
        return await _shown(connection, call, await claims.claim_slot(connection, context_of(call), request))


@routes.post(
    "/v1/holds/{hold_id}/extend",
    right="appointment.hold",
    idempotent=True,
    problems={404: (), 409: ("hold_expired", "no_more_extensions", "not_possible", "changed_meanwhile")},
)
async def extend(call: Call, hold_id: UUID) -> Appointment:
    """Keep a slot some minutes longer"""
    async with call.transaction() as connection:
        await claims.extend(connection, call.principal, hold_id, command_of(call))
        return await shown(connection, call.principal, hold_id, call.now)


@routes.delete(
    "/v1/holds/{hold_id}",
    right="appointment.hold",
    problems={404: (), 409: ("not_possible", "changed_meanwhile")},
)
async def release(call: Call, hold_id: UUID) -> None:
    """Let a slot go"""
    async with call.transaction() as connection:
        await claims.release(connection, context_of(call), call.principal, hold_id, command_of(call))


def _particulars(body: NewAppointment) -> Particulars:
    return Particulars(
        patient=body.patient,
        reason=body.reason,
        timezone=zone_of(body.timezone),
        override=None if body.override is None else body.override.reason,
    )


async def book_many(
    connection: Connection, requests: Sequence[tuple[Call, NewAppointment]]
) -> list[Appointment | None]:
    """`book` for the plain ones of many, in one transaction; None for those that `book` has to do."""
    answers: list[Appointment | None] = [None] * len(requests)
    slots: dict[int, SlotRequest] = {}
    for n, (call, body) in enumerate(requests):
        if body.service is not None and body.start is not None and body.hold is None and body.specialty is None:
            with suppress(Refusal):
                slots[n] = SlotRequest(
                    call.principal, body.service, start_of(body.start), _particulars(body), command_of(call)
                )
    if slots:
        context = context_of(requests[0][0])
        for n, outcome in zip(slots, await claims.claim_slots(connection, context, list(slots.values()))):
            if isinstance(outcome, Claimed):
                answers[n] = await _shown(connection, requests[n][0], outcome)
    return answers


@routes.post(
    "/v1/appointments",
    right="appointment.book",
    visitors=VISITORS,
    status=201,
    idempotent=True,
    batch=book_many,
    problems={
        403: ("not_your_patient",),
        404: (),
        409: (*_TAKEN, "hold_expired", "class_full", "already_booked", "too_late", "not_possible", "changed_meanwhile"),
        422: ("bad_request", "unknown_zone"),
    },
)
async def book(call: Call, body: NewAppointment) -> Appointment:
    """Book a slot: one that is held, one of a service, or whoever of a specialty is free then

    With `override` (its own right) outside the rules. The answer is `held` with `payment` due where money comes first,
    `requested` where the doctor decides, otherwise `confirmed`. A start of a class gives a seat in it.
    """
    who, context, command = call.principal, context_of(call), command_of(call)
    about = _particulars(body)
    chosen = [each for each in (body.hold, body.service, body.specialty) if each is not None]
    if len(chosen) != 1 or (body.hold is None) != (body.start is not None):
        raise Invalid("bad_request", "Send either hold, or service and start, or specialty and start.")
    async with call.transaction() as connection:
        if body.hold is not None:
            await claims.book_hold(connection, context, who, body.hold, about, command)
            made = Claimed(body.hold)
        elif body.service is not None and body.start is not None:
            request = SlotRequest(who, body.service, start_of(body.start), about, command)
            made = await claims.claim_slot(connection, context, request)
        else:
            assert body.specialty is not None
            assert body.start is not None
            made = await claims.book_any(
                connection, context, who, body.specialty, body.kind, body.language, start_of(body.start), about, command
            )
        return await _shown(connection, call, made)


@routes.post(
    "/v1/series",
    right="appointment.book",
    visitors=VISITORS,
    status=201,
    idempotent=True,
    problems={
        403: ("not_your_patient",),
        404: (),
        409: ("series_conflict", "not_possible"),
        422: ("bad_rule", "bad_request", "unknown_zone"),
    },
)
async def book_series(call: Call, body: NewSeries) -> Series:
    """Book visits that repeat, all or none"""
    about = Particulars(patient=body.patient, reason=body.reason, timezone=zone_of(body.timezone))
    async with call.transaction() as connection:
        made = await series.book_series(
            connection, context_of(call), call.principal, body.service, start_of(body.start), body.rrule, about,
            command_of(call), partial=body.partial,
        )  # fmt: skip
    return Series(
        made.id,
        [Booked(id, start) for id, start in made.appointments],
        [ConflictingDate(each.start, each.reason) for each in made.conflicts],
    )


@routes.post(
    "/v1/classes",
    right="class.manage",
    status=201,
    idempotent=True,
    problems={403: ("forbidden",), 404: (), 409: _TAKEN, 422: ("bad_request",)},
)
async def open_class(call: Call, body: NewClass) -> Appointment:
    """Open a class at a free start, before anybody books a seat"""
    who = call.principal
    async with call.transaction() as connection:
        service = await service_of(connection, body.service)
        if service is None or service.kind != "class":
            raise NotFound("not_found", "There is no such class service here.")
        party = party_to_run_class(who, is_host=service.provider_person == who.person)
        if party is None:
            raise Denied("forbidden", "Only its own host or the clinic opens this class.")
        made = await classes.open_class(
            connection, context_of(call), service, start_of(body.start), party, command_of(call)
        )
        return await shown(connection, who, made, call.now)


@routes.delete(
    "/v1/appointments/{appointment}/seats/{seat_id}",
    guests="appointment",
    right="appointment.cancel",
    problems={404: (), 409: ("not_possible", "too_late")},
)
async def leave_class(call: Call, appointment: UUID, seat_id: UUID) -> SeatEnded:
    """Give a seat of a class back"""
    async with call.transaction() as connection:
        found = await need(connection, appointment, call.principal, call.now)
        if not found.is_class:
            raise NotFound("not_found", "This is no class.")
        fee, refund = await classes.cancel_seat(
            connection, context_of(call), call.principal, found, seat_id, command_of(call)
        )
    return SeatEnded(fee, refund, found.row["currency"])
