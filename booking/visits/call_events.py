"""What happens in the call drives the life of the appointment.

    doctor and patient both connected for a minute   -> in progress
    the connection of one of them is lost            -> interrupted; both connected again -> in progress
    the doctor ends the visit (a route)              -> completed
    the doctor leaves and is not back in two minutes -> completed

Every stay of a person in the room is a row of `call_session`; whether the two are together is read from these rows, and
all waiting is done by jobs, so a server may die between any two steps. Connected means that media flows: two people who
look at a black window have not met.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, Protocol
from uuid import UUID

from backplane.bus import Bus
from backplane.ids import uuid7
from backplane.jobs import Handler, Job, JobRow, hold, schedule, withdraw
from backplane.postgres import Connection, Database
from booking.links.link import Seat
from booking.visits.room_names import VisitRooms, read_identity
from booking.visits.visit import Lifecycle, Visit, load
from booking.waiting_room import admittance
from live import notes

TOGETHER: Final = timedelta(seconds=60)
DOCTOR_RETURNS: Final = timedelta(minutes=2)
START_JOB: Final = "visit.start"
SETTLE_JOB: Final = "visit.settle"
# Endings that nobody wished.
LOST: Final = frozenset({"connection_lost", "draining", "token_expired", "room_closed"})


class Calls(Protocol):
    """What signalling tells; ``room`` and ``identity`` as in the token, ``key`` names one stay in the room."""

    async def joined(self, room: str, identity: str, key: str, at: datetime) -> None: ...

    async def connected(self, room: str, identity: str, key: str, at: datetime) -> None: ...

    async def left(self, room: str, identity: str, key: str, reason: str, at: datetime) -> None: ...

    async def unwelcome(self, people: Mapping[str, Sequence[str]], at: datetime) -> list[tuple[str, str]]:
        """Of people by room those who may not be there (any more)."""


class CallEvents:
    """The `Calls` of booking."""

    def __init__(self, db: Database, bus: Bus, names: VisitRooms, lifecycle: Lifecycle) -> None:
        self._db = db
        self._bus = bus
        self._names = names
        self._lifecycle = lifecycle

    async def joined(self, room: str, identity: str, key: str, at: datetime) -> None:
        visit, who = self._names.read(room), read_identity(identity)
        if visit is None or who is None:
            return
        async with self._db.tenant(visit.tenant) as connection, connection.transaction():
            # A stay that nobody ended (its server died) ends when its person comes again.
            await connection.execute(
                """UPDATE call_session SET left_at = $4, reason = 'superseded'
                   WHERE (appointment_id, seat, holder) = ($1, $2, $3) AND left_at IS NULL AND call_key <> $5""",
                visit.appointment,
                who[0].word,
                who[1],
                at,
                key,
            )
            await connection.execute(
                """INSERT INTO call_session (id, appointment_id, epoch, seat, holder, call_key, joined_at)
                   SELECT $1, $2, $3, $4, $5, $6, $7 WHERE EXISTS (SELECT FROM appointment WHERE id = $2)
                   ON CONFLICT DO NOTHING""",
                uuid7(at),
                visit.appointment,
                visit.epoch,
                who[0].word,
                who[1],
                key,
                at,
            )

    async def connected(self, room: str, identity: str, key: str, at: datetime) -> None:
        visit = self._names.read(room)
        if visit is None:
            return
        async with self._db.tenant(visit.tenant) as connection, connection.transaction():
            await connection.execute(
                """UPDATE call_session SET connected_at = $3 WHERE appointment_id = $1 AND call_key = $2
                   AND connected_at IS NULL AND left_at IS NULL""",
                visit.appointment,
                key,
                at,
            )
            provider = await self._together(connection, visit.appointment, at)
        if provider is not None:
            await notes.note(self._bus, visit.tenant, provider)

    async def left(self, room: str, identity: str, key: str, reason: str, at: datetime) -> None:
        visit, who = self._names.read(room), read_identity(identity)
        if visit is None or who is None:
            return
        async with self._db.tenant(visit.tenant) as connection, connection.transaction():
            await connection.execute(
                """UPDATE call_session SET left_at = $3, reason = $4
                   WHERE appointment_id = $1 AND call_key = $2 AND left_at IS NULL""",
                visit.appointment,
                key,
                at,
                reason[:40],
            )
            now = await load(connection, visit.appointment)
            if now is not None and now.epoch == visit.epoch and reason != "replaced":
                await self._apart(connection, now, who[0], reason, at)
        if now is not None:
            await notes.note(self._bus, visit.tenant, now.provider)

    async def unwelcome(self, people: Mapping[str, Sequence[str]], at: datetime) -> list[tuple[str, str]]:
        found = []
        for room, identities in people.items():
            name = self._names.read(room)
            if name is None:
                continue
            async with self._db.tenant(name.tenant) as connection:
                visit = await load(connection, name.appointment)
                rows = await connection.fetch(
                    "SELECT seat, holder FROM visit_seat WHERE appointment_id = $1 AND state = 'admitted'",
                    name.appointment,
                )
            admitted = {(row["seat"], row["holder"]) for row in rows}
            welcome = visit is not None and visit.epoch == name.epoch and visit.enterable(at)
            for identity in identities:
                who = read_identity(identity)
                if not welcome or who is None or (who[0].word, who[1]) not in admitted:
                    found.append((room, identity))
        return found

    def jobs(self) -> Mapping[str, Handler]:
        """Handlers of the jobs that this writes."""
        return {START_JOB: self._start, SETTLE_JOB: self._settle}

    async def _together(self, connection: Connection, appointment: UUID, at: datetime) -> UUID | None:
        visit = await load(connection, appointment)
        since = await together_since(connection, appointment)
        if visit is None or since is None:
            return None
        await withdraw(connection, _key(SETTLE_JOB, appointment))
        if visit.status in ("confirmed", "checked_in"):
            await _later(connection, START_JOB, visit, since + TOGETHER)
        elif visit.status == "interrupted":
            await self._change(connection, visit, "resume", "connected", at)
        return visit.provider

    async def _apart(self, connection: Connection, visit: Visit, seat: Seat, reason: str, at: datetime) -> None:
        if seat is Seat.THIRD or await together_since(connection, visit.appointment) is not None:
            return
        await withdraw(connection, _key(START_JOB, visit.appointment))
        if visit.status != "in_progress":
            return
        if reason in LOST:
            # The job before the appointment: in this order its own run takes them.
            await hold(connection, _key(SETTLE_JOB, visit.appointment))
            await self._change(connection, visit, "interrupt", reason, at)
            await _later(connection, SETTLE_JOB, visit, max(visit.window.closes_at, at))
        elif seat is Seat.DOCTOR:
            await _later(connection, SETTLE_JOB, visit, at + DOCTOR_RETURNS)

    async def _start(self, connection: Connection, job: JobRow, now: datetime) -> None:
        visit = await load(connection, job.subject)
        since = await together_since(connection, job.subject)
        if visit is None or since is None or visit.status not in ("confirmed", "checked_in"):
            return
        if since + TOGETHER > now:  # one of them came anew meanwhile
            await _later(connection, START_JOB, visit, since + TOGETHER)
            return
        await self._change(connection, visit, "start", "together", now)
        await notes.note(self._bus, visit.tenant, visit.provider)

    async def _settle(self, connection: Connection, job: JobRow, now: datetime) -> None:
        """The doctor did not come back, or nobody came back to an interrupted visit."""
        visit = await load(connection, job.subject)
        if visit is None or visit.status not in ("in_progress", "interrupted"):
            return
        doctor_is_in = await connection.fetchval(
            "SELECT true FROM call_session WHERE appointment_id = $1 AND seat = 'doctor' AND left_at IS NULL",
            visit.appointment,
        )
        if doctor_is_in and visit.enterable(now):
            return
        await admittance.end(connection, self._lifecycle, visit, None, "doctor_left", now)
        await notes.note(self._bus, visit.tenant, visit.provider)

    async def _change(self, connection: Connection, visit: Visit, action: str, cause: str, now: datetime) -> None:
        await self._lifecycle.change(
            connection, visit.appointment, action, actor=None, role="system", cause=cause, now=now
        )


async def together_since(connection: Connection, appointment: UUID) -> datetime | None:
    """Since when doctor and a patient have been connected both; None when they are not."""
    since: datetime | None = await connection.fetchval(
        """SELECT greatest(d.at, p.at) FROM
               (SELECT min(connected_at) AS at FROM call_session
                WHERE appointment_id = $1 AND seat = 'doctor' AND left_at IS NULL) d,
               (SELECT min(connected_at) AS at FROM call_session
                WHERE appointment_id = $1 AND seat = 'patient' AND left_at IS NULL) p
           WHERE d.at IS NOT NULL AND p.at IS NOT NULL""",
        appointment,
    )
    return since


def _key(kind: str, appointment: UUID) -> str:
    return f"{kind}:{appointment}"


async def _later(connection: Connection, kind: str, visit: Visit, at: datetime) -> None:
    key = _key(kind, visit.appointment)
    await schedule(connection, Job(key=key, kind=kind, subject=visit.appointment, run_at=at))
