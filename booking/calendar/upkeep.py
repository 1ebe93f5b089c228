"""What the calendar keeps up to date by itself: the next free time of every provider, and agreed times that moved.

``provider.next_free_at`` is what search filters by. It is worked out anew after every event that may move it, and by a
job when its slot comes closer than the notice of its service; so it is never in the past for longer than a job waits.
The event is not believed: the handler reads the calendar as it is.

When a country changes its clocks, agreed instants show other times on the wall there. Appointments keep their instant
and the text that was agreed; `moved_appointments` lists those that no longer agree, for the clinic to ask its patients.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from msgspec import Struct

from backplane.consumers import Batched, Consumer
from backplane.jobs import Handler, Job, JobRow, schedule
from backplane.outbox import Event, Fact, emit
from backplane.postgres import Connection, Database
from booking.calendar import zones
from booking.calendar.slots import Slot, next_free
from booking.calendar.store import SERVICE_COLUMNS, load_calendar, load_taken, times_of_row

NEXT_FREE: Final = "calendar.next_free"
TZDATA: Final = "calendar.tzdata"
LOOK_AGAIN: Final = timedelta(hours=24)
_CHUNK: Final = timedelta(days=14)
_TAKING: Final = frozenset({"hold.created", "appointment.requested", "appointment.booked"})
# further than any visit with its buffers reaches, and than a local date with a cap
_CLEAR: Final = timedelta(days=2)
_TOUCHED: Final = """
SELECT id FROM provider JOIN unnest($1::uuid[], $2::timestamptz[]) AS taken (provider, behind) ON provider = id
WHERE (next_free_at > $3 AND next_free_at < behind) IS NOT TRUE"""
_LOCK: Final = "SELECT no FROM provider WHERE id = $1 FOR NO KEY UPDATE"

_LOCK_JOBS: Final = "SELECT true FROM job WHERE tenant_id = app_tenant() AND key = ANY($1) ORDER BY key FOR UPDATE"

EVENTS: Final = (
    "availability.changed",
    "doctor.verified",
    "doctor.suspended",
    "hold.created",
    "hold.expired",
    *(
        f"appointment.{verb}"
        for verb in ("requested", "booked", "accepted", "declined", "rescheduled", "cancelled", "completed", "no_show")
    ),
)


async def availability_changed(connection: Connection, provider: UUID, now: datetime) -> None:
    """Tell that the hours of ``provider`` are others now, in the transaction that changed them."""
    event = Event(
        type="availability.changed", aggregate="provider", aggregate_id=provider, payload={"provider": str(provider)}
    )
    await emit(connection, event, now)


async def refresh_next_free(connection: Connection, provider: UUID, now: datetime) -> datetime | None:
    """Work out ``provider.next_free_at`` and when to look again."""
    if await connection.fetchval(_LOCK, provider) is None:
        return None
    services = await connection.fetch(
        f"SELECT id, {SERVICE_COLUMNS} FROM service WHERE provider_id = $1 AND active", provider
    )
    best: Slot | None = None
    look_again = now + LOOK_AGAIN
    end = now + timedelta(days=max((row["horizon_days"] for row in services), default=0))
    # near first: a busy doctor is free within two weeks, and what is taken beyond need not be read
    for until in (min(now + _CHUNK, end), end):
        calendar = await load_calendar(connection, provider, now, until)
        for row in services:
            taken = await load_taken(connection, provider, now, until, now, row["id"])
            slot = await next_free(calendar, times_of_row(row), taken, now, until=until)
            if slot is not None and (best is None or slot.start < best.start):
                best = slot
                look_again = min(now + LOOK_AGAIN, slot.start - timedelta(minutes=row["notice_minutes"]))
        if best is not None:
            break
    found = None if best is None else best.start
    await connection.execute(
        "UPDATE provider SET next_free_at = $2 WHERE id = $1 AND next_free_at IS DISTINCT FROM $2", provider, found
    )
    job = Job(
        key=f"{NEXT_FREE}:{provider}",
        kind=NEXT_FREE,
        subject=provider,
        run_at=max(look_again, now) + timedelta(seconds=1),
    )
    await schedule(connection, job)
    return found


async def _on_events(connection: Connection, events: Sequence[Fact], now: datetime) -> None:
    """Every provider that they may concern is looked at once."""
    providers: set[UUID] = set()
    taken: list[tuple[UUID, datetime]] = []
    for fact in events:
        named, start = fact.payload.get("provider"), fact.payload.get("start")
        if not isinstance(named, str):
            continue
        if fact.type in _TAKING and isinstance(start, str):
            # Time taken well behind the first free slot cannot move it: a fifth of the work, for most bookings.
            taken.append((UUID(named), datetime.fromisoformat(start) - _CLEAR))
        else:
            providers.add(UUID(named))
    if taken:
        rows = await connection.fetch(_TOUCHED, [each for each, _ in taken], [behind for _, behind in taken], now)
        providers.update(row["id"] for row in rows)
    # as the jobs themselves do: first the job, then the provider
    await connection.execute(_LOCK_JOBS, [f"{NEXT_FREE}:{provider}" for provider in providers])
    for provider in sorted(providers):
        await refresh_next_free(connection, provider, now)


async def _on_time(connection: Connection, job: JobRow, now: datetime) -> None:
    await refresh_next_free(connection, job.subject, now)


class Moved(Struct, frozen=True):
    """An appointment whose instant shows another time now than was agreed."""

    appointment: UUID
    provider: UUID
    start: datetime
    zone: str
    agreed: str
    shown: str


async def moved_appointments(connection: Connection, now: datetime) -> list[Moved]:
    """Future appointments of the tenant whose local text moved."""
    rows = await connection.fetch(
        """SELECT id, provider_id, starts_at AS start, provider_timezone, local_text FROM appointment
           WHERE starts_at > $1 AND status IN ('requested', 'confirmed') ORDER BY starts_at, id""",
        now,
    )
    found = []
    for row in rows:
        shown = zones.moved(row["start"], row["provider_timezone"], row["local_text"])
        if shown is not None:
            start = row["start"].astimezone(UTC)
            found.append(
                Moved(row["id"], row["provider_id"], start, row["provider_timezone"], row["local_text"], shown)
            )
    return found


async def _on_zone_data(connection: Connection, job: JobRow, now: datetime) -> None:
    for moved in await moved_appointments(connection, now):
        event = Event(
            type="appointment.clock_moved",
            aggregate="appointment",
            aggregate_id=moved.appointment,
            payload={
                "appointment": str(moved.appointment),
                "provider": str(moved.provider),
                "agreed": moved.agreed,
                "shown": moved.shown,
            },
        )
        await emit(connection, event, now)


async def look_after_zone_data(database: Database, now: datetime) -> int:
    """One job for every clinic and release of the zone data; a clinic that has had it is left alone. How many new."""
    new = 0
    async with database.platform() as platform, platform.transaction():
        for row in await platform.fetch("SELECT id FROM tenant ORDER BY id"):
            job = Job(key=f"{TZDATA}:{zones.VERSION}", kind=TZDATA, subject=UUID(int=row["id"]), run_at=now)
            new += await schedule(platform, job, replace=False, tenant=row["id"])
    return new


CONSUMER: Final = Consumer("calendar", dict.fromkeys(EVENTS, Batched(_on_events)), at_once=25)
HANDLERS: Final[Mapping[str, Handler]] = {NEXT_FREE: _on_time, TZDATA: _on_zone_data}
