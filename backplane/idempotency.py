"""One effect per Idempotency-Key, however often a request is sent (draft-ietf-httpapi-idempotency-key-header).

A row (tenant, principal, route, key) holds the fingerprint of the request and the answer. It is written in the
transaction of the effect, so there is either both or neither: after an error nothing is kept and the same key may try
again. Only success is kept; a refusal has no effect, so asking anew costs nothing and may end better.

While the first request runs, its row is not visible yet. The advisory lock of the transaction says that it is there:
who does not get it and sees no row answers 409, instead of waiting with a connection in hand. Postgres makes a commit
visible before it lets go of the locks, so no second request slips in between.
"""

import hashlib
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Final

import msgspec
from aiohttp import web

from backplane.postgres import Connection, Row
from backplane.ratelimit import address_key
from backplane.routes import Call
from backplane.web import Problem

HEADER: Final = "Idempotency-Key"
REPLAYED: Final = "Idempotent-Replayed"
SHORTEST: Final = 8
LONGEST: Final = 255
KEPT_FOR: Final = timedelta(hours=72)
RETRY_AFTER_S: Final = 1

# The lock is tried while the row to insert is made, so a row is inserted by its holder only.
_BEGIN: Final = """
INSERT INTO idempotency (principal, route, key, fingerprint, state, expires_at)
SELECT $1, $2, $3, $4, 'in_progress', $5
WHERE pg_try_advisory_xact_lock(hashtextextended(app_tenant() || ' ' || $1 || ' ' || $2 || ' ' || $3, 0))
ON CONFLICT (tenant_id, principal, route, key) DO UPDATE
SET fingerprint = excluded.fingerprint, state = excluded.state, status = NULL, body = NULL, content_type = NULL,
    expires_at = excluded.expires_at
WHERE idempotency.expires_at <= $6
RETURNING true
"""
_LOOK: Final = """
SELECT fingerprint, status, body, content_type FROM idempotency
WHERE principal = $1 AND route = $2 AND key = $3 AND state = 'done' AND expires_at > $4
"""
_KEEP: Final = """
UPDATE idempotency SET state = 'done', status = $4, body = $5, content_type = $6
WHERE principal = $1 AND route = $2 AND key = $3
"""


def key_of(request: web.Request) -> str:
    """The header's value. Problem 400 idempotency_key_required."""
    key = request.headers.get(HEADER, "")
    if not (SHORTEST <= len(key) <= LONGEST and all("!" <= letter <= "~" for letter in key)):
        raise Problem(
            400,
            "idempotency_key_required",
            f"Send the header {HEADER}: {SHORTEST} to {LONGEST} visible ASCII characters, new for every action and "
            "the same when it is tried again.",
        )
    return key


def fingerprint_of(request: web.Request, body: object) -> bytes:
    """Hash of method, target and decoded body, so spaces and the order of keys do not matter."""
    content = body if isinstance(body, bytes) else msgspec.json.encode(body, order="deterministic")
    return hashlib.sha256(f"{request.method} {request.path_qs}\n".encode() + content).digest()


def _principal(call: Call) -> str:
    if call.who is not None:
        return str(call.who.person)
    # strangers are told apart by address, of which the database gets a hash only
    return "address:" + hashlib.sha256(address_key(call.request.remote or "").encode()).hexdigest()[:24]


async def once(
    call: Call, route: str, fingerprint: bytes, act: Callable[[], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """The answer of ``act``, which runs inside the transaction of ``call`` unless its answer is known already.

    Problem 400 idempotency_key_required, 409 idempotency_in_progress, 422 idempotency_mismatch.
    """
    names = (_principal(call), route, key_of(call.request))
    async with call.db.tenant(call.tenant.id) as connection, connection.transaction():
        if not await connection.fetchval(_BEGIN, *names, fingerprint, call.now + KEPT_FOR, call.now):
            return _known(await connection.fetchrow(_LOOK, *names, call.now), fingerprint)
        response = await call.hold(connection, act)
        body = response.body if isinstance(response, web.Response) else response
        if not (body is None or isinstance(body, bytes | bytearray)):
            raise TypeError("an answer to be kept is bytes")
        await connection.execute(_KEEP, *names, response.status, body or b"", response.content_type)
    return response


def _known(row: Row | None, fingerprint: bytes) -> web.Response:
    if row is None:
        raise Problem(
            409,
            "idempotency_in_progress",
            f"The first request with this {HEADER} is still at work. Ask again in a moment.",
            {"Retry-After": str(RETRY_AFTER_S)},
        )
    if row["fingerprint"] != fingerprint:
        raise Problem(
            422,
            "idempotency_mismatch",
            f"This {HEADER} was used for another request. Take a new one for every action.",
        )
    headers = {REPLAYED: "true", "Cache-Control": "no-store"}
    if row["body"]:
        return web.Response(status=row["status"], body=row["body"], content_type=row["content_type"], headers=headers)
    return web.Response(status=row["status"], headers=headers)


async def forget_expired(connection: Connection, now: datetime, most: int = 5000) -> int:
    """Delete up to ``most`` rows that are over; wants a platform connection. Returns how many went."""
    tag = await connection.execute(
        "DELETE FROM idempotency WHERE ctid IN (SELECT ctid FROM idempotency WHERE expires_at <= $1 LIMIT $2)",
        now,
        most,
    )
    return int(tag.rpartition(" ")[2])
