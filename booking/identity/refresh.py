"""Sessions and their refresh tokens: opaque, used once, and a stolen one betrays itself.

A refresh token is ``id.secret``. Every use replaces it by a successor. Whoever comes with a token that was used before
holds a copy: the whole session is revoked, because nobody can tell the thief from the owner. One case is not theft: the
answer to a refresh was lost, or several tabs asked at the same time. So the immediate predecessor of the living token
may be repeated for `GRACE`, and the answer is the SAME successor, never a second one. Only hashes are kept, therefore
the successor's secret is derived from its predecessor's (which the client has just shown) under a key of the server.

Two rows are locked in the same order by everybody, token before session, so parallel refreshes queue and none of them
deadlocks.
"""

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, Literal
from uuid import UUID

from msgspec import Struct

from backplane.ids import uuid7
from backplane.outbox import Event, emit
from backplane.postgres import Connection
from backplane.sealed import Sealer

IDLE: Final = timedelta(days=30)
LIFETIME: Final = timedelta(days=90)
GRACE: Final = timedelta(seconds=10)
MAX_SESSIONS: Final = 20  # of one person; the longest unused ends

Cause = Literal["logout", "logout_all", "reuse", "merged", "password", "admin", "disabled"]


class Opened(Struct, frozen=True):
    """A session that lives, and the token to continue it with."""

    session: UUID
    person: UUID
    amr: tuple[str, ...]
    refresh: str
    expires_at: datetime


class Ended(Struct, frozen=True):
    """No session. ``reused`` is the one that was revoked just now, because its token was used before."""

    reused: UUID | None = None


async def open_session(connection: Connection, person: UUID, amr: Sequence[str], device: str, now: datetime) -> Opened:
    """A new session of ``person``."""
    session = uuid7(now)
    ends = now + LIFETIME
    await connection.execute(
        "INSERT INTO session (id, person_id, amr, device, created_at, seen_at, expires_at)"
        " VALUES ($1, $2, $3, $4, $5, $5, $6)",
        session,
        person,
        list(amr),
        device,
        now,
        ends,
    )
    secret = secrets.token_bytes(32)
    token = await _keep(connection, session, secret, uuid7(now), None, now, ends)
    await connection.execute(
        "UPDATE session SET revoked_at = $2, revoked_cause = 'logout' WHERE id IN (SELECT id FROM session"
        " WHERE person_id = $1 AND revoked_at IS NULL ORDER BY seen_at DESC, id DESC OFFSET $3)",
        person,
        now,
        MAX_SESSIONS,
    )
    return Opened(session, person, tuple(amr), token, ends)


async def refresh(connection: Connection, sealer: Sealer, presented: str, now: datetime) -> Opened | Ended:
    """The session continued. Must be committed whatever comes out: a reuse is a revocation."""
    try:
        number, secret = _parsed(presented)
    except ValueError:
        return Ended()
    row = await connection.fetchrow(
        "SELECT t.session_id, t.secret_hash, t.used_at, t.successor_id, t.expires_at, s.person_id, s.amr,"
        " s.expires_at AS session_ends, s.revoked_at, p.disabled_at"
        " FROM refresh_token t JOIN session s ON s.id = t.session_id JOIN person p ON p.id = s.person_id"
        " WHERE t.id = $1 FOR UPDATE OF t, s",
        number,
    )
    if row is None or not hmac.compare_digest(row["secret_hash"], _hash(secret)):
        return Ended()
    session, ends = row["session_id"], row["session_ends"]
    if row["revoked_at"] is not None or row["disabled_at"] is not None or min(ends, row["expires_at"]) <= now:
        return Ended()
    if row["used_at"] is not None:
        heir = await connection.fetchrow(
            "SELECT used_at FROM refresh_token WHERE id = $1 FOR UPDATE", row["successor_id"]
        )
        if heir is None or heir["used_at"] is not None or now - row["used_at"] > GRACE:
            await revoke(connection, [session], "reuse", now)
            await emit(
                connection,
                Event(
                    type="user.token_reused",
                    aggregate="person",
                    aggregate_id=row["person_id"],
                    payload={"person": str(row["person_id"])},
                ),
                now,
            )
            return Ended(session)
        token = _text(row["successor_id"], _successor(sealer, secret, row["successor_id"]))
    else:
        heir_id = uuid7(now)
        await connection.execute(
            "UPDATE refresh_token SET used_at = $2, successor_id = $3 WHERE id = $1", number, now, heir_id
        )
        heir_secret = _successor(sealer, secret, heir_id)
        token = await _keep(connection, session, heir_secret, heir_id, number, now, ends)
        await connection.execute("UPDATE session SET seen_at = $2 WHERE id = $1", session, now)
    return Opened(session, row["person_id"], tuple(row["amr"]), token, ends)


async def holder(connection: Connection, presented: str, now: datetime) -> UUID | None:
    """Whose session ``presented`` continues, without spending it; None: it continues none."""
    try:
        number, secret = _parsed(presented)
    except ValueError:
        return None
    row = await connection.fetchrow(
        "SELECT t.secret_hash, s.person_id FROM refresh_token t JOIN session s ON s.id = t.session_id"
        " WHERE t.id = $1 AND t.used_at IS NULL AND s.revoked_at IS NULL AND least(t.expires_at, s.expires_at) > $2",
        number,
        now,
    )
    if row is None or not hmac.compare_digest(row["secret_hash"], _hash(secret)):
        return None
    person = row["person_id"]
    return person if isinstance(person, UUID) else None


async def revoke(connection: Connection, sessions: Sequence[UUID], cause: Cause, now: datetime) -> list[UUID]:
    """End these sessions; those that were alive. The caller tells the denylist."""
    rows = await connection.fetch(
        "UPDATE session SET revoked_at = $2, revoked_cause = $3 WHERE id = ANY($1) AND revoked_at IS NULL RETURNING id",
        list(sessions),
        now,
        cause,
    )
    return [row["id"] for row in rows]


async def revoke_all(
    connection: Connection, person: UUID, cause: Cause, now: datetime, *, but: UUID | None = None
) -> list[UUID]:
    """End every session of ``person`` except one; those that were alive. The caller tells the denylist."""
    rows = await connection.fetch(
        "UPDATE session SET revoked_at = $2, revoked_cause = $3"
        " WHERE person_id = $1 AND revoked_at IS NULL AND id IS DISTINCT FROM $4 RETURNING id",
        person,
        now,
        cause,
        but,
    )
    return [row["id"] for row in rows]


async def make_stale(connection: Connection, person: UUID, now: datetime) -> list[UUID]:
    """Void the access tokens of ``person`` that are out; sessions live on. The caller tells the denylist."""
    rows = await connection.fetch(
        "UPDATE session SET stale_before = $2 WHERE person_id = $1 AND revoked_at IS NULL RETURNING id", person, now
    )
    return [row["id"] for row in rows]


async def sweep(connection: Connection, now: datetime) -> None:
    """Forget what ended long ago; of the platform. A spent token stays as long as it could betray a thief: until it
    would have expired. Its id carries the time it was made, and is indexed by it."""
    oldest = UUID(int=int((now - IDLE).timestamp() * 1000) << 80)
    await connection.execute("DELETE FROM refresh_token WHERE id < $1 AND used_at IS NOT NULL", oldest)
    await connection.execute("DELETE FROM session WHERE expires_at < $1::timestamptz - interval '30 days'", now)
    await connection.execute("DELETE FROM code WHERE expires_at < $1::timestamptz - interval '2 days'", now)
    await connection.execute("DELETE FROM passkey_challenge WHERE expires_at < $1", now)
    await connection.execute("DELETE FROM oidc_login WHERE expires_at < $1", now)
    await connection.execute("DELETE FROM signing_key WHERE verifies_until < $1::timestamptz - interval '1 day'", now)


async def _keep(
    connection: Connection,
    session: UUID,
    secret: bytes,
    number: UUID,
    previous: UUID | None,
    now: datetime,
    session_ends: datetime,
) -> str:
    await connection.execute(
        "INSERT INTO refresh_token (id, session_id, secret_hash, previous_id, created_at, expires_at)"
        " VALUES ($1, $2, $3, $4, $5, $6)",
        number,
        session,
        _hash(secret),
        previous,
        now,
        min(now + IDLE, session_ends),
    )
    return _text(number, secret)


def _successor(sealer: Sealer, secret: bytes, number: UUID) -> bytes:
    return sealer.mac("refresh", secret, number.bytes)


def _hash(secret: bytes) -> bytes:
    return hashlib.sha256(secret).digest()


def _text(number: UUID, secret: bytes) -> str:
    return f"{number.hex}.{base64.urlsafe_b64encode(secret).decode().rstrip('=')}"


def _parsed(text: str) -> tuple[UUID, bytes]:
    number, _, secret = text.partition(".")
    if len(number) != 32 or not 40 <= len(secret) <= 64:
        raise ValueError("not a refresh token")
    try:
        return UUID(hex=number), base64.urlsafe_b64decode(secret + "=" * (-len(secret) % 4))
    except binascii.Error:
        raise ValueError("not a refresh token") from None
