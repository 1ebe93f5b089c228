"""One row in every tenant table of one clinic, so that a proof about tables and ids has something to look at.

`fill` writes by SQL what a clinic that has been used would hold. Rows of a table that does not exist (yet) are left
out; a table that is not told of here has no row, and test_tenants fails with its name.
"""

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from hashlib import sha256
from typing import Any
from uuid import UUID

from asyncpg import Range

from backplane.audit import Entry, record
from backplane.ids import uuid7
from backplane.jobs import Job, schedule
from backplane.outbox import Event, emit
from backplane.postgres import Connection
from booking.providers.index import reindex

TABLES = """
    SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id'
    WHERE c.relkind IN ('r', 'p') AND c.relnamespace = current_schema()::regnamespace AND NOT a.attisdropped
    ORDER BY 1"""


@dataclass
class Rows:
    """What was written. ``ids``: table -> primary key of the row that paths may name; a few by another name too."""

    now: datetime
    tables: frozenset[str]
    ids: dict[str, Any] = field(default_factory=dict)

    async def put(self, connection: Connection, table: str, **columns: object) -> UUID:
        """A row with a new ``id``, which is told; without the table, just the id."""
        made = uuid7(self.now)
        if table in self.tables:
            values = {"id": made, **columns}
            places = ", ".join(f"${number}" for number in range(1, len(values) + 1))
            await connection.execute(f"INSERT INTO {table} ({', '.join(values)}) VALUES ({places})", *values.values())
        self.ids.setdefault(table, made)
        return made

    async def link(self, connection: Connection, table: str, **columns: object) -> None:
        """A row of a table whose key is not ``id``."""
        if table in self.tables:
            places = ", ".join(f"${number}" for number in range(1, len(columns) + 1))
            await connection.execute(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({places})", *columns.values())


async def fill(connection: Connection, people: dict[str, UUID], now: datetime) -> Rows:
    """``people``: by role; doctor, patient and clinic_admin must be there."""
    rows = Rows(now, frozenset(row["relname"] for row in await connection.fetch(TABLES)))
    rows.ids["person"] = people["patient"]
    await _practice(connection, rows, people["doctor"])
    await _calendar(connection, rows, people["patient"])
    await _people(connection, rows, people)
    await _visits(connection, rows, people)
    await _plumbing(connection, rows, people)
    return rows


async def _practice(connection: Connection, rows: Rows, doctor: UUID) -> None:
    now, ids = rows.now, rows.ids
    await rows.put(connection, "location", name="Main Road", timezone="Asia/Karachi", created_at=now)
    await rows.put(
        connection, "provider", person_id=doctor, status="approved", slug="dr-asma", display_name="Dr Asma",
        languages=["en", "ur"], specialties=["general-practice"], timezone="Asia/Karachi",
        location_id=ids["location"], online_until=now + timedelta(days=1), next_free_at=now + timedelta(hours=3),
        created_at=now,
    )  # fmt: skip
    await rows.put(
        connection, "service", provider_id=ids["provider"], location_id=ids["location"], name="Consultation",
        kind="video", minutes=20, notice_minutes=0, price_minor=150_000, created_at=now,
    )  # fmt: skip
    ids["class"] = await rows.put(
        connection, "service", provider_id=ids["provider"], name="Breathing", kind="class", minutes=60, capacity=8,
        created_at=now,
    )  # fmt: skip
    await rows.put(
        connection, "document", owner_id=doctor, provider_id=ids["provider"], kind="licence",
        media_type="application/pdf", bytes=4, sha256=sha256(b"%PDF").digest(), scan="clean", created_at=now,
    )  # fmt: skip
    await rows.put(
        connection, "credential", provider_id=ids["provider"], kind="licence", number="12345-P", issuer="PMDC",
        country="PK", expires_at=now + timedelta(days=300), document_id=ids["document"], state="verified",
        created_at=now,
    )  # fmt: skip
    await rows.link(connection, "application", provider_id=ids["provider"], waiting_for="nobody", applied_at=now)
    await rows.link(
        connection, "application_review", provider_id=ids["provider"], step="applied", actor_id=doctor, at=now
    )
    async with connection.transaction():
        await reindex(connection, ids["provider"], now)


async def _calendar(connection: Connection, rows: Rows, person: UUID) -> None:
    now, ids = rows.now, rows.ids
    today = now.date()
    await rows.put(
        connection, "schedule", provider_id=ids["provider"], name="Week", timezone="Asia/Karachi", created_at=now
    )
    await rows.put(connection, "schedule_rule", schedule_id=ids["schedule"], opens=time(9), closes=time(17))
    await rows.link(connection, "schedule_override", schedule_id=ids["schedule"], day=date(2030, 1, 2))
    await rows.put(
        connection, "holiday", provider_id=ids["provider"], name="Eid", first_day=today + timedelta(days=40),
        last_day=today + timedelta(days=41), created_at=now,
    )  # fmt: skip
    await rows.put(
        connection, "ics_source", provider_id=ids["provider"], name="Home", url="https://calendar.example/a.ics",
        created_at=now,
    )  # fmt: skip
    during = Range(now + timedelta(days=50), now + timedelta(days=50, hours=1))
    await rows.put(connection, "busy", provider_id=ids["provider"], during=during)
    secret = sha256(person.bytes).digest()
    await rows.put(connection, "feed", person_id=person, secret_hash=secret, created_at=now)


async def _people(connection: Connection, rows: Rows, people: dict[str, UUID]) -> None:
    now, ids = rows.now, rows.ids
    patient, doctor, admin = people["patient"], people["doctor"], people["clinic_admin"]
    soon = now + timedelta(hours=1)
    for role, person in people.items():
        if role != "anonymous":
            made = await rows.put(
                connection, "identity", person_id=person, kind="email", value=f"{role}@example.com", verified_at=now,
                created_at=now,
            )  # fmt: skip
            ids[f"identity of {role}"] = made
    await rows.link(connection, "password", person_id=patient, hash="$argon2id$none", changed_at=now)
    await rows.put(
        connection, "code", kind="email", value="patient@example.com", deed="sign_in", mac=b"0" * 32, created_at=now,
        expires_at=soon,
    )  # fmt: skip
    await rows.link(connection, "totp", person_id=doctor, secret_sealed="none", tries_since=now, created_at=now)
    await rows.link(connection, "recovery_code", person_id=doctor, mac=b"1" * 32)
    await rows.put(
        connection, "passkey", person_id=doctor, credential_id=b"credential", public_key=b"key", sign_count=0,
        rp_id="localhost", created_at=now,
    )  # fmt: skip
    await rows.put(connection, "passkey_challenge", person_id=doctor, challenge=b"challenge", expires_at=soon)
    ward = await rows.put(connection, "person", name="Little One", created_at=now)
    ids["person"] = patient
    await rows.put(
        connection, "dependant", guardian_id=patient, person_id=ward, relation="child", rights=["book", "join"],
        created_at=now,
    )  # fmt: skip
    await rows.put(
        connection, "invite", email="new@example.com", role="staff", created_by=admin, created_at=now,
        expires_at=now + timedelta(days=3),
    )  # fmt: skip
    provider = await rows.put(
        connection, "oidc_provider", name="hospital", label="Hospital", issuer="https://issuer.example",
        client_id="clinic", client_secret_sealed="none", created_at=now,
    )  # fmt: skip
    await rows.link(
        connection, "oidc_login", state_hash=sha256(provider.bytes).digest(), provider_id=provider,
        browser_hash=b"2" * 32, nonce="nonce", verifier_sealed="none", redirect_uri="https://a.example/",
        return_to="/", expires_at=soon,
    )  # fmt: skip


async def appointment(
    connection: Connection, rows: Rows, patient: UUID, start: datetime, status: str = "confirmed", **more: object
) -> UUID:
    """A visit of the clinic's doctor."""
    end = start + timedelta(minutes=20)
    number = await connection.fetchval("SELECT no FROM provider WHERE id = $1", rows.ids["provider"])
    return await rows.put(
        connection, "appointment", **{
            "provider_id": rows.ids["provider"], "provider_no": number, "service_id": rows.ids["service"],
            "patient_id": patient, "booked_by": patient, "kind": "video", "status": status,
            "during": Range(start, end), "occupied": Range(start, end), "provider_timezone": "Asia/Karachi",
            "local_text": f"{start:%Y-%m-%d %H:%M}", "created_at": rows.now, "updated_at": rows.now, **more,
        },
    )  # fmt: skip


async def _visits(connection: Connection, rows: Rows, people: dict[str, UUID]) -> None:
    now, ids = rows.now, rows.ids
    patient, doctor = people["patient"], people["doctor"]
    visit = await appointment(connection, rows, patient, now + timedelta(minutes=10))
    ids["hold"] = await appointment(
        connection, rows, patient, now + timedelta(days=3), "held", hold_until=now + timedelta(minutes=10)
    )
    ids["requested"] = await appointment(connection, rows, patient, now + timedelta(days=4), "requested")
    ids["session"] = await appointment(
        connection, rows, patient, now + timedelta(days=5), kind="class", service_id=ids["class"], patient_id=None,
        capacity=8, seats_taken=1,
    )  # fmt: skip
    await rows.link(
        connection, "transition", appointment_id=visit, action="book", to_status="confirmed", actor=patient,
        actor_role="patient", at=now,
    )  # fmt: skip
    await rows.put(
        connection, "seat", appointment_id=ids["session"], no=1, patient_id=patient, booked_by=patient,
        status="confirmed", price_minor=0, currency="PKR", created_at=now, updated_at=now,
    )  # fmt: skip
    await rows.put(
        connection, "series", service_id=ids["service"], patient_id=patient, rrule="FREQ=WEEKLY;COUNT=2",
        starts_at=now + timedelta(days=3), created_by=patient, created_at=now,
    )  # fmt: skip
    await rows.put(
        connection, "waitlist_entry", service_id=ids["service"], provider_id=ids["provider"], patient_id=patient,
        booked_by=patient, during=Range(now, now + timedelta(days=9)), created_at=now,
    )  # fmt: skip
    await rows.link(connection, "visit", appointment_id=visit, last_message=1)
    await rows.put(
        connection, "join_invite", appointment_id=visit, kind="interpreter", name="Zara", language="ur",
        made_by=doctor, made_at=now,
    )  # fmt: skip
    await rows.link(connection, "visit_seat", appointment_id=visit, seat="patient", holder=patient, state="waiting")
    day = now.astimezone(UTC).date()
    await rows.link(connection, "queue_day", provider_id=ids["provider"], day=day, last_no=2)
    ticket: dict[str, object] = {
        "provider_id": ids["provider"], "day": day, "patient_id": patient, "state": "waiting", "joined_at": now,
        "seen_at": now,
    }  # fmt: skip
    first = await rows.put(connection, "queue_ticket", no=1, kind="booked", rank=1, appointment_id=visit, **ticket)
    second = await rows.put(connection, "queue_ticket", no=2, kind="walk_in", rank=2, **ticket)
    await rows.link(
        connection, "queue_swap", first_ticket=first, second_ticket=second, reason="urgent", actor=doctor, at=now
    )
    await rows.link(
        connection, "waiting_message", appointment_id=visit, seq=1, from_seat="patient", sender=patient,
        body="On my way", at=now,
    )  # fmt: skip
    await rows.put(
        connection, "call_session", appointment_id=visit, epoch=1, seat="patient", holder=patient, call_key="c",
        joined_at=now,
    )  # fmt: skip
    request = await rows.put(
        connection, "instant_request", patient_id=patient, specialty="general-practice", language="en",
        state="ringing", ring_until=now + timedelta(minutes=5), created_at=now,
    )  # fmt: skip
    await rows.link(connection, "instant_ring", request_id=request, provider_id=ids["provider"], ring=1, rung_at=now)
    await rows.put(
        connection, "mail", person_id=patient, appointment_id=visit, kind="appointment.confirmed", dedupe="one",
        created_at=now,
    )  # fmt: skip


async def _plumbing(connection: Connection, rows: Rows, people: dict[str, UUID]) -> None:
    now, patient = rows.now, people["patient"]
    fact = {"person": str(patient)}
    async with connection.transaction():
        await emit(connection, Event(type="user.seen", aggregate="person", aggregate_id=patient, payload=fact), now)
        await schedule(connection, Job(key="proof", kind="proof", subject=patient, run_at=now + timedelta(days=999)))
        await record(
            connection,
            Entry(actor=patient, actor_role="patient", action="proof", subject_kind="person", subject_id=patient),
            now,
        )
    await rows.link(
        connection, "idempotency", principal=str(patient), route="GET /", key="12345678", fingerprint=b"3" * 32,
        state="done", expires_at=now + timedelta(days=3),
    )  # fmt: skip
