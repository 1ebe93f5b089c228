"""A doctor now: a request rings at a few doctors at once, the first to accept has it, nobody else.

    ringing --accept (one statement)--> accepted
       |--all decline, or RING_LASTS is over--> the next ring of others, at most MAX_RINGS --> unanswered
       |--the patient--> cancelled

A ring is made of doctors who are online, approved, of that specialty and language, and free for the length of their
visit; those who were rung longest ago come first. Accepting is a compare-and-swap on the request's row and the making
of the appointment in one transaction: fifty doctors who press at the same time make one visit and 49 clear answers. If
the winner's calendar refuses, nothing has happened and the request rings on.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Final
from uuid import UUID

from aiohttp import web
from msgspec import Meta, Struct

from backplane.api import Call, Rate, Routes
from backplane.bus import Bus
from backplane.ids import uuid7
from backplane.jobs import Handler, Job, JobRow, hold, schedule, withdraw
from backplane.lines import LINES
from backplane.outbox import Event, emit
from backplane.postgres import Connection
from booking.instant.request_views import InstantView, RingView, instant_view, rings_of
from booking.refusals import Conflict, NotFound
from booking.rights import VISITORS
from booking.waiting_room.line_routes import own_provider
from booking.waiting_room.walk_in import VISITS_NOW
from live.notes import note, note_after

RING_LASTS: Final = timedelta(seconds=90)
RING_SIZE: Final = 5
MAX_RINGS: Final = 3
JOB: Final = "instant.ring"
routes = Routes(tag="instant")

_FREE: Final = """
SELECT p.id FROM provider p
WHERE p.status = 'approved' AND p.online_until > $2 AND $3 = ANY(p.specialties) AND $4 = ANY(p.languages)
  AND EXISTS (SELECT FROM service s WHERE s.provider_id = p.id AND s.active AND s.kind IN ('video', 'audio'))
  AND NOT EXISTS (
      SELECT FROM appointment a WHERE a.provider_id = p.id
      AND (a.status IN ('requested', 'confirmed', 'checked_in', 'in_progress', 'interrupted')
           OR (a.status = 'held' AND a.hold_until > $2))
      AND a.occupied && tstzrange($2, $2 + make_interval(mins => (  -- of the service that a visit now is made of
          SELECT s.minutes FROM service s
          WHERE s.provider_id = p.id AND s.active AND s.kind IN ('video', 'audio')
          ORDER BY s.kind DESC, s.minutes LIMIT 1)::int)))
  AND NOT EXISTS (SELECT FROM instant_ring g WHERE g.request_id = $1 AND g.provider_id = p.id)
ORDER BY (SELECT max(g.rung_at) FROM instant_ring g WHERE g.provider_id = p.id) NULLS FIRST, p.id LIMIT $5"""


class NewRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """``reason`` is shown to the doctors who are rung; no name is."""

    specialty: Annotated[str, Meta(min_length=1, max_length=64)]
    language: Annotated[str, Meta(pattern="^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*$", max_length=35)]
    reason: Annotated[str, Meta(max_length=2000), LINES] = ""


class Rings(Struct, frozen=True):
    rings: list[RingView]


class Taken(Struct, frozen=True):
    appointment: UUID


@dataclass(frozen=True, slots=True)
class Ringing:
    """Who is rung how long. ``bus``: for the notes of what jobs do."""

    bus: Bus
    size: int = RING_SIZE
    lasts: timedelta = RING_LASTS
    rings: int = MAX_RINGS

    def jobs(self) -> Mapping[str, Handler]:
        return {JOB: self._ring_over}

    async def next_ring(self, connection: Connection, request: UUID, now: datetime) -> list[UUID]:
        """Ring at the next doctors, or end the request as unanswered; whose screens have changed.

        The caller has locked the request's job and its row, which is ringing.
        """
        row = await connection.fetchrow(
            "SELECT specialty, language, ring, patient_id FROM instant_request WHERE id = $1", request
        )
        assert row is not None
        missed = await connection.fetch(
            """UPDATE instant_ring SET answer = 'missed', answered_at = $2 WHERE request_id = $1 AND answer IS NULL
               RETURNING provider_id""",
            request,
            now,
        )
        touched = [each["provider_id"] for each in missed]
        found = []
        if row["ring"] < self.rings:
            found = await connection.fetch(_FREE, request, now, row["specialty"], row["language"], self.size)
        if not found:
            await connection.execute(
                "UPDATE instant_request SET state = 'unanswered', ended_at = $2 WHERE id = $1", request, now
            )
            await _emit(connection, "instant.expired", request, now)
            return touched
        until = now + self.lasts
        await connection.execute(
            "UPDATE instant_request SET ring = ring + 1, ring_until = $2 WHERE id = $1", request, until
        )
        await connection.executemany(
            "INSERT INTO instant_ring (request_id, provider_id, ring, rung_at) VALUES ($1, $2, $3, $4)",
            [(request, each["id"], row["ring"] + 1, now) for each in found],
        )
        await schedule(connection, Job(key=f"{JOB}:{request}", kind=JOB, subject=request, run_at=until))
        return touched + [each["id"] for each in found]

    async def _ring_over(self, connection: Connection, job: JobRow, now: datetime) -> None:
        due = await connection.fetchval(
            "SELECT ring_until <= $2 FROM instant_request WHERE id = $1 AND state = 'ringing' FOR UPDATE",
            job.subject,
            now,
        )
        if due:
            touched = await self.next_ring(connection, job.subject, now)
            await note(self.bus, job.tenant, job.subject, *touched)


RINGING: Final = web.AppKey("ringing", Ringing)


@routes.post(
    "/v1/instant-requests",
    right="instant.request",
    status=201,
    problems={409: ("already_asking",)},
    rate=Rate(per_s=0.2, burst=10),
    visitors=VISITORS,
)
async def request(call: Call, body: NewRequest) -> InstantView:
    """Ask for a doctor now. With nobody free the answer is unanswered at once"""
    patient = call.principal.person
    id = uuid7(call.now)
    async with call.transaction() as connection:
        made = await connection.fetchval(
            """INSERT INTO instant_request (id, patient_id, specialty, language, reason, patient_timezone, state,
                   ring_until, created_at)
               SELECT $1, p.id, $3, $4, $5, p.timezone, 'ringing', $6, $6 FROM person p WHERE p.id = $2
               ON CONFLICT (patient_id) WHERE state = 'ringing' DO NOTHING RETURNING true""",
            id,
            patient,
            body.specialty,
            body.language,
            body.reason,
            call.now,
        )
        if not made:  # which it is, for whom the answer was lost on its way; one that ended just now has no name
            asked = await connection.fetchval(
                "SELECT id FROM instant_request WHERE patient_id = $1 AND state = 'ringing'", patient
            )
            why = "You have asked already. Wait for the answer, or take it back."
            raise Conflict("already_asking", why, facts={} if asked is None else {"request": asked})
        await _emit(connection, "instant.requested", id, call.now)
        touched = await call.request.app[RINGING].next_ring(connection, id, call.now)
        view = await instant_view(connection, id)
    assert view is not None
    note_after(call, id, *touched)
    return view


@routes.get("/v1/instant-requests/{request}", right="instant.request", problems={404: ()})
async def read(call: Call, request: UUID) -> InstantView:
    """What has become of one's request"""
    async with call.transaction() as connection:
        await _own(call, connection, request)
        view = await instant_view(connection, request)
    assert view is not None
    return view


@routes.post(
    "/v1/instant-requests/{request}/cancel", right="instant.request", problems={404: (), 409: ("not_ringing",)}
)
async def cancel(call: Call, request: UUID) -> None:
    """Take a request back"""
    async with call.transaction() as connection:
        await _own(call, connection, request)
        await hold(connection, f"{JOB}:{request}")
        ended = await connection.fetchval(
            """UPDATE instant_request SET state = 'cancelled', ended_at = $2 WHERE id = $1 AND state = 'ringing'
               RETURNING true""",
            request,
            call.now,
        )
        if not ended:
            raise Conflict("not_ringing", "This request has ended already.")
        touched = await _silence(connection, request, call.now)
        await _emit(connection, "instant.cancelled", request, call.now)
    note_after(call, request, *touched)


@routes.get("/v1/instant-rings", right="instant.answer", problems={404: ()})
async def rings(call: Call) -> Rings:
    """What rings at oneself"""
    async with call.transaction() as connection:
        return Rings(await rings_of(connection, await _provider(call, connection), call.now))


@routes.post(
    "/v1/instant-requests/{request}/accept",
    right="instant.answer",
    problems={404: (), 409: ("already_taken", "time_taken")},
)
async def accept(call: Call, request: UUID) -> Taken:
    """Take a request: the first to do so has it"""
    async with call.transaction() as connection:
        provider = await _provider(call, connection)
        await hold(connection, f"{JOB}:{request}")
        won = await connection.fetchrow(
            """UPDATE instant_request r SET state = 'accepted', provider_id = $2, ended_at = $3
               WHERE r.id = $1 AND r.state = 'ringing' AND r.ring_until > $3 AND EXISTS (
                   SELECT FROM instant_ring g WHERE g.request_id = $1 AND g.provider_id = $2 AND g.answer IS NULL)
               RETURNING patient_id, reason, patient_timezone""",
            request,
            provider,
            call.now,
        )
        if won is None:
            own = await connection.fetchval(
                "SELECT appointment_id FROM instant_request WHERE id = $1 AND provider_id = $2 AND state = 'accepted'",
                request,
                provider,
            )  # whose answer was lost on its way is told where to go
            why = "Somebody else took this request, or it has ended." if own is None else "You have taken it already."
            raise Conflict("already_taken", why, facts={} if own is None else {"appointment": own})
        appointment = await call.request.app[VISITS_NOW].visit_now(
            connection,
            provider=provider,
            patient=won["patient_id"],
            reason=won["reason"],
            timezone=won["patient_timezone"],
            now=call.now,
        )
        if appointment is None:  # rolls the acceptance back: the request rings on
            raise Conflict("time_taken", "Your next appointment begins too soon for a visit now.")
        await connection.execute("UPDATE instant_request SET appointment_id = $2 WHERE id = $1", request, appointment)
        await connection.execute(
            """UPDATE instant_ring SET answer = 'accepted', answered_at = $3
               WHERE request_id = $1 AND provider_id = $2""",
            request,
            provider,
            call.now,
        )
        # Nobody waits twice: the patient goes in as soon as their page has checked in.
        await connection.execute(
            """INSERT INTO visit_seat (appointment_id, seat, holder, state, arrived_at, admitted_at)
               VALUES ($1, 'patient', $2, 'admitted', $3, $3)""",
            appointment,
            won["patient_id"],
            call.now,
        )
        touched = await _silence(connection, request, call.now)
        await _emit(connection, "instant.accepted", request, call.now)
    note_after(call, request, provider, *touched)
    return Taken(appointment)


@routes.post(
    "/v1/instant-requests/{request}/decline", right="instant.answer", problems={404: (), 409: ("not_ringing",)}
)
async def decline(call: Call, request: UUID) -> None:
    """Leave a request to others; when all have, the next ones are rung at once"""
    async with call.transaction() as connection:
        provider = await _provider(call, connection)
        # First the job and the request, as everywhere: two who decline last wait for each other, not in a circle.
        await hold(connection, f"{JOB}:{request}")
        ringing = await connection.fetchval(
            "SELECT true FROM instant_request WHERE id = $1 AND state = 'ringing' FOR UPDATE", request
        )
        declined = ringing and await connection.fetchval(
            """UPDATE instant_ring SET answer = 'declined', answered_at = $3
               WHERE request_id = $1 AND provider_id = $2 AND answer IS NULL RETURNING true""",
            request,
            provider,
            call.now,
        )
        if not declined:
            raise Conflict("not_ringing", "This request does not ring at you any more.")
        touched = [provider]
        silent = await connection.fetchval(
            "SELECT NOT EXISTS (SELECT FROM instant_ring WHERE request_id = $1 AND answer IS NULL)", request
        )
        if silent:
            touched += await call.request.app[RINGING].next_ring(connection, request, call.now)
    note_after(call, request, *touched)


async def _silence(connection: Connection, request: UUID, now: datetime) -> list[UUID]:
    """Nobody is rung any more; who was."""
    rows = await connection.fetch(
        """UPDATE instant_ring SET answer = 'withdrawn', answered_at = $2 WHERE request_id = $1 AND answer IS NULL
           RETURNING provider_id""",
        request,
        now,
    )
    await withdraw(connection, f"{JOB}:{request}")
    return [row["provider_id"] for row in rows]


async def _own(call: Call, connection: Connection, request: UUID) -> None:
    own = await connection.fetchval(
        "SELECT true FROM instant_request WHERE id = $1 AND patient_id = $2", request, call.principal.person
    )
    if not own:
        raise NotFound("not_found", "There is no such request of yours.")


async def _provider(call: Call, connection: Connection) -> UUID:
    provider = await own_provider(connection, call.principal)
    if provider is None:
        raise NotFound("not_found", "You are no doctor here.")
    return provider


async def _emit(connection: Connection, type_: str, request: UUID, now: datetime) -> None:
    event = Event(type=type_, aggregate="instant", aggregate_id=request, payload={"request": str(request)})
    await emit(connection, event, now)
