"""Who may act for whom: a parent for a child without an account, a caregiver for an adult who named them.

A child grows up: what the parent may do ends on the first of January after the eighteenth birthday's year, since only
the year of birth is kept. A relation that ended stays as a row, because it explains what was done under it.
"""

from datetime import date, datetime
from typing import Final, Literal
from uuid import UUID

from msgspec import Struct

from backplane.ids import uuid7
from backplane.postgres import Connection
from booking.refusals import Conflict

Right = Literal["book", "join", "read"]
Relation = Literal["child", "parent", "spouse", "sibling", "other"]
RIGHTS: Final[tuple[Right, ...]] = ("book", "join", "read")
ADULT_YEARS: Final = 18
MAX_DEPENDANTS: Final = 20


class Care(Struct, frozen=True):
    """One person who acts for another."""

    id: UUID
    person: UUID
    name: str
    relation: Relation
    rights: tuple[Right, ...]
    until: date | None
    birth_year: int | None = None


async def may_act_for(connection: Connection, actor: UUID, patient: UUID, right: Right, now: datetime) -> bool:
    """Whether ``actor`` may do this for ``patient``; for oneself always."""
    if actor == patient:
        return True
    found = await connection.fetchval(
        "SELECT true FROM dependant WHERE guardian_id = $1 AND person_id = $2 AND $3 = ANY(rights)"
        " AND ended_at IS NULL AND (until IS NULL OR until > $4)",
        actor,
        patient,
        right,
        now.date(),
    )
    return bool(found)


async def acted_for(connection: Connection, actor: UUID, right: Right, now: datetime) -> list[UUID]:
    """``actor`` and everybody for whom they may do this."""
    rows = await connection.fetch(
        "SELECT person_id FROM dependant WHERE guardian_id = $1 AND $2 = ANY(rights) AND ended_at IS NULL"
        " AND (until IS NULL OR until > $3) ORDER BY created_at",
        actor,
        right,
        now.date(),
    )
    return [actor, *(row["person_id"] for row in rows)]


async def relate(
    connection: Connection,
    guardian: UUID,
    person: UUID,
    relation: Relation,
    rights: tuple[Right, ...],
    now: datetime,
    *,
    birth_year: int | None = None,
) -> UUID:
    """``guardian`` acts for ``person``. Conflict when there are too many, or it is so already."""
    await connection.execute("SELECT FROM person WHERE id = $1 FOR UPDATE", guardian)
    count = await connection.fetchval(
        "SELECT count(*) FROM dependant WHERE guardian_id = $1 AND ended_at IS NULL", guardian
    )
    if count >= MAX_DEPENDANTS:
        raise Conflict("too_many_dependants", "End the care of somebody first.")
    until = date(birth_year + ADULT_YEARS + 1, 1, 1) if relation == "child" and birth_year is not None else None
    made = uuid7(now)
    kept = await connection.fetchval(
        "INSERT INTO dependant (id, guardian_id, person_id, relation, rights, until, created_at)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7)"
        " ON CONFLICT (guardian_id, person_id) WHERE ended_at IS NULL DO NOTHING RETURNING true",
        made,
        guardian,
        person,
        relation,
        list(rights),
        until,
        now,
    )
    if not kept:
        raise Conflict("already_related", "This is so already.")
    return made


async def cared_for(connection: Connection, guardian: UUID) -> list[Care]:
    """For whom ``guardian`` acts."""
    rows = await connection.fetch(
        "SELECT d.id, d.person_id AS person, p.name, d.relation, d.rights, d.until, p.birth_year FROM dependant d"
        " JOIN person p ON p.id = d.person_id WHERE d.guardian_id = $1 AND d.ended_at IS NULL ORDER BY d.created_at",
        guardian,
    )
    return [Care(**{**dict(row), "rights": tuple(row["rights"])}) for row in rows]


async def carers_of(connection: Connection, person: UUID) -> list[Care]:
    """Who acts for ``person``."""
    rows = await connection.fetch(
        "SELECT d.id, d.guardian_id AS person, p.name, d.relation, d.rights, d.until FROM dependant d"
        " JOIN person p ON p.id = d.guardian_id WHERE d.person_id = $1 AND d.ended_at IS NULL ORDER BY d.created_at",
        person,
    )
    return [Care(**{**dict(row), "rights": tuple(row["rights"])}) for row in rows]


async def end(connection: Connection, care: UUID, person: UUID, now: datetime) -> bool:
    """Ended by either of the two; whether there was one."""
    tag = await connection.execute(
        "UPDATE dependant SET ended_at = $3 WHERE id = $1 AND $2 IN (guardian_id, person_id) AND ended_at IS NULL",
        care,
        person,
        now,
    )
    return tag != "UPDATE 0"
