"""Clinics and listed providers for tests, as onboarding would leave them, without its steps."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast
from uuid import UUID, uuid4

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from backplane.api import Principal, Services, Tenant, install
from backplane.ids import uuid7
from backplane.metrics import Metrics
from backplane.postgres import Connection, Database
from backplane.web import Readiness, application
from booking.documents import DOCUMENTS, Documents, FileStore
from booking.providers.index import reindex
from booking.providers.module import ROUTES
from booking.providers.registry import REGISTRY, Registry
from booking.rights import rights_of
from booking.virus import NoScanner, Scanner

Client = TestClient[web.Request, web.Application]


async def add_clinic(database: Database, slug: str = "gulberg") -> Tenant:
    async with database.platform() as connection:
        number = await connection.fetchval("INSERT INTO tenant (slug, name) VALUES ($1, $1) RETURNING id", slug)
    return Tenant(number, slug, slug)


async def add_person(connection: Connection, name: str, now: datetime) -> UUID:
    person = uuid7(now)
    await connection.execute("INSERT INTO person (id, name, created_at) VALUES ($1, $2, $3)", person, name, now)
    return person


async def add_provider(
    connection: Connection,
    name: str,
    now: datetime,
    *,
    specialties: Sequence[str] = ("general-practice",),
    languages: Sequence[str] = ("en",),
    gender: str | None = "female",
    at: tuple[float, float] | None = None,
    price_minor: int | None = 100_000,
    kind: str = "video",
    stars: Sequence[int] = (),
    free_in: timedelta | None = timedelta(days=1),
    online: bool = False,
    licensed_for: timedelta | None = timedelta(days=365),
    status: str = "approved",
    person: UUID | None = None,
    slug: str | None = None,
) -> UUID:
    """A provider of the connection's tenant with a verified licence and one service."""
    provider = uuid7(now)
    location = None
    if at is not None:
        location = uuid7(now)
        await connection.execute(
            """
            INSERT INTO location (id, name, latitude, longitude, timezone, created_at)
            VALUES ($1, 'Shifa House', $2, $3, 'Asia/Karachi', $4)""",
            location, at[0], at[1], now,
        )  # fmt: skip
    person = person or await add_person(connection, name, now)
    await connection.execute(
        """
        INSERT INTO provider (id, person_id, status, slug, display_name, gender, languages, specialties, timezone,
                              location_id, online_until, next_free_at, rating_sum, rating_count, created_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 'Asia/Karachi', $9, $10, $11, $12, $13, $14)""",
        provider, person, status, slug or f"dr-{provider}", name, gender, list(languages), list(specialties), location,
        now + timedelta(minutes=30) if online else None, None if free_in is None else now + free_in,
        sum(stars), len(stars), now,
    )  # fmt: skip
    if price_minor is not None:
        await connection.execute(
            """
            INSERT INTO service (id, provider_id, name, kind, minutes, price_minor, created_at)
            VALUES ($1, $2, 'Consultation', $3, 15, $4, $5)""",
            uuid7(now), provider, kind, price_minor, now,
        )  # fmt: skip
    await connection.execute(
        """
        INSERT INTO credential (id, provider_id, kind, number, issuer, country, expires_at, state, created_at)
        VALUES ($1, $2, 'licence', $3, 'PMDC', 'PK', $4, 'verified', $5)""",
        uuid7(now), provider, str(uuid4()), None if licensed_for is None else now + licensed_for, now,
    )  # fmt: skip
    async with connection.transaction():
        await reindex(connection, provider, now)
    return provider


class Clock:
    """A clock that tests put forward."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


class Who:
    """A person with roles, as a client of the API: their requests carry who they are and which clinic they ask."""

    def __init__(self, client: Client, person: UUID, tenant: int, *roles: str) -> None:
        self.client = client
        self.person = person
        self.tenant = tenant
        self._headers = {"Authorization": f"Bearer {person} {','.join(roles)}", "X-Clinic": str(tenant)}

    def ask(self, method: str, path: str, **options: Any) -> Any:
        headers = {**self._headers, **options.pop("headers", {})}
        return self.client.request(method, path, headers=headers, **options)

    async def get(self, path: str, status: int = 200) -> Any:
        """The decoded body of an answer that has ``status``."""
        return await self._answer("GET", path, status)

    async def send(self, method: str, path: str, body: object = None, status: int = 200) -> Any:
        return await self._answer(method, path, status, **({} if body is None else {"json": body}))

    async def _answer(self, method: str, path: str, status: int, **options: Any) -> Any:
        async with self.ask(method, path, **options) as response:
            content = await response.read()
            assert response.status == status, content
            return json.loads(content) if content else None


@asynccontextmanager
async def served(
    database: Database,
    clock: Clock,
    directory: Path,
    *,
    scanner: Scanner | None = None,
    registry: Registry | None = None,
) -> AsyncIterator[Client]:
    """The providers part behind a header that says who asks and where."""

    async def tenant_of(request: web.Request) -> Tenant:
        number = int(request.headers["X-Clinic"])
        return Tenant(number, f"clinic{number}", f"Clinic {number}", hosts=(f"clinic{number}.example",))

    async def authenticate(request: web.Request) -> Principal | None:
        given = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if not given:
            return None
        person, _, roles = given.partition(" ")
        held = frozenset(roles.split(",")) - {""}
        return Principal(UUID(person), int(request.headers["X-Clinic"]), held, rights_of(held), UUID(int=1))

    app = application(Metrics(), Readiness(lambda: {}))
    app[DOCUMENTS] = Documents(FileStore(directory / "documents"), scanner or NoScanner())
    if registry is not None:
        app[REGISTRY] = registry
    bus = cast("Any", None)
    install(app, ROUTES, Services(database, bus, tenant_of, authenticate, clock))
    async with TestClient(TestServer(app)) as client:
        yield client
