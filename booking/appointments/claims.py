"""Claiming a provider's time: hold, book, book with whoever is free, book past the rules, visit now.

There is one way to a slot, `claim_slots`, and one request is a batch of one. The calendar is asked first, because it
says more than 'taken'; then one insert decides (`transitions.begin`). A batch takes no locks and does only what is
plain; what it puts off is done alone, where refusals have their words. Booking from a hold changes the row that has the
time already.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final
from uuid import UUID

from backplane.postgres import Connection
from backplane.principal import Principal
from backplane.request_batching import CannotBatch
from booking.appointments import classes, machine, transitions
from booking.appointments.bookable import Bookable, Question, Wish, candidates, service_of, wishes
from booking.appointments.context import BookingContext, no_time, slot_taken, taken_now
from booking.appointments.guards import refusal
from booking.appointments.machine import PATIENT, PROVIDER, SYSTEM, Party
from booking.appointments.record import Record, changed_meanwhile, load, need, not_possible, standing
from booking.appointments.transitions import Beginning, Begun, Changes, Command, TimeTaken
from booking.payments import Bill
from booking.refusals import Conflict, NotFound, Refusal, forbidden

MOST_CANDIDATES: Final = 100
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
class SlotRequest:
    """Somebody wants a service at a start. ``hold``: to keep it for some minutes only."""

    who: Principal
    service: UUID
    start: datetime
    about: Particulars
    command: Command
    hold: bool = False

    @property
    def question(self) -> Question:
        return Question(self.who, self.service, self.about.patient, self.start, self.about.override is not None)


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


async def claim_slot(connection: Connection, context: BookingContext, request: SlotRequest) -> Claimed:
    """Hold or book a slot, or a seat of the class there. Denied, NotFound, Conflict slot_taken, slot_not_offered."""
    (outcome,) = await claim_slots(connection, context, [request])
    if isinstance(outcome, Refusal):
        raise outcome
    assert outcome is not None, "one alone is put off by nothing"
    return outcome


async def claim_slots(
    connection: Connection, context: BookingContext, requests: Sequence[SlotRequest]
) -> list[Claimed | Refusal | None]:
    """Hold or book many slots at once; for each what became of it.

    None, in a batch only: nothing was done, `claim_slot` decides. So it is with what needs a lock, with the second wish
    for one provider, and with a slot that the calendar does not offer.

    Raises:
        Refusal, CannotBatch: somebody else was faster, than one alone or than one of a batch. All that was done must be
            rolled back, what was posted for payments too.
    """
    alone = len(requests) == 1
    now = max(each.command.now for each in requests)
    outcomes: list[Claimed | Refusal | None] = [_known_refusal(context, each, now) for each in requests]
    asked = [n for n, refused in enumerate(outcomes) if refused is None]
    found = await wishes(connection, [requests[n].question for n in asked], now) if asked else []
    await _read_ahead(connection, context, found, now)
    ready: dict[UUID, tuple[int, Wish, Beginning]] = {}  # by provider
    for n, wanted in zip(asked, found):
        if isinstance(wanted, Refusal):
            outcomes[n] = wanted
        elif wanted.service.provider not in ready:
            decided = await _decide(connection, context, requests[n], wanted, now, alone=alone)
            if isinstance(decided, Beginning):
                ready[wanted.service.provider] = n, wanted, decided
            else:
                outcomes[n] = decided
    made = await transitions.begin(connection, [each for _, _, each in ready.values()], now) if ready else ()
    for (n, wanted, _), begun in zip(ready.values(), made):
        if begun is not None:
            outcomes[n] = Claimed(begun.id, begun, related(wanted, requests[n].who))
        elif alone:
            raise await taken_now(connection, context, wanted.service, requests[n].start, now)
        else:
            raise CannotBatch
    return outcomes


def _known_refusal(context: BookingContext, request: SlotRequest, now: datetime) -> Refusal | None:
    """What can be said without the database."""
    if request.about.override is not None:
        return None if request.who.may("appointment.override") else forbidden("appointment.override")
    others = context.taken_slots.known(request.who.tenant, request.service, request.start, now)
    return None if others is None else slot_taken(others)


async def _read_ahead(
    connection: Connection, context: BookingContext, found: Sequence[Wish | Refusal], now: datetime
) -> None:
    around = [(each.service, each.seen) for each in found if isinstance(each, Wish)]
    if around:
        await context.calendar.read_ahead(connection, around, now)


async def _decide(
    connection: Connection, context: BookingContext, request: SlotRequest, wanted: Wish, now: datetime, *, alone: bool
) -> Beginning | Claimed | Refusal | None:
    """How the appointment is to begin, or why not; None: not in a batch."""
    service = wanted.service
    if service.capacity > 1:
        if request.hold:
            return Conflict("no_holds", "Seats of a class are not held. Book one.")
        return await _claim_seat(connection, context, request, wanted) if alone else None
    if request.hold and wanted.holds >= service.policy.holds_most:
        return Conflict("too_many_holds", "You hold as many slots as one may. Book or release one of them.")
    if request.about.override is not None:
        return await _beginning(connection, context, request, wanted, now) if alone else None
    reason = await context.calendar.refusal(connection, service, request.start, now, seen=wanted.seen)
    if reason is None:
        return await _beginning(connection, context, request, wanted, now)
    return await no_time(connection, context, service, request.start, now, reason) if alone else None


async def _claim_seat(connection: Connection, context: BookingContext, request: SlotRequest, wanted: Wish) -> Claimed:
    zone = request.about.timezone or wanted.patient_timezone
    seated = await classes.take_seat(connection, context, wanted, request.start, request.command, zone)
    return Claimed(seated.appointment)


async def book_any(
    connection: Connection,
    context: BookingContext,
    who: Principal,
    specialty: str,
    kind: str,
    language: str | None,
    start: datetime,
    about: Particulars,
    command: Command,
) -> Claimed:
    """Book with a provider of a specialty who has time then: whoever is free soonest, on conflict the next one."""
    if about.override is not None and not who.may("appointment.override"):
        raise forbidden("appointment.override")
    services = await candidates(connection, specialty, kind, language, MOST_CANDIDATES)
    if not services:
        raise NotFound("not_found", "Nobody of this specialty offers such a service here.")
    requests = [SlotRequest(who, service, start, about, command) for service in services]
    found = await wishes(connection, [each.question for each in requests], command.now)
    await _read_ahead(connection, context, found, command.now)
    for request, wanted in zip(requests, found):
        if isinstance(wanted, NotFound):  # withdrawn since
            continue
        if isinstance(wanted, Refusal):  # for whom one may book is the same with every provider
            raise wanted
        if context.taken_slots.known(who.tenant, request.service, start, command.now) is not None:
            continue
        if await context.calendar.refusal(connection, wanted.service, start, command.now, seen=wanted.seen) is not None:
            continue
        made = await claim(connection, context, request, wanted)
        if made is not None:
            return Claimed(made.id, made, related(wanted, who))
        context.taken_slots.remember(who.tenant, request.service, start, (), command.now)
    raise slot_taken([])


async def claim(
    connection: Connection, context: BookingContext, request: SlotRequest, wanted: Wish, series: UUID | None = None
) -> Begun | None:
    """Begin one of several appointments of a transaction; None: the time is taken, and nothing was done, nor paid."""
    now = request.command.now
    try:
        async with connection.transaction():
            beginning = await _beginning(connection, context, request, wanted, now, series)
            (made,) = await transitions.begin(connection, [beginning], now)
            if made is None:
                raise TimeTaken
    except TimeTaken:
        return None
    return made


async def _beginning(
    connection: Connection,
    context: BookingContext,
    request: SlotRequest,
    wanted: Wish,
    now: datetime,
    series: UUID | None = None,
) -> Beginning:
    """How the appointment is to begin, after what has to be paid."""
    service, about, command = wanted.service, request.about, replace(request.command, now=now)
    draft = replace(
        service.draft(request.start, wanted.patient, command),
        patient_timezone=about.timezone or wanted.patient_timezone or "UTC",
        reason=about.reason,
        series=series,
    )
    kept_until = now + timedelta(minutes=service.policy.hold_minutes)
    if request.hold:
        return Beginning(replace(draft, hold_until=kept_until), step_of("hold", None, wanted.party), command, "held")
    bill = Bill(draft.id, wanted.patient, service.id, service.price_minor, service.currency)
    pay = await context.payments.begin(connection, bill, now)
    draft = replace(draft, payment=pay.payment, payment_ref=pay.ref)
    if not pay.confirms:
        draft = replace(draft, hold_until=pay.until or kept_until)
        return Beginning(draft, step_of("hold", None, wanted.party), command, "held")
    step = step_of("book" if service.auto_confirm else "request", None, wanted.party)
    assert step.target is not None
    if about.override is not None:
        draft = replace(draft, overridden=True)
        command = command.because(about.override)
    return Beginning(draft, step, command, step.target)


async def book_hold(
    connection: Connection,
    context: BookingContext,
    who: Principal,
    appointment: UUID,
    about: Particulars,
    command: Command,
) -> None:
    """Turns a hold into a booking, or into a request where the doctor decides. NotFound, Conflict hold_expired."""
    found = await need(connection, appointment, who, command.now)
    if found.status == "expired":
        raise _gone()
    stand = standing(found, who, "book")
    if objection := refusal(stand.step.guards, found.circumstances(), command.now):
        raise objection
    patient = found.row["patient_id"]
    if about.patient is not None and about.patient != patient:
        raise Conflict("not_possible", "This slot is held for somebody else. Hold it for this patient.")
    bill = Bill(found.id, patient, found.service, found.row["price_minor"], found.row["currency"])
    pay = await context.payments.begin(connection, bill, command.now)
    changes = Changes(payment=pay.payment, payment_ref=pay.ref, reason=about.reason or None)
    if not pay.confirms:
        step = step_of("extend", "held", stand.party if stand.party is not PROVIDER else PATIENT)
        changes = replace(changes, hold_until=pay.until)
    else:
        step = step_of("book" if found.row["auto_confirm"] else "request", "held", stand.party)
    if not await transitions.change(connection, found.id, found.status, found.version, step, command, changes):
        raise changed_meanwhile()


def _gone() -> Refusal:
    return Conflict("hold_expired", "The time that was kept for you has passed. Choose a slot again.")


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
    command = transitions.system(now, "paid")
    done = await transitions.change(
        connection, found.id, "held", found.version, step, command, Changes(payment="paid", payment_ref=ref)
    )
    return Outcome.CONFIRMED if done else await confirm_paid(connection, appointment, ref, now)


async def extend(connection: Connection, who: Principal, appointment: UUID, command: Command) -> None:
    """Keeps a held slot for as long again, from now. Conflict hold_expired, no_more_extensions."""
    found = await _held(connection, who, appointment, command)
    stand = standing(found, who, "extend")
    if objection := refusal(stand.step.guards, found.circumstances(), command.now):
        raise objection
    changes = Changes(hold_until=command.now + timedelta(minutes=found.policy.hold_minutes), extended=1)
    if not await transitions.change(connection, found.id, "held", found.version, stand.step, command, changes):
        raise changed_meanwhile()


async def release(
    connection: Connection, context: BookingContext, who: Principal, appointment: UUID, command: Command
) -> None:
    """Lets a held slot go. What is released already is so without an error."""
    found = await need(connection, appointment, who, command.now)
    if found.status == "expired":
        return
    stand = standing(found, who, "release")
    command = command.because("released")
    if not await transitions.change(connection, found.id, "held", found.version, stand.step, command):
        raise changed_meanwhile()
    context.taken_slots.forget(found.service)


async def _held(connection: Connection, who: Principal, appointment: UUID, command: Command) -> Record:
    found = await need(connection, appointment, who, command.now)
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
        command = transitions.system(now, "now")
        draft = replace(
            _plain(service).draft(start, patient, command), booked_by=patient, reason=reason, patient_timezone=timezone,
            payment="at_clinic" if service.price_minor else "none",
        )  # fmt: skip
        step = step_of("book", None, SYSTEM)
        await transitions.calm(connection, provider)  # they come in within the same transaction
        made = await transitions.begin_one(connection, draft, step, command, "confirmed")
        return None if made is None else made.id


def _plain(service: Bookable) -> Bookable:
    """Without buffers: who is there now needs no preparation."""
    return replace(service, buffer_before_minutes=0, buffer_after_minutes=0)
