"""What the commands of booking stand on beside the database, and the refusals that they share."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from aiohttp import web

from backplane.api import Call
from backplane.postgres import Connection
from backplane.principal import Principal
from booking.appointments.bookable import Bookable, CalendarPort, alternatives
from booking.appointments.taken_slot_cache import TakenSlotCache
from booking.appointments.transitions import Command
from booking.calendar.cache import CalendarState
from booking.payments import AtClinic, Payments
from booking.refusals import Conflict, Refusal


@dataclass(frozen=True, slots=True)
class BookingContext:
    """Calendar, till, and what is known to be taken."""

    calendar: CalendarPort
    payments: Payments = field(default_factory=AtClinic)
    taken_slots: TakenSlotCache = field(default_factory=TakenSlotCache)


BOOKING_CONTEXT: Final = web.AppKey("booking_context", BookingContext)

# What somebody is called in the audit trail, the strongest of their roles first.
_ROLES: Final = (
    "platform_admin", "clinic_admin", "staff", "support", "finance", "doctor", "patient", "guest_link", "anonymous",
)  # fmt: skip
_REASONS: Final = {
    "too_soon": "This service wants to be booked earlier than that.",
    "too_far": "This lies too far ahead to be booked yet.",
    "outside_hours": "The provider does not receive anybody at that time.",
    "not_on_grid": "Visits do not begin at that minute.",
    "day_full": "That day is full.",
}


def context_of(call: Call) -> BookingContext:
    return call.request.app[BOOKING_CONTEXT]


def command_of(call: Call, cause: str = "") -> Command:
    who = call.principal
    return Command(who.person, role_of(who), call.now, cause)


def role_of(who: Principal) -> str:
    return next((role for role in _ROLES if role in who.roles), "patient")


def slot_taken(others: Sequence[datetime]) -> Refusal:
    detail = "Somebody else has this time. Take one of the alternatives, or look for another."
    return Conflict("slot_taken", detail, facts={"alternatives": [_text(each) for each in others]})


def not_offered(reason: str, others: Sequence[datetime]) -> Refusal:
    detail = f"{_REASONS.get(reason, 'This time cannot be booked.')} Take one of the alternatives."
    return Conflict(
        "slot_not_offered", detail, facts={"reason": reason, "alternatives": [_text(each) for each in others]}
    )


def _text(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


async def taken_now(
    connection: Connection, context: BookingContext, service: Bookable, start: datetime, now: datetime
) -> Refusal:
    """The refusal for a slot that is found taken, remembered for those who come next."""
    others = await alternatives(connection, context.calendar, service, start, now)
    context.taken_slots.remember(service.tenant, service.id, start, others, now)
    return slot_taken(others)


async def no_time(
    connection: Connection, context: BookingContext, service: Bookable, start: datetime, now: datetime, reason: str
) -> Refusal:
    """The refusal for a start that the calendar does not offer, for the reason that it gave."""
    if reason == "taken":
        return await taken_now(connection, context, service, start, now)
    return not_offered(reason, await alternatives(connection, context.calendar, service, start, now))


async def check_calendar(
    connection: Connection,
    context: BookingContext,
    service: Bookable,
    start: datetime,
    now: datetime,
    without: UUID | None = None,
    seen: CalendarState | None = None,
) -> None:
    """Conflict when the calendar does not offer the start."""
    reason = await context.calendar.refusal(connection, service, start, now, without, seen)
    if reason is not None:
        raise await no_time(connection, context, service, start, now, reason)
