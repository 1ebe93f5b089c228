"""A toy clinic behind the typed routes: who asks stands in the Authorization header as ``Bearer NAME``."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import cast
from uuid import NAMESPACE_URL, uuid5

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from backplane.api import Principal, Routes, Services, Tenant, install
from backplane.metrics import Metrics
from backplane.postgres import Database
from backplane.web import Readiness, application

Client = TestClient[web.Request, web.Application]
NOW = datetime(2026, 5, 4, 9, tzinfo=UTC)
CLINIC = Tenant(1000, "gulberg", "Gulberg Clinic")


def person(name: str, *rights: str) -> Principal:
    """The same one for the same name. Who is called a visitor has no account."""
    number = uuid5(NAMESPACE_URL, name)
    anonymous = name.startswith("visitor")
    return Principal(number, CLINIC.id, frozenset({"patient"}), frozenset(rights), number, anonymous=anonymous)


async def _tenant_of(_: web.Request) -> Tenant:
    return CLINIC


def services(database: Database | None, *rights: str) -> Services:
    """Everybody who gives a name holds ``rights``."""

    async def authenticate(request: web.Request) -> Principal | None:
        name = request.headers.get("Authorization", "").removeprefix("Bearer ") or request.cookies.get("who", "")
        return person(name, *rights) if name in ("amina", "bilal") or name.startswith("visitor") else None

    # Routes that touch neither database nor bus are served without.
    return Services(cast(Database, database), cast("object", None), _tenant_of, authenticate, lambda: NOW)  # type: ignore[arg-type]


def toy(
    routes: Sequence[Routes], database: Database | None = None, rights: Sequence[str] = ("see", "make")
) -> web.Application:
    app = application(Metrics(), Readiness(lambda: {}))
    install(app, routes, services(database, *rights))
    return app


@asynccontextmanager
async def served(
    routes: Sequence[Routes], database: Database | None = None, rights: Sequence[str] = ("see", "make")
) -> AsyncIterator[Client]:
    """A client of the toy."""
    async with TestClient(TestServer(toy(routes, database, rights))) as client:
        yield client
