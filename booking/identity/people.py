"""Persons of a clinic: found by a proven contact, made when there is none, joined when a visitor proves to be known."""

from contextlib import suppress
from datetime import datetime
from typing import Final
from uuid import UUID

import asyncpg
from msgspec import Struct

from backplane.audit import Entry, record
from backplane.ids import uuid7
from backplane.outbox import Event, emit
from backplane.postgres import Connection
from booking.identity.contacts import Contact
from booking.rights import ANONYMOUS, PATIENT

# Columns that move to the known person when a visitor is recognised. Other columns that point to a person either belong
# to proofs of identity, which a visitor has none of, or tell what was, which stays
# (tests/booking/test_identity_people.py).
BELONGINGS: Final = (
    ("appointment", "patient_id"),
    ("appointment", "booked_by"),
    ("instant_request", "patient_id"),
    ("mail", "person_id"),
    ("queue_ticket", "patient_id"),
    ("seat", "patient_id"),
    ("seat", "booked_by"),
    ("series", "patient_id"),
    ("series", "created_by"),
    ("waitlist_entry", "patient_id"),
    ("waitlist_entry", "booked_by"),
    ("waiting_message", "sender"),  # as a patient; no foreign key, for others write as an invitation
    ("waiting_message", "to_patient"),
)


class Standing(Struct, frozen=True):
    """What somebody is here just now."""

    person: UUID
    roles: tuple[str, ...]
    anonymous: bool
    disabled: bool
    totp: bool


class _TakenMeanwhile(Exception):
    """Another request made a person of the same contact first."""


async def standing(connection: Connection, person: UUID) -> Standing:
    """LookupError when there is no such person."""
    row = await connection.fetchrow(
        "SELECT p.anonymous, p.disabled_at,"
        " EXISTS (SELECT FROM totp t WHERE t.person_id = p.id AND t.confirmed_at IS NOT NULL) AS totp,"
        " ARRAY(SELECT role FROM membership m WHERE m.person_id = p.id AND m.ended_at IS NULL ORDER BY role) AS roles"
        " FROM person p WHERE p.id = $1",
        person,
    )
    if row is None:
        raise LookupError("no such person")
    if row["anonymous"]:
        return Standing(person, (ANONYMOUS,), True, row["disabled_at"] is not None, False)
    roles = (PATIENT, *row["roles"])
    return Standing(person, roles, False, row["disabled_at"] is not None, row["totp"])


async def known_by(connection: Connection, kind: str, value: str) -> UUID | None:
    """Whose contact or account this is."""
    found = await connection.fetchval(
        "SELECT person_id FROM identity WHERE tenant_id = app_tenant() AND kind = $1 AND value = $2", kind, value
    )
    return found if isinstance(found, UUID) else None


async def add_identity(connection: Connection, person: UUID, kind: str, value: str, now: datetime) -> bool:
    """Whether it leads to ``person`` now; False: it leads to somebody else."""
    await connection.execute(
        "INSERT INTO identity (id, person_id, kind, value, verified_at, created_at) VALUES ($1, $2, $3, $4, $5, $5)"
        " ON CONFLICT (tenant_id, kind, value) DO NOTHING",
        uuid7(now),
        person,
        kind,
        value,
        now,
    )
    return await known_by(connection, kind, value) == person


async def new_person(
    connection: Connection, now: datetime, *, name: str = "", locale: str, timezone: str, anonymous: bool = False
) -> UUID:
    made = uuid7(now)
    await connection.execute(
        "INSERT INTO person (id, name, locale, timezone, anonymous, created_at) VALUES ($1, $2, $3, $4, $5, $6)",
        made,
        name,
        locale,
        timezone,
        anonymous,
        now,
    )
    return made


async def person_for(
    connection: Connection, contact: Contact, now: datetime, *, name: str, locale: str, timezone: str
) -> tuple[UUID, bool]:
    """The person whose proven ``contact`` this is, and whether they were made just now."""
    while True:
        found = await known_by(connection, contact.kind, contact.value)
        if found is not None:
            return found, False
        try:
            async with connection.transaction():
                made = await new_person(connection, now, name=name, locale=locale, timezone=timezone)
                if not await add_identity(connection, made, contact.kind, contact.value, now):
                    raise _TakenMeanwhile
        except _TakenMeanwhile:
            continue
        await tell(connection, "user.registered", made, now)
        return made, True


async def recognise(connection: Connection, visitor: UUID, contact: Contact, now: datetime) -> UUID:
    """The person that an anonymous ``visitor`` with the proven ``contact`` is from now on.

    With a contact nobody has, the visitor becomes known and keeps everything. Otherwise what they did moves to the
    person who has it. Never by name: a name proves nothing.
    """
    if await add_identity(connection, visitor, contact.kind, contact.value, now):
        await connection.execute("UPDATE person SET anonymous = false WHERE id = $1", visitor)
        await tell(connection, "user.upgraded", visitor, now)
        return visitor
    known = await known_by(connection, contact.kind, contact.value)
    assert known is not None
    await _merge(connection, visitor, known, now)
    return known


async def take_over(connection: Connection, visitor: UUID, known: UUID, now: datetime) -> bool:
    """Whether what ``visitor`` did belongs to ``known`` from now on; False: they are no visitor, or no longer one.

    Both must have been proven by the same request. Both are persons of the connection's clinic, or nothing is found.
    """
    anonymous = await connection.fetchval(
        "SELECT anonymous FROM person WHERE id = $1 AND merged_into IS NULL FOR UPDATE", visitor
    )
    if not anonymous or visitor == known:
        return False
    await _merge(connection, visitor, known, now)
    return True


async def _merge(connection: Connection, visitor: UUID, known: UUID, now: datetime) -> None:
    for table, column in BELONGINGS:
        await _move(connection, table, column, visitor, known)
    await connection.execute("UPDATE person SET merged_into = $2, disabled_at = $3 WHERE id = $1", visitor, known, now)
    await connection.execute(
        "UPDATE person SET name = (SELECT name FROM person WHERE id = $1) WHERE id = $2 AND name = ''", visitor, known
    )
    await record(
        connection,
        Entry(
            actor=known,
            actor_role=PATIENT,
            action="person.merged",
            subject_kind="person",
            subject_id=visitor,
            facts={"into": str(known)},
        ),
        now,
    )
    await tell(connection, "user.upgraded", known, now)


async def _move(connection: Connection, table: str, column: str, visitor: UUID, known: UUID) -> None:
    """What the known person has already, such as a place in the same queue, the visitor's is left behind."""
    move = f"UPDATE {table} SET {column} = $2 WHERE {column} = $1"
    try:
        async with connection.transaction():
            await connection.execute(move, visitor, known)
    except asyncpg.UniqueViolationError:
        for row in await connection.fetch(f"SELECT id FROM {table} WHERE {column} = $1", visitor):
            with suppress(asyncpg.UniqueViolationError):
                async with connection.transaction():
                    await connection.execute(f"{move} AND id = $3", visitor, known, row["id"])


async def tell(connection: Connection, type: str, person: UUID, now: datetime) -> None:
    """Emit an event about ``person``."""
    await emit(
        connection,
        Event(type=type, aggregate="person", aggregate_id=person, payload={"person": str(person)}),
        now,
    )
