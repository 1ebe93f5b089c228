"""A clinic for the tests of joining: one doctor, patients, appointments, and the routes on a real server.

Who asks is said by the header ``Test-Person`` (id and role); real sessions are identity's business and tested there.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from aiohttp import ClientResponse, ClientWebSocketResponse, web
from aiohttp.test_utils import TestClient, TestServer

from backplane.api import Services, install
from backplane.bus import Bus, LocalBus
from backplane.ids import uuid7
from backplane.metrics import Metrics
from backplane.postgres import Connection, Database
from backplane.principal import Principal, Tenant
from backplane.tokens import Revocations, TokenAuthority
from backplane.web import Readiness, application
from booking.appointments.bookable import Bookable
from booking.appointments.changes import Life
from booking.appointments.claims import VisitsNow
from booking.appointments.context import BookingContext
from booking.instant.instant_requests import RINGING, Ringing
from booking.links.link import Links, Seat
from booking.links.passes import Passes
from booking.rights import rights_of
from booking.visits.live_topics import TOPICS
from booking.visits.module import ROUTES
from booking.visits.room_names import VisitRooms
from booking.visits.visit import JOINING, Joining, Visit, load
from booking.visits.visitors import guest_principal
from booking.waiting_room.walk_in import VISITS_NOW
from live.hub import Hub
from live.messages import SUBPROTOCOL
from live.tickets import Tickets
from live.topics import Topic

START = datetime.fromisoformat("2026-11-21T10:00:00+00:00")
TENANT = Tenant(1000, "alshifa", "Al-Shifa Clinic", hosts=("127.0.0.1",))
KEY = b"k" * 32


class AnyHour:
    """A calendar whose doctors are always there."""

    async def refusal(self, *asked: object, **more: object) -> str | None:
        return None

    async def read_ahead(self, *asked: object) -> None:
        pass

    async def free(
        self, connection: Connection, service: Bookable, start: datetime, end: datetime, now: datetime, most: int
    ) -> list[datetime]:
        return []


CONTEXT = BookingContext(AnyHour())


class RecordedRooms:
    """What was asked of the calls."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, ...]] = []

    async def put_out(self, room: str, identity: str) -> None:
        self.asked.append(("put_out", room, identity))

    async def revoke_room(self, room: str) -> None:
        self.asked.append(("revoke_room", room))

    async def renew(self, room: str, identity: str, until: datetime) -> None:
        self.asked.append(("renew", room, identity))


@dataclass
class Clinic:
    """The rows that every test needs. Times are the test's: `now` moves when the test says so."""

    db: Database
    bus: Bus
    joining: Joining
    doctor: UUID
    provider: UUID
    service: UUID
    now: datetime = START
    rooms: RecordedRooms = field(default_factory=RecordedRooms)

    @property
    def links(self) -> Links:
        return self.joining.links

    async def person(self, name: str = "", *, birth_year: int | None = None) -> UUID:
        id = uuid7(self.now)
        async with self.db.tenant(TENANT.id) as connection:
            await connection.execute(
                "INSERT INTO person (id, name, birth_year, created_at) VALUES ($1, $2, $3, $4)",
                id,
                name,
                birth_year,
                self.now,
            )
        return id

    async def appointment(
        self,
        patient: UUID | None = None,
        *,
        start: datetime = START,
        minutes: int = 20,
        status: str = "confirmed",
        provider: UUID | None = None,
    ) -> UUID:
        id = uuid7(self.now)
        patient = patient or await self.person("Sana")
        async with self.db.tenant(TENANT.id) as connection:
            await connection.execute(
                """INSERT INTO appointment (id, provider_id, provider_no, service_id, patient_id, kind, status, during,
                       occupied, provider_timezone, local_text, created_at, updated_at)
                   SELECT $1, p.id, p.no, $3, $4, 'video', $5, tstzrange($6, $7), tstzrange($6, $7), 'Asia/Karachi',
                       '', $8, $8 FROM provider p WHERE p.id = $2""",
                id,
                provider or self.provider,
                self.service,
                patient,
                status,
                start,
                start + timedelta(minutes=minutes),
                self.now,
            )
        return id

    async def visit(self, appointment: UUID) -> Visit:
        async with self.db.tenant(TENANT.id) as connection:
            visit = await load(connection, appointment)
        assert visit is not None
        return visit

    async def set(self, appointment: UUID, **columns: object) -> None:
        """As booking would change the row."""
        async with self.db.tenant(TENANT.id) as connection:
            for name, value in columns.items():
                await connection.execute(f"UPDATE appointment SET {name} = $2 WHERE id = $1", appointment, value)

    async def scalar(self, query: str, *arguments: object) -> object:
        async with self.db.tenant(TENANT.id) as connection:
            value: object = await connection.fetchval(query, *arguments)
            return value

    async def link(self, appointment: UUID, seat: Seat = Seat.PATIENT, holder: UUID | None = None) -> str:
        visit = await self.visit(appointment)
        owner = holder or (visit.doctor if seat is Seat.DOCTOR else visit.patient)
        assert owner is not None
        return self.links.sign(visit.link(seat, owner, "en"))


async def another_provider(clinic: Clinic, name: str = "Dr Bilal", **columns: object) -> tuple[UUID, UUID]:
    """The person and the provider."""
    person, provider = await clinic.person(name), uuid7(clinic.now)
    async with clinic.db.tenant(TENANT.id) as connection:
        await connection.execute(
            """INSERT INTO provider (id, person_id, status, slug, display_name, timezone, languages, specialties,
                   created_at) VALUES ($1, $2, 'approved', $3, $4, 'Asia/Karachi', '{en,ur}', '{general}', $5)""",
            provider,
            person,
            f"d-{provider.hex[-8:]}",
            name,
            clinic.now,
        )
        for column, value in columns.items():
            await connection.execute(f"UPDATE provider SET {column} = $2 WHERE id = $1", provider, value)
    return person, provider


async def service_of(clinic: Clinic, provider: UUID) -> UUID:
    service = uuid7(clinic.now)
    async with clinic.db.tenant(TENANT.id) as connection:
        await connection.execute(
            """INSERT INTO service (id, provider_id, name, kind, minutes, created_at)
               VALUES ($1, $2, 'v', 'video', 20, $3)""",
            service,
            provider,
            clinic.now,
        )
    return service


async def waits_for_lock(clinic: Clinic, unless: "asyncio.Task[None] | None" = None, *, but: int = 0) -> None:
    """Until somebody, ``but`` so many, waits for what another transaction holds. ``unless``: or this is done."""
    waiting = """SELECT count(DISTINCT pid) FROM pg_locks waits JOIN pg_locks has USING (pid) WHERE NOT waits.granted
        AND has.database = (SELECT oid FROM pg_database WHERE datname = current_database())"""
    while not (unless is not None and unless.done()) and await clinic.scalar(waiting) == but:  # noqa: ASYNC110 (a lock wakes nobody)
        await asyncio.sleep(0.01)


async def make_clinic(db: Database, data: Path, bus: Bus | None = None) -> Clinic:
    async with db.platform() as connection:
        await connection.execute(
            "INSERT INTO tenant (id, slug, name) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
            TENANT.id,
            TENANT.slug,
            TENANT.name,
        )
    rooms = RecordedRooms()
    authority = TokenAuthority(KEY, Revocations(data / "revoked.jsonl", START.timestamp()))
    joining = Joining(Links({0: KEY}), Passes({0: KEY}), VisitRooms(KEY), authority, rooms, Life(CONTEXT))
    clinic = Clinic(db, bus or LocalBus(), joining, UUID(int=0), UUID(int=0), UUID(int=0), rooms=rooms)
    clinic.doctor, clinic.provider = await another_provider(clinic, "Dr Amina")
    clinic.service = await service_of(clinic, clinic.provider)
    return clinic


def principal(person: UUID, role: str) -> Principal:
    return Principal(person, TENANT.id, frozenset({role}), rights_of([role]), UUID(int=person.int ^ 1))


@asynccontextmanager
async def serving(
    clinic: Clinic, *, ringing: Ringing | None = None, topics: Sequence[Topic] = TOPICS
) -> AsyncIterator["Browser"]:
    """The routes on a socket of this machine."""

    async def tenant_of(request: web.Request) -> Tenant:
        return TENANT

    async def authenticate(request: web.Request) -> Principal | None:
        said = request.headers.get("Test-Person") or request.cookies.get("test-person")
        if said is None:
            return guest_principal(request, TENANT, clinic.joining.passes, clinic.now)
        person, _, role = said.partition(" ")
        return principal(UUID(person), role)

    metrics = Metrics()
    app = application(metrics, Readiness(dict))
    app[JOINING] = clinic.joining
    app[VISITS_NOW] = VisitsNow()
    app[RINGING] = ringing or Ringing(clinic.bus)
    hub = Hub(clinic.db, clinic.bus, Tickets({0: KEY}), topics, lambda: clinic.now, metrics)
    hub.install(app)
    services = Services(clinic.db, clinic.bus, tenant_of, authenticate, clock=lambda: clinic.now)
    install(app, ROUTES, services)
    async with hub.at_work(), TestClient(TestServer(app)) as client:
        yield Browser(client)


class Browser:
    """Asks as a page of ours does."""

    def __init__(self, client: "TestClient[web.Request, web.Application]", *, origin: str | None = None) -> None:
        self.client = client
        self.origin = origin if origin is not None else str(client.make_url("/")).rstrip("/")

    async def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        by: tuple[UUID, str] | None = None,
        pass_: str | None = None,
        status: int = 200,
    ) -> dict[str, Any]:
        response = await self.response(method, path, body, by=by, pass_=pass_)
        assert response.status == status, (response.status, await response.text())
        text = await response.text()
        answer = await response.json(content_type=None) if text else {}
        return answer if isinstance(answer, dict) else {"items": answer}

    async def response(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        by: tuple[UUID, str] | None = None,
        pass_: str | None = None,
    ) -> ClientResponse:
        headers = {"Origin": self.origin}
        if by is not None:
            headers["Test-Person"] = f"{by[0]} {by[1]}"
        if pass_ is not None:
            headers["Visit-Pass"] = pass_
        return await self.client.request(method, path, json=body, headers=headers)

    async def sit_down(self, token: str, *, switch: bool = False) -> str:
        """Look and click; the pass of a new device."""
        looked = await self.ask("POST", "/v1/join/look", {"token": token})
        body = {"token": token, "gesture": looked["gesture"], "bearer": True, "switch": switch}
        seated = await self.ask("POST", "/v1/join/exchange", body)
        assert seated["state"] == "seated", seated
        return str(seated["bearer"])

    @asynccontextmanager
    async def screen(self) -> AsyncIterator["Screen"]:
        """A live socket."""
        async with self.client.ws_connect("/v1/visits/live", protocols=(SUBPROTOCOL,)) as socket:
            yield Screen(self, socket)


class Screen:
    """What one page shows. Watches are numbered from 1."""

    def __init__(self, browser: Browser, socket: ClientWebSocketResponse) -> None:
        self.browser = browser
        self.socket = socket
        self.watches = 0

    async def watch(
        self,
        path: str,
        body: object = None,
        *,
        by: tuple[UUID, str] | None = None,
        pass_: str | None = None,
        after: int = 0,
    ) -> dict[str, Any]:
        """Ask for a ticket, show it, and return what comes first."""
        given = await self.browser.ask("POST", path, body, by=by, pass_=pass_)
        self.watches += 1
        await self.socket.send_json({"type": "watch", "id": self.watches, "ticket": given["ticket"], "after": after})
        return await self.next()

    async def next(self) -> dict[str, Any]:
        message: dict[str, Any] = await self.socket.receive_json(timeout=5)
        return message

    async def until(self, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The first message for which it holds."""
        async with asyncio.timeout(5):
            while not holds(message := await self.next()):
                pass
        return message
