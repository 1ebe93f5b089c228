"""Licences run out: warnings 30, 7 and 1 day before, and at that instant the provider is listed no more.

Search hides by itself (it compares with the clock), so a scheduler that is late shows nobody it should not; the job
makes the end lasting: status, audit, event. Each job looks at the licences again when it runs, so one that was
scheduled for a licence since renewed does nothing.
"""

from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from backplane.audit import Entry, record
from backplane.jobs import Handler, Job, JobRow, schedule, withdraw
from backplane.outbox import Event, emit
from backplane.postgres import Connection
from booking.providers.index import LISTED_UNTIL, reindex

WARN_DAYS: Final = (30, 7, 1)
WARNING: Final = "provider.licence_warning"
EXPIRY: Final = "provider.licence_expiry"


async def valid_until(connection: Connection, provider: UUID) -> datetime | None:
    """When the last verified licence runs out; None: there is none. Without end: the last day of the calendar."""
    until: datetime | None = await connection.fetchval(LISTED_UNTIL, provider)
    return until


async def watch(connection: Connection, provider: UUID, now: datetime) -> None:
    """Schedules what is to come for the licences as they are; to be called after any of them changed."""
    until = await valid_until(connection, provider)
    endless = until is None or until.year >= 9999
    for days in (*WARN_DAYS, 0):
        key = f"licence:{provider}:{days}"
        if endless or until is None or (days and until - timedelta(days=days) <= now):
            await withdraw(connection, key)
        else:
            kind = WARNING if days else EXPIRY
            run_at = until - timedelta(days=days)
            await schedule(connection, Job(key=key, kind=kind, subject=provider, run_at=run_at, payload={"days": days}))


async def warn(connection: Connection, job: JobRow, now: datetime) -> None:
    """Tells that a licence runs out soon."""
    until = await valid_until(connection, job.subject)
    status = await connection.fetchval("SELECT status FROM provider WHERE id = $1", job.subject)
    days = job.payload["days"]
    if until is None or status != "approved" or not isinstance(days, int) or until - timedelta(days=days) > now:
        return
    event = Event(
        type="doctor.licence_expiring",
        aggregate="provider",
        aggregate_id=job.subject,
        payload={"provider": str(job.subject), "days": days},
    )
    await emit(connection, event, now)
    await _audit(connection, "doctor.licence_expiring", job.subject, {"days": days}, now)


async def lapse(connection: Connection, job: JobRow, now: datetime) -> None:
    """Takes a provider off the list whose last licence has run out."""
    status = await connection.fetchval("SELECT status FROM provider WHERE id = $1 FOR UPDATE", job.subject)
    until = await valid_until(connection, job.subject)
    if status != "approved" or until is None or until > now:
        return
    await connection.execute("UPDATE provider SET status = 'suspended', online_until = NULL WHERE id = $1", job.subject)
    await reindex(connection, job.subject, now)
    await connection.execute(
        "INSERT INTO application_review (provider_id, step, for_applicant, at) VALUES ($1, 'lapsed', true, $2)",
        job.subject,
        now,
    )
    event = Event(
        type="doctor.suspended",
        aggregate="provider",
        aggregate_id=job.subject,
        payload={"provider": str(job.subject), "cause": "licence_expired"},
    )
    await emit(connection, event, now)
    await _audit(connection, "doctor.suspended", job.subject, {"cause": "licence_expired"}, now)


async def _audit(connection: Connection, action: str, provider: UUID, facts: dict[str, object], now: datetime) -> None:
    entry = Entry(
        actor=None, actor_role="system", action=action, subject_kind="provider", subject_id=provider, facts=facts
    )
    await record(connection, entry, now)


HANDLERS: Final[dict[str, Handler]] = {WARNING: warn, EXPIRY: lapse}
