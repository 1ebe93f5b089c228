"""Joining put together: its routes, the events that it hears, the jobs that it does.

What happens to an appointment elsewhere (cancelled, moved, completed) reaches the waiting room as an event: tickets and
seats are closed, the old room is emptied, and every screen is told, so that nobody waits for a doctor who has called
off. Handlers look at the appointment as it is now; a repeated or late event changes nothing.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from aiohttp import web

from backplane.bus import Bus
from backplane.consumers import Consumer
from backplane.jobs import Handler, JobRow
from backplane.outbox import Fact
from backplane.postgres import Connection, Database
from backplane.principal import Principal
from backplane.routes import TENANT
from backplane.tokens import TokenAuthority
from booking import instant
from booking.application import Part
from booking.join import desk, exchange, invites, live_routes, notes, visit_routes, waiting_room
from booking.join.call_events import CallEvents
from booking.join.links import Links
from booking.join.live import Live
from booking.join.live_messages import LiveTickets
from booking.join.live_sources import SOURCES
from booking.join.passes import Passes
from booking.join.presence import end_of_grace
from booking.join.room_commands import RoomCommands
from booking.join.room_names import VisitRoom, VisitRooms
from booking.join.visitors import guest_principal
from booking.join.visits import JOINING, Joining, Lifecycle, load
from booking.queue import walk_in
from booking.queue.tickets import GRACE_JOB
from booking.queue.walk_in import MakesVisits

LIVE_PAUSE_S: Final = 1.0
ROUTES: Final = (
    exchange.routes,
    visit_routes.routes,
    invites.routes,
    desk.routes,
    walk_in.routes,
    live_routes.routes,
    instant.routes,
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


@dataclass(frozen=True, slots=True)
class Join:
    """What `join` made. ``events`` is for whoever runs the calls (`signalling.visits`)."""

    part: Part
    joining: Joining
    live: Live
    events: CallEvents
    ringing: instant.Ringing
    visits_now: MakesVisits
    clock: Callable[[], datetime]

    def guest(self, request: web.Request) -> Principal | None:
        """Who asks with the pass of a join link; for requests that come with no session. The tenant is known."""
        tenant = request.get(TENANT)
        return guest_principal(request, tenant, self.joining.passes, self.clock()) if tenant else None

    def install(self, app: web.Application) -> None:
        """Put what the handlers look for into ``app``; its live sockets are closed when it shuts down."""
        app[JOINING] = self.joining
        app[live_routes.LIVE] = self.live
        app[instant.RINGING] = self.ringing
        app[walk_in.VISITS_NOW] = self.visits_now

        async def close(_: web.Application) -> None:
            await self.live.close()

        app.on_shutdown.append(close)


def join(
    database: Database,
    bus: Bus,
    authority: TokenAuthority,
    lifecycle: Lifecycle,
    visits_now: MakesVisits,
    clock: Callable[[], datetime],
) -> Join:
    """This part of booking as `booking.application` takes it. ``authority``: of the room tokens of this server."""
    masters = {0: authority.key}
    names = VisitRooms(authority.key)
    joining = Joining(Links(masters), Passes(masters), names, authority, RoomCommands(bus), lifecycle)
    live = Live(database, bus, LiveTickets(masters), SOURCES, clock)
    events = CallEvents(database, bus, names, lifecycle)
    ringing = instant.Ringing(bus)
    part = Part(
        routes=ROUTES,
        consumers=consumers(joining, bus),
        jobs=jobs(joining, events, ringing, bus),
        sweeps=[("live views", LIVE_PAUSE_S, live.run)],  # runs for ever; a fault makes it begin again
    )
    return Join(part, joining, live, events, ringing, visits_now, clock)


def consumers(joining: Joining, bus: Bus) -> tuple[Consumer, ...]:
    """The consumer of what happens to appointments elsewhere."""

    async def ended(connection: Connection, fact: Fact, now: datetime) -> None:
        visit = await load(connection, fact.aggregate_id)
        if visit is None:
            return
        moved = fact.type == "appointment.rescheduled"
        if moved:
            await waiting_room.moved(connection, visit.appointment, visit.epoch, now)
        # A doctor who calls a completed visit again has opened it anew: an event from before must not close it.
        elif not visit.enterable(now):
            await waiting_room.over(connection, visit.appointment, _ENDS[fact.type], now)
        for epoch in range(max(1, visit.epoch - 1), visit.epoch + (not visit.enterable(now) and not moved)):
            await joining.rooms.revoke_room(joining.names.name(VisitRoom(visit.tenant, visit.appointment, epoch)))
        await notes.note(bus, fact.tenant, visit.provider)

    async def changed(connection: Connection, fact: Fact, now: datetime) -> None:
        provider = fact.payload.get("provider")
        if isinstance(provider, str):
            await notes.note(bus, fact.tenant, UUID(provider))

    return (Consumer("visits", dict.fromkeys(_ENDS, ended) | dict.fromkeys(_OTHER_CHANGES, changed)),)


def jobs(joining: Joining, events: CallEvents, ringing: instant.Ringing, bus: Bus) -> Mapping[str, Handler]:
    """Everything that joining does later."""

    async def grace_over(connection: Connection, job: JobRow, now: datetime) -> None:
        provider = await connection.fetchval("SELECT provider_id FROM queue_ticket WHERE id = $1", job.subject)
        if await end_of_grace(connection, job.subject, now):
            await notes.note(bus, job.tenant, provider)

    return {GRACE_JOB: grace_over, **events.jobs(), **ringing.jobs()}
