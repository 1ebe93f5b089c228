"""The booking of a process put together: its routes, live views and pages' heads in the application, visits tied to
calls, and the work that it does by itself."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext

from aiohttp import web

from backplane.api import utc_now
from backplane.hosts import PublicUrls
from backplane.settings import Settings
from backplane.tokens import TokenAuthority
from backplane.web import METRICS
from booking import demo
from booking.application import at_work
from booking.assembly import Dependencies, assemble
from booking.visits.live_topics import TOPICS
from live.hub import Hub
from live.tickets import Tickets
from server.call_side import CallSide
from server.doctor_head import doctor_head
from server.pages import DOCTOR_HEAD
from server.store import Store
from server.visit_calls import VisitCalls


@asynccontextmanager
async def booking_side(
    app: web.Application,
    settings: Settings,
    store: Store,
    tokens: TokenAuthority,
    urls: PublicUrls,
    side: CallSide,
    *,
    works: bool,
) -> AsyncIterator[None]:
    """Booking on ``store`` in ``app``, which is not running yet, while the block runs. ``works``: do what waits in the
    database too (outbox, consumers, jobs, sweeps)."""
    dependencies = Dependencies(
        database=store.database,
        bus=store.bus,
        data=settings.data,
        tokens=tokens,
        clock=utc_now,
        urls=urls,
        default=demo.SLUG if settings.demo else None,
        smtp_url=settings.smtp_url,
        mail_from=settings.mail_from,
    )
    async with assemble(dependencies) as booking:
        booking.install(app)
        hub = Hub(store.database, store.bus, Tickets({0: tokens.key}), TOPICS, utc_now, app[METRICS])
        hub.install(app)
        app[DOCTOR_HEAD] = doctor_head(booking.services)
        if settings.demo:
            await demo.furnish(store.database, booking.identity.passwords, utc_now())
            print(demo.WELCOME, flush=True)
        visits = asyncio.create_task(VisitCalls(side.calls, side.stays, booking.call_events, store.bus).run())
        try:
            working = at_work(store.database, store.bus, booking.parts, utc_now) if works else nullcontext()
            async with hub.at_work(), working:
                yield
        finally:
            visits.cancel()
            await asyncio.wait([visits])
