"""Whose hours they are: a doctor's own, or the clinic's for whoever holds that scope. Others learn nothing: 404."""

from datetime import datetime
from typing import Final
from uuid import UUID

from backplane.api import Call
from backplane.audit import Entry, record
from backplane.postgres import Connection
from booking.access_policy import manages_hours
from booking.calendar.upkeep import availability_changed
from booking.refusals import NotFound, Refusal

MANAGE: Final = "schedule.manage"
MANAGE_CLINIC: Final = "schedule.manage.clinic"
NOT_FOUND: Final = {404: ("not_found",)}


def not_found(what: str) -> Refusal:
    return NotFound("not_found", f"There is no such {what} here.")


async def managed(call: Call, connection: Connection, provider: UUID | None, what: str = "provider") -> UUID:
    """``provider`` when the caller may change its hours. NotFound."""
    who = call.principal
    person = await connection.fetchval("SELECT person_id FROM provider WHERE id = $1", provider)
    if provider is None or person is None or not manages_hours(who, person):
        raise not_found(what)
    return provider


async def changed(
    call: Call, connection: Connection, provider: UUID, action: str, facts: dict[str, object], now: datetime
) -> None:
    """Leave the trace of a change in the audit trail, and tell."""
    who = call.principal
    role = "clinic" if who.may(MANAGE_CLINIC) else "doctor"
    entry = Entry(
        actor=who.person, actor_role=role, action=action, subject_kind="provider", subject_id=provider, facts=facts
    )
    await record(connection, entry, now)
    await availability_changed(connection, provider, now)
