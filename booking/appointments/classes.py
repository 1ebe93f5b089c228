"""Classes: one appointment without a patient, whose patients have seats.

A class begins with the first seat that is booked at a free start of a class service, or when its host opens it. The row
of the class is locked while a seat is taken or given back, so the last seat has one winner and ``seats_taken`` is the
number of seats. Seats have their own price and fate; a change of one is told as the appointment's, with the seat.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from backplane.ids import uuid7
from backplane.postgres import Connection, Row
from backplane.principal import Principal
from booking import access_policy, policy
from booking.appointments import machine, transitions
from booking.appointments.bookable import Bookable, Wish
from booking.appointments.context import BookingContext, check_calendar, taken_now
from booking.appointments.guards import refusal
from booking.appointments.machine import Party
from booking.appointments.record import Record
from booking.appointments.transitions import TELL, TOLD, WAKE, Command
from booking.payments import Bill
from booking.refusals import Conflict, NotFound

_FIND: Final = """
SELECT id, status, capacity, seats_taken FROM appointment
WHERE service_id = $1 AND lower(during) = $2 AND kind = 'class' AND status IN ('confirmed', 'checked_in', 'in_progress')
FOR NO KEY UPDATE"""

# $1 time, $2 class, $3 seat, $4 patient ...; the number is the lowest that is free
_TAKE: Final = f"""
WITH counted AS (
    UPDATE appointment a SET seats_taken = a.seats_taken + 1
    WHERE a.id = $2 AND a.seats_taken < a.capacity RETURNING a.*
), taken AS (
    INSERT INTO seat (id, tenant_id, appointment_id, no, patient_id, booked_by, status, price_minor, currency, payment,
        patient_timezone, created_at, updated_at)
    SELECT $3, a.tenant_id, a.id, (
            SELECT min(n) FROM generate_series(1, a.capacity) n
            WHERE NOT EXISTS (SELECT FROM seat s WHERE s.appointment_id = $2 AND s.no = n AND s.status = 'confirmed')),
        $4, $5, 'confirmed', $6, $7, $8, $9, $1, $1
    FROM counted a RETURNING id
), changed AS (
    SELECT {TOLD}, $4::uuid AS of_patient, taken.id AS seat_id, 'book'::text AS action, NULL::text AS from_status,
        'confirmed'::text AS to_status, 'appointment.booked'::text AS event, $5::uuid AS actor, $10::text AS actor_role,
        $11::text AS cause
    FROM counted a, taken
),
{TELL}
SELECT seat_id, {WAKE} AS woken FROM changed"""

# $2 class, $3 seats, $4 status, $8 payment by seat
_LEAVE: Final = f"""
WITH left_ AS (
    UPDATE seat s SET status = $4, version = s.version + 1, updated_at = $1, payment = g.payment
    FROM unnest($3::uuid[], $8::text[]) AS g (id, payment)
    WHERE s.id = g.id AND s.appointment_id = $2 AND s.status = 'confirmed' RETURNING s.id, s.patient_id
), counted AS (
    UPDATE appointment a SET seats_taken = a.seats_taken - (SELECT count(*) FROM left_) WHERE a.id = $2
        AND EXISTS (SELECT FROM left_) RETURNING a.*
), changed AS (
    SELECT {TOLD}, left_.patient_id AS of_patient, left_.id AS seat_id, 'cancel'::text AS action,
        'confirmed'::text AS from_status, $4 AS to_status, 'appointment.cancelled'::text AS event, $5::uuid AS actor,
        $6::text AS actor_role, $7::text AS cause
    FROM counted a, left_
),
{TELL}
SELECT seat_id, {WAKE} AS woken FROM changed"""

_SEATS: Final = """
SELECT id, no, patient_id, booked_by, status, price_minor, currency, payment, payment_ref, created_at FROM seat
WHERE appointment_id = $1 AND status = 'confirmed' ORDER BY no"""


@dataclass(frozen=True, slots=True)
class Seated:
    appointment: UUID
    seat: UUID


async def open_class(
    connection: Connection, context: BookingContext, service: Bookable, start: datetime, party: Party, command: Command
) -> UUID:
    """Begins a class without seats. Conflict slot_taken, slot_not_offered."""
    await check_calendar(connection, context, service, start, command.now)
    made = await _begin(connection, service, start, party, command)
    if made is None:
        raise await taken_now(connection, context, service, start, command.now)
    return made


async def _begin(
    connection: Connection, service: Bookable, start: datetime, party: Party, command: Command
) -> UUID | None:
    step = machine.find("open_class", None, party)
    assert step is not None
    made = await transitions.begin_one(connection, service.draft(start, None, command), step, command, "confirmed")
    return None if made is None else made.id


async def take_seat(
    connection: Connection, context: BookingContext, wanted: Wish, start: datetime, command: Command, zone: str
) -> Seated:
    """A seat of the class of that service at that start, which begins with it if need be.

    Conflict class_full, already_booked, slot_taken, slot_not_offered.
    """
    service = wanted.service
    await transitions.calm(connection, service.provider)
    found = await connection.fetchrow(_FIND, service.id, start)
    if found is None:
        await check_calendar(connection, context, service, start, command.now, seen=wanted.seen)
        await _begin(connection, service, start, wanted.party, command)
        # somebody else may have begun it just now, or taken the time for something else
        found = await connection.fetchrow(_FIND, service.id, start)
        if found is None:
            raise await taken_now(connection, context, service, start, command.now)
    if start <= command.now:
        raise Conflict("too_late", "This class has begun. Look for the next one.")
    seats = await connection.fetch(_SEATS, found["id"])
    if any(seat["patient_id"] == wanted.patient for seat in seats):
        raise Conflict("already_booked", "This person has a seat in this class.")
    if len(seats) >= found["capacity"]:
        raise Conflict("class_full", "The last seat is taken. Look for another class, or join the waiting list.")
    bill = Bill(found["id"], wanted.patient, service.id, service.price_minor, service.currency)
    pay = await context.payments.begin(connection, bill, command.now)
    seat: UUID | None = await connection.fetchval(
        _TAKE, command.now, found["id"], uuid7(command.now), wanted.patient, command.actor, service.price_minor,
        service.currency, pay.payment, zone, command.role, command.cause,
    )  # fmt: skip
    assert seat is not None, "the class is locked and has a seat"
    return Seated(found["id"], seat)


async def roster(connection: Connection, appointment: UUID) -> list[Row]:
    """The seats that are taken, by number."""
    return await connection.fetch(_SEATS, appointment)


async def cancel_seat(
    connection: Connection, context: BookingContext, who: Principal, found: Record, seat: UUID, command: Command
) -> tuple[int, int]:
    """Gives one seat back: its patient, their caregiver, the host or the clinic. Fee and refund in minor units."""
    await transitions.calm(connection, found.row["provider_id"])
    row = await connection.fetchrow(
        """SELECT s.*, s.patient_id = $3 OR EXISTS (
                SELECT FROM dependant d WHERE d.guardian_id = $3 AND d.person_id = s.patient_id
                    AND 'book' = ANY(d.rights) AND d.ended_at IS NULL AND (d.until IS NULL OR d.until > $4)) AS own
           FROM appointment a JOIN seat s ON s.appointment_id = a.id
           WHERE a.id = $1 AND s.id = $2 FOR NO KEY UPDATE OF a""",
        found.id,
        seat,
        who.person,
        command.now.date(),
    )
    own = row is not None and bool(row["own"])
    party = access_policy.party_to_give_back_seat(who, is_own=own, is_host=found.stake.is_doctor)
    if row is None or party is None:
        raise NotFound("not_found", "There is no such seat of yours in this class.")
    step = machine.find("cancel", found.status, party)
    if row["status"] != "confirmed" or step is None or step.target is None:
        raise Conflict("not_possible", "This seat cannot be cancelled any more.")
    if objection := refusal(step.guards, found.circumstances(), command.now):
        raise objection
    terms = policy.cancelling(found.policy, party.value, found.starts_at, command.now)
    fee = policy.share(row["price_minor"], terms.fee_bp)
    refund: int = row["price_minor"] - fee
    await _leave(connection, context, found.id, [row], [refund], step.target, command)
    context.taken_slots.forget(found.service)
    return fee, refund


async def cancel_all(
    connection: Connection, context: BookingContext, found: Record, party: Party, command: Command
) -> None:
    """The class was called off: every seat is given back whole."""
    rows = await roster(connection, found.id)
    if rows:
        status = f"cancelled_by_{party.value}"
        await _leave(connection, context, found.id, rows, [row["price_minor"] for row in rows], status, command)


async def _leave(
    connection: Connection,
    context: BookingContext,
    appointment: UUID,
    rows: list[Row],
    refunds: list[int],
    status: str,
    command: Command,
) -> None:
    payments = [
        await context.payments.give_back(
            connection, appointment, row["payment"], row["payment_ref"], refund, command.now
        )
        for row, refund in zip(rows, refunds, strict=True)
    ]
    await connection.execute(
        _LEAVE,
        command.now,
        appointment,
        [row["id"] for row in rows],
        status,
        command.actor,
        command.role,
        command.cause,
        payments,
    )
