"""What happens to appointments, over HTTP: one route per action of the machine."""

from uuid import UUID

from backplane.api import Call, Routes
from booking.appointments import changes
from booking.appointments.appointment_routes import shown
from booking.appointments.context import command_of, context_of
from booking.appointments.views import (
    Appointment,
    Cancellation,
    Correction,
    Ended,
    Missed,
    NewTime,
    start_of,
)

routes = Routes(tag="booking")
_ONE = "/v1/appointments/{appointment}"
_REFUSALS = {403: ("forbidden",), 404: (), 409: ("not_possible", "changed_meanwhile", "too_early", "too_late")}


async def _perform(call: Call, appointment: UUID, action: str, cause: str = "") -> Appointment:
    async with call.transaction() as connection:
        await changes.perform(
            connection, context_of(call), call.principal, appointment, action, command_of(call, cause)
        )
        return await shown(connection, call.principal, appointment, call.now)


@routes.post(f"{_ONE}/accept", right="appointment.decide", idempotent=True, problems=_REFUSALS)
async def accept(call: Call, appointment: UUID) -> Appointment:
    """Accept a request"""
    return await _perform(call, appointment, "accept")


@routes.post(f"{_ONE}/decline", right="appointment.decide", idempotent=True, problems=_REFUSALS)
async def decline(call: Call, appointment: UUID) -> Appointment:
    """Decline a request; what was paid goes back"""
    return await _perform(call, appointment, "decline")


@routes.post(
    f"{_ONE}/reschedule",
    right="appointment.reschedule",
    guests="appointment",
    idempotent=True,
    problems={
        **_REFUSALS,
        409: (*_REFUSALS[409], "slot_taken", "slot_not_offered", "same_time", "no_more_reschedules"),
        422: ("bad_request",),
    },
)
async def reschedule(call: Call, appointment: UUID, body: NewTime) -> Appointment:
    """Move an appointment to another time"""
    override = None if body.override is None else body.override.reason
    async with call.transaction() as connection:
        await changes.reschedule(
            connection, context_of(call), call.principal, appointment, start_of(body.start), command_of(call), override
        )
        return await shown(connection, call.principal, appointment, call.now)


@routes.post(f"{_ONE}/cancel", right="appointment.cancel", guests="appointment", idempotent=True, problems=_REFUSALS)
async def cancel(call: Call, appointment: UUID, body: Cancellation | None = None) -> Ended:
    """Cancel an appointment by the terms of its policy"""
    said = body or Cancellation()
    override = None if said.override is None else said.override.reason
    async with call.transaction() as connection:
        cost = await changes.cancel(
            connection, context_of(call), call.principal, appointment, command_of(call, said.reason), override
        )
        now_shown = await shown(connection, call.principal, appointment, call.now)
    return Ended(
        appointment=now_shown, fee_minor=cost.fee_minor, refund_minor=cost.refund_minor, currency=cost.currency
    )


@routes.post(
    f"{_ONE}/check-in", right="appointment.check_in", guests="appointment", idempotent=True, problems=_REFUSALS
)
async def check_in(call: Call, appointment: UUID) -> Appointment:
    """Arrive"""
    return await _perform(call, appointment, "check_in")


@routes.post(f"{_ONE}/start", right="appointment.conduct", idempotent=True, problems=_REFUSALS)
async def start(call: Call, appointment: UUID) -> Appointment:
    """Begin a visit by hand, where no call tells"""
    return await _perform(call, appointment, "start")


@routes.post(f"{_ONE}/interrupt", right="appointment.conduct", idempotent=True, problems=_REFUSALS)
async def interrupt(call: Call, appointment: UUID) -> Appointment:
    """Note that a visit broke off"""
    return await _perform(call, appointment, "interrupt")


@routes.post(f"{_ONE}/resume", right="appointment.conduct", idempotent=True, problems=_REFUSALS)
async def resume(call: Call, appointment: UUID) -> Appointment:
    """Go on with a visit that broke off"""
    return await _perform(call, appointment, "resume")


@routes.post(f"{_ONE}/complete", right="appointment.conduct", idempotent=True, problems=_REFUSALS)
async def complete(call: Call, appointment: UUID) -> Appointment:
    """End a visit that took place"""
    return await _perform(call, appointment, "complete")


@routes.post(f"{_ONE}/no-show", right="appointment.read", guests="appointment", idempotent=True, problems=_REFUSALS)
async def no_show(call: Call, appointment: UUID, body: Missed) -> Appointment:
    """Say who did not come: the doctor of the patient, the patient of the doctor"""
    return await _perform(call, appointment, f"no_show_{body.who}")


@routes.post(f"{_ONE}/correct", right="appointment.conduct", idempotent=True, problems=_REFUSALS)
async def correct(call: Call, appointment: UUID, body: Correction) -> Appointment:
    """Put right, as its doctor within a day, how a visit ended"""
    action = "correct_completed" if body.status == "completed" else "correct_no_show"
    return await _perform(call, appointment, action, "correction")
