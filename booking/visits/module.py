"""Joining put together: its routes, the events that it hears, the jobs that it does.

What happens to an appointment elsewhere (cancelled, moved, completed) reaches the waiting room as an event: tickets and
seats are closed, the old room is emptied, and every screen is told, so that nobody waits for a doctor who has called
off. Handlers look at the appointment as it is now; a repeated or late event changes nothing.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from backplane.bus import Bus
from backplane.consumers import Consumer
from backplane.jobs import Handler, JobRow
from backplane.outbox import Fact
from backplane.postgres import Connection
from booking.instant import instant_requests
from booking.links import exchange, invites
from booking.links.link import Seat
from booking.visits import live_routes, visit_routes
from booking.visits.call_events import CallEvents
from booking.visits.presence import end_of_grace
from booking.visits.room_names import VisitRoom, identity
from booking.visits.visit import CALLED_AGAIN, Joining, load
from booking.waiting_room import admittance, line_routes, walk_in
from booking.waiting_room.tickets import GRACE_JOB
from live import notes
from live import routes as live_socket

ROUTES: Final = (
    exchange.routes,
    visit_routes.routes,
    invites.routes,
    line_routes.routes,
    walk_in.routes,
    live_routes.routes,
    live_socket.routes,
    instant_requests.routes,
)
# Event -> what becomes of the tickets of those who wait.
_ENDS: Final[Mapping[str, str]] = {
    "appointment.cancelled": "cancelled",
    "appointment.declined": "cancelled",
    "appointment.rescheduled": "cancelled",
    "appointment.no_show": "no_show",
    "appointment.completed": "done",
}
_OTHER_CHANGES: Final = (
    "appointment.accepted",
    "appointment.booked",
    "appointment.checked_in",
    "appointment.interrupted",
    "appointment.started",
)


def consumers(joining: Joining, bus: Bus) -> tuple[Consumer, ...]:
    """The consumer of what happens to appointments elsewhere."""

    async def ended(connection: Connection, fact: Fact, now: datetime) -> None:
        visit = await load(connection, fact.aggregate_id)
        if visit is None:
            return
        moved = fact.type == "appointment.rescheduled"
        if moved:
            await admittance.moved(connection, visit.appointment, visit.epoch, now)
        # A doctor who calls a completed visit again has opened it anew: an event from before must not close it.
        elif not visit.enterable(now):
            await admittance.over(connection, visit.appointment, _ENDS[fact.type], now)
        elif visit.patient is None and fact.payload.get("seat") is not None:
            patient = UUID(str(fact.payload["patient"]))
            if await admittance.without_seat(connection, visit, patient, now):
                await joining.rooms.put_out(joining.names.name(visit.room), identity(Seat.PATIENT, patient))
        for epoch in range(max(1, visit.epoch - 1), visit.epoch + (not visit.enterable(now) and not moved)):
            await joining.rooms.revoke_room(joining.names.name(VisitRoom(visit.tenant, visit.appointment, epoch)))

    async def tell(facts: Sequence[Fact]) -> None:
        providers: dict[int, set[UUID]] = {}
        for fact in facts:
            provider = fact.payload.get("provider")
            if isinstance(provider, str):
                providers.setdefault(fact.tenant, set()).add(UUID(provider))
        for tenant, subjects in providers.items():
            await notes.note(bus, tenant, *subjects)

    return (Consumer("visits", dict.fromkeys(_ENDS, ended) | dict.fromkeys(_OTHER_CHANGES), after=tell),)


def jobs(joining: Joining, events: CallEvents, ringing: instant_requests.Ringing, bus: Bus) -> Mapping[str, Handler]:
    """Everything that joining does later."""

    async def grace_over(connection: Connection, job: JobRow, now: datetime) -> None:
        provider = await connection.fetchval("SELECT provider_id FROM queue_ticket WHERE id = $1", job.subject)
        if await end_of_grace(connection, job.subject, now):
            await notes.note(bus, job.tenant, provider)

    async def reopened_over(connection: Connection, job: JobRow, now: datetime) -> None:
        """A visit that was called again, and that nobody has ended, must not stay in the line."""
        visit = await load(connection, job.subject)
        if visit is None or visit.status not in CALLED_AGAIN:
            return
        if visit.enterable(now) or visit.window.state(now) == "early":  # called again since, or moved
            return
        await admittance.over(connection, visit.appointment, "done", now)
        await joining.rooms.revoke_room(joining.names.name(visit.room))
        await notes.note(bus, job.tenant, visit.provider)

    return {GRACE_JOB: grace_over, admittance.REOPENED_JOB: reopened_over, **events.jobs(), **ringing.jobs()}
