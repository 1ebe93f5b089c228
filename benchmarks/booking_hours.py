"""Opening hours, patients and visits for the clinic of `booking_data`: what slots are made of and who books them.

Everybody receives Monday to Saturday from nine to one and from two to six, on the clocks of the own zone. The first
`BUSY` providers have a third of the coming weeks booked, so that a month view has something to leave out; the others'
mornings from `FREE_FROM_DAY` on are for whoever measures bookings.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from pathlib import Path
from typing import Final
from uuid import UUID
from zoneinfo import ZoneInfo

from backplane.bus import LocalBus
from backplane.postgres import Database
from booking.identity.service import Identity
from booking.rights import PATIENT
from booking.tenants import Tenants

BUSY: Final = 300
FREE_FROM_DAY, FREE_TO_DAY = 24, 55
_STEP: Final = timedelta(minutes=15)
_MORNING: Final = 16  # starts from nine to one
_SUNDAY: Final = 6

_HOURS: Final = (
    """INSERT INTO schedule (id, tenant_id, provider_id, timezone, created_at)
       SELECT gen_random_uuid(), p.tenant_id, p.id, p.timezone, $2 FROM provider p WHERE p.tenant_id = $1""",
    """INSERT INTO schedule_rule (id, tenant_id, schedule_id, opens, closes, weekdays)
       SELECT gen_random_uuid(), s.tenant_id, s.id, rule.opens, rule.closes, '{1,2,3,4,5,6}'
       FROM schedule s, (VALUES (time '09:00', time '13:00'), ('14:00', '18:00')) AS rule (opens, closes)
       WHERE s.tenant_id = $1 AND s.created_at = $2""",
    """INSERT INTO holiday (id, tenant_id, name, first_day, last_day, created_at)
       SELECT gen_random_uuid(), $1, 'Stocktaking', $2::timestamptz::date + 7, $2::timestamptz::date + 7, $2""",
)
_PATIENTS: Final = """
WITH made AS (
    INSERT INTO person (id, tenant_id, name, created_at)
    SELECT gen_random_uuid(), $1, 'Patient ' || n, $2 FROM generate_series(1, $3) AS n RETURNING id
)
INSERT INTO session (id, tenant_id, person_id, amr, created_at, seen_at, expires_at)
SELECT gen_random_uuid(), $1, made.id, '{otp}', $2, $2, $2 + interval '30 days' FROM made RETURNING person_id, id"""
_VISITS: Final = """
INSERT INTO appointment (id, tenant_id, provider_id, provider_no, service_id, patient_id, booked_by, kind, status,
    during, occupied, provider_timezone, local_text, created_at, updated_at)
SELECT gen_random_uuid(), $1, p.id, p.no, s.id, $3, $3, s.kind, 'confirmed', slot.during, slot.during, p.timezone,
    '', $2, $2
FROM (SELECT * FROM provider WHERE tenant_id = $1 ORDER BY no LIMIT $4) p
CROSS JOIN LATERAL (SELECT id, kind FROM service WHERE provider_id = p.id ORDER BY id LIMIT 1) s
CROSS JOIN generate_series(1, 20) AS day
CROSS JOIN generate_series(0, 15) AS quarter
CROSS JOIN LATERAL (
    SELECT ($2::timestamptz::date + day + time '09:00' + quarter * interval '15 minutes') AT TIME ZONE p.timezone AS at
) start
CROSS JOIN LATERAL (SELECT tstzrange(start.at, start.at + interval '15 minutes') AS during) slot
WHERE (p.no + day * 7 + quarter * 5) % 3 = 0"""


@dataclass(frozen=True, slots=True)
class Doctor:
    provider: UUID
    service: UUID
    zone: str


@dataclass(frozen=True, slots=True)
class Patient:
    id: UUID
    token: str


@dataclass(frozen=True, slots=True)
class Practice:
    """``busy``: the providers with visits; ``free``: of the others, as many as were asked for."""

    tenant: int
    slug: str
    busy: list[Doctor]
    free: list[Doctor]
    patients: list[tuple[UUID, UUID]]
    """Persons with their sessions."""


async def open_doors(database: Database, tenant: int, slug: str, patients: int, most: int, now: datetime) -> Practice:
    """Gives the providers of ``tenant`` hours and visits, and makes patients."""
    async with database.platform() as connection:
        for statement in _HOURS:
            await connection.execute(statement, tenant, *([now] if "$2" in statement else []))
        people = await connection.fetch(_PATIENTS, tenant, now, patients)
        await connection.execute(_VISITS, tenant, now, people[0]["person_id"], BUSY)
        rows = await connection.fetch(
            """SELECT DISTINCT ON (p.no) p.id, s.id AS service, p.timezone FROM provider p
               JOIN service s ON s.provider_id = p.id WHERE p.tenant_id = $1 ORDER BY p.no, s.id""",
            tenant,
        )
    doctors = [Doctor(row["id"], row["service"], row["timezone"]) for row in rows]
    return Practice(
        tenant, slug, doctors[:BUSY], doctors[BUSY : BUSY + most], [(row["person_id"], row["id"]) for row in people]
    )


async def signed_in(database: Database, data: Path, practice: Practice, now: datetime) -> list[Patient]:
    """The patients with access tokens, which a server with the same ``data`` believes for ten minutes."""
    bus = LocalBus()
    identity = await Identity.open(database, bus, data, Tenants(database, lambda: now), lambda: now)
    try:
        return [
            Patient(person, identity.access.issue(person, practice.tenant, [PATIENT], session, ["otp"], now))
            for person, session in practice.patients
        ]
    finally:
        await identity.close()
        await bus.close()


def free_starts(doctors: list[Doctor], now: datetime) -> Iterator[tuple[Doctor, datetime]]:
    """Slots that nobody has, each once: one of every doctor in turn, then the next of every doctor."""
    zones = {doctor.zone: ZoneInfo(doctor.zone) for doctor in doctors}
    for day in range(FREE_FROM_DAY, FREE_TO_DAY):
        date = (now + timedelta(days=day)).date()
        if date.weekday() == _SUNDAY:
            continue
        for quarter in range(_MORNING):
            for doctor in doctors:
                opens = datetime.combine(date, time(9), zones[doctor.zone])
                yield doctor, opens + quarter * _STEP


def key_of(*parts: object) -> str:
    """An Idempotency-Key for one action."""
    return hashlib.sha256(" ".join(map(str, parts)).encode()).hexdigest()[:32]
