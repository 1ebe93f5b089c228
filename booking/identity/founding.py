"""Who and what is there before anybody can invite: a clinic, its first admin, the first admin of the platform.

`settle` and `found` are for commands of the operator only, who owns the database anyway. Doing it again changes
nothing.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Literal
from uuid import UUID

from msgspec import Struct

from backplane.audit import Entry, record
from backplane.ids import uuid7
from backplane.postgres import Connection, Database, Row
from booking.identity import contacts
from booking.identity.people import person_for
from booking.rights import CLINIC_ADMIN, MEMBER_ROLES, PLATFORM_TENANT


class TakenError(Exception):
    """Another clinic has this slug, or one of these host names; ``what`` says which."""

    def __init__(self, what: Literal["slug", "host"]) -> None:
        super().__init__(f"another clinic has this {what}")
        self.what = what


class Founded(Struct, frozen=True):
    """``fresh``: the clinic was made just now."""

    tenant: int
    person: UUID
    fresh: bool


async def write_clinic(
    platform: Connection, *, slug: str, name: str, hosts: Sequence[str], region: str, locale: str, timezone: str
) -> Row:
    """The new row of `tenant`; within a transaction. TakenError."""
    # Host names of two clinics must not meet; an array has no unique index.
    await platform.execute("LOCK TABLE tenant IN SHARE ROW EXCLUSIVE MODE")
    if await platform.fetchval("SELECT true FROM tenant WHERE hosts && $1::text[]", list(hosts)):
        raise TakenError("host")
    row = await platform.fetchrow(
        "INSERT INTO tenant (slug, name, hosts, region, locale, timezone) VALUES ($1, $2, $3, $4, $5, $6)"
        " ON CONFLICT (slug) DO NOTHING RETURNING *",
        slug,
        name,
        list(hosts),
        region,
        locale,
        timezone,
    )
    if row is None:
        raise TakenError("slug")
    return row


async def found(
    database: Database,
    now: datetime,
    *,
    slug: str,
    name: str,
    hosts: Sequence[str],
    region: str,
    locale: str,
    timezone: str,
    email: str,
    person: str = "",
    password_hash: str | None = None,
) -> Founded:
    """A clinic and its first admin. One of this slug and name that is there already gets the admin, and stays as it is.

    ValueError: no address. TakenError.
    """
    contacts.email(email)
    async with database.platform() as platform, platform.transaction():
        tenant = await platform.fetchval("SELECT id FROM tenant WHERE slug = $1 AND name = $2", slug, name)
        fresh = tenant is None
        if fresh:
            row = await write_clinic(
                platform, slug=slug, name=name, hosts=hosts, region=region, locale=locale, timezone=timezone
            )
            tenant = row["id"]
            entry = Entry(
                actor=None,
                actor_role="operator",
                action="tenant.created",
                subject_kind="tenant",
                subject_id=UUID(int=tenant),
                facts={"tenant": tenant},
            )
            await record(platform, entry, now, tenant=PLATFORM_TENANT)
    async with database.tenant(tenant) as connection, connection.transaction():
        admin = await settle(
            connection,
            email,
            now,
            name=person,
            roles=[CLINIC_ADMIN],
            password_hash=password_hash,
            locale=locale,
            timezone=timezone,
        )
    return Founded(tenant, admin, fresh)


async def settle(
    connection: Connection,
    email: str,
    now: datetime,
    *,
    name: str = "",
    roles: Iterable[str] = (),
    password_hash: str | None = None,
    locale: str = "en",
    timezone: str = "Asia/Karachi",
) -> UUID:
    """The person of this address in the connection's tenant, with these roles beside patient. ValueError: no address,
    or a role that nobody can be given. ``password_hash`` (of `passwords.Passwords.hash`) is for a new person only."""
    contact = contacts.email(email)
    wanted = frozenset(roles)
    if not wanted <= MEMBER_ROLES:
        raise ValueError(f"no such roles: {sorted(wanted - MEMBER_ROLES)}")
    person, fresh = await person_for(connection, contact, now, name=name, locale=locale, timezone=timezone)
    if fresh and password_hash is not None:
        await connection.execute(
            "INSERT INTO password (person_id, hash, changed_at) VALUES ($1, $2, $3)", person, password_hash, now
        )
    for role in sorted(wanted):
        given = await connection.fetchval(
            "INSERT INTO membership (id, person_id, role, created_at) VALUES ($1, $2, $3, $4)"
            " ON CONFLICT (person_id, role) WHERE ended_at IS NULL DO NOTHING RETURNING true",
            uuid7(now),
            person,
            role,
            now,
        )
        if given:
            entry = Entry(
                actor=None,
                actor_role="operator",
                action="membership.granted",
                subject_kind="person",
                subject_id=person,
                facts={"role": role},
            )
            await record(connection, entry, now)
    return person
