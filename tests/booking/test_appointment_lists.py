"""Lists of appointments: the right rows, and nearly no others read, whatever the clinic holds."""

import json
import os
import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest
import pytest_asyncio

from backplane.ids import uuid7
from backplane.postgres import Database
from booking.appointments.lists import Wanted, statement
from booking.calendar.ics_out import _APPOINTMENTS as FEED
from tests.support.booking import NOW, Clinic, clinic

_PAIRS = (("amina", "amina"), ("bilal", "bilal"), ("bilal", "chand"), ("chand", "amina"), ("chand", "front"))
VISITS = int(os.environ.get("WADUD_TEST_VISITS", "30000"))
DOCTORS, PATIENTS = 60, 3000
PAGE = 21
# pages of five branches, and the rows themselves; 30,000 are there
FEW = 10 * PAGE

_DOCTORS = """
WITH someone AS (INSERT INTO person (id, name, created_at)
    SELECT gen_random_uuid(), 'D' || n, $2 FROM generate_series(1, $1::int) n RETURNING id),
provider AS (INSERT INTO provider (id, person_id, status, slug, display_name, timezone, created_at)
    SELECT gen_random_uuid(), id, 'approved', id::text, 'D', 'UTC', $2 FROM someone RETURNING id)
INSERT INTO service (id, provider_id, name, kind, minutes, created_at)
    SELECT gen_random_uuid(), id, 'video', 'video', 30, $2 FROM provider"""
# some weeks past and some days to come; nobody is at two places at a time
_VISITS = """
INSERT INTO appointment (id, provider_id, provider_no, service_id, patient_id, booked_by, kind, status, during,
    occupied, provider_timezone, local_text, created_at, updated_at)
SELECT gen_random_uuid(), p.id, p.no, p.service, v.patient, v.patient, 'video',
    CASE WHEN v.start >= $2 THEN 'confirmed' WHEN v.n % 1000 = 7 THEN 'no_show_patient' ELSE 'completed' END,
    tstzrange(v.start, v.start + interval '30 minutes'), tstzrange(v.start, v.start + interval '30 minutes'), 'UTC', '',
    $2, $2
FROM (SELECT n, $2::timestamptz + (n - 0.85 * $1)::int * interval '30 minutes' AS start, patient
    FROM unnest($3::uuid[]) WITH ORDINALITY AS u (patient, n)) v,
    (SELECT s.id AS service, p.id, p.no FROM provider p JOIN service s ON s.provider_id = p.id WHERE p.id = $4) p"""
_ONE = """
INSERT INTO appointment (id, provider_id, provider_no, service_id, patient_id, booked_by, kind, status, during,
    occupied, hold_until, capacity, seats_taken, provider_timezone, local_text, overridden, created_at, updated_at)
SELECT $1, p.id, p.no, s.id, $3, $4, s.kind, $5::text, tstzrange($6::timestamptz, $6 + interval '30 minutes'),
    tstzrange($6, $6 + interval '30 minutes'), CASE WHEN $5 = 'held' THEN $6 END, s.capacity,
    CASE WHEN s.kind = 'class' THEN 1 ELSE 0 END, 'UTC', '', true, $6, $6
FROM service s JOIN provider p ON p.id = s.provider_id WHERE s.id = $2"""


async def fill(place: Clinic, visits: int) -> None:
    """Many visits of strangers; amina may read and book for bilal, only book for chand, who has seats in classes."""
    person, service = place.people, place.services
    rng = random.Random(7)
    async with place.transaction() as connection:
        await connection.execute(_DOCTORS, DOCTORS, NOW)
        await connection.execute(
            "INSERT INTO person (id, name, created_at)"
            " SELECT gen_random_uuid(), 'P' || n, $2 FROM generate_series(1, $1::int) n",
            PATIENTS,
            NOW,
        )
        patients = [
            row["id"] for row in await connection.fetch("SELECT id FROM person WHERE name LIKE 'P%' ORDER BY name")
        ]
        doctors = await connection.fetch("SELECT id FROM provider WHERE display_name = 'D'")
        each = visits // DOCTORS
        for doctor in doctors:
            await connection.execute(_VISITS, each, NOW, rng.choices(patients, k=each), doctor["id"])
        for whom, rights in (("bilal", "{book,join,read}"), ("chand", "{book}")):
            await connection.execute(
                "INSERT INTO dependant (id, guardian_id, person_id, relation, rights, created_at)"
                " VALUES ($1, $2, $3, 'other', $4::text::text[], $5)",
                uuid7(NOW), person["amina"], person[whom], rights, NOW,
            )  # fmt: skip
        for n in range(60):
            start = NOW + timedelta(hours=rng.randrange(-900, 300))
            patient, by = rng.choice(
                (("amina", "amina"), ("bilal", "bilal"), ("bilal", "chand"), ("chand", "amina"), ("chand", "front"))
            )
            status = rng.choice(("confirmed", "completed", "expired", "cancelled_by_patient", "requested", "held"))
            about = service[rng.choice(("video", "room", "other"))]
            await connection.execute(_ONE, uuid7(NOW), about, person[patient], person[by], status, start)
            if n % 10 == 0:
                made = uuid7(NOW)
                await connection.execute(_ONE, made, service["yoga"], None, person["drsana"], "confirmed", start)
                await connection.execute(
                    "INSERT INTO seat (id, appointment_id, no, patient_id, booked_by, status, price_minor, currency,"
                    " created_at, updated_at) VALUES ($1, $2, 1, $3, $4, 'confirmed', 0, 'PKR', $5, $5)",
                    uuid7(NOW), made, person["chand"], person[("amina", "front", "chand")[n // 10 % 3]], NOW,
                )  # fmt: skip


@pytest_asyncio.fixture
async def place(database: Database, database_url: str) -> Clinic:
    made = await clinic(database)
    await fill(made, VISITS)
    owner = await asyncpg.connect(database_url)
    await owner.execute("ANALYZE")
    await owner.close()
    return made


def rows_read(node: dict[str, Any], table: str) -> int:
    """Rows of ``table`` that a plan looked at, shown or not."""
    below = sum(rows_read(child, table) for child in node.get("Plans", ()))
    if node.get("Relation Name") != table:
        return below
    thrown = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
    return below + round((node["Actual Rows"] + thrown) * node["Actual Loops"])


async def explained(place: Clinic, sql: str, values: Sequence[object]) -> dict[str, Any]:
    async with place.transaction() as connection:
        told = await connection.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", *values)
    plan: dict[str, Any] = (json.loads(told) if isinstance(told, str) else told)[0]
    return plan


def wanted(place: Clinic, who: str, everybody: bool = False, **filters: Any) -> Wanted:
    named = {"patient": place.people, "provider": place.providers, "service": place.services}
    read = {name: named[name][of] if name in named else of for name, of in filters.items()}
    return Wanted(person=place.people[who], day=NOW.date(), everybody=everybody, **{"limit": PAGE, **read})


async def test_a_list_reads_little_more_than_it_shows(place: Clinic) -> None:
    soon = NOW + timedelta(days=1)
    shapes: dict[str, Wanted] = {
        "a patient's own": wanted(place, "amina"),
        "a patient's own, by long pages": wanted(place, "amina", limit=101),
        "a doctor's own, by long pages": wanted(place, "drsana", limit=101),
        "what the desk booked": wanted(place, "front", booked=True),
        "a patient's next": wanted(place, "amina", begin=NOW),
        "a patient's, of one status": wanted(place, "amina", status="confirmed"),
        "of a patient without any": wanted(place, "front"),
        "a doctor's own day": wanted(place, "drsana", begin=NOW, end=soon),
        "the clinic's day": wanted(place, "front", True, begin=NOW, end=soon),
        "the clinic's next page": wanted(place, "front", True, after=(soon, UUID(int=0))),
        "the clinic's requests": wanted(place, "front", True, status="requested"),
        "whom the clinic's doctors missed": wanted(place, "front", True, status="no_show_provider"),
        "a patient's, for the clinic": wanted(place, "front", True, patient="bilal"),
        "a doctor's, for the clinic": wanted(place, "front", True, provider="drsana", begin=NOW),
        "a service's, for the clinic": wanted(place, "front", True, service="room"),
    }
    read = {
        name: rows_read((await explained(place, *statement(shape)))["Plan"], "appointment")
        for name, shape in shapes.items()
    }
    feed = (place.people["amina"], NOW - timedelta(days=90), NOW + timedelta(days=365), 2000)
    read["a calendar feed"] = rows_read((await explained(place, FEED, feed))["Plan"], "appointment")
    assert {name: rows for name, rows in read.items() if rows > FEW} == {}


# what the list means, said once and plainly
_MEANT = """
SELECT a.id, lower(a.during) AS starts_at FROM appointment a JOIN provider p ON p.id = a.provider_id
LEFT JOIN dependant d ON d.guardian_id = $1 AND d.person_id = a.patient_id AND d.ended_at IS NULL
        AND (d.until IS NULL OR d.until > $2)
WHERE ($3 OR a.patient_id = $1 OR p.person_id = $1 OR $13 AND a.booked_by = $1
        OR 'read' = ANY(d.rights) OR 'book' = ANY(d.rights) AND a.booked_by = $1
        OR EXISTS (SELECT FROM seat e LEFT JOIN dependant c ON c.guardian_id = $1 AND c.person_id = e.patient_id
                AND c.ended_at IS NULL AND (c.until IS NULL OR c.until > $2)
            WHERE e.appointment_id = a.id AND e.status = 'confirmed' AND (e.patient_id = $1 OR $13 AND e.booked_by = $1
                OR 'read' = ANY(c.rights) OR 'book' = ANY(c.rights) AND e.booked_by = $1)))
    AND ($4::timestamptz IS NULL OR lower(a.during) >= $4) AND ($5::timestamptz IS NULL OR lower(a.during) < $5)
    AND ($6::text IS NULL OR a.status = $6) AND ($7::uuid IS NULL OR a.provider_id = $7)
    AND ($8::uuid IS NULL OR a.patient_id = $8) AND ($9::uuid IS NULL OR a.service_id = $9)
    AND ($10::timestamptz IS NULL OR (lower(a.during), a.id) > ($10, $11))
    AND (a.status <> 'expired' OR $6 = 'expired')
ORDER BY lower(a.during), a.id LIMIT $12"""


async def test_every_shape_of_question_gives_what_is_meant(database: Database) -> None:
    place = await clinic(database)
    await fill(place, 600)
    rng = random.Random(11)
    seen = 0
    for _ in range(200):
        filters: dict[str, Any] = {}
        for name, of in (
            ("begin", NOW - timedelta(hours=rng.randrange(900))),
            ("end", NOW + timedelta(hours=rng.randrange(300))),
            ("status", rng.choice(("confirmed", "completed", "expired", "requested", "held"))),
            ("provider", rng.choice(("drsana", "drtariq"))),
            ("patient", rng.choice(("amina", "bilal", "chand"))),
            ("service", rng.choice(("video", "other", "yoga"))),
        ):
            if rng.random() < 0.25:
                filters[name] = of
        who = rng.choice(("amina", "bilal", "chand", "drsana", "front"))
        ask = wanted(place, who, rng.random() < 0.3, booked=who == "front", **filters)
        after: tuple[datetime | None, UUID | None] = (None, None)
        async with place.transaction() as connection:
            while True:
                sql, values = statement(ask)
                given = [(row["starts_at"], row["id"]) for row in await connection.fetch(sql, *values)]
                meant = await connection.fetch(
                    _MEANT, ask.person, ask.day, ask.everybody, ask.begin, ask.end, ask.status, ask.provider,
                    ask.patient, ask.service, *after, ask.limit, ask.booked,
                )  # fmt: skip
                assert given == [(row["starts_at"], row["id"]) for row in meant], ask
                seen += len(given)
                if len(given) < PAGE or rng.random() < 0.5:
                    break
                after = given[-1]
                ask = Wanted(**{**{name: getattr(ask, name) for name in Wanted.__struct_fields__}, "after": given[-1]})
    assert seen > 1000


def test_a_status_that_is_none_never_reaches_the_statement() -> None:
    with pytest.raises(ValueError, match="status"):
        statement(Wanted(person=UUID(int=1), day=NOW.date(), everybody=True, limit=1, status="' OR true --"))
