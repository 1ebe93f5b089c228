"""A clinic to book at: two doctors, services of every kind, patients, and the routes of booking on a toy server.

Who asks stands in the Authorization header as ``Bearer NAME``; the names are those of `Clinic.people`.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestClient, TestServer

from backplane.api import Principal, Routes, Services, Tenant, install
from backplane.bus import LocalBus
from backplane.ids import uuid7
from backplane.metrics import Metrics
from backplane.postgres import Connection, Database
from backplane.web import Readiness, application
from booking.appointments.bookable import Bookable
from booking.appointments.claims import Particulars, SlotRequest, claim_slot
from booking.appointments.context import BOOKING_CONTEXT, BookingContext
from booking.appointments.transitions import Command
from booking.calendar.cache import CalendarState
from booking.rights import rights_of

NOW = datetime(2030, 1, 7, 9, 0, tzinfo=UTC)  # a Monday
TENANT = Tenant(1000, "gulberg", "Gulberg Clinic")
ROLES = {
    "amina": "patient",
    "bilal": "patient",
    "chand": "patient",
    "drsana": "doctor",
    "drtariq": "doctor",
    "front": "staff",
    "boss": "clinic_admin",
    "helper": "support",
    "guest": "anonymous",
    "money": "finance",
    "root": "platform_admin",
}


def at(days: float = 1, hour: int = 10, minute: int = 0) -> datetime:
    """A time some days from Monday's midnight."""
    return NOW.replace(hour=0) + timedelta(days=days, hours=hour, minutes=minute)


def wire(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


class AlwaysOpen:
    """A calendar whose doors never close: a slot at every quarter, less what is booked."""

    async def refusal(
        self,
        connection: Connection,
        service: Bookable,
        start: datetime,
        now: datetime,
        without: UUID | None = None,
        seen: CalendarState | None = None,
    ) -> str | None:
        if start.minute % 15 or start.second:
            return "not_on_grid"
        return "too_soon" if start <= now else None

    async def read_ahead(self, *asked: object) -> None:
        pass

    async def free(
        self, connection: Connection, service: Bookable, start: datetime, end: datetime, now: datetime, most: int
    ) -> list[datetime]:
        rows = await connection.fetch(
            """SELECT g FROM generate_series($2::timestamptz, $2::timestamptz + interval '2 days', '15 minutes') g
               WHERE g < $3 AND g > $4 AND NOT EXISTS (
                   SELECT FROM appointment a WHERE a.provider_id = $1 AND a.occupied && tstzrange(g, g + $5)
                       AND a.status IN ('held', 'requested', 'confirmed', 'checked_in', 'in_progress', 'interrupted'))
               ORDER BY g LIMIT $6""",
            service.provider,
            start,
            end,
            now,
            timedelta(minutes=service.minutes),
            most,
        )
        return [row["g"] for row in rows]


@dataclass
class Clinic:
    """``tell``: what time it is for the server."""

    db: Database
    tenant: Tenant = TENANT
    now: datetime = NOW
    people: dict[str, UUID] = field(default_factory=dict)
    providers: dict[str, UUID] = field(default_factory=dict)
    services: dict[str, UUID] = field(default_factory=dict)
    context: BookingContext = field(default_factory=lambda: BookingContext(AlwaysOpen()))

    def who(self, name: str) -> Principal:
        role = ROLES[name]
        id = self.people[name]
        rights = rights_of({role})
        return Principal(id, self.tenant.id, frozenset({role}), rights, id, anonymous=role == "anonymous")

    def command(self, name: str, cause: str = "") -> Command:
        return Command(self.people[name], ROLES[name], self.now, cause)

    def request(self, name: str, start: datetime, service: str = "video", *, hold: bool = False) -> SlotRequest:
        return SlotRequest(self.who(name), self.services[service], start, Particulars(), self.command(name), hold)

    async def claim(
        self, connection: Connection, name: str, start: datetime, service: str = "video", *, hold: bool = False
    ) -> UUID:
        """The appointment that ``name`` has booked, or holds, then."""
        return (await claim_slot(connection, self.context, self.request(name, start, service, hold=hold))).id

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        async with self.db.tenant(self.tenant.id) as connection, connection.transaction():
            yield connection

    async def status(self, appointment: UUID) -> str:
        async with self.db.tenant(self.tenant.id) as connection:
            return str(await connection.fetchval("SELECT status FROM appointment WHERE id = $1", appointment))

    async def balanced(self) -> int:
        """Asserts as many events and audit entries as transitions, one of each kind at a time; how many there are."""
        async with self.db.platform() as connection:
            row = await connection.fetchrow(
                """SELECT (SELECT count(*) FROM transition) AS t,
                       (SELECT count(*) FROM outbox WHERE aggregate = 'appointment') AS o,
                       (SELECT count(*) FROM audit_entry WHERE subject_kind = 'appointment') AS a,
                       (SELECT count(*) FROM appointment) AS n,
                       (SELECT count(DISTINCT appointment_id) FROM transition) AS begun,
                       (SELECT count(*) FROM appointment a WHERE kind <> 'class' AND status <> (SELECT to_status
                            FROM transition x WHERE x.appointment_id = a.id ORDER BY x.id DESC LIMIT 1)) AS odd"""
            )
        assert row is not None
        assert row["t"] == row["o"] == row["a"], dict(row)
        assert row["n"] == row["begun"], dict(row)
        assert row["odd"] == 0, dict(row)
        return int(row["t"])

    async def overlaps(self) -> int:
        async with self.db.platform() as connection:
            return int(
                await connection.fetchval(
                    """WITH live AS (SELECT * FROM appointment WHERE NOT overridden AND status IN
                           ('held', 'requested', 'confirmed', 'checked_in', 'in_progress', 'interrupted'))
                       SELECT count(*) FROM live a JOIN live b ON a.provider_no = b.provider_no
                           AND a.id < b.id AND a.occupied && b.occupied"""
                )
            )


async def clinic(db: Database, tenant: Tenant = TENANT, context: BookingContext | None = None) -> Clinic:
    """A clinic in an empty database, or beside another one."""
    made = Clinic(db, tenant, context=context or BookingContext(AlwaysOpen()))
    async with db.platform() as connection:
        await connection.execute(
            "INSERT INTO tenant (id, slug, name) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
            tenant.id,
            tenant.slug,
            tenant.name,
        )
    async with db.tenant(tenant.id) as connection, connection.transaction():
        for name in ROLES:
            made.people[name] = uuid7(NOW)
            await connection.execute(
                "INSERT INTO person (id, name, created_at) VALUES ($1, $2, $3)", made.people[name], name, NOW
            )
        for name in ("drsana", "drtariq"):
            made.providers[name] = uuid7(NOW)
            await connection.execute(
                """INSERT INTO provider (id, person_id, status, slug, display_name, specialties, timezone, created_at)
                   VALUES ($1, $2, 'approved', $3, $3, '{cardiology}', 'Asia/Karachi', $4)""",
                made.providers[name],
                made.people[name],
                name,
                NOW,
            )
        for name, provider, kind, capacity, auto, price in (
            ("video", "drsana", "video", 1, True, 100_000),
            ("asked", "drsana", "video", 1, False, 0),
            ("room", "drsana", "in_person", 1, True, 0),
            ("yoga", "drsana", "class", 2, True, 500),
            ("other", "drtariq", "video", 1, True, 0),
        ):
            made.services[name] = uuid7(NOW)
            await connection.execute(
                """INSERT INTO service (id, provider_id, name, kind, minutes, capacity, auto_confirm, price_minor,
                       created_at) VALUES ($1, $2, $3, $4, 30, $5, $6, $7, $8)""",
                made.services[name],
                made.providers[provider],
                name,
                kind,
                capacity,
                auto,
                price,
                NOW,
            )
    return made


class Front:
    """The HTTP API as somebody sees it."""

    def __init__(self, client: "TestClient[web.Request, web.Application]") -> None:
        self.client = client
        self.count = 0

    async def ask(
        self, who: str | None, method: str, path: str, body: object = None, *, key: str | None = None
    ) -> ClientResponse:
        self.count += 1
        headers = {"Idempotency-Key": key or f"key-{self.count:06}"}
        if who is not None:
            headers["Authorization"] = f"Bearer {who}"
        response = await self.client.request(method, path, json=body, headers=headers)
        await response.read()
        return response

    async def post(self, who: str, path: str, body: object = None, status: int = 200) -> Any:
        """The answer's body; asserts its status."""
        response = await self.ask(who, "POST", path, body)
        assert response.status == status, (response.status, await response.text())
        return await response.json()

    async def get(self, who: str | None, path: str, status: int = 200) -> Any:
        response = await self.ask(who, "GET", path)
        assert response.status == status, (response.status, await response.text())
        return await response.json()


@asynccontextmanager
async def served(place: Clinic, routes: Sequence[Routes]) -> AsyncIterator[Front]:
    async def tenant_of(_: web.Request) -> Tenant:
        return place.tenant

    async def authenticate(request: web.Request) -> Principal | None:
        name = request.headers.get("Authorization", "").removeprefix("Bearer ")
        return place.who(name) if name in place.people else None

    app = application(Metrics(), Readiness(lambda: {}))
    app[BOOKING_CONTEXT] = place.context
    install(app, routes, Services(place.db, LocalBus(), tenant_of, authenticate, lambda: place.now))
    async with TestClient(TestServer(app)) as client:
        yield Front(client)
