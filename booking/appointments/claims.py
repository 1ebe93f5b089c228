"""Claiming a provider's time: hold, book, book with whoever is free, book past the rules, visit now.

The calendar is asked first, because it says more than 'taken'; then one insert decides (`journal.begin`). Nothing is
locked. Booking from a hold is a change of the row that has the time already.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final
from uuid import UUID

from backplane.api import forbidden
from backplane.postgres import Connection
from backplane.principal import Principal
from backplane.web import Problem
from booking.appointments import classes, journal, machine
from booking.appointments.bookable import Bookable, Wish, candidates, service_of, wish
from booking.appointments.desk import Desk, check_hours, refuse_known, slot_taken, taken_now
from booking.appointments.guards import refusal
from booking.appointments.journal import Beginning, Begun, Changes, Deed
from booking.appointments.machine import PATIENT, PROVIDER, SYSTEM, Party
from booking.appointments.record import Record, changed_meanwhile, load, need, not_possible, standing
from booking.payments import Bill

MOST_CANDIDATES: Final = 25
_SHORTEST_FIRST: Final = """
SELECT id FROM service WHERE provider_id = $1 AND active AND kind IN ('video', 'audio') AND capacity = 1
ORDER BY kind DESC, minutes, id LIMIT 1"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Particulars:
    """What comes with a booking beside service and start. ``override``: a reason code, under the right to override."""

    patient: UUID | None = None
    reason: str = ""
    timezone: str | None = None
    override: str | None = None


@dataclass(frozen=True, slots=True)
class Claimed:
    """An appointment that somebody has a claim to now. ``begun``: if it was made for that; a seat may be in a class of
    before. ``related``: whether the one who made it is a side of it."""

    id: UUID
    begun: Begun | None = None
    related: bool = False

    @property
    def private(self) -> bool:
        """Whether its maker may see what is private. A hold is whose it is, whoever it is for, as `record` has it."""
        return self.related or (self.begun is not None and self.begun.status == "held")


def related(wanted: Wish, who: Principal) -> bool:
    """Whether ``who`` is a side of what they want to book."""
    return wanted.party is PATIENT or wanted.service.provider_person == who.person


def step_of(action: str, status: str | None, party: Party) -> machine.Row:
    found = machine.find(action, status, party)
    assert found is not None, f"{party} cannot {action} {status}"
    return found


async def hold(
    connection: Connection, desk: Desk, who: Principal, service: UUID, start: datetime, about: Particulars, deed: Deed
) -> Claimed:
    """Keeps a slot for some minutes. Problem 409 slot_taken, slot_not_offered, too_many_holds."""
    refuse_known(desk, who.tenant, service, start, deed.now)
    wanted = await wish(connection, who, service, about.patient, deed.now, start)
    if wanted.service.capacity > 1:
        raise Problem(409, "no_holds", "Seats of a class are not held. Book one.")
    if wanted.holds >= wanted.service.policy.holds_most:
        raise Problem(409, "too_many_holds", "You hold as many slots as one may. Book or release one of them.")
    await check_hours(connection, desk, wanted.service, start, deed.now, seen=wanted.seen)
    until = deed.now + timedelta(minutes=wanted.service.policy.hold_minutes)
    draft = replace(_draft(wanted, start, about, deed), hold_until=until)
    made = await journal.begin(connection, draft, step_of("hold", None, wanted.party), deed, "held")
    if made is None:
        raise await taken_now(connection, desk, wanted.service, start, deed.now)
    return Claimed(made.id, made, related(wanted, who))


async def book(
    connection: Connection, desk: Desk, who: Principal, service: UUID, start: datetime, about: Particulars, deed: Deed
) -> Claimed:
    """Books a slot at once, or a seat of the class there. Problem 409 slot_taken, slot_not_offered."""
    if about.override is None:
        refuse_known(desk, who.tenant, service, start, deed.now)
    elif not who.may("appointment.override"):
        raise forbidden("appointment.override")
    override = about.override is not None
    wanted = await wish(connection, who, service, about.patient, deed.now, start, override=override)
    if wanted.service.capacity > 1:
        zone = about.timezone or wanted.patient_timezone
        seated = await classes.take_seat(connection, desk, wanted, start, deed, zone)
        return Claimed(seated.appointment)
    if about.override is None:
        await check_hours(connection, desk, wanted.service, start, deed.now, seen=wanted.seen)
    made = await claim(connection, desk, wanted, start, about, deed)
    if made is None:
        raise await taken_now(connection, desk, wanted.service, start, deed.now)
    return Claimed(made.id, made, related(wanted, who))


async def book_any(
    connection: Connection,
    desk: Desk,
    who: Principal,
    specialty: str,
    kind: str,
    language: str | None,
    start: datetime,
    about: Particulars,
    deed: Deed,
) -> Claimed:
    """Books with the first provider of a specialty who is free then; on conflict the next one is tried at once."""
    found = await candidates(connection, specialty, kind, language, MOST_CANDIDATES)
    if not found:
        raise Problem(404, "not_found", "Nobody of this specialty offers such a service here.")
    wanted: Wish | None = None
    for service in found:
        if wanted is None:
            wanted = await wish(connection, who, service.id, about.patient, deed.now, start)
        if desk.taken.known(who.tenant, service.id, start, deed.now) is not None:
            continue
        if await desk.hours.refusal(connection, service, start, deed.now) is not None:
            continue
        chosen = replace(wanted, service=service)
        made = await claim(connection, desk, chosen, start, about, deed)
        if made is not None:
            return Claimed(made.id, made, related(chosen, who))
        desk.taken.remember(who.tenant, service.id, start, (), deed.now)
    raise slot_taken([])


async def claim(
    connection: Connection,
    desk: Desk,
    wanted: Wish,
    start: datetime,
    about: Particulars,
    deed: Deed,
    series: UUID | None = None,
) -> Begun | None:
    """Begins the appointment, after what has to be paid; None: the time is taken."""
    beginning = await prepare(connection, desk, wanted, start, about, deed, series)
    return await journal.begin(connection, beginning.draft, beginning.step, beginning.deed, beginning.status)


async def prepare(
    connection: Connection,
    desk: Desk,
    wanted: Wish,
    start: datetime,
    about: Particulars,
    deed: Deed,
    series: UUID | None = None,
) -> Beginning:
    """How the appointment is to begin, after what has to be paid."""
    service = wanted.service
    bill = Bill(None, wanted.patient, service.id, service.price_minor, service.currency)
    pay = await desk.payments.begin(connection, bill, deed.now)
    draft = replace(_draft(wanted, start, about, deed), payment=pay.payment, series=series)
    if not pay.confirms:
        until = pay.until or deed.now + timedelta(minutes=service.policy.hold_minutes)
        draft = replace(draft, hold_until=until)
        return Beginning(draft, step_of("hold", None, wanted.party), deed, "held")
    action = "book" if service.auto_confirm else "request"
    step = step_of(action, None, wanted.party)
    assert step.target is not None
    if about.override is not None:
        draft = replace(draft, overridden=True)
        deed = deed.because(about.override)
    return Beginning(draft, step, deed, step.target)


def _draft(wanted: Wish, start: datetime, about: Particulars, deed: Deed) -> journal.Draft:
    return replace(
        wanted.service.draft(start, wanted.patient, deed),
        patient_timezone=about.timezone or wanted.patient_timezone or "UTC",
        reason=about.reason,
    )


async def book_hold(
    connection: Connection, desk: Desk, who: Principal, appointment: UUID, about: Particulars, deed: Deed
) -> None:
    """Turns a hold into a booking, or into a request where the doctor decides. Problem 404, 409 hold_expired."""
    found = await need(connection, appointment, who, deed.now)
    if found.status == "expired":
        raise _gone()
    stand = standing(found, who, "book")
    if objection := refusal(stand.step.guards, found.circumstances(), deed.now):
        raise Problem(409, objection.code, objection.detail)
    patient = found.row["patient_id"]
    if about.patient is not None and about.patient != patient:
        raise Problem(409, "not_possible", "This slot is held for somebody else. Hold it for this patient.")
    bill = Bill(found.id, patient, found.service, found.row["price_minor"], found.row["currency"])
    pay = await desk.payments.begin(connection, bill, deed.now)
    changes = Changes(payment=pay.payment, payment_ref=pay.ref, reason=about.reason or None)
    if not pay.confirms:
        step = step_of("extend", "held", stand.party if stand.party is not PROVIDER else PATIENT)
        changes = replace(changes, hold_until=pay.until)
    else:
        step = step_of("book" if found.row["auto_confirm"] else "request", "held", stand.party)
    if not await journal.change(connection, found.id, found.status, found.version, step, deed, changes):
        raise changed_meanwhile()


def _gone() -> Problem:
    return Problem(409, "hold_expired", "The time that was kept for you has passed. Choose a slot again.")


class Outcome(StrEnum):
    """What became of an appointment whose money has come."""

    CONFIRMED = "confirmed"
    KNOWN = "known"
    TOO_LATE = "too_late"


async def confirm_paid(connection: Connection, appointment: UUID, ref: str, now: datetime) -> Outcome:
    """The money for a held appointment is there (or is authorised). Told twice, it changes nothing the second time;
    too late, the money has to go back."""
    found = await load(connection, appointment, None, now)
    if found is None or found.status in ("expired", "declined") or found.status.startswith("cancelled"):
        return Outcome.TOO_LATE
    if found.status != "held":
        return Outcome.KNOWN
    step = step_of("book" if found.row["auto_confirm"] else "request", "held", SYSTEM)
    # the hold has not been ended by anybody yet: then it still has the time, even a little after its deadline
    deed = journal.system(now, "paid")
    done = await journal.change(
        connection, found.id, "held", found.version, step, deed, Changes(payment="paid", payment_ref=ref)
    )
    return Outcome.CONFIRMED if done else await confirm_paid(connection, appointment, ref, now)


async def extend(connection: Connection, who: Principal, appointment: UUID, deed: Deed) -> None:
    """Keeps a held slot for as long again, from now. Problem 409 hold_expired, no_more_extensions."""
    found = await _held(connection, who, appointment, deed)
    stand = standing(found, who, "extend")
    if objection := refusal(stand.step.guards, found.circumstances(), deed.now):
        raise Problem(409, objection.code, objection.detail)
    changes = Changes(hold_until=deed.now + timedelta(minutes=found.policy.hold_minutes), extended=1)
    if not await journal.change(connection, found.id, "held", found.version, stand.step, deed, changes):
        raise changed_meanwhile()


async def release(connection: Connection, desk: Desk, who: Principal, appointment: UUID, deed: Deed) -> None:
    """Lets a held slot go. What is released already is so without an error."""
    found = await need(connection, appointment, who, deed.now)
    if found.status == "expired":
        return
    stand = standing(found, who, "release")
    deed = deed.because("released")
    if not await journal.change(connection, found.id, "held", found.version, stand.step, deed):
        raise changed_meanwhile()
    desk.taken.forget(found.service)


async def _held(connection: Connection, who: Principal, appointment: UUID, deed: Deed) -> Record:
    found = await need(connection, appointment, who, deed.now)
    if found.status == "expired":
        raise _gone()
    if found.status != "held":
        raise not_possible("extend", found.status)
    return found


class VisitsNow:
    """Makes visits for those who are seen at once: walk-ins and instant requests (`booking.waiting_room`)."""

    async def visit_now(
        self, connection: Connection, *, provider: UUID, patient: UUID, reason: str, timezone: str, now: datetime
    ) -> UUID | None:
        """A confirmed appointment that begins now; None when the doctor's time is taken or nothing is on offer."""
        id = await connection.fetchval(_SHORTEST_FIRST, provider)
        service = None if id is None else await service_of(connection, id)
        if service is None:
            return None
        start = now.replace(microsecond=0)
        deed = journal.system(now, "now")
        draft = replace(
            _plain(service).draft(start, patient, deed), booked_by=patient, reason=reason, patient_timezone=timezone,
            payment="at_clinic" if service.price_minor else "none",
        )  # fmt: skip
        step = step_of("book", None, SYSTEM)
        await journal.calm(connection, provider)  # they come in within the same transaction
        made = await journal.begin(connection, draft, step, deed, "confirmed")
        return None if made is None else made.id


def _plain(service: Bookable) -> Bookable:
    """Without buffers: who is there now needs no preparation."""
    return replace(service, buffer_before_minutes=0, buffer_after_minutes=0)
