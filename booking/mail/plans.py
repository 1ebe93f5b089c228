"""Which mails an event asks for: a row in the log and a job each, written with the note that the event is dealt with.

An event says that something happened; whether the mail is still true is asked when it is sent (`delivery`). A move or a
cancellation withdraws the reminders at once, a move plans them anew. Reminders count back from the start in absolute
time. A mail is known by its dedupe text, so an event that comes again plans nothing new.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from msgspec import Struct

from backplane.consumers import Consumer, Handler
from backplane.ids import uuid7
from backplane.jobs import Job, schedule, withdraw
from backplane.outbox import Fact, Scalar
from backplane.postgres import Connection, Row

JOB: Final = "mail"
VISITS_PAGE: Final = "/visits"
REMINDERS: Final[Mapping[str, timedelta]] = {
    "reminder_24h": timedelta(hours=24),
    "reminder_1h": timedelta(hours=1),
    "reminder_10m": timedelta(minutes=10),
}
# what the patient and the doctor are told when something happens to an appointment
NOTICES: Final[Mapping[str, tuple[str, str | None]]] = {
    "appointment.requested": ("request", "doctor_request"),
    "appointment.booked": ("confirmation", "doctor_booked"),
    "appointment.accepted": ("accepted", None),
    "appointment.declined": ("declined", None),
    "appointment.rescheduled": ("changed", "doctor_changed"),
    "appointment.cancelled": ("cancelled", "doctor_cancelled"),
}
_REMINDED: Final = frozenset({"appointment.booked", "appointment.accepted", "appointment.rescheduled"})

# The patient's own address, else those of people who may book for them, else nobody's (the log then says so).
_READERS: Final = """
SELECT person_id FROM identity WHERE person_id = $1 AND kind = 'email'
UNION SELECT guardian_id FROM dependant JOIN identity ON identity.person_id = guardian_id AND kind = 'email'
    WHERE dependant.person_id = $1 AND 'book' = ANY(rights) AND ended_at IS NULL AND (until IS NULL OR until >= $2)
        AND NOT EXISTS (SELECT FROM identity WHERE person_id = $1 AND kind = 'email')"""

# Those who were told of a class and not that it is off.
_IN_CLASS: Final = """
SELECT DISTINCT person_id FROM mail told WHERE appointment_id = $1 AND kind IN ('confirmation', 'accepted', 'request')
    AND NOT EXISTS (SELECT FROM mail WHERE appointment_id = $1 AND person_id = told.person_id
        AND kind IN ('cancelled', 'declined') AND id > told.id)"""


class Notice(Struct, frozen=True, kw_only=True):
    """A mail to one person. ``dedupe``: unique in the tenant. ``key`` of its job; a job of the same key is replaced.
    ``facts`` are ids and minimal facts that sending needs, see `delivery`."""

    kind: str
    person: UUID
    dedupe: str
    key: str
    run_at: datetime
    appointment: UUID | None = None
    facts: Mapping[str, Scalar] = {}


async def plan(connection: Connection, notice: Notice, now: datetime) -> bool:
    """Logs and schedules the mail in the caller's transaction; False when this dedupe text was planned before and not
    withdrawn since."""
    mail: UUID | None = await connection.fetchval(
        """INSERT INTO mail (id, person_id, appointment_id, kind, dedupe, created_at) VALUES ($1, $2, $3, $4, $5, $6)
           ON CONFLICT (tenant_id, dedupe) DO UPDATE SET state = 'queued' WHERE mail.state = 'withdrawn'
           RETURNING id""",
        uuid7(now),
        notice.person,
        notice.appointment,
        notice.kind,
        notice.dedupe,
        now,
    )
    if mail is None:
        return False
    job = Job(key=notice.key, kind=JOB, subject=mail, run_at=notice.run_at, payload=notice.facts)
    await schedule(connection, job)
    return True


async def post(
    connection: Connection,
    kind: str,
    person: UUID,
    dedupe: str,
    now: datetime,
    *,
    path: str | None = None,
    until: datetime | None = None,
) -> bool:
    """A mail at once that is not about an appointment, such as a waitlist offer. ``path``: where its link leads on the
    clinic's address, ids only; after ``until`` it is not sent, and its words may say so."""
    facts = {"path": path, "until": until.isoformat() if until else None}
    key = f"mail:{dedupe}"
    return await plan(
        connection, Notice(kind=kind, person=person, dedupe=dedupe, key=key, run_at=now, facts=facts), now
    )


async def told(connection: Connection, fact: Fact, now: datetime) -> None:
    """Plans what an appointment's event asks for."""
    appointment = await connection.fetchrow(
        """SELECT a.id, a.patient_id, lower(a.during) AS start, a.ics_sequence, a.status, p.person_id AS doctor
           FROM appointment a JOIN provider p ON p.id = a.provider_id WHERE a.id = $1""",
        fact.aggregate_id,
    )
    if appointment is None:
        return
    sequence = fact.payload.get("sequence", appointment["ics_sequence"])
    for_patient, for_doctor = NOTICES[fact.type]
    patients = await _patients(connection, appointment, fact)
    for patient in patients:
        if fact.type not in _REMINDED or fact.type == "appointment.rescheduled":
            await withdraw_reminders(connection, appointment["id"], patient)
        for reader in await _readers(connection, patient, now):
            facts = {"sequence": sequence, "patient": str(patient)}
            await plan(connection, _now(fact, for_patient, reader, f":{patient}", facts, now), now)
            if fact.type in _REMINDED and appointment["status"] == "confirmed":
                await _remind(connection, appointment, patient, reader, now)
    # of a class the doctor is told as a whole, and not that it was opened
    whole = appointment["patient_id"] is not None or (
        not fact.payload.get("patient") and fact.type != "appointment.booked"
    )
    if for_doctor is not None and whole:
        await plan(connection, _now(fact, for_doctor, appointment["doctor"], "", {"sequence": sequence}, now), now)


async def over(connection: Connection, fact: Fact, now: datetime) -> None:
    """An appointment that has begun or ended needs no reminder."""
    await withdraw_reminders(connection, fact.aggregate_id, None)


async def licence_expiring(connection: Connection, fact: Fact, now: datetime) -> None:
    """Warns the doctor."""
    doctor: UUID | None = await connection.fetchval("SELECT person_id FROM provider WHERE id = $1", fact.aggregate_id)
    if doctor is not None:
        await post(connection, "licence_expiry", doctor, f"licence:{fact.id}", now)


async def waitlist_offered(connection: Connection, fact: Fact, now: datetime) -> None:
    """Asks who is next in the line; the offer is a hold in their name."""
    entry = await connection.fetchrow(
        """SELECT w.patient_id, w.offer_id, w.offer_until, a.ics_sequence FROM waitlist_entry w
               JOIN appointment a ON a.id = w.offer_id
           WHERE w.id = $1 AND w.state = 'offered'""",
        fact.aggregate_id,
    )
    if entry is None:
        return
    for reader in await _readers(connection, entry["patient_id"], now):
        facts = {
            "sequence": entry["ics_sequence"],
            "patient": str(entry["patient_id"]),
            "until": entry["offer_until"].isoformat(),
            "path": VISITS_PAGE,
        }
        dedupe = f"{fact.id}:waitlist_offer:{reader}"
        notice = Notice(
            kind="waitlist_offer",
            person=reader,
            dedupe=dedupe,
            key=f"mail:{dedupe}",
            run_at=now,
            appointment=entry["offer_id"],
            facts=facts,
        )
        await plan(connection, notice, now)


async def withdraw_reminders(connection: Connection, appointment: UUID, patient: UUID | None) -> None:
    """Takes back the reminders of one patient, or of all, that have not been sent."""
    rows = await connection.fetch(
        """UPDATE mail SET state = 'withdrawn' WHERE id IN (
               SELECT mail.id FROM mail JOIN job ON job.subject = mail.id AND job.kind = $4
               WHERE mail.appointment_id = $1 AND mail.state = 'queued' AND mail.kind = ANY($2)
                   AND ($3::text IS NULL OR job.payload->>'patient' = $3))
           RETURNING kind, person_id, (SELECT key FROM job WHERE subject = mail.id AND kind = $4) AS key""",
        appointment,
        list(REMINDERS),
        None if patient is None else str(patient),
        JOB,
    )
    for row in rows:
        await withdraw(connection, row["key"])


async def _remind(connection: Connection, appointment: Row, patient: UUID, reader: UUID, now: datetime) -> None:
    start: datetime = appointment["start"]
    for kind, before in REMINDERS.items():
        if start - before <= now:
            continue
        key = f"mail:{appointment['id']}:{patient}:{reader}:{kind}"
        notice = Notice(
            kind=kind,
            person=reader,
            # a move makes another mail of it, the same event again does not
            dedupe=f"{key}:{start.isoformat()}:{appointment['ics_sequence']}",
            key=key,
            run_at=start - before,
            appointment=appointment["id"],
            facts={"sequence": appointment["ics_sequence"], "patient": str(patient)},
        )
        await plan(connection, notice, now)


def _now(fact: Fact, kind: str, person: UUID, whose: str, facts: Mapping[str, Scalar], now: datetime) -> Notice:
    dedupe = f"{fact.id}:{kind}:{person}{whose}"
    return Notice(
        kind=kind,
        person=person,
        dedupe=dedupe,
        key=f"mail:{dedupe}",
        run_at=now,
        appointment=fact.aggregate_id,
        facts=facts,
    )


async def _patients(connection: Connection, appointment: Row, fact: Fact) -> list[UUID]:
    """Whom an event concerns: the patient, who took a seat of a class, or all who did."""
    if appointment["patient_id"] is not None:
        return [appointment["patient_id"]]
    named = fact.payload.get("patient")
    if named:
        return [UUID(str(named))]
    rows = await connection.fetch(_IN_CLASS, appointment["id"])
    return [row["person_id"] for row in rows]


async def _readers(connection: Connection, patient: UUID, now: datetime) -> list[UUID]:
    rows = await connection.fetch(_READERS, patient, now.date())
    return [row["person_id"] for row in rows] or [patient]


_ENDS: Final = ("expired", "started", "interrupted", "completed", "no_show")
HANDLERS: Final[Mapping[str, Handler]] = {
    **dict.fromkeys(NOTICES, told),
    **{f"appointment.{end}": over for end in _ENDS},
    "doctor.licence_expiring": licence_expiring,
    "waitlist.offered": waitlist_offered,
}
CONSUMER: Final = Consumer("mail", HANDLERS)
