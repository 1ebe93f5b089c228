"""Bookings that come at once, made in one transaction: the plain ones, of a slot that is free.

Everything else (a hold, any doctor of a specialty, an override, a class, a slot that is taken or not offered, a person
one may not book for, a second visit of the same doctor) is told by None and booked alone, where refusals have their
words and rare things their ways.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from backplane.api import Call
from backplane.postgres import Connection
from backplane.web import Problem
from booking.appointments import journal
from booking.appointments.bookable import Question, Wish, wishes
from booking.appointments.claims import Claimed, Particulars, prepare, related
from booking.appointments.desk import deed_of, desk_of
from booking.appointments.journal import Beginning
from booking.appointments.views import Appointment, NewAppointment, begun, start_of, zone_of

Asked = tuple[Call, NewAppointment]


async def book_together(connection: Connection, asked: Sequence[Asked]) -> list[Appointment | None]:
    """For each the appointment, or None: nothing was done, and it is to be booked alone."""
    answers: list[Appointment | None] = [None] * len(asked)
    now = max(call.now for call, _ in asked)
    plain = [(n, question) for n, each in enumerate(asked) if (question := _question(*each)) is not None]
    found = await wishes(connection, [question for _, question in plain], now) if plain else []
    around = [(wanted.service, wanted.seen) for wanted in found if wanted is not None]
    if around:
        await desk_of(asked[0][0]).hours.read_ahead(connection, around, now)
    ready: list[tuple[int, Wish]] = []
    beginnings: list[Beginning] = []
    providers: set[UUID] = set()
    for (n, question), wanted in zip(plain, found):
        if wanted is None or wanted.service.provider in providers:
            continue
        if await _offered(connection, asked[n][0], wanted, question.start, now):
            providers.add(wanted.service.provider)
            beginnings.append(await _beginning(connection, asked[n], wanted, question.start, now))
            ready.append((n, wanted))
    for (n, wanted), made in zip(ready, await journal.begin_many(connection, beginnings, now) if ready else ()):
        if made is not None:
            claimed = Claimed(made.id, made, related(wanted, asked[n][0].principal))
            answers[n] = begun(made, private=claimed.private)
    return answers


def _question(call: Call, body: NewAppointment) -> Question | None:
    if body.service is None or body.start is None:
        return None
    if body.hold is not None or body.specialty is not None or body.override is not None:
        return None
    try:
        start = start_of(body.start)
        zone_of(body.timezone)
    except Problem:
        return None
    if desk_of(call).taken.known(call.tenant.id, body.service, start, call.now) is not None:
        return None
    return Question(call.principal, body.service, body.patient, start)


async def _offered(connection: Connection, call: Call, wanted: Wish, start: datetime, now: datetime) -> bool:
    if wanted.service.capacity > 1:
        return False
    return await desk_of(call).hours.refusal(connection, wanted.service, start, now, seen=wanted.seen) is None


async def _beginning(connection: Connection, asked: Asked, wanted: Wish, start: datetime, now: datetime) -> Beginning:
    call, body = asked
    deed = replace(deed_of(call), now=now)
    about = Particulars(patient=body.patient, reason=body.reason, timezone=body.timezone)
    return await prepare(connection, desk_of(call), wanted, start, about, deed)
