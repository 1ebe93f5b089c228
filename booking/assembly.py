"""Booking put together for one server process: its parts, what handlers find in the application, who is asking.

Who asks is said by an access token (identity) or by the pass of a join link; which clinic is meant, by the host name.
Everything is made by `assemble` and lives until its block ends. What booking needs of the calls, and tells nobody else,
is a bus: the process that runs them listens (server/visit_calls.py).
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

from aiohttp import web

from backplane.api import Routes, Services, install
from backplane.bus import Bus
from backplane.hosts import PublicUrls
from backplane.mail import LocalMailbox, Postman, SmtpSettings
from backplane.postgres import Database
from backplane.principal import Principal
from backplane.routes import TENANT
from backplane.tokens import TokenAuthority
from booking.application import Module
from booking.appointments.module import BOOKING_CONTEXT, BookingContext, Life, VisitsNow, appointments
from booking.calendar.module import calendar
from booking.calendar.port import CachedCalendar
from booking.documents import DOCUMENTS, Documents, FileStore
from booking.identity.courier import SandboxSms, errands
from booking.identity.routes import ROUTES as IDENTITY_ROUTES
from booking.identity.service import IDENTITY, Identity
from booking.instant.instant_requests import RINGING, Ringing
from booking.links.link import Links
from booking.links.passes import Passes
from booking.mail.addresses import PublicAddresses
from booking.mail.delivery import Delivery
from booking.providers.module import providers
from booking.tenants import Tenants
from booking.visits import module as visits_module
from booking.visits.call_events import CallEvents
from booking.visits.room_commands import RoomCommands
from booking.visits.room_names import VisitRooms
from booking.visits.visit import JOINING, Joining
from booking.visits.visitors import guest_principal
from booking.waiting_room.walk_in import VISITS_NOW

IDENTITY_TENDED_S: Final = 300.0
# What any route may answer before its handler is asked: the clinic of the host (tenants), who asks (identity).
REFUSALS: Final = {
    401: ("bad_token", "token_expired", "session_ended"),
    403: ("mfa_required",),
    404: ("unknown_clinic",),
}


@dataclass(frozen=True, slots=True)
class Dependencies:
    """What one process gives to booking. ``urls``: where people reach it; ``default``: slug of the clinic of the
    base host. Without ``smtp_url`` mails go into ``data/mail``."""

    database: Database
    bus: Bus
    data: Path
    tokens: TokenAuthority
    clock: Callable[[], datetime]
    urls: PublicUrls = field(default_factory=PublicUrls)
    default: str | None = None
    smtp_url: str | None = None
    mail_from: str = "Wadud <wadud@localhost>"


@dataclass(frozen=True, slots=True)
class Assembly:
    """What `assemble` made."""

    parts: Sequence[Module]
    services: Services
    identity: Identity
    documents: Documents
    joining: Joining
    ringing: Ringing
    context: BookingContext
    call_events: CallEvents

    def install(self, app: web.Application) -> None:
        """Put routes and what their handlers look for into ``app``; once, before it starts."""
        app[IDENTITY] = self.identity
        app[DOCUMENTS] = self.documents
        app[JOINING] = self.joining
        app[RINGING] = self.ringing
        app[BOOKING_CONTEXT] = self.context
        app[VISITS_NOW] = VisitsNow()
        routes: list[Routes] = [group for part in self.parts for group in part.routes]
        install(app, routes, self.services)


@asynccontextmanager
async def assemble(dependencies: Dependencies) -> AsyncIterator[Assembly]:
    """Booking of these dependencies, at rest: `application.at_work` sets the parts to work."""
    database, bus, clock = dependencies.database, dependencies.bus, dependencies.clock
    urls = dependencies.urls
    host = urls.host if urls.configured else None
    tenants = Tenants(database, clock, base=host, default=dependencies.default)
    identity = await Identity.open(database, bus, dependencies.data, tenants, clock)
    keys = {0: dependencies.tokens.key}
    links, passes, names = Links(keys), Passes(keys), VisitRooms(dependencies.tokens.key)
    context = BookingContext(CachedCalendar())
    lifecycle = Life(context)
    joining = Joining(links, passes, names, dependencies.tokens, RoomCommands(bus), lifecycle)
    ringing = Ringing(bus)
    call_events = CallEvents(database, bus, names, lifecycle)
    sender = (
        Postman(SmtpSettings.from_url(dependencies.smtp_url, dependencies.mail_from))
        if dependencies.smtp_url
        else LocalMailbox(dependencies.data / "mail", dependencies.mail_from, clock)
    )
    delivery = Delivery(database, sender, PublicAddresses(links, urls), clock)
    store = await asyncio.to_thread(FileStore, dependencies.data / "documents")

    async def authenticate(request: web.Request) -> Principal | None:
        who = await identity.access.authenticate(request)
        return who or guest_principal(request, request[TENANT], passes, clock())

    letters = errands(identity.sealer, delivery, SandboxSms(dependencies.data / "sms.jsonl"))
    parts = (
        Module(IDENTITY_ROUTES, jobs=letters, sweeps=[("identity", IDENTITY_TENDED_S, identity.tend)]),
        providers(database, store, clock),
        calendar(database, clock),
        appointments(database, context, clock),
        Module(
            visits_module.ROUTES,
            visits_module.consumers(joining, bus),
            visits_module.jobs(joining, call_events, ringing, bus),
        ),
        delivery.part(),
    )
    services = Services(database, bus, tenants.tenant_of, authenticate, clock, refusals=REFUSALS, urls=urls)
    try:
        yield Assembly(parts, services, identity, Documents(store), joining, ringing, context, call_events)
    finally:
        await sender.close()
        await identity.close()
