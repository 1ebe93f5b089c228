"""Booking put together for one server process: its parts, what handlers find in the application, who is asking.

Who asks is said by an access token (identity) or by the pass of a join link; which clinic is meant, by the host name.
Everything is made by `assemble` and lives until its block ends.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

from aiohttp import web

from backplane.api import Routes, Services, install
from backplane.bus import Bus
from backplane.postgres import Database
from backplane.principal import Principal
from booking.application import Part
from booking.documents import DOCUMENTS, Documents, FileStore
from booking.identity.routes import ROUTES as IDENTITY_ROUTES
from booking.identity.service import IDENTITY, Identity
from booking.providers.part import providers
from booking.tenants import Tenants

IDENTITY_TENDED_S = 300.0


@dataclass(frozen=True, slots=True)
class Assembly:
    """What `assemble` made. ``install`` wants to be called once, before the application starts."""

    parts: Sequence[Part]
    services: Services
    identity: Identity
    documents: Documents

    def install(self, app: web.Application) -> None:
        """Put routes and what their handlers look for into ``app``."""
        app[IDENTITY] = self.identity
        app[DOCUMENTS] = self.documents
        routes: list[Routes] = [group for part in self.parts for group in part.routes]
        install(app, routes, self.services)


@asynccontextmanager
async def assemble(
    database: Database, bus: Bus, data: Path, base_url: str | None, default: str | None, clock: Callable[[], datetime]
) -> AsyncIterator[Assembly]:
    """``base_url``: where people reach the installation; ``default``: slug of the clinic of the base host."""
    host = urlsplit(base_url).hostname if base_url else None
    tenants = Tenants(database, clock, base=host, default=default)
    identity = await Identity.open(database, bus, data, tenants, clock)

    async def authenticate(request: web.Request) -> Principal | None:
        return await identity.access.authenticate(request)

    store = await asyncio.to_thread(FileStore, data / "documents")
    parts = (
        Part(routes=IDENTITY_ROUTES, sweeps=[("identity", IDENTITY_TENDED_S, identity.tend)]),
        providers(database, store, clock),
    )
    services = Services(database, bus, tenants.tenant_of, authenticate, clock)
    try:
        yield Assembly(parts, services, identity, Documents(store))
    finally:
        await identity.close()
