"""What somebody wants to book: a service, a start, a patient. Read in one go, with who may decide about it.

The calendar stands behind `CalendarPort`: it says whether a start lies in the provider's hours, on the grid, after the
notice and before the horizon, and what else is free. Its view of what is taken may be a moment old; the constraint in
the database decides. Prices, buffers and policy are read in the transaction in which the appointment begins.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol
from uuid import UUID

from asyncpg import Range

from backplane.ids import uuid7
from backplane.postgres import Connection, Row
from backplane.principal import Principal
from booking.access_policy import party_to_book
from booking.appointments.machine import Party
from booking.appointments.transitions import Command, Draft
from booking.calendar import cache as calendar_cache
from booking.calendar import zones
from booking.calendar.cache import CalendarState
from booking.policy import Policy, policy_of
from booking.refusals import Denied, NotFound, Refusal

ALTERNATIVES: Final = 3
LOOK_AHEAD: Final = timedelta(days=14)


@dataclass(frozen=True, slots=True)
class Bookable:
    """A service that can be booked now, and its provider."""

    id: UUID
    tenant: int
    provider: UUID
    provider_no: int
    provider_person: UUID
    provider_timezone: str
    location: UUID | None
    kind: str
    minutes: int
    step_minutes: int
    buffer_before_minutes: int
    buffer_after_minutes: int
    notice_minutes: int
    horizon_days: int
    capacity: int
    price_minor: int
    currency: str
    auto_confirm: bool
    policy: Policy

    def during(self, start: datetime) -> "Range[datetime]":
        return Range(start, start + timedelta(minutes=self.minutes))

    def occupied(self, start: datetime) -> "Range[datetime]":
        return Range(
            start - timedelta(minutes=self.buffer_before_minutes),
            start + timedelta(minutes=self.minutes + self.buffer_after_minutes),
        )

    def local_text(self, start: datetime) -> str:
        """The start as the provider's clocks show it: evidence of what was agreed."""
        return start.astimezone(zones.zone(self.provider_timezone)).strftime("%Y-%m-%d %H:%M")

    def draft(self, start: datetime, patient: UUID | None, command: Command) -> Draft:
        return Draft(
            id=uuid7(command.now),
            tenant=self.tenant,
            provider=self.provider,
            provider_no=self.provider_no,
            service=self.id,
            location=self.location,
            patient=patient,
            booked_by=command.actor,
            kind=self.kind,
            during=self.during(start),
            occupied=self.occupied(start),
            price_minor=self.price_minor,
            currency=self.currency,
            provider_timezone=self.provider_timezone,
            local_text=self.local_text(start),
            capacity=self.capacity,
        )


class CalendarPort(Protocol):
    """What booking asks of the calendar."""

    async def refusal(
        self,
        connection: Connection,
        service: Bookable,
        start: datetime,
        now: datetime,
        without: UUID | None = None,
        seen: CalendarState | None = None,
    ) -> str | None:
        """None when a visit may begin then, else a code of why not; ``taken`` may be left to the constraint. The
        appointment ``without`` wants to move, so its present time does not count. ``seen``: what `wish` has read."""

    async def read_ahead(
        self, connection: Connection, asked: Sequence[tuple[Bookable, CalendarState]], now: datetime
    ) -> None:
        """Reads in one go what `refusal` will need for all of them."""

    async def free(
        self, connection: Connection, service: Bookable, start: datetime, end: datetime, now: datetime, most: int
    ) -> list[datetime]:
        """The first free starts in [``start``, ``end``)."""


_COLUMNS: Final = """
    s.id, s.tenant_id, s.provider_id, p.no, p.person_id, p.timezone, s.location_id, s.kind, s.minutes, s.step_minutes,
    s.buffer_before_minutes, s.buffer_after_minutes, s.notice_minutes, s.horizon_days, s.capacity, s.price_minor,
    s.currency, s.auto_confirm, s.cancel_policy, t.policy"""
_FROM: Final = "FROM service s JOIN provider p ON p.id = s.provider_id JOIN tenant t ON t.id = s.tenant_id"
_SERVICE: Final = f"SELECT {_COLUMNS} {_FROM} WHERE s.id = $1 AND s.active AND p.status = 'approved'"

# LIMIT 1 has each looked up by its key: without it a plan made when tables were small reads them whole ever after.
# For every question: $1: the service, $2: who asks, $3: for whom, $4 to $5: what must be known. $6: now, $7: the day.
_WISHES: Final = f"""
SELECT asked.n, {_COLUMNS}, {calendar_cache.COLUMNS},
    patient.id IS NOT NULL AS known, patient.timezone AS patient_timezone,
    asked.who = asked.patient OR EXISTS (
        SELECT FROM dependant d WHERE d.guardian_id = asked.who AND d.person_id = asked.patient
            AND 'book' = ANY(d.rights) AND d.ended_at IS NULL AND (d.until IS NULL OR d.until > $7) LIMIT 1) AS cares,
    (SELECT count(*) FROM appointment h
        WHERE h.booked_by = asked.who AND h.status = 'held' AND h.hold_until > $6
            AND h.hold_until <= $6 + interval '25 hours') AS holds
FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::timestamptz[], $5::timestamptz[])
    WITH ORDINALITY AS asked (service, who, patient, since, until, n)
JOIN service s ON s.id = asked.service JOIN provider p ON p.id = s.provider_id JOIN tenant t ON t.id = s.tenant_id
LEFT JOIN LATERAL (
    SELECT id, timezone FROM person WHERE id = asked.patient AND disabled_at IS NULL AND merged_into IS NULL LIMIT 1
) AS patient ON true
{calendar_cache.join("asked.since", "asked.until", "$6")}
WHERE s.active AND p.status = 'approved'"""

# Candidates for 'any provider of a specialty': who is free soonest comes first, so that work is spread.
_CANDIDATES: Final = """
SELECT s.id FROM service s JOIN provider p ON p.id = s.provider_id
WHERE p.status = 'approved' AND s.active AND p.specialties @> ARRAY[$1::text] AND s.kind = $2 AND s.capacity = 1
    AND ($3::text IS NULL OR p.languages @> ARRAY[$3::text])
ORDER BY p.next_free_at NULLS LAST, p.no, s.id LIMIT $4"""


@dataclass(frozen=True, slots=True)
class Wish:
    """A service, for whom, and as what the one who asks acts."""

    service: Bookable
    patient: UUID
    party: Party
    patient_timezone: str
    holds: int
    seen: CalendarState


def bookable(row: Row) -> Bookable:
    return Bookable(
        id=row["id"],
        tenant=row["tenant_id"],
        provider=row["provider_id"],
        provider_no=row["no"],
        provider_person=row["person_id"],
        provider_timezone=row["timezone"],
        location=row["location_id"],
        kind=row["kind"],
        minutes=row["minutes"],
        step_minutes=row["step_minutes"],
        buffer_before_minutes=row["buffer_before_minutes"],
        buffer_after_minutes=row["buffer_after_minutes"],
        notice_minutes=row["notice_minutes"],
        horizon_days=row["horizon_days"],
        capacity=row["capacity"],
        price_minor=row["price_minor"],
        currency=row["currency"],
        auto_confirm=row["auto_confirm"],
        policy=policy_of(row["cancel_policy"], row["policy"]),
    )


async def service_of(connection: Connection, service: UUID) -> Bookable | None:
    """An active service of an approved provider."""
    row = await connection.fetchrow(_SERVICE, service)
    return None if row is None else bookable(row)


@dataclass(frozen=True, slots=True)
class Question:
    """What somebody asks to book, for ``patient`` or oneself. ``override``: under the right to set rules aside."""

    who: Principal
    service: UUID
    patient: UUID | None
    start: datetime
    override: bool = False


async def wish(connection: Connection, question: Question, now: datetime) -> Wish:
    """What somebody wants to book, and how things stand around the start. NotFound, or Denied for another's sake."""
    (found,) = await wishes(connection, [question], now)
    if isinstance(found, Refusal):
        raise found
    return found


async def wishes(connection: Connection, questions: Sequence[Question], now: datetime) -> list[Wish | Refusal]:
    """As `wish`, for many in one statement; problems are returned."""
    around = [calendar_cache.around(each.start) for each in questions]
    rows = await connection.fetch(
        _WISHES,
        [each.service for each in questions],
        [each.who.person for each in questions],
        [each.patient or each.who.person for each in questions],
        [since for since, _ in around],
        [until for _, until in around],
        now,
        now.date(),
    )
    found = {row["n"]: row for row in rows}
    return [_wish(found.get(n), question) for n, question in enumerate(questions, 1)]


async def candidates(
    connection: Connection, specialty: str, kind: str, language: str | None, most: int
) -> Sequence[UUID]:
    """Services of that kind by providers of that specialty, of who is free soonest first."""
    return [row["id"] for row in await connection.fetch(_CANDIDATES, specialty, kind, language, most)]


def _wish(row: Row | None, question: Question) -> Wish | Refusal:
    if row is None:
        return NotFound("not_found", "There is no such service to book. Look for another one.")
    who = question.who
    party = party_to_book(who, cares=row["cares"], known=row["known"], override=question.override)
    if party is None:
        return Denied("not_your_patient", "Book for yourself, or for somebody who named you as their caregiver.")
    if not row["known"]:
        return NotFound("not_found", "There is no such patient here.")
    subject = question.patient or who.person
    return Wish(bookable(row), subject, party, row["patient_timezone"], row["holds"], calendar_cache.state_of(row))


async def alternatives(
    connection: Connection, calendar: CalendarPort, service: Bookable, start: datetime, now: datetime
) -> list[datetime]:
    """The next free starts from ``start`` on."""
    begin = max(start, now)
    found = await calendar.free(connection, service, begin, begin + LOOK_AHEAD, now, ALTERNATIVES + 1)
    return [each.astimezone(UTC) for each in found if each != start][:ALTERNATIVES]
