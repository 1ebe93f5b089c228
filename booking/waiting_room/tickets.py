"""Tickets of a provider's line in Postgres. Pure order and waits are in `line`; here is what is kept.

The rows of `queue_day` are the lock of a line: whoever takes a ticket, calls the next person or swaps two holds those
of all its days, so a person is called once however many hands reach for the bell. Reading takes no lock.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final
from uuid import UUID

from backplane.ids import uuid7
from backplane.jobs import Job, schedule
from backplane.outbox import Event, emit
from backplane.postgres import Connection
from booking.waiting_room.line import GRACE, Wait, Waiting, in_order, line_days, position, wait

GRACE_JOB: Final = "queue.grace"
ALIVE: Final = timedelta(seconds=45)  # a page that was heard of so lately is open


@dataclass(frozen=True, slots=True)
class Line:
    """One provider's line now. ``days``: as `line.line_days`."""

    provider: UUID
    days: Sequence[date]
    waiting: Sequence[Waiting]
    visits: Sequence[timedelta]
    running: timedelta | None
    delay: timedelta

    def position(self, ticket: UUID, now: datetime) -> int | None:
        return position(self.waiting, ticket, now)

    def wait(self, ticket: UUID, now: datetime, not_before: datetime | None = None) -> Wait | None:
        """``not_before``: the start of a booked visit; a doctor keeps to the hour."""
        place = self.position(ticket, now)
        least = self.delay
        if not_before is not None:
            least = max(least, not_before - now)
        return None if place is None else wait(place, self.visits, self.running, least)


Lines = dict[UUID, Line]  # by provider


async def days_of(connection: Connection, provider: UUID, now: datetime) -> Sequence[date]:
    """The days of this provider's line now, the present one last; none when there is no such provider."""
    zone = await connection.fetchval("SELECT timezone FROM provider WHERE id = $1", provider)
    return [] if zone is None else line_days(now, zone)


async def lock(connection: Connection, provider: UUID, days: Sequence[date]) -> None:
    """Until the transaction ends nobody else changes the line of these days, which are in order."""
    await connection.execute(
        "INSERT INTO queue_day (provider_id, day) SELECT $1, unnest($2::date[]) ON CONFLICT DO NOTHING", provider, days
    )
    await connection.execute(
        "SELECT 1 FROM queue_day WHERE provider_id = $1 AND day = ANY($2) ORDER BY day FOR UPDATE", provider, days
    )


async def read_line(connection: Connection, provider: UUID, days: Sequence[date], now: datetime) -> Line:
    rows = await connection.fetch(
        """SELECT q.id, q.day, q.no, q.rank, q.state, q.seen_at, q.admitted_at, q.ended_at
           FROM queue_ticket q LEFT JOIN appointment a ON a.id = q.appointment_id
           WHERE q.provider_id = $1 AND q.day = ANY($2) AND q.state IN ('waiting', 'admitted', 'done')
             AND (q.state = 'done' OR a.id IS NULL OR a.status IN ('confirmed', 'checked_in', 'in_progress',
                  'interrupted', 'completed'))
           ORDER BY q.ended_at""",
        provider,
        days,
    )
    told = await connection.fetchrow(
        """SELECT delay_minutes, delay_told_at FROM queue_day WHERE provider_id = $1 AND day = ANY($2)
           ORDER BY delay_told_at DESC NULLS LAST LIMIT 1""",
        provider,
        days,
    )
    delay = timedelta(0)
    if told is not None and told["delay_told_at"] is not None:
        delay = max(delay, told["delay_told_at"] + timedelta(minutes=told["delay_minutes"]) - now)
    running = [now - row["admitted_at"] for row in rows if row["state"] == "admitted"]
    return Line(
        provider,
        days,
        [
            Waiting(row["id"], row["day"], row["no"], row["rank"], row["seen_at"])
            for row in rows
            if row["state"] == "waiting"
        ],
        [row["ended_at"] - row["admitted_at"] for row in rows if row["state"] == "done" and row["admitted_at"]],
        max(running, default=None),
        delay,
    )


async def line_once(connection: Connection, provider: UUID, now: datetime, lines: Lines) -> Line:
    """A line that many screens show is read once for all of them. One without days is no provider's."""
    line = lines.get(provider)
    if line is None:
        days = await days_of(connection, provider, now)
        line = lines[provider] = await read_line(connection, provider, days, now)
    return line


async def take_ticket(
    connection: Connection,
    *,
    provider: UUID,
    day: date,
    kind: str,
    appointment: UUID | None,
    patient: UUID,
    rank: datetime,
    now: datetime,
    epoch: int = 1,
) -> UUID:
    """A place in line; the caller holds its `lock`. Emits queue.joined. ``day``: the present one."""
    ticket = uuid7(now)
    await connection.execute(
        """WITH day AS (
               UPDATE queue_day SET last_no = last_no + 1 WHERE provider_id = $2 AND day = $3 RETURNING last_no)
           INSERT INTO queue_ticket (id, provider_id, day, no, kind, appointment_id, patient_id, state, rank, joined_at,
               seen_at, epoch) SELECT $1, $2, $3, last_no, $4, $5, $6, 'waiting', $7, $8, $8, $9 FROM day""",
        ticket,
        provider,
        day,
        kind,
        appointment,
        patient,
        as_rank(rank),
        now,
        epoch,
    )
    await watch_grace(connection, ticket, now + GRACE)
    await told(connection, "queue.joined", ticket, appointment, provider, now)
    return ticket


async def come_back(connection: Connection, ticket: UUID, now: datetime) -> None:
    """Somebody who waits is there again: the place is kept within the grace, else it is the last one."""
    await connection.execute(
        """UPDATE queue_ticket SET rank = CASE WHEN seen_at > $2 THEN rank ELSE greatest(rank, $3) END, seen_at = $4,
               here = true WHERE id = $1 AND state = 'waiting'""",
        ticket,
        now - GRACE,
        as_rank(now),
        now,
    )


async def close(connection: Connection, ticket: UUID, state: str, now: datetime) -> bool:
    """End a ticket with done, left, denied, cancelled or no_show; emits queue.left. False when it had ended."""
    row = await connection.fetchrow(
        """UPDATE queue_ticket SET state = $2, ended_at = $3, here = false
           WHERE id = $1 AND state IN ('waiting', 'admitted') RETURNING appointment_id, provider_id""",
        ticket,
        state,
        now,
    )
    if row is None:
        return False
    await told(connection, "queue.left", ticket, row["appointment_id"], row["provider_id"], now)
    return True


async def close_of_visit(
    connection: Connection, appointment: UUID, state: str, now: datetime, before_epoch: int | None = None
) -> int:
    """End all tickets of an appointment, or those of an earlier epoch; says how many there were."""
    rows = await connection.fetch(
        """SELECT id FROM queue_ticket WHERE appointment_id = $1 AND state IN ('waiting', 'admitted')
           AND ($2::int IS NULL OR epoch < $2)""",
        appointment,
        before_epoch,
    )
    for row in rows:
        await close(connection, row["id"], state, now)
    return len(rows)


async def those_here(connection: Connection, provider: UUID, days: Sequence[date], now: datetime) -> list[UUID]:
    """Those in line whose page is open, first to last."""
    line = await read_line(connection, provider, days, now)
    rows = await connection.fetch(
        "SELECT id FROM queue_ticket WHERE id = ANY($1) AND here AND seen_at > $2",
        [each.ticket for each in line.waiting],
        now - ALIVE,
    )
    here = {row["id"] for row in rows}
    return [each.ticket for each in in_order(line.waiting, now) if each.ticket in here]


async def watch_grace(connection: Connection, ticket: UUID, at: datetime) -> None:
    """Look then whether somebody is still in line."""
    await schedule(connection, Job(key=f"{GRACE_JOB}:{ticket}", kind=GRACE_JOB, subject=ticket, run_at=at))


async def told(
    connection: Connection, type_: str, ticket: UUID | None, appointment: UUID | None, provider: UUID, now: datetime
) -> None:
    payload = {
        "ticket": None if ticket is None else str(ticket),
        "appointment": None if appointment is None else str(appointment),
        "provider": str(provider),
    }
    event = Event(type=type_, aggregate="queue", aggregate_id=provider, payload=payload)
    await emit(connection, event, now)


def as_rank(at: datetime) -> int:
    return int(at.timestamp() * 1000)
