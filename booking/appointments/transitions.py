"""The only way an appointment begins or changes: row, transition, audit and event in one statement.

`begin` inserts one appointment, or a batch, with ON CONFLICT DO NOTHING: the exclusion constraint decides who has the
time; who has not waits for the winner's commit and gets nothing, without an error and without a deadlock (BOOKING 3.4).
Holds that are over are ended first, in the same statement: the constraint is checked against the index as it is at that
moment, and a tuple that the same transaction has just replaced counts no more, provided that the update has run; the
insert reads the update's output to make sure of it.

A change that leaves the appointment alive is held against the constraint anew, and would wait for a move that is under
way into its time while that move waits for it. So movers take the provider's row, everybody else who changes something
living takes it in share mode first (`calm`), and so does whoever begins an appointment and goes on with it in the same
transaction. An insert alone needs no lock: with ON CONFLICT it gives way.

`change` is compare-and-swap: status and version must still be what the caller saw. Every row in the CTE ``changed``,
whatever made it, is told by the same tail, so there are as many transitions as audit entries as events, on every path.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final
from uuid import UUID

import asyncpg
import msgspec
from asyncpg import Range

from backplane.outbox import CHANNEL
from backplane.postgres import Connection, Row
from booking.appointments.machine import LIVE
from booking.appointments.machine import Row as Step


@dataclass(frozen=True, slots=True)
class Command:
    """Who does something, in which role, for what cause (a code, never free text). ``actor`` None: the system."""

    actor: UUID | None
    role: str
    now: datetime
    cause: str = ""

    def because(self, cause: str) -> "Command":
        return replace(self, cause=cause)


def system(now: datetime, cause: str = "") -> Command:
    return Command(None, "system", now, cause)


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """An appointment about to begin. ``patient`` None: a class. ``id``: known before the row exists, so that money can
    be posted against it."""

    id: UUID
    tenant: int
    provider: UUID
    provider_no: int
    service: UUID
    location: UUID | None
    patient: UUID | None
    booked_by: UUID | None
    kind: str
    during: Range[datetime]
    occupied: Range[datetime]
    price_minor: int
    currency: str
    provider_timezone: str
    local_text: str
    patient_timezone: str = "UTC"
    hold_until: datetime | None = None
    payment: str = "none"
    payment_ref: str | None = None
    reason: str = ""
    series: UUID | None = None
    capacity: int = 1
    overridden: bool = False


class TimeTaken(Exception):
    """Another live appointment of the provider has (a part of) the time. The transaction is spoilt."""


# What consumers get. Times in UTC to the second.
_INSTANT: Final = """to_char({} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')"""
_PAYLOAD: Final = f"""jsonb_build_object(
    'appointment', c.id, 'provider', c.provider_id, 'service', c.service_id, 'patient', c.of_patient,
    'status', c.to_status, 'start', {_INSTANT.format("lower(c.during)")}, 'end', {_INSTANT.format("upper(c.during)")},
    'sequence', c.ics_sequence, 'epoch', c.join_epoch, 'cause', c.cause, 'seat', c.seat_id)"""

# The tail of every statement. ``$1`` is the time. In `changed`: the columns of appointment that are read here, and
# of_patient, seat_id, action, from_status, to_status, event, actor, actor_role, cause.
TELL: Final = f"""
noted AS (
    INSERT INTO transition (tenant_id, appointment_id, seat_id, action, from_status, to_status, actor, actor_role,
        cause, at)
    SELECT c.tenant_id, c.id, c.seat_id, c.action, c.from_status, c.to_status, c.actor, c.actor_role, c.cause, $1
    FROM changed c
), audited AS (
    INSERT INTO audit_entry (tenant_id, at, actor, actor_role, action, subject_kind, subject_id, facts)
    SELECT c.tenant_id, $1, c.actor, c.actor_role, 'appointment.' || c.action, 'appointment', c.id,
        jsonb_strip_nulls(jsonb_build_object('from', c.from_status, 'to', c.to_status, 'cause', nullif(c.cause, ''),
            'seat', c.seat_id, 'overridden', nullif(c.overridden, false),
            'start', {_INSTANT.format("lower(c.during)")}))
    FROM changed c
), sent AS (
    INSERT INTO outbox (event_id, tenant_id, aggregate, aggregate_id, type, payload, at)
    SELECT gen_random_uuid(), c.tenant_id, 'appointment', c.id, c.event, {_PAYLOAD}, $1 FROM changed c
)"""
WAKE: Final = f"(SELECT count(pg_notify('{CHANNEL}', '')) FROM outbox_relay WHERE asleep)"
# what the tail reads of the row itself
TOLD: Final = """a.id, a.tenant_id, a.provider_id, a.service_id, a.during, a.ics_sequence, a.join_epoch, a.overridden,
    a.version"""

# The 25 hours are `guards.LONGEST_HOLD`. Status twice: without it the planner may walk through all appointments of the
# clinic to find those ids
_EXPIRE: Final = """
    UPDATE appointment a SET status = 'expired', hold_until = NULL, version = a.version + 1, updated_at = $1
    WHERE a.status = 'held' AND a.id = ANY(ARRAY(
        SELECT h.id FROM appointment h WHERE {due} AND h.status = 'held'
            AND (h.hold_until <= $1 OR h.hold_until > $1 + interval '25 hours') {limit}
        FOR UPDATE SKIP LOCKED))"""
_EXPIRED: Final = f"""{TOLD}, a.patient_id AS of_patient, NULL::uuid AS seat_id, 'expire'::text AS action,
    'held'::text AS from_status, 'expired'::text AS to_status, 'hold.expired'::text AS event, NULL::uuid AS actor,
    'system'::text AS actor_role, 'too_old'::text AS cause"""
_MADE: Final = """m.id, m.tenant_id, m.provider_id, m.service_id, m.during, m.ics_sequence, m.join_epoch, m.overridden,
    m.version, m.of_patient, m.seat_id, d.action, m.from_status, m.to_status, d.event, d.actor, d.actor_role, d.cause"""


@dataclass(frozen=True, slots=True)
class Beginning:
    """An appointment that is to begin, and by which step and command."""

    draft: Draft
    step: Step
    command: Command
    status: str


@dataclass(frozen=True, slots=True)
class Begun:
    """An appointment that has just begun, as it stands in the database."""

    draft: Draft
    status: str
    at: datetime

    @property
    def id(self) -> UUID:
        return self.draft.id


# Rows go in by the order of providers, each once: a batch may wait for another batch, or for whoever moves a visit of
# one provider, but never in a circle. For the same reason overdue holds are ended for one appointment alone: a batch
# would keep the rows of several providers locked while it waits.
_BEGIN: Final = f"""
WITH wanted AS (
    SELECT * FROM json_to_recordset($2) AS d (id uuid, tenant bigint, provider uuid, provider_no bigint, service uuid,
        location uuid, patient uuid, booked_by uuid, kind text, since timestamptz, until timestamptz,
        occupied_since timestamptz, occupied_until timestamptz, status text, price_minor bigint, currency text,
        provider_timezone text, local_text text, patient_timezone text, hold_until timestamptz, payment text,
        payment_ref text, reason text, series uuid, capacity smallint, overridden boolean, action text, event text,
        actor uuid, actor_role text, cause text)
), single AS (
    SELECT d.provider, tstzrange(d.occupied_since, d.occupied_until) AS occupied
    FROM wanted d WHERE (SELECT count(*) FROM wanted) = 1
), expired AS ({
    _EXPIRE.format(
        due="h.provider_id = (SELECT provider FROM single) AND h.occupied && (SELECT occupied FROM single)",
        limit="",
    )
} RETURNING {_EXPIRED}),
made AS (
    INSERT INTO appointment AS a (id, tenant_id, provider_id, provider_no, service_id, location_id, patient_id,
        booked_by, kind, during, occupied, status, price_minor, currency, provider_timezone, local_text,
        patient_timezone, hold_until, payment, payment_ref, reason, series_id, capacity, overridden, created_at,
        updated_at)
    SELECT d.id, d.tenant, d.provider, d.provider_no, d.service, d.location, d.patient, d.booked_by, d.kind,
        tstzrange(d.since, d.until), tstzrange(d.occupied_since, d.occupied_until), d.status, d.price_minor,
        d.currency, d.provider_timezone, d.local_text, d.patient_timezone, d.hold_until, d.payment, d.payment_ref,
        d.reason, d.series, d.capacity, d.overridden, $1, $1
    FROM (SELECT count(*) FROM expired) AS ended, wanted d ORDER BY d.provider_no
    ON CONFLICT DO NOTHING
    RETURNING {TOLD}, a.patient_id AS of_patient, NULL::uuid AS seat_id, NULL::text AS from_status,
        a.status AS to_status
), changed AS (
    SELECT * FROM expired
    UNION ALL
    SELECT {_MADE} FROM made m JOIN wanted d ON d.id = m.id
),
{TELL}
SELECT array_agg(m.id) AS made, {WAKE} AS woken FROM made m"""


async def begin(connection: Connection, wanted: Sequence[Beginning], now: datetime) -> list[Begun | None]:
    """Begin appointments of as many providers, all at ``now``; None: somebody else has the time.

    Holds that are over and in the way are ended when it is one appointment alone. In a batch they stand in the way.
    """
    assert len({each.draft.provider for each in wanted}) == len(wanted)
    facts = [_facts(each) for each in wanted]
    row = await connection.fetchrow(_BEGIN, now, msgspec.json.encode(facts).decode())
    made = frozenset(() if row is None else row["made"] or ())
    return [Begun(each.draft, each.status, now) if each.draft.id in made else None for each in wanted]


async def begin_one(connection: Connection, draft: Draft, step: Step, command: Command, status: str) -> Begun | None:
    """`begin` with one."""
    (made,) = await begin(connection, [Beginning(draft, step, command, status)], command.now)
    return made


def _facts(beginning: Beginning) -> dict[str, object]:
    draft, step, command = beginning.draft, beginning.step, beginning.command
    return {
        "id": draft.id, "status": beginning.status, "tenant": draft.tenant, "provider": draft.provider,
        "provider_no": draft.provider_no, "service": draft.service, "location": draft.location,
        "patient": draft.patient, "booked_by": draft.booked_by, "kind": draft.kind, "since": draft.during.lower,
        "until": draft.during.upper, "occupied_since": draft.occupied.lower, "occupied_until": draft.occupied.upper,
        "price_minor": draft.price_minor, "currency": draft.currency, "provider_timezone": draft.provider_timezone,
        "local_text": draft.local_text, "patient_timezone": draft.patient_timezone, "hold_until": draft.hold_until,
        "payment": draft.payment, "payment_ref": draft.payment_ref, "reason": draft.reason, "series": draft.series,
        "capacity": draft.capacity, "overridden": draft.overridden, "action": step.action, "event": step.event,
        "actor": command.actor, "actor_role": command.role, "cause": command.cause,
    }  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What changes beside the status; None: stays. A status other than held takes ``hold_until`` away."""

    hold_until: datetime | None = None
    during: Range[datetime] | None = None
    occupied: Range[datetime] | None = None
    local_text: str | None = None
    payment: str | None = None
    payment_ref: str | None = None
    reason: str | None = None
    extended: int = 0
    moved: int = 0
    overridden: bool | None = None


NOTHING: Final = Changes()

_CHANGE: Final = f"""
WITH changed AS (
    UPDATE appointment a SET
        status = $5, version = a.version + 1, updated_at = $1,
        hold_until = CASE WHEN $5 = 'held' THEN coalesce($6, a.hold_until) END,
        during = coalesce($7, a.during), occupied = coalesce($8, a.occupied),
        local_text = coalesce($9, a.local_text), payment = coalesce($10, a.payment),
        payment_ref = coalesce($11, a.payment_ref), reason = coalesce($12, a.reason),
        extended = a.extended + $13, moved = a.moved + $14, overridden = coalesce($15, a.overridden),
        join_epoch = a.join_epoch + $16, ics_sequence = a.ics_sequence + $16,
        checked_in_at = CASE WHEN $5 = 'checked_in' THEN $1 WHEN $7::tstzrange IS NOT NULL THEN NULL
            ELSE a.checked_in_at END
    /*beside*/
    WHERE a.id = $2 AND a.status = $3 AND a.version = $4 /*joined*/
    RETURNING {TOLD}, a.patient_id AS of_patient, NULL::uuid AS seat_id, $17::text AS action, $3 AS from_status,
        a.status AS to_status, $18::text AS event, $19::uuid AS actor, $20::text AS actor_role, $21::text AS cause
),
{TELL}
SELECT c.version, {WAKE} AS woken FROM changed c"""
_END: Final = _CHANGE
_GO_ON: Final = _CHANGE.replace(
    "/*beside*/",
    """FROM (SELECT id FROM provider
        WHERE id = (SELECT provider_id FROM appointment WHERE id = $2) FOR SHARE) AS calm""",
).replace("/*joined*/", "AND a.provider_id = calm.id")


async def calm(connection: Connection, provider: UUID) -> None:
    """Keeps out those who move visits of this provider until the end of the transaction."""
    await connection.execute("SELECT true FROM provider WHERE id = $1 FOR SHARE", provider)


async def change(
    connection: Connection,
    appointment: UUID,
    status: str,
    version: int,
    step: Step,
    command: Command,
    changes: Changes = NOTHING,
) -> int | None:
    """Takes ``step`` if the appointment still is of that status and version; the new version, or None if it is not.

    Raises:
        TimeTaken: its new time is somebody else's.
    """
    target = step.target or status
    statement = _GO_ON if target in LIVE else _END
    try:
        new: int | None = await connection.fetchval(
            statement, command.now, appointment, status, version, target, changes.hold_until,
            changes.during, changes.occupied, changes.local_text, changes.payment, changes.payment_ref,
            changes.reason, changes.extended, changes.moved, changes.overridden, int(step.revokes), step.action,
            step.event, command.actor, command.role, command.cause,
        )  # fmt: skip
    except asyncpg.ExclusionViolationError:
        raise TimeTaken from None
    return new


_SWEEP: Final = f"""
WITH changed AS ({_EXPIRE.format(due="true", limit="ORDER BY h.hold_until LIMIT $2")} RETURNING {_EXPIRED}),
{TELL}
SELECT c.id, c.provider_id, {WAKE} AS woken FROM changed c"""


async def expire(connection: Connection, now: datetime, most: int = 500) -> list[Row]:
    """Ends holds that are over, oldest first: of the tenant of the connection, or of all on the platform's."""
    return await connection.fetch(_SWEEP, now, most)
