"""A clinic for storms, written by SQL into a running installation, and sign-ins of as many people as wanted.

Doctors receive from midnight to midnight, every day, in UTC, so that a slot's time is plain arithmetic; a visit takes
20 minutes on a grid of 10, so neighbours overlap. Tokens are made with the installation's own keys, for sessions that
stand in its database: to the server they are sign-ins like any other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from uuid import UUID

from backplane.bus import LocalBus
from backplane.ids import uuid7
from backplane.keys import Authority, KeyRing
from backplane.postgres import Connection, Database
from backplane.sealed import Sealer
from booking.identity.access import Access, Denylist
from booking.identity.key_store import KeyStore

SLUG = "storm"
HOST = f"{SLUG}.localhost"
SEED = bytes(range(32))
SEEDS = (("sealing.key", SEED), ("token.key", SEED))
STEP = timedelta(minutes=10)


def now() -> datetime:
    return datetime.now(UTC)


def day(ahead: int) -> datetime:
    """Ten in the morning of a day from now."""
    return (now() + timedelta(days=ahead)).replace(hour=10, minute=0, second=0, microsecond=0)


@dataclass(frozen=True)
class Doctor:
    person: UUID
    provider: UUID
    service: UUID
    token: str


@dataclass(frozen=True)
class Patient:
    person: UUID
    token: str
    address: str


class Clinic:
    """Made by `open`."""

    def __init__(self, database: Database, tenant: int, access: Access) -> None:
        self.database = database
        self.tenant = tenant
        self._access = access
        self._doctors = 0

    @classmethod
    async def open(cls, database: Database, data: Path) -> "Clinic":
        """In a migrated database; ``data``: the directory of one of its servers."""
        async with database.platform() as connection:
            tenant: int = await connection.fetchval(
                """INSERT INTO tenant (slug, name) VALUES ($1, 'Storm') ON CONFLICT (slug) DO UPDATE SET name = 'Storm'
                   RETURNING id""",
                SLUG,
            )
        authority = Authority("wadud", KeyRing())
        keys = KeyStore(database, Sealer.open(data), authority, now)
        await keys.tend()
        bus = LocalBus()
        return cls(database, tenant, Access(database, authority, keys, Denylist(bus), now))

    async def _people(self, connection: Connection, names: Sequence[str], role: str) -> list[Patient]:
        moment = now()
        people = [(uuid7(moment), uuid7(moment), name, f"{name}@storm.example".lower()) for name in names]
        for statement in (
            "INSERT INTO person (id, name, timezone, created_at) SELECT p, n, 'UTC', $5"
            " FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[]) AS g (p, s, n, e)",
            "INSERT INTO session (id, person_id, amr, device, created_at, seen_at, expires_at)"
            " SELECT s, p, '{otp,mfa}', 'storm', $5, $5, $5::timestamptz + interval '1 day'"
            " FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[]) AS g (p, s, n, e)",
            "INSERT INTO identity (id, person_id, kind, value, verified_at, created_at) SELECT s, p, 'email', e, $5, $5"
            " FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[]) AS g (p, s, n, e)",
        ):
            await connection.execute(statement, *zip(*people, strict=True), moment)
        if role != "patient":
            await connection.executemany(
                "INSERT INTO membership (id, person_id, role, created_at) VALUES ($1, $2, $3, $4)",
                [(uuid7(moment), person, role, moment) for person, _, _, _ in people],
            )
        amr = ("otp", "mfa")
        return [
            Patient(person, self._access.issue(person, self.tenant, (role,), session, amr, moment), address)
            for person, session, _, address in people
        ]

    async def patients(self, count: int, name: str = "patient") -> list[Patient]:
        """New people with an address, signed in."""
        mark = uuid7(now()).hex[-12:]
        async with self.database.tenant(self.tenant) as connection, connection.transaction():
            return await self._people(connection, [f"{name}-{mark}-{n}" for n in range(count)], "patient")

    async def doctor(
        self, *, kind: str = "video", capacity: int = 1, auto_confirm: bool = True, online: bool = False
    ) -> Doctor:
        """A new doctor with one service."""
        self._doctors += 1
        moment = now()
        provider, service, schedule = (uuid7(moment) for _ in range(3))
        async with self.database.tenant(self.tenant) as connection, connection.transaction():
            (person,) = await self._people(connection, [f"doctor-{provider.hex[-12:]}"], "doctor")
            await connection.execute(
                """INSERT INTO provider (id, person_id, status, slug, display_name, languages, specialties, timezone,
                       online_until, created_at)
                   VALUES ($1, $2, 'approved', $3, 'Doctor', '{en}', '{general-practice}', 'UTC', $4, $5)""",
                provider, person.person, provider.hex, moment + timedelta(days=1) if online else None, moment,
            )  # fmt: skip
            await connection.execute(
                """INSERT INTO service (id, provider_id, name, kind, minutes, step_minutes, notice_minutes, capacity,
                       auto_confirm, created_at)
                   VALUES ($1, $2, 'Visit', $3, 20, 10, 0, $4, $5, $6)""",
                service, provider, kind, capacity, auto_confirm, moment,
            )  # fmt: skip
            await connection.execute(
                "INSERT INTO schedule (id, provider_id, timezone, created_at) VALUES ($1, $2, 'UTC', $3)",
                schedule, provider, moment,
            )  # fmt: skip
            await connection.execute(
                "INSERT INTO schedule_rule (id, schedule_id, opens, closes) VALUES ($1, $2, $3, $3)",
                uuid7(moment), schedule, time(0),
            )  # fmt: skip
        return Doctor(person.person, provider, service, person.token)
