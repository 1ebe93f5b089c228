"""Two clinics and the platform behind one real server: the whole assembled application, and a person of every role.

``a.localhost`` and ``b.localhost`` are clinics alike, ``localhost`` is the platform. Everybody signs in through
booking.identity as often as a test likes (`World.token`), so a test that ends a session hurts nobody else. The routes
are whatever `booking.assembly.assemble` gives: a new one is under every proof from the day it is wired.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import aiohttp
import msgspec
from aiohttp import web
from aiohttp.test_utils import TestServer
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from backplane.audit import Sealer
from backplane.bus import Bus, LocalBus
from backplane.hosts import PublicUrls
from backplane.ids import uuid7
from backplane.metrics import Metrics
from backplane.postgres import Database
from backplane.proxies import NO_PROXIES
from backplane.routes import Route
from backplane.telemetry import Tracing
from backplane.tokens import TokenAuthority
from backplane.web import Readiness, application
from booking.assembly import Assembly, Dependencies, assemble
from booking.identity.people import standing
from booking.identity.refresh import open_session
from booking.rights import MEMBER_ROLES, PLATFORM_ADMIN, PLATFORM_TENANT
from booking.visits.live_topics import TOPICS
from live.hub import Hub
from live.tickets import Tickets
from tests.booking.proofs.rows import Rows, fill

STRANGER = "stranger"  # somebody without a token
CLINIC_ROLES = ("anonymous", "patient", "doctor", "staff", "clinic_admin", "finance", "support")
PLATFORM_ROLES = (PLATFORM_ADMIN,)
ROLES = (*CLINIC_ROLES, *PLATFORM_ROLES)


class Clock:
    """Stands still until it is turned."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC).replace(microsecond=0)

    def __call__(self) -> datetime:
        return self.now

    def turn(self, **units: float) -> None:
        self.now += timedelta(**units)


@dataclass(frozen=True)
class Person:
    id: UUID
    role: str
    tenant: int
    host: str


@dataclass
class Answered:
    """An answer, read whole."""

    status: int
    headers: Any
    content: bytes

    @property
    def body(self) -> Any:
        return msgspec.json.decode(self.content) if self.content else None

    @property
    def code(self) -> str:
        """Of a problem."""
        is_problem = self.headers.get("Content-Type", "").startswith("application/problem+json")
        return str(self.body["code"]) if is_problem else ""


@dataclass
class Clinic:
    tenant: int
    host: str
    people: dict[str, Person]
    rows: Rows


@dataclass
class World:
    url: str
    db: Database
    bus: Bus
    app: web.Application
    assembly: Assembly
    clock: Clock
    spans: InMemorySpanExporter
    session: aiohttp.ClientSession
    a: Clinic
    b: Clinic
    platform: Clinic
    _tokens: dict[UUID, str] = field(default_factory=dict)

    @property
    def routes(self) -> list[Route]:
        """Everything that is declared."""
        return [route for part in self.assembly.parts for group in part.routes for route in group.all]

    def person(self, role: str) -> Person:
        """Of clinic A, or of the platform."""
        return self.platform.people[role] if role in PLATFORM_ROLES else self.a.people[role]

    async def token(self, person: Person) -> str:
        """A new session's access token, with a second factor."""
        async with self.db.tenant(person.tenant) as connection, connection.transaction():
            opened = await open_session(connection, person.id, ("otp", "mfa"), "proof", self.clock())
            roles = (await standing(connection, person.id)).roles
        return self.assembly.identity.access.issue(
            person.id, person.tenant, roles, opened.session, opened.amr, self.clock()
        )

    async def ask(
        self, method: str, path: str, who: Person | None = None, *, host: str | None = None, fresh: bool = False,
        headers: dict[str, str] | None = None, **options: Any,
    ) -> Answered:  # fmt: skip
        """One request at the host of ``who``; ``fresh``: with a session of its own, as the route may end it."""
        sent = {"Host": host or (who.host if who else self.a.host), **(headers or {})}
        if who is not None:
            if fresh or who.id not in self._tokens:
                self._tokens[who.id] = await self.token(who)
            sent["Authorization"] = f"Bearer {self._tokens[who.id]}"
        async with self.session.request(
            method, self.url + path, headers=sent, allow_redirects=False, **options
        ) as response:
            answer = Answered(response.status, response.headers, await response.read())
        if answer.code in ("session_ended", "token_expired") and not fresh:  # somebody's logout, or the clock
            return await self.ask(method, path, who, host=host, fresh=True, headers=headers, **options)
        return answer

    async def document(self) -> dict[str, Any]:
        """/openapi.json."""
        body = (await self.ask("GET", "/openapi.json")).body
        assert isinstance(body, dict)
        return body


async def _clinic(db: Database, tenant: int, host: str, roles: tuple[str, ...], now: datetime) -> Clinic:
    people: dict[str, Person] = {}
    async with db.tenant(tenant) as connection:
        for role in roles:
            person = uuid7(now)
            await connection.execute(
                "INSERT INTO person (id, name, anonymous, created_at) VALUES ($1, $2, $3, $4)",
                person, role.title(), role == "anonymous", now,
            )  # fmt: skip
            if role in MEMBER_ROLES:
                await connection.execute(
                    "INSERT INTO membership (id, person_id, role, created_at) VALUES ($1, $2, $3, $4)",
                    uuid7(now), person, role, now,
                )  # fmt: skip
            people[role] = Person(person, role, tenant, host)
            if role in CLINIC_ROLES:
                async with connection.transaction():
                    await open_session(connection, person, ("otp",), "proof", now)
        rows = Rows(now, frozenset())
        if tenant != PLATFORM_TENANT:
            rows = await fill(connection, {role: person.id for role, person in people.items()}, now)
            rows.ids["membership"] = await connection.fetchval("SELECT id FROM membership WHERE role = 'staff'")
            rows.ids["login"] = await connection.fetchval("SELECT id FROM session ORDER BY id LIMIT 1")
    return Clinic(tenant, host, people, rows)


@asynccontextmanager
async def world(
    db: Database, data: Path, *, smtp_url: str | None = None, bus: Bus | None = None, traced: bool = True
) -> AsyncIterator[World]:
    """At rest: `booking.application.at_work` would set it to work. ``traced``: every request leaves its spans."""
    clock, bus, spans = Clock(), bus or LocalBus(), InMemorySpanExporter()
    async with db.platform() as connection:
        a = await connection.fetchval("INSERT INTO tenant (slug, name) VALUES ('a', 'Clinic A') RETURNING id")
        b = await connection.fetchval("INSERT INTO tenant (slug, name) VALUES ('b', 'Clinic B') RETURNING id")
    first = await _clinic(db, a, "a.localhost", CLINIC_ROLES, clock())
    second = await _clinic(db, b, "b.localhost", CLINIC_ROLES, clock())
    platform = await _clinic(db, PLATFORM_TENANT, "localhost", PLATFORM_ROLES, clock())
    await Sealer(db).seal()
    tracing = Tracing(SimpleSpanProcessor(spans), 1.0 if traced else 0.0)
    app = application(Metrics(), Readiness(lambda: {}), NO_PROXIES, tracing)
    tokens = TokenAuthority.open(data, clock().timestamp())
    around = Dependencies(db, bus, data, tokens, clock, urls=PublicUrls("http://localhost"), smtp_url=smtp_url)
    hub = Hub(db, bus, Tickets({0: tokens.key}), TOPICS, clock, Metrics())
    async with assemble(around) as assembly, hub.at_work():
        assembly.install(app)
        hub.install(app)
        for clinic in (first, second):
            await assembly.documents.store.put(clinic.rows.ids["document"], b"%PDF")
        server = TestServer(app)
        await server.start_server()
        try:
            async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
                url = str(server.make_url("")).rstrip("/")
                yield World(url, db, bus, app, assembly, clock, spans, session, first, second, platform)
        finally:
            await server.close()
            tracing.close()
    await bus.close()
