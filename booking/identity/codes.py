"""Codes of six digits that prove a contact.

A code is known by its ticket, which only whoever asked for it has, so guessing needs the ticket as well. Five tries per
code, counted before the comparison and kept whatever happens then; few codes per contact and hour. It is kept as an
HMAC under a key of the server: a plain hash of six digits hides nothing. Whether the contact belongs to somebody is not
looked at until the code was right.
"""

import hmac
import secrets
from datetime import datetime, timedelta
from typing import Any, Final, Literal
from uuid import UUID

from msgspec import Struct

from backplane.ids import uuid7
from backplane.postgres import Connection
from backplane.sealed import Sealer
from booking.identity.contacts import Contact

DIGITS: Final = 6
LIFETIME: Final = timedelta(minutes=10)
MAX_ATTEMPTS: Final = 5

Purpose = Literal["sign_in", "register", "add_contact", "set_password"]


class Issued(Struct, frozen=True):
    ticket: UUID
    code: str


class Proven(Struct, frozen=True):
    """Somebody reads what is sent to ``contact``. ``payload`` is what they asked for with it."""

    ticket: UUID
    contact: Contact
    purpose: Purpose
    person: UUID | None
    payload: dict[str, Any]


async def issue(
    connection: Connection,
    sealer: Sealer,
    contact: Contact,
    purpose: Purpose,
    now: datetime,
    *,
    person: UUID | None = None,
    payload: dict[str, Any] | None = None,
) -> Issued:
    """A new code for ``contact``; it does nothing to older ones."""
    ticket = uuid7(now)
    code = f"{secrets.randbelow(10**DIGITS):0{DIGITS}}"
    await connection.execute(
        "INSERT INTO code (id, kind, value, deed, person_id, payload, mac, created_at, expires_at)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        ticket,
        contact.kind,
        contact.value,
        purpose,
        person,
        payload or {},
        _mac(sealer, ticket, code),
        now,
        now + LIFETIME,
    )
    return Issued(ticket, code)


async def check(connection: Connection, sealer: Sealer, ticket: UUID, code: str, now: datetime) -> Proven | None:
    """What the code proves, when it is right. Costs a try, and must not stand in a transaction that may roll back."""
    row = await connection.fetchrow(
        "UPDATE code SET attempts = attempts + 1"
        " WHERE id = $1 AND attempts < $2 AND used_at IS NULL AND expires_at > $3"
        " RETURNING kind, value, deed, person_id, payload, mac",
        ticket,
        MAX_ATTEMPTS,
        now,
    )
    digits = "".join(str(int(letter)) for letter in code if letter.isdecimal())  # Arabic-Indic digits are digits too
    if row is None or not hmac.compare_digest(row["mac"], _mac(sealer, ticket, digits)):
        return None
    return Proven(ticket, Contact(row["kind"], row["value"]), row["deed"], row["person_id"], row["payload"])


async def spend(connection: Connection, proven: Proven, now: datetime) -> bool:
    """Whether nobody else was faster; belongs into the transaction of what the code was for."""
    spent = await connection.fetchval(
        "UPDATE code SET used_at = $2 WHERE id = $1 AND used_at IS NULL RETURNING true", proven.ticket, now
    )
    return bool(spent)


def _mac(sealer: Sealer, ticket: UUID, code: str) -> bytes:
    return sealer.mac("code", ticket.bytes, code)
