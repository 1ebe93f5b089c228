"""Which mails an event asks for: a row in the log and a job each, written with the note that the event is dealt with.

An event says that something happened; whether the mail is still true is asked when it is sent (`delivery`). A move or a
cancellation withdraws the reminders at once, a move plans them anew. Reminders count back from the start in absolute
time. A mail is known by its dedupe text, so an event that comes again plans nothing new.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from msgspec import Struct

from backplane.consumers import Batched, Consumer, Handler
from backplane.ids import uuid7
from backplane.jobs import Job, schedule_all, withdraw
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

_VISITS: Final = """
SELECT a.id, a.patient_id, lower(a.during) AS start, a.ics_sequence, a.status, p.person_id AS doctor,
    EXISTS (SELECT FROM identity WHERE person_id = p.person_id AND kind = 'email') AS doctor_reads
FROM appointment a JOIN provider p ON p.id = a.provider_id WHERE a.id = ANY($1)"""

# The patient's own address, else those of people who may book for them, else nobody's (the log then says so).
_READERS: Final = """
SELECT person_id AS patient, person_id AS reader FROM identity WHERE person_id = ANY($1) AND kind = 'email'
UNION SELECT dependant.person_id, guardian_id
    FROM dependant JOIN identity ON identity.person_id = guardian_id AND kind = 'email'
    WHERE dependant.person_id = ANY($1) AND 'book' = ANY(rights) AND ended_at IS NULL
        AND (until IS NULL OR until > $2)
        AND NOT EXISTS (SELECT FROM identity own WHERE own.person_id = dependant.person_id AND own.kind = 'email')"""

# Sorted, so that two who write the same do not lock.
_LOG: Final = """
INSERT INTO mail (id, person_id, appointment_id, kind, dedupe, state, last_error, created_at)
SELECT *, $8 FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::text[])
    AS asked (id, person, appointment, kind, dedupe) ORDER BY asked.dedupe
ON CONFLICT (tenant_id, dedupe) DO UPDATE SET state = excluded.state, last_error = excluded.last_error
    WHERE mail.state = 'withdrawn'
RETURNING id, dedupe"""

# Those who were told of a class and not that it is off.
_IN_CLASS: Final = """
SELECT DISTINCT person_id FROM mail told WHERE appointment_id = $1 AND kind IN ('confirmation', 'accepted', 'request')
    AND NOT EXISTS (SELECT FROM mail WHERE appointment_id = $1 AND person_id = told.person_id
        AND kind IN ('cancelled', 'declined') AND id > told.id)"""


class Notice(Struct, frozen=True, kw_only=True):
    """A mail to one person. ``dedupe``: unique in the tenant. ``key`` of its job; a job of the same key is replaced.
    ``facts`` are ids and minimal facts that sending needs, see `delivery`. ``addressed``: False when it is due at once
    and there is no address for it: it is noted as skipped and needs no job."""

    kind: str
    person: UUID
    dedupe: str
    key: str
    run_at: datetime
    appointment: UUID | None = None
    facts: Mapping[str, Scalar] = {}
    addressed: bool = True


async def plan(connection: Connection, notice: Notice, now: datetime) -> bool:
    """Logs and schedules the mail in the caller's transaction; False when this dedupe text was planned before and not
    withdrawn since."""
    return bool(await plan_all(connection, [notice], now))


async def plan_all(connection: Connection, notices: Sequence[Notice], now: datetime) -> int:
    """As `plan`, several in two statements; how many are new."""
    if not notices:
        return 0
    rows = await connection.fetch(
        _LOG,
        [uuid7(now) for _ in notices],
        [notice.person for notice in notices],
        [notice.appointment for notice in notices],
        [notice.kind for notice in notices],
        [notice.dedupe for notice in notices],
        ["queued" if notice.addressed else "skipped" for notice in notices],
        [None if notice.addressed else "no_address" for notice in notices],
        now,
    )
    new = {row["dedupe"]: row["id"] for row in rows}
    jobs = [
        Job(key=notice.key, kind=JOB, subject=new[notice.dedupe], run_at=notice.run_at, payload=notice.facts)
        for notice in notices
        if notice.dedupe in new and notice.addressed
    ]
    if jobs:
        await schedule_all(connection, jobs)
    return len(new)


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


async def told(connection: Connection, events: Sequence[Fact], now: datetime) -> None:
    """Plans what events ask for, each of another appointment."""
    rows = await connection.fetch(_VISITS, [fact.aggregate_id for fact in events])
    appointments = {row["id"]: row for row in rows}
    concerned = [
        (fact, appointments[fact.aggregate_id], await _patients(connection, appointments[fact.aggregate_id], fact))
        for fact in events
        if fact.aggregate_id in appointments
    ]
    readers = await _readers(connection, {each for _, _, patients in concerned for each in patients}, now)
    notices: list[Notice] = []
    for fact, appointment, patients in concerned:
        if fact.type not in _REMINDED or fact.type == "appointment.rescheduled":
            for patient in patients:
                await withdraw_reminders(connection, appointment["id"], patient)
        notices += _asked_for(fact, appointment, patients, readers, now)
    await plan_all(connection, notices, now)


def _asked_for(
    fact: Fact, appointment: Row, patients: Sequence[UUID], readers: Mapping[UUID, Sequence[UUID]], now: datetime
) -> Iterator[Notice]:
    sequence = fact.payload.get("sequence", appointment["ics_sequence"])
    for_patient, for_doctor = NOTICES[fact.type]
    for patient in patients:
        # without a reader the patient: who has no address now may have one when a reminder is due
        for reader in readers.get(patient) or [patient]:
            facts = {"sequence": sequence, "patient": str(patient)}
            yield _now(fact, for_patient, reader, f":{patient}", facts, now, addressed=patient in readers)
            if fact.type in _REMINDED and appointment["status"] == "confirmed":
                yield from _reminders(appointment, patient, reader, now)
    # of a class the doctor is told as a whole, and not that it was opened
    whole = appointment["patient_id"] is not None or (
        not fact.payload.get("patient") and fact.type != "appointment.booked"
    )
    if for_doctor is not None and whole:
        facts = {"sequence": sequence}
        yield _now(fact, for_doctor, appointment["doctor"], "", facts, now, addressed=appointment["doctor_reads"])


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
    readers = await _readers(connection, {entry["patient_id"]}, now)
    for reader in readers.get(entry["patient_id"]) or [entry["patient_id"]]:
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


def _reminders(appointment: Row, patient: UUID, reader: UUID, now: datetime) -> Iterator[Notice]:
    start: datetime = appointment["start"]
    for kind, before in REMINDERS.items():
        if start - before <= now:
            continue
        key = f"mail:{appointment['id']}:{patient}:{reader}:{kind}"
        yield Notice(
            kind=kind,
            person=reader,
            # a move makes another mail of it, the same event again does not
            dedupe=f"{key}:{start.isoformat()}:{appointment['ics_sequence']}",
            key=key,
            run_at=start - before,
            appointment=appointment["id"],
            facts={"sequence": appointment["ics_sequence"], "patient": str(patient)},
        )


def _now(
    fact: Fact, kind: str, person: UUID, whose: str, facts: Mapping[str, Scalar], now: datetime, *, addressed: bool
) -> Notice:
    dedupe = f"{fact.id}:{kind}:{person}{whose}"
    return Notice(
        kind=kind,
        person=person,
        dedupe=dedupe,
        key=f"mail:{dedupe}",
        run_at=now,
        appointment=fact.aggregate_id,
        facts=facts,
        addressed=addressed,
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


async def _readers(connection: Connection, patients: Collection[UUID], now: datetime) -> dict[UUID, list[UUID]]:
    """Who reads the mails of whom; nobody is named in vain."""
    found: dict[UUID, list[UUID]] = {}
    for row in await connection.fetch(_READERS, patients, now.date()):
        found.setdefault(row["patient"], []).append(row["reader"])
    return found


_ENDS: Final = ("expired", "started", "interrupted", "completed", "no_show")
HANDLERS: Final[Mapping[str, Handler | Batched]] = {
    **dict.fromkeys(NOTICES, Batched(told)),
    **{f"appointment.{end}": over for end in _ENDS},
    "doctor.licence_expiring": licence_expiring,
    "waitlist.offered": waitlist_offered,
}
CONSUMER: Final = Consumer("mail", HANDLERS, at_once=200)
