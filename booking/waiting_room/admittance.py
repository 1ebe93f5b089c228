"""The waiting room: who has arrived, who is let in, who is turned away, and what is said meanwhile.

Seats say who may be in the call, tickets who stands where in the doctor's line. Both are rows, so a closed page, a new
device or a dead server loses nobody's place. Every function here runs in the caller's transaction and looks at the
appointment as it is now; what the world outside must hear (calls, screens) the caller sends after the commit.

    away --check in--> waiting --admit--> admitted --leave--> left --check in--> admitted (the visit is still on)
                          |--deny--> denied --admit--> admitted

Somebody who was in a visit that is still on goes straight back in. A doctor is never in line.

Locks are taken in one order everywhere, so nobody waits in a circle: the days of the line, the appointment, seats,
tickets.
"""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Final
from uuid import UUID

from backplane import audit
from backplane.jobs import Job, schedule
from backplane.postgres import Connection
from booking.links.link import Seat
from booking.refusals import Conflict, Denied, Refusal
from booking.visits.visit import CALLED_AGAIN, VOUCHED, Lifecycle, Visit, load
from booking.visits.visitors import Visitor, takes_part
from booking.waiting_room import tickets

REOPENED_FOR: Final = timedelta(minutes=60)
REOPENED_JOB: Final = "visit.reopened"
MAX_MESSAGES: Final = 200  # of a visit
KEPT_FOR_STAFF: Final = 50  # of them, which only the doctor and the clinic may use
MAX_OF_A_VISITOR: Final = 50
IS_ON: Final = frozenset({"in_progress", "interrupted"})


async def lock_line(connection: Connection, visit: Visit, now: datetime) -> None:
    """Before a patient takes a place: the line and the appointment are the caller's until the transaction ends."""
    await tickets.lock(connection, visit.provider, await tickets.days_of(connection, visit.provider, now))
    await connection.execute("SELECT 1 FROM appointment WHERE id = $1 FOR NO KEY UPDATE", visit.appointment)


async def check_in(
    connection: Connection,
    lifecycle: Lifecycle,
    visit: Visit,
    visitor: Visitor,
    device_check: dict[str, bool],
    now: datetime,
) -> str:
    """Somebody with a seat is ready; the state of the seat. Denied denied, Conflict not_open or device_moved.

    For a patient the caller holds `lock_line`.
    """
    must_be_open(visit, now)
    seat = await connection.fetchrow(
        """SELECT state, device, admitted_at FROM visit_seat WHERE (appointment_id, seat, holder) = ($1, $2, $3)
           FOR UPDATE""",
        visit.appointment,
        visitor.seat.word,
        visitor.holder,
    )
    if seat is None or seat["device"] != visitor.device:
        raise device_moved()
    if seat["state"] == "denied":
        raise denied()
    back_in = seat["state"] == "admitted" or (visit.status in IS_ON and seat["admitted_at"] is not None)
    state = "admitted" if visitor.seat is Seat.DOCTOR or back_in else "waiting"
    await connection.execute(
        """UPDATE visit_seat SET state = $4, device_check = $5, arrived_at = coalesce(arrived_at, $6), seen_at = $6,
               here = true, admitted_at = CASE WHEN $4 = 'admitted' THEN coalesce(admitted_at, $6) END
           WHERE (appointment_id, seat, holder) = ($1, $2, $3)""",
        visit.appointment,
        visitor.seat.word,
        visitor.holder,
        state,
        device_check,
        now,
    )
    if visitor.seat is Seat.PATIENT and state == "waiting":
        await _stand_in_line(connection, visit, visitor.holder, now)
        await lifecycle.change(
            connection,
            visit.appointment,
            "check_in",
            actor=visitor.actor,
            role=visitor.role,
            cause="arrived",
            now=now,
        )
    return state


async def _stand_in_line(connection: Connection, visit: Visit, patient: UUID, now: datetime) -> None:
    await tickets.close_of_visit(connection, visit.appointment, "cancelled", now, before_epoch=visit.epoch)
    days = await tickets.days_of(connection, visit.provider, now)
    ticket = await ticket_of(connection, visit.appointment, patient)
    if ticket is not None:
        if await connection.fetchval("SELECT day = ANY($2) FROM queue_ticket WHERE id = $1", ticket, days):
            await tickets.come_back(connection, ticket, now)
            return
        await tickets.close(connection, ticket, "left", now)  # a page that was left open since another day
    lost = await connection.fetchval(
        "SELECT true FROM queue_ticket WHERE appointment_id = $1 AND patient_id = $2 AND epoch = $3",
        visit.appointment,
        patient,
        visit.epoch,
    )
    await tickets.take_ticket(
        connection,
        provider=visit.provider,
        day=days[-1],
        kind="booked",
        appointment=visit.appointment,
        patient=patient,
        rank=max(visit.starts_at, now) if lost else visit.starts_at,
        now=now,
        epoch=visit.epoch,
    )


async def ticket_of(connection: Connection, appointment: UUID, patient: UUID) -> UUID | None:
    """The ticket with which this patient waits for, or is in, the visit."""
    ticket: UUID | None = await connection.fetchval(
        """SELECT id FROM queue_ticket WHERE appointment_id = $1 AND patient_id = $2
           AND state IN ('waiting', 'admitted')""",
        appointment,
        patient,
    )
    return ticket


async def admit(connection: Connection, visit: Visit, seat: Seat, holder: UUID, now: datetime) -> bool:
    """Let somebody in who waits or was turned away; False when nobody of that seat does. Conflict not_open."""
    must_be_open(visit, now)
    changed = await connection.fetchval(
        """UPDATE visit_seat SET state = 'admitted', admitted_at = $4
           WHERE (appointment_id, seat, holder) = ($1, $2, $3) AND state IN ('waiting', 'denied') RETURNING true""",
        visit.appointment,
        seat.word,
        holder,
        now,
    )
    if not changed:
        return False
    row = await connection.fetchrow(
        """UPDATE queue_ticket SET state = 'admitted', admitted_at = $3
           WHERE appointment_id = $1 AND patient_id = $2 AND state = 'waiting' RETURNING id""",
        visit.appointment,
        holder,
        now,
    )
    if row is not None:
        await tickets.told(connection, "queue.advanced", row["id"], visit.appointment, visit.provider, now)
    return True


async def patients_waiting(connection: Connection, appointment: UUID) -> list[UUID]:
    """The patients of a class who wait, in order of arrival."""
    rows = await connection.fetch(
        """SELECT holder FROM visit_seat WHERE appointment_id = $1 AND seat = 'patient' AND state = 'waiting'
           ORDER BY arrived_at, holder""",
        appointment,
    )
    return [row["holder"] for row in rows]


async def deny(connection: Connection, visit: Visit, seat: Seat, holder: UUID, by: UUID, now: datetime) -> bool:
    """Turn somebody away or put them out; False when they are not there."""
    changed = await connection.fetchval(
        """UPDATE visit_seat SET state = 'denied' WHERE (appointment_id, seat, holder) = ($1, $2, $3)
           AND state IN ('waiting', 'admitted') RETURNING true""",
        visit.appointment,
        seat.word,
        holder,
    )
    if not changed:
        return False
    ticket = await ticket_of(connection, visit.appointment, holder)
    if ticket is not None:
        await tickets.close(connection, ticket, "denied", now)
    await _audited(connection, visit, "visit.deny", by, {"seat": seat.word}, now)
    return True


async def vouch(connection: Connection, visit: Visit, by: UUID, now: datetime) -> None:
    """The patient need not give the year of birth, whatever was answered before."""
    await connection.execute(
        """INSERT INTO visit_seat (appointment_id, seat, holder, birth_tries) VALUES ($1, 'patient', $2, $3)
           ON CONFLICT (appointment_id, seat, holder) DO UPDATE SET birth_tries = $3""",
        visit.appointment,
        visit.patient,
        VOUCHED,
    )
    await _audited(connection, visit, "visit.vouch", by, {}, now)


async def leave(connection: Connection, visit: Visit, visitor: Visitor, now: datetime) -> None:
    """Somebody goes by their own wish. Who was not in, or in a visit that is not on, gives up the place."""
    gone = await connection.fetchval(
        """UPDATE visit_seat SET state = 'left', here = false WHERE (appointment_id, seat, holder) = ($1, $2, $3)
           AND device = $4 AND state IN ('waiting', 'admitted', 'away') RETURNING true""",
        visit.appointment,
        visitor.seat.word,
        visitor.holder,
        visitor.device,
    )
    if not gone:  # the seat and the place are the newer device's
        return
    ticket = await connection.fetchval(
        """SELECT id FROM queue_ticket WHERE appointment_id = $1 AND patient_id = $2
           AND (state = 'waiting' OR state = 'admitted' AND NOT $3)""",
        visit.appointment,
        visitor.holder,
        visit.status in IS_ON,
    )
    if ticket is not None:
        await tickets.close(connection, ticket, "left", now)


async def end(
    connection: Connection, lifecycle: Lifecycle, visit: Visit, by: UUID | None, cause: str, now: datetime
) -> None:
    """The visit ends: completed if it was on, and the line goes on. ``by``: the doctor, None when time decided."""
    role = "system" if by is None else "doctor"
    await lifecycle.change(connection, visit.appointment, "complete", actor=by, role=role, cause=cause, now=now)
    await over(connection, visit.appointment, "done", now)


async def over(connection: Connection, appointment: UUID, ticket_state: str, now: datetime) -> None:
    """Nobody waits for this visit or is in it any more."""
    await connection.execute(_EMPTY, appointment)
    await tickets.close_of_visit(connection, appointment, ticket_state, now)
    await connection.execute("UPDATE visit SET reopened_until = NULL WHERE appointment_id = $1", appointment)


async def without_seat(connection: Connection, visit: Visit, patient: UUID, now: datetime) -> bool:
    """Whether somebody has no seat in this class any more; then they wait for it no longer, nor are they in it."""
    if await takes_part(connection, visit, patient):
        return False
    await connection.execute(f"{_EMPTY} AND seat = 'patient' AND holder = $2", visit.appointment, patient)
    ticket = await ticket_of(connection, visit.appointment, patient)
    if ticket is not None:
        await tickets.close(connection, ticket, "cancelled", now)
    return True


async def moved(connection: Connection, appointment: UUID, epoch: int, now: datetime) -> None:
    """The visit has another time since ``epoch``: who came before waits no longer, who came since does."""
    await connection.execute(
        f"""{_EMPTY} AND NOT EXISTS (
            SELECT FROM queue_ticket q WHERE q.appointment_id = $1 AND q.patient_id = visit_seat.holder
            AND q.state IN ('waiting', 'admitted') AND q.epoch >= $2)""",
        appointment,
        epoch,
    )
    await tickets.close_of_visit(connection, appointment, "cancelled", now, before_epoch=epoch)


_EMPTY: Final = """
UPDATE visit_seat SET state = 'left', here = false WHERE appointment_id = $1 AND state IN ('waiting', 'admitted')"""


async def call_again(connection: Connection, visit: Visit, by: UUID, now: datetime) -> datetime:
    """Open the visit once more, whatever the hour; until when. Conflict not_open for one that was called off."""
    if visit.status not in CALLED_AGAIN or now < visit.window.opens_at:
        raise Conflict("not_open", "A visit that was called off or has not begun cannot be called again.")
    until = now + REOPENED_FOR
    # The job before the visit: in this order its own run takes them.
    job = Job(key=f"{REOPENED_JOB}:{visit.appointment}", kind=REOPENED_JOB, subject=visit.appointment, run_at=until)
    await schedule(connection, job)
    await connection.execute(
        """INSERT INTO visit (appointment_id, reopened_until) VALUES ($1, $2)
           ON CONFLICT (appointment_id) DO UPDATE SET reopened_until = $2""",
        visit.appointment,
        until,
    )
    await tickets.told(connection, "queue.called", None, visit.appointment, visit.provider, now)
    await _audited(connection, visit, "visit.call_again", by, {}, now)
    return until


async def say(
    connection: Connection,
    visit: Visit,
    from_seat: str,
    sender: UUID,
    body: str,
    now: datetime,
    to_patient: UUID | None = None,
) -> int:
    """A message to those who wait; its number. Conflict too_many_messages, which must leave the transaction.

    ``to_patient``: of a class, the only patient who reads it. What a patient of a class writes only the staff reads.
    Of those who come to a visit nobody can write so much that the others, or the doctor, cannot.
    """
    number: int = await connection.fetchval(
        """INSERT INTO visit AS v (appointment_id, last_message) VALUES ($1, 1)
           ON CONFLICT (appointment_id) DO UPDATE SET last_message = v.last_message + 1 RETURNING last_message""",
        visit.appointment,
    )
    own = await connection.fetchval(
        "SELECT count(*) FROM waiting_message WHERE (appointment_id, from_seat, sender) = ($1, $2, $3)",
        visit.appointment,
        from_seat,
        sender,
    )
    most = MAX_MESSAGES if from_seat in ("doctor", "clinic") else MAX_MESSAGES - KEPT_FOR_STAFF
    if number > most or (own >= MAX_OF_A_VISITOR and most < MAX_MESSAGES):
        raise Conflict("too_many_messages", "This visit has all the messages that it may have.")
    await connection.execute(
        """INSERT INTO waiting_message (appointment_id, seq, from_seat, sender, body, at, to_patient)
           VALUES ($1, $2, $3, $4, $5, $6, $7)""",
        visit.appointment,
        number,
        from_seat,
        sender,
        body,
        now,
        to_patient,
    )
    return number


async def swap(
    connection: Connection,
    provider: UUID,
    days: Sequence[date],
    first: UUID,
    second: UUID,
    reason: str,
    by: UUID,
    now: datetime,
) -> None:
    """Exchange two places of the line of these days, whose lock the caller holds. Conflict not_waiting."""
    rows = await connection.fetch(
        """SELECT id, rank, day, no FROM queue_ticket WHERE id = ANY($1) AND provider_id = $2 AND day = ANY($3)
           AND state = 'waiting'""",
        [first, second],
        provider,
        days,
    )
    if len(rows) != 2:
        raise Conflict("not_waiting", "Both must be waiting in today's line. Load the line again.")
    one, other = rows
    # Equal ranks are ordered by day and number; the one that shall come first steps just before.
    alike, later = one["rank"] == other["rank"], (one["day"], one["no"]) > (other["day"], other["no"])
    ahead = -1 if alike and later else 0
    behind = -1 if alike and not later else 0
    change = "UPDATE queue_ticket SET rank = $2 WHERE id = $1"
    await connection.execute(change, one["id"], other["rank"] + ahead)
    await connection.execute(change, other["id"], one["rank"] + behind)
    await connection.execute(
        "INSERT INTO queue_swap (first_ticket, second_ticket, reason, actor, at) VALUES ($1, $2, $3, $4, $5)",
        first,
        second,
        reason,
        by,
        now,
    )
    await tickets.told(connection, "queue.advanced", None, None, provider, now)


async def announce_delay(connection: Connection, provider: UUID, day: date, minutes: int, now: datetime) -> None:
    """'Running late'; what is said last holds, 0 takes it back. ``day``: the present one of the line."""
    await connection.execute(
        """INSERT INTO queue_day (provider_id, day, delay_minutes, delay_told_at) VALUES ($1, $2, $3, $4)
           ON CONFLICT (provider_id, day) DO UPDATE SET delay_minutes = $3, delay_told_at = $4""",
        provider,
        day,
        minutes,
        now,
    )
    await tickets.told(connection, "queue.delayed", None, None, provider, now)


async def visit_of_ticket(connection: Connection, ticket: UUID) -> tuple[Visit | None, UUID]:
    """The visit of a ticket, None for a walk-in that has none yet, and the patient."""
    row = await connection.fetchrow("SELECT appointment_id, patient_id FROM queue_ticket WHERE id = $1", ticket)
    assert row is not None
    if row["appointment_id"] is None:
        return None, row["patient_id"]
    return await load(connection, row["appointment_id"]), row["patient_id"]


def must_be_open(visit: Visit, now: datetime) -> None:
    """Conflict not_open, whose text says why."""
    if visit.enterable(now):
        return
    if visit.status.startswith(("cancelled", "declined")):
        why = "This visit was cancelled."
    elif visit.window.state(now) == "early":
        why = "It is too early. The visit opens half an hour before it begins."
    else:
        why = "This visit is over."
    raise Conflict("not_open", why)


def denied() -> Refusal:
    return Denied("denied", "The doctor did not let you in. Call the clinic.")


def device_moved() -> Refusal:
    return Conflict("device_moved", "Another device has this seat. Open the link again to take it back.")


async def _audited(
    connection: Connection, visit: Visit, action: str, by: UUID, facts: dict[str, object], now: datetime
) -> None:
    entry = audit.Entry(
        actor=by,
        actor_role="doctor" if by == visit.doctor else "staff",
        action=action,
        subject_kind="appointment",
        subject_id=visit.appointment,
        facts=facts,
    )
    await audit.record(connection, entry, now)
