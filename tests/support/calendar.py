"""A clinic with a doctor and a service, and the calendar's routes over real HTTP and Postgres."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from uuid import UUID

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from asyncpg import Range

from backplane.api import Principal, Services, Tenant, install, unauthorized
from backplane.ids import uuid7
from backplane.metrics import Metrics
from backplane.postgres import Connection, Database
from backplane.web import Readiness, application
from booking.calendar.module import ROUTES
from booking.rights import rights_of
from tests.support.providers import Clock, Who, add_clinic, add_person, add_provider

NOW = datetime(2026, 3, 2, 3, tzinfo=UTC)  # Monday, 08:00 in Karachi


@dataclass
class World:
    """Dr Amina of a clinic in Karachi; visits of 30 minutes on the half hour, booked an hour ahead."""

    database: Database
    clock: Clock
    tenant: Tenant
    client: TestClient[web.Request, web.Application]
    doctor_person: UUID
    doctor: UUID
    service: UUID
    patient: UUID

    def who(self, person: UUID, *roles: str) -> Who:
        return Who(self.client, person, self.tenant.id, *roles)

    @property
    def amina(self) -> Who:
        return self.who(self.doctor_person, "doctor")

    @property
    def visitor(self) -> Who:
        return self.who(UUID(int=9), "anonymous")

    @property
    def slots(self) -> str:
        return f"/v1/providers/{self.doctor}/slots?service={self.service}"

    async def book(
        self, connection: Connection, start: datetime, status: str = "confirmed", hold_until: datetime | None = None
    ) -> UUID:
        appointment = uuid7(NOW)
        during = Range(start, start + timedelta(minutes=30))
        await connection.execute(
            """INSERT INTO appointment (id, provider_id, provider_no, service_id, patient_id, kind, status, during,
                   occupied, provider_timezone, local_text, hold_until, created_at, updated_at)
               SELECT $1, p.id, p.no, $3, $4, 'video', $5, $6, $6, 'Asia/Karachi', $7, $8, $9, $9
               FROM provider p WHERE p.id = $2""",
            appointment, self.doctor, self.service, self.patient, status, during,
            f"{start + timedelta(hours=5):%Y-%m-%d %H:%M}", hold_until, NOW,
        )  # fmt: skip
        return appointment


@asynccontextmanager
async def running(database: Database, clock: Clock) -> AsyncIterator[World]:
    tenant = await add_clinic(database)
    async with database.tenant(tenant.id) as connection:
        person = await add_person(connection, "Amina", NOW)
        patient = await add_person(connection, "Bilal", NOW)
        doctor = await add_provider(connection, "Amina", NOW, person=person, free_in=None)
        service = await connection.fetchval(
            """UPDATE service SET minutes = 30, step_minutes = 30, notice_minutes = 60, horizon_days = 60
               WHERE provider_id = $1 RETURNING id""",
            doctor,
        )

    async def tenant_of(request: web.Request) -> Tenant:
        return Tenant(int(request.headers.get("X-Clinic", tenant.id)), "clinic", "Clinic")

    async def authenticate(request: web.Request) -> Principal | None:
        given = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if not given:
            return None
        who, _, roles = given.partition(" ")
        held = frozenset(roles.split(",")) - {""}
        try:
            person = UUID(who)
        except ValueError:
            raise unauthorized() from None
        return Principal(person, int(request.headers["X-Clinic"]), held, rights_of(held), UUID(int=1))

    app = application(Metrics(), Readiness(lambda: {}))
    install(app, ROUTES, Services(database, cast("Any", None), tenant_of, authenticate, clock))
    async with TestClient(TestServer(app)) as client:
        yield World(database, clock, tenant, client, person, doctor, service, patient)
