"""A whole identity server in one process: real Postgres, real HTTP, a clock to turn, a postbox to read."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from backplane.api import Services, install
from backplane.bus import Bus, LocalBus
from backplane.ids import uuid7
from backplane.metrics import Metrics
from backplane.postgres import Connection, Database
from backplane.proxies import TrustedProxies
from backplane.sealed import Sealer
from backplane.web import Readiness, application
from booking.identity.courier import Letter
from booking.identity.oidc_client import OidcClient
from booking.identity.routes import ROUTES
from booking.identity.service import IDENTITY, Identity, Paces
from booking.tenants import Clinic, Tenants

START = datetime(2026, 11, 21, 12, tzinfo=UTC)
SEALER = Sealer(b"0123456789abcdef0123456789abcdef")
PASSWORD = "correct horse battery"


class Clock:
    """Stands still until it is turned. ``steady`` is the monotonic clock beside it, which is never turned back."""

    def __init__(self) -> None:
        self.now = START
        self._steady_s = 0.0

    def steady(self) -> float:
        return self._steady_s

    def __call__(self) -> datetime:
        return self.now

    def turn(self, **units: float) -> None:
        self.now += timedelta(**units)
        self._steady_s += max(0.0, timedelta(**units).total_seconds())


class Postbox:
    """A courier whose letters lie open."""

    def __init__(self) -> None:
        self.letters: list[Letter] = []

    async def post(self, connection: Connection, letter: Letter, subject: UUID, now: datetime) -> None:
        self.letters.append(letter)

    def last(self, to: str) -> str:
        """The code or link that was last sent there."""
        return next(letter.secret for letter in reversed(self.letters) if letter.contact.value == to)


class Answered:
    """An answer, read whole."""

    def __init__(self, response: aiohttp.ClientResponse, body: Any) -> None:
        self.status = response.status
        self.headers = response.headers
        self.cookies = response.cookies
        self.body = body

    @property
    def code(self) -> str:
        return str(self.body.get("code", "")) if isinstance(self.body, dict) else ""


class House:
    """The server and what a test needs to look behind it."""

    def __init__(
        self, client: TestClient[web.Request, web.Application], identity: Identity, db: Database, clock: Clock,
        post: Postbox, bus: Bus,
    ) -> None:  # fmt: skip
        self.client = client
        self.identity = identity
        self.db = db
        self.clock = clock
        self.post = post
        self.bus = bus

    async def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        token: str | None = None,
        host: str = "a.localhost",
        headers: dict[str, str] | None = None,
    ) -> Answered:
        """One request; bodies are JSON."""
        sent = {"Host": host, **(headers or {})}
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        async with self.client.request(method, path, json=body, headers=sent, allow_redirects=False) as response:
            text = await response.text()
            is_json = "json" in response.headers.get("Content-Type", "")
            return Answered(response, await response.json(content_type=None) if is_json and text else text)

    async def code(self, email: str, *, host: str = "a.localhost") -> dict[str, Any]:
        """Ticket and code for ``email``."""
        asked = await self.ask("POST", "/v1/auth/otp", {"email": email}, host=host)
        assert asked.status == 202, asked.body
        return {"ticket": asked.body["ticket"], "code": self.post.last(email)}

    async def sign_in(self, email: str, *, host: str = "a.localhost") -> dict[str, Any]:
        """Signed in by a code, with an account made if there was none."""
        answer = await self.ask("POST", "/v1/auth/otp/verify", await self.code(email, host=host), host=host)
        assert answer.status == 200, answer.body
        assert isinstance(answer.body, dict)
        return answer.body

    async def with_role(self, email: str, role: str, *, host: str = "a.localhost") -> dict[str, Any]:
        """Signed in as somebody of that role."""
        before = await self.sign_in(email, host=host)
        clinic = await self.clinic(host)
        async with self.db.tenant(clinic.id) as connection:
            await connection.execute(
                "INSERT INTO membership (id, person_id, role, created_at) VALUES ($1, $2, $3, $4)",
                uuid7(self.clock()),
                UUID(before["person"]),
                role,
                self.clock(),
            )
        return await self.refresh(before, host=host)

    async def refresh(self, signed_in: dict[str, Any], *, host: str = "a.localhost") -> dict[str, Any]:
        answer = await self.ask("POST", "/v1/auth/refresh", {"refresh_token": signed_in["refresh_token"]}, host=host)
        assert answer.status == 200, answer.body
        assert isinstance(answer.body, dict)
        return answer.body

    async def clinic(self, host: str = "a.localhost") -> Clinic:
        return await self.identity.tenants.at(host)


GENEROUS = Paces()


@asynccontextmanager
async def house(database: Database, *, paces: Paces = GENEROUS) -> AsyncIterator[House]:
    """Two clinics, a.localhost and b.localhost, and the platform at localhost."""
    async with database.platform() as connection:
        await connection.execute("INSERT INTO tenant (slug, name) VALUES ('a', 'Clinic A'), ('b', 'Clinic B')")
    clock, post = Clock(), Postbox()
    bus = LocalBus(clock.steady)
    tenants = Tenants(database, clock)
    identity = Identity(
        database, bus, SEALER, tenants, clock, courier=post, paces=paces, oidc=OidcClient(allow_private=True)
    )
    await identity.keys.tend()
    # so that a test may come from any address
    app = application(Metrics(), Readiness(lambda: {}), TrustedProxies(("127.0.0.1",)))
    app[IDENTITY] = identity
    install(app, ROUTES, Services(database, bus, tenants.tenant_of, identity.access.authenticate, clock))
    # Cookies are sent by tests that want to, not kept by the client.
    async with TestClient(TestServer(app), cookie_jar=aiohttp.DummyCookieJar()) as client:
        yield House(client, identity, database, clock, post, bus)
    await identity.close()
    await bus.close()
