"""What happens to an appointment after it was booked: each command finds its row of the machine and takes it.

Moving is one update of the time under the same constraint, so the old time is never free before the new one is had, and
an appointment does not stand in its own way. Those who move visits of one provider queue at the provider's row, since
two updates that want each other's time would otherwise wait for one another (see `transitions`).
"""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final
from uuid import UUID

from backplane.postgres import Connection
from backplane.principal import Principal
from booking import access_policy, policy
from booking.appointments import classes, machine, transitions
from booking.appointments.bookable import service_of
from booking.appointments.context import BookingContext, check_calendar, taken_now
from booking.appointments.guards import refusal
from booking.appointments.machine import CLINIC, PATIENT, PROVIDER, SYSTEM, Party
from booking.appointments.record import Record, Standing, changed_meanwhile, load, need, standing
from booking.appointments.transitions import Changes, Command, TimeTaken
from booking.policy import By, Terms
from booking.refusals import Conflict, Refusal, forbidden

_LOCK_PROVIDER: Final = "SELECT true FROM provider WHERE id = $1 FOR NO KEY UPDATE"


@dataclass(frozen=True, slots=True)
class Settlement:
    """What an end costs: of the price, in minor units."""

    fee_minor: int
    refund_minor: int
    currency: str


async def perform(
    connection: Connection, context: BookingContext, who: Principal, appointment: UUID, action: str, command: Command
) -> None:
    """Any action that changes the status only. Denied, NotFound, Conflict."""
    found = await need(connection, appointment, who, command.now)
    stand = standing(found, who, action)
    _guard(found, stand, command)
    if action == "decline":
        await _end(connection, context, found, stand, command, Terms(True, 0, found.starts_at))
    elif action.startswith(("no_show", "correct_no_show")):
        absent = "provider" if action == "no_show_provider" else "patient"
        await _end(connection, context, found, stand, command, _missing(found, absent))
    else:
        await _take(connection, found, stand, command)


async def cancel(
    connection: Connection,
    context: BookingContext,
    who: Principal,
    appointment: UUID,
    command: Command,
    override: str | None = None,
) -> Settlement:
    """Ends an appointment before its time, by the terms of its policy. ``override``: a reason code, past cut-offs."""
    found = await need(connection, appointment, who, command.now)
    if override is not None:
        if not who.may("appointment.override"):
            raise forbidden("appointment.override")
        command = command.because(override)
    stand = standing(found, who, "cancel", override=override is not None)
    _guard(found, stand, command, override=override is not None)
    terms = _cancelling(found, stand.party, command.now)
    settled = await _end(connection, context, found, stand, command, terms)
    if found.is_class:
        await classes.cancel_all(connection, context, found, stand.party, command)
    context.taken_slots.forget(found.service)
    return settled


async def terms_of(
    connection: Connection, who: Principal, appointment: UUID, now: datetime
) -> tuple[Record, Terms, Terms]:
    """What cancelling and moving would cost ``who`` now."""
    found = await need(connection, appointment, who, now)
    # who only looks is told what holds for the patient
    by: By = "clinic" if access_policy.sees_clinics_appointments(who) else "patient"
    if relations := found.stake.relations(who):
        by = "patient" if PATIENT in relations else "provider"
    cancelling = policy.cancelling(found.policy, by, found.starts_at, now, found.row["checked_in_at"])
    return found, cancelling, policy.rescheduling(found.policy, by, found.starts_at, now, found.row["moved"])


async def cancel_by_system(
    connection: Connection, context: BookingContext, appointment: UUID, command: Command
) -> bool:
    """The system ends an appointment (an outage, a suspended provider) and gives everything back. Whether it did."""
    found = await load(connection, appointment, None, command.now)
    step = None if found is None else machine.find("cancel", found.status, SYSTEM)
    if found is None or step is None:
        return False
    await _end(connection, context, found, Standing(SYSTEM, step), command, Terms(True, 0, found.starts_at))
    if found.is_class:
        await classes.cancel_all(connection, context, found, SYSTEM, command)
    return True


async def reschedule(
    connection: Connection,
    context: BookingContext,
    who: Principal,
    appointment: UUID,
    start: datetime,
    command: Command,
    override: str | None = None,
) -> None:
    """Moves an appointment to another start of the same service. NotFound, Conflict slot_taken, too_late and others."""
    found = await need(connection, appointment, who, command.now)
    if override is not None:
        if not who.may("appointment.override"):
            raise forbidden("appointment.override")
        command = command.because(override)
    stand = standing(found, who, "reschedule", override=override is not None)
    if stand.party is PATIENT and not found.row["auto_confirm"]:
        stand = standing(found, who, "reschedule_request")
    if objection := refusal(stand.step.guards, found.circumstances(), command.now, override=override is not None):
        raise objection
    if found.is_class:
        raise Conflict("not_possible", "A class with seats is not moved. Cancel it and open another.")
    service = await service_of(connection, found.service)
    if service is None:
        raise Conflict("not_possible", "This service is not offered any more. Cancel, and book another one.")
    if start == found.starts_at:
        raise Conflict("same_time", "This is the time that it has already.")
    await connection.execute(_LOCK_PROVIDER, service.provider)
    if override is None:
        await check_calendar(connection, context, service, start, command.now, without=found.id)
    changes = Changes(
        during=service.during(start),
        occupied=service.occupied(start),
        local_text=service.local_text(start),
        moved=int(stand.party is PATIENT),
        overridden=override is not None,
    )
    try:
        async with connection.transaction():
            moved = await transitions.change(
                connection, found.id, found.status, found.version, stand.step, command, changes
            )
    except TimeTaken:
        raise await taken_now(connection, context, service, start, command.now) from None
    if not moved:
        raise changed_meanwhile()
    context.taken_slots.forget(found.service)


class Life:
    """What visits and calls do to appointments (`booking.visits.visit.Lifecycle`)."""

    def __init__(self, context: BookingContext) -> None:
        self._context = context

    async def change(
        self,
        connection: Connection,
        appointment: UUID,
        action: str,
        *,
        actor: UUID | None,
        role: str,
        cause: str,
        now: datetime,
    ) -> bool:
        """Whether the status was changed; False when the table of transitions does not allow it now."""
        for _ in range(2):  # once more when somebody else was faster: it may still make sense
            found = await load(connection, appointment, None, now)
            if found is None:
                return False
            if action == "start" and found.status == "interrupted":
                action = "resume"
            party = _party_of(actor, role)
            step = machine.find(action, found.status, party)
            if step is None or refusal(step.guards, found.circumstances(), now):
                return False
            stand, command = Standing(party, step), Command(actor, role, now, cause)
            try:
                if action == "no_show_patient":
                    await _end(connection, self._context, found, stand, command, _missing(found, "patient"))
                else:
                    await _take(connection, found, stand, command)
            except Refusal:
                continue
            return True
        return False


def _party_of(actor: UUID | None, role: str) -> Party:
    if actor is None or role == "system":
        return SYSTEM
    if role == "doctor":
        return PROVIDER
    return CLINIC if role in ("staff", "clinic_admin", "support", "platform_admin") else PATIENT


def _guard(found: Record, stand: Standing, command: Command, *, override: bool = False) -> None:
    if objection := refusal(stand.step.guards, found.circumstances(), command.now, override=override):
        raise objection


def _cancelling(found: Record, party: Party, now: datetime) -> Terms:
    if found.status == "interrupted":  # the call was lost
        return Terms(True, 0, found.starts_at)
    return policy.cancelling(found.policy, party.value, found.starts_at, now, found.row["checked_in_at"])


def _missing(found: Record, absent: str) -> Terms:
    return policy.missing(found.policy, "provider" if absent == "provider" else "patient", found.starts_at)


async def _take(connection: Connection, found: Record, stand: Standing, command: Command) -> None:
    if not await transitions.change(connection, found.id, found.status, found.version, stand.step, command):
        raise changed_meanwhile()


async def _end(
    connection: Connection, context: BookingContext, found: Record, stand: Standing, command: Command, terms: Terms
) -> Settlement:
    """Takes a step that ends the appointment early, and says what that costs."""
    row = found.row
    fee = policy.share(row["price_minor"], terms.fee_bp)
    refund = row["price_minor"] - fee
    payment = None
    if not found.is_class:
        payment = await context.payments.give_back(
            connection, found.id, row["payment"], row["payment_ref"], refund, command.now
        )
    changes = replace(transitions.NOTHING, payment=payment)
    if not await transitions.change(connection, found.id, found.status, found.version, stand.step, command, changes):
        raise changed_meanwhile()
    return Settlement(fee, refund, row["currency"])
