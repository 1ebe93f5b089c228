"""Visits that repeat: a rule of dates (RFC 5545) at one wall-clock time of the provider's zone, booked all or none.

Only dates are expanded; each is turned into an instant by the zone of its day, so a weekly nine o'clock stays nine
o'clock when the clocks change. The provider's row is locked, since many rows come about together. A date whose time
does not exist is a conflict, as one that is taken. All conflicts are reported; with ``partial`` the others are booked.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Final
from uuid import UUID

from backplane.ids import uuid7
from backplane.postgres import Connection
from backplane.principal import Principal
from booking.appointments.bookable import Question, wish
from booking.appointments.claims import Particulars, SlotRequest, claim
from booking.appointments.context import BookingContext
from booking.appointments.transitions import Command
from booking.calendar import recurrence, zones
from booking.refusals import Conflict, Invalid

MOST: Final = 52
LONGEST: Final = timedelta(days=731)
_LOCK_PROVIDER: Final = "SELECT true FROM provider WHERE id = $1 FOR NO KEY UPDATE"


@dataclass(frozen=True, slots=True)
class ConflictingStart:
    start: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class Made:
    id: UUID
    appointments: tuple[tuple[UUID, datetime], ...]
    conflicts: tuple[ConflictingStart, ...]


def starts(rule: str, first: datetime, zone: str, most: int = MOST) -> tuple[list[datetime], list[datetime]]:
    """Instants of the rule that begins at ``first``, and of those dates whose wall-clock time does not exist (the time
    as if the clocks had not changed). ValueError: no such rule, or one that repeats too much."""
    parsed = recurrence.parse(rule)
    if parsed.count is None and parsed.until is None:
        raise ValueError("the rule needs an end: COUNT or UNTIL")
    if (parsed.count or 0) > most:
        raise ValueError(f"the rule has more than {most} dates")
    place = zones.zone(zone)
    try:
        wall = first.astimezone(place).replace(tzinfo=None)
        day = wall.date()
        last = day + LONGEST
    except OverflowError:
        raise ValueError("the first visit is too far away") from None
    upcoming = recurrence.occurrences(parsed, day, day, last, recurrence.until_date(parsed))
    dates = list(islice(upcoming, most + 1))
    if len(dates) > most:
        raise ValueError(f"the rule has more than {most} dates")
    found: list[datetime] = []
    missing: list[datetime] = []
    for each in dates:
        local = datetime.combine(each, wall.time())
        instant = local.replace(tzinfo=place).astimezone(UTC)
        (found if zones.exists(local, place) else missing).append(instant)
    return found, missing


async def book_series(
    connection: Connection,
    context: BookingContext,
    who: Principal,
    service: UUID,
    first: datetime,
    rule: str,
    about: Particulars,
    command: Command,
    *,
    partial: bool,
) -> Made:
    """Books every date of the rule. Conflict series_conflict with the conflicts, Invalid for a rule that is none."""
    wanted = await wish(connection, Question(who, service, about.patient, first), command.now)
    if wanted.service.capacity > 1:
        raise Conflict("not_possible", "Seats of classes are booked one by one.")
    try:
        found, missing = starts(rule, first, wanted.service.provider_timezone)
    except ValueError as error:
        raise Invalid("bad_rule", str(error)[:200]) from None
    if not found:
        raise Invalid("bad_rule", "The rule has no dates from the first visit on.")
    await connection.execute(_LOCK_PROVIDER, wanted.service.provider)
    series = uuid7(command.now)
    await connection.execute(
        """INSERT INTO series (id, service_id, patient_id, rrule, starts_at, created_by, created_at)
           VALUES ($1, $2, $3, $4, $5, $6, $7)""",
        series, service, wanted.patient, rule, found[0], command.actor, command.now,
    )  # fmt: skip
    made: list[tuple[UUID, datetime]] = []
    conflicts = [ConflictingStart(start, "no_such_time") for start in missing]
    for start in found:
        reason = await context.calendar.refusal(connection, wanted.service, start, command.now)
        request = SlotRequest(who, service, start, about, command)
        begun = None if reason else await claim(connection, context, request, wanted, series)
        if begun is None:
            conflicts.append(ConflictingStart(start, reason or "taken"))
        else:
            made.append((begun.id, start))
    conflicts.sort(key=lambda each: each.start)
    if conflicts and not (partial and made):
        detail = "Some of these dates cannot be had. Choose another rule, or ask for the others alone with partial."
        told = [{"start": each.start.isoformat().replace("+00:00", "Z"), "reason": each.reason} for each in conflicts]
        raise Conflict("series_conflict", detail, facts={"conflicts": told})
    return Made(series, tuple(made), tuple(conflicts))
