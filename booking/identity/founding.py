"""People who are there before anybody can invite them: the first platform admin, the staff of a demonstration.

For commands of the operator only, who owns the database anyway. Doing it again changes nothing.
"""

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from backplane.audit import Entry, record
from backplane.ids import uuid7
from backplane.postgres import Connection
from booking.identity import contacts
from booking.identity.people import person_for
from booking.rights import MEMBER_ROLES


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
