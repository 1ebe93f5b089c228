"""Waiting for a slot: who waits longest is offered first, one offer at a time, and an offer has an end.

An offer is a hold in the patient's name, so the time is theirs until the deadline and nobody else's, and taking it is
booking that hold: one taker wins by the same compare-and-swap as every booking. Whatever frees time (a cancellation, a
move, a hold that ended) or opens it (new hours) leads to `offer`: it goes through the provider's line in order and
gives each the first free slot of their window. The deadline is a job; it ends the hold, and that is such an event
again, so the next one is offered by the same path. The provider's row is locked while offers are made.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final, Literal
from uuid import UUID

from msgspec import Struct

from backplane import jobs, outbox
from backplane.api import Call, Routes
from backplane.consumers import Consumer
from backplane.ids import uuid7
from backplane.jobs import Job, JobRow
from backplane.outbox import Event, Fact
from backplane.postgres import Connection, Row
from booking.appointments import claims, machine, transitions
from booking.appointments.appointment_routes import shown
from booking.appointments.bookable import Question, service_of, wish
from booking.appointments.claims import Particulars
from booking.appointments.context import BookingContext, command_of, context_of
from booking.appointments.machine import SYSTEM
from booking.appointments.record import load
from booking.appointments.transitions import Command
from booking.appointments.views import Appointment, Instant, Zone, start_of, zone_of
from booking.identity.dependants import acted_for
from booking.refusals import Conflict, Invalid, NotFound
from booking.rights import VISITORS

routes = Routes(tag="waitlist")
LAPSE: Final = "waitlist.lapse"
LONGEST_WINDOW: Final = timedelta(days=90)
MOST_OFFERS: Final = 50
MOST_ENTRIES: Final = 10
# What may have freed or opened time of a provider.
FREEING: Final = (
    "appointment.cancelled",
    "appointment.declined",
    "appointment.rescheduled",
    "hold.expired",
    "availability.changed",
)


class NewEntry(Struct, forbid_unknown_fields=True, kw_only=True):
    """Any start of the service in [``earliest``, ``latest``) will do."""

    service: UUID
    earliest: Instant
    latest: Instant
    patient: UUID | None = None
    timezone: Zone | None = None


class Entry(Struct, frozen=True, kw_only=True):
    """``offer``: the hold that is offered, until ``offer_until``. ``ahead``: how many wait longer for this provider."""

    id: UUID
    service: UUID
    provider: UUID
    patient: UUID
    earliest: datetime
    latest: datetime
    state: Literal["waiting", "offered", "accepted", "lapsed", "left"]
    offer: UUID | None
    offer_start: datetime | None
    offer_until: datetime | None
    ahead: int


_ENTRIES: Final = """
SELECT w.*, lower(a.during) AS offer_start, (
    SELECT count(*) FROM waitlist_entry o WHERE o.provider_id = w.provider_id AND o.state = 'waiting'
        AND (o.created_at, o.id) < (w.created_at, w.id)) AS ahead
FROM waitlist_entry w LEFT JOIN appointment a ON a.id = w.offer_id"""
# $1: for whom one may book, $2: who asks, $3: whether they are of the clinic and wait for its patients
_OWN: Final = "(w.patient_id = ANY($1::uuid[]) OR $3 AND w.booked_by = $2)"


def _entry(row: Row) -> Entry:
    offered = row["state"] in ("offered", "accepted")
    return Entry(
        id=row["id"],
        service=row["service_id"],
        provider=row["provider_id"],
        patient=row["patient_id"],
        earliest=row["during"].lower,
        latest=row["during"].upper,
        state=row["state"],
        offer=row["offer_id"] if offered else None,
        offer_start=row["offer_start"] if offered else None,
        offer_until=row["offer_until"] if row["state"] == "offered" else None,
        ahead=row["ahead"],
    )


@routes.post(
    "/v1/waitlist",
    right="waitlist.join",
    visitors=VISITORS,
    status=201,
    idempotent=True,
    problems={
        403: ("not_your_patient",),
        404: (),
        409: ("already_waiting", "too_many_entries"),
        422: ("bad_window", "bad_request", "unknown_zone"),
    },
)
async def join(call: Call, body: NewEntry) -> Entry:
    """Wait for a slot; a free one is offered at once"""
    earliest, latest = max(start_of(body.earliest), call.now), start_of(body.latest)
    if not earliest < latest <= call.now + LONGEST_WINDOW:
        raise Invalid("bad_window", "Send a window that ends after it begins, within the next 90 days.")
    zone = zone_of(body.timezone)
    async with call.transaction() as connection:
        wanted = await wish(connection, Question(call.principal, body.service, body.patient, earliest), call.now)
        id = uuid7(call.now)
        waiting = await connection.fetchval(
            "SELECT count(*) FROM waitlist_entry WHERE patient_id = $1 AND state IN ('waiting', 'offered')",
            wanted.patient,
        )
        if waiting >= MOST_ENTRIES:
            raise Conflict("too_many_entries", "This person waits for as many slots as one may. Leave one.")
        made = await connection.fetchval(
            """INSERT INTO waitlist_entry (id, service_id, provider_id, patient_id, booked_by, during, patient_timezone,
                   created_at)
               VALUES ($1, $2, $3, $4, $5, tstzrange($6, $7), $8, $9) ON CONFLICT DO NOTHING RETURNING true""",
            id,
            body.service,
            wanted.service.provider,
            wanted.patient,
            call.principal.person,
            earliest,
            latest,
            zone or wanted.patient_timezone,
            call.now,
        )
        if not made:
            raise Conflict("already_waiting", "This person waits for this service. Leave, to wait anew.")
        await offer(connection, context_of(call), wanted.service.provider, call.now)
        return _entry(await _need(connection, id))


@routes.get("/v1/waitlist", right="waitlist.join")
async def mine(call: Call) -> list[Entry]:
    """What one waits for, and what is offered"""
    async with call.transaction() as connection:
        rows = await connection.fetch(
            f"{_ENTRIES} WHERE {_OWN} AND w.state IN ('waiting', 'offered') ORDER BY w.created_at",
            *await _asker(call, connection),
        )
    return [_entry(row) for row in rows]


@routes.get(
    "/v1/providers/{provider_id}/waitlist", right="waitlist.manage.clinic", problems={404: ("no_such_provider",)}
)
async def line(call: Call, provider_id: UUID) -> list[Entry]:
    """Who waits for a provider, in order"""
    async with call.transaction() as connection:
        if not await connection.fetchval("SELECT true FROM provider WHERE id = $1", provider_id):
            raise NotFound("no_such_provider", "There is no such provider here.")
        rows = await connection.fetch(
            f"{_ENTRIES} WHERE w.provider_id = $1 AND w.state IN ('waiting', 'offered') ORDER BY w.created_at, w.id",
            provider_id,
        )
    return [_entry(row) for row in rows]


@routes.post(
    "/v1/waitlist/{entry_id}/accept",
    right="waitlist.join",
    idempotent=True,
    problems={404: (), 409: ("no_offer", "hold_expired", "not_possible", "changed_meanwhile")},
)
async def accept(call: Call, entry_id: UUID) -> Appointment:
    """Take what is offered"""
    async with call.transaction() as connection:
        row = await _own(call, connection, entry_id)
        if row["state"] != "offered":
            raise Conflict("no_offer", "Nothing is offered any more. Look at what you wait for.")
        appointment: UUID = row["offer_id"]
        # the hold decides: of two who accept, one finds it changed
        await claims.book_hold(
            connection, context_of(call), call.principal, appointment, Particulars(), command_of(call, "waitlist")
        )
        await _close(connection, entry_id, "accepted", call.now)
        return await shown(connection, call.principal, appointment, call.now)


@routes.delete("/v1/waitlist/{entry_id}", right="waitlist.join", problems={404: ()})
async def leave(call: Call, entry_id: UUID) -> None:
    """Wait no more; what was offered goes to the next one"""
    async with call.transaction() as connection:
        row = await _own(call, connection, entry_id)
        if row["state"] in ("waiting", "offered"):
            if row["state"] == "offered":
                await _take_back(connection, row["offer_id"], command_of(call, "waitlist_left"))
            await _close(connection, entry_id, "left", call.now)


async def offer(connection: Connection, context: BookingContext, provider: UUID, now: datetime) -> list[UUID]:
    """Offers free time of a provider to those who wait, in their order; the entries that got an offer."""
    waiting = await connection.fetchval(
        "SELECT true FROM waitlist_entry WHERE provider_id = $1 AND state = 'waiting' LIMIT 1", provider
    )
    if not waiting:
        return []
    # one at a time: two who offered the same slot to two would pass somebody over
    await connection.execute("SELECT true FROM provider WHERE id = $1 FOR NO KEY UPDATE", provider)
    rows = await connection.fetch(
        """SELECT id, service_id, patient_id, booked_by, during, patient_timezone FROM waitlist_entry
           WHERE provider_id = $1 AND state = 'waiting' AND upper(during) > $2
           ORDER BY created_at, id LIMIT $3 FOR UPDATE""",
        provider,
        now,
        MOST_OFFERS,
    )
    offered = []
    for row in rows:
        service = await service_of(connection, row["service_id"])
        if service is None or service.capacity > 1:
            continue
        begin = max(row["during"].lower, now)
        for start in await context.calendar.free(connection, service, begin, row["during"].upper, now, 2):
            until = min(now + timedelta(minutes=service.policy.offer_minutes), start)
            step = machine.find("hold", None, SYSTEM)
            assert step is not None
            command = transitions.system(now, "waitlist")
            draft = replace(
                service.draft(start, row["patient_id"], command),
                booked_by=row["booked_by"],
                patient_timezone=row["patient_timezone"],
                hold_until=until,
            )
            made = await transitions.begin_one(connection, draft, step, command, "held")
            if made is not None:
                await _offered(connection, row["id"], made.id, until, now)
                offered.append(row["id"])
                break
    return offered


async def lapse(connection: Connection, job: JobRow, now: datetime) -> None:
    """The deadline of an offer: whoever has not taken it waits no more, and the time is free."""
    row = await connection.fetchrow(
        "SELECT state, offer_id, offer_until FROM waitlist_entry WHERE id = $1 FOR UPDATE", job.subject
    )
    if row is None or row["state"] != "offered" or row["offer_until"] > now:
        return
    await _take_back(connection, row["offer_id"], transitions.system(now, "waitlist_lapsed"))
    await _close(connection, job.subject, "lapsed", now)


async def _offered(connection: Connection, entry: UUID, hold: UUID, until: datetime, now: datetime) -> None:
    await connection.execute(
        "UPDATE waitlist_entry SET state = 'offered', offer_id = $2, offer_until = $3 WHERE id = $1", entry, hold, until
    )
    await jobs.schedule(connection, Job(key=f"{LAPSE}:{entry}", kind=LAPSE, subject=entry, run_at=until))
    await _tell(connection, "waitlist.offered", entry, now)


async def _take_back(connection: Connection, hold: UUID, command: Command) -> None:
    """Ends the hold of an offer, if nobody has ended or booked it."""
    found = await load(connection, hold, None, command.now)
    step = machine.find("release", "held", SYSTEM)
    assert step is not None
    if found is not None and found.status == "held":
        await transitions.change(connection, hold, "held", found.version, step, command)


async def _close(connection: Connection, entry: UUID, state: str, now: datetime) -> None:
    await connection.execute(
        "UPDATE waitlist_entry SET state = $2, ended_at = $3, offer_until = NULL WHERE id = $1", entry, state, now
    )
    await jobs.withdraw(connection, f"{LAPSE}:{entry}")
    await _tell(connection, f"waitlist.{state}", entry, now)


async def _tell(connection: Connection, kind: str, entry: UUID, now: datetime) -> None:
    payload = {"entry": str(entry)}
    await outbox.emit(connection, Event(type=kind, aggregate="waitlist", aggregate_id=entry, payload=payload), now)


async def _asker(call: Call, connection: Connection) -> tuple[list[UUID], UUID, bool]:
    who = call.principal
    patients = await acted_for(connection, who.person, "book", call.now)
    return patients, who.person, who.may("appointment.book.clinic")


async def _own(call: Call, connection: Connection, entry: UUID) -> Row:
    # FOR UPDATE: accepting, leaving and lapsing take turns
    row = await connection.fetchrow(
        f"SELECT w.* FROM waitlist_entry w WHERE w.id = $4 AND ({_OWN} OR $5) FOR UPDATE",
        *await _asker(call, connection),
        entry,
        call.may("waitlist.manage.clinic"),
    )
    if row is None:
        raise NotFound("not_found", "There is no such entry of yours.")
    return row


async def _need(connection: Connection, entry: UUID) -> Row:
    row = await connection.fetchrow(f"{_ENTRIES} WHERE w.id = $1", entry)
    assert row is not None
    return row


def consumer(context: BookingContext) -> Consumer:
    """Offers whatever becomes free."""

    async def freed(connection: Connection, fact: Fact, now: datetime) -> None:
        provider = fact.payload.get("provider")
        if isinstance(provider, str):
            await offer(connection, context, UUID(provider), now)

    return Consumer("waitlist", dict.fromkeys(FREEING, freed))


HANDLERS: Final[Mapping[str, jobs.Handler]] = {LAPSE: lapse}
