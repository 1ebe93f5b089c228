"""One effect per Idempotency-Key, however often a request is sent (draft-ietf-httpapi-idempotency-key-header).

A row (tenant, principal, route, key) holds the fingerprint of the request and the answer. It is written in the
transaction of the effect, so there is either both or neither: after an error nothing is kept and the same key may try
again. Only success is kept; a refusal has no effect, so asking anew costs nothing and may end better.

While the first request runs there is no row yet. The advisory lock of its transaction says that it is at work: who does
not get it answers 409, instead of waiting with a connection in hand. Lock and look are one statement, whose snapshot is
a moment older than the lock: a request that got in between is found by the primary key when the answer is kept, or by a
second look when what it did makes ours impossible.
"""

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Final

import msgspec
from aiohttp import web

from backplane.postgres import Connection, Row
from backplane.problems import Problem, expected
from backplane.ratelimit import address_key
from backplane.refusals import Refusal
from backplane.routes import Call

HEADER: Final = "Idempotency-Key"
REPLAYED: Final = "Idempotent-Replayed"
SHORTEST: Final = 8
LONGEST: Final = 255
KEPT_FOR: Final = timedelta(hours=72)
RETRY_AFTER_S: Final = 1
Names = tuple[str, str, str]
# refusals that may be the effect of the very same request
_MAY_BE_OWN: Final = frozenset({404, 409, 410})

# A batch of requests waits for no lock for long: a request that must wait runs alone (`backplane.request_batching`).
# LIMIT 1 keeps the planner from reading the whole table instead of a few keys of it.
_LOCK_AND_LOOK: Final = """
SELECT pg_try_advisory_xact_lock(hashtextextended(
        app_tenant() || ' ' || asked.principal || ' ' || asked.route || ' ' || asked.key, 0)) AS ours,
    known.*, CASE WHEN cardinality($1::text[]) > 1 THEN wait_briefly() END
FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS asked (principal, route, key, n)
LEFT JOIN LATERAL (
    SELECT fingerprint, status, body, content_type FROM idempotency i
    WHERE i.tenant_id = app_tenant() AND i.principal = asked.principal AND i.route = asked.route AND i.key = asked.key
        AND i.expires_at > $4 LIMIT 1
) AS known ON true
ORDER BY asked.n"""
_LOOK: Final = """
SELECT fingerprint, status, body, content_type FROM idempotency
WHERE principal = $1 AND route = $2 AND key = $3 AND expires_at > $4
"""
# A row that is over makes way.
_KEEP: Final = """
INSERT INTO idempotency (principal, route, key, fingerprint, state, status, body, content_type, expires_at)
SELECT principal, route, key, fingerprint, 'done', status, body, content_type, $8
FROM unnest($1::text[], $2::text[], $3::text[], $4::bytea[], $5::int[], $6::bytea[], $7::text[])
    AS done (principal, route, key, fingerprint, status, body, content_type)
ON CONFLICT (tenant_id, principal, route, key) DO UPDATE
SET fingerprint = excluded.fingerprint, state = excluded.state, status = excluded.status, body = excluded.body,
    content_type = excluded.content_type, expires_at = excluded.expires_at
WHERE idempotency.expires_at <= $9
RETURNING true"""


class Overtaken(Exception):
    """The same request was done between our snapshot and our lock."""


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


def names_of(call: Call, route: str) -> Names:
    """Whose, of what and which: the key of the row. Problem 400 idempotency_key_required."""
    return (_principal(call), route, key_of(call.request))


async def once(
    call: Call, route: str, fingerprint: bytes, act: Callable[[], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """The answer of ``act``, which runs inside the transaction of ``call`` unless its answer is known already.

    Problem 400 idempotency_key_required, 409 idempotency_in_progress, 422 idempotency_mismatch.
    """
    names = names_of(call, route)
    async with call.db.tenant(call.tenant.id) as connection:
        try:
            return await _first(call, connection, names, fingerprint, act)
        except (Overtaken, Problem, Refusal) as refusal:
            problem = expected(refusal)
            if problem is not None and problem.status not in _MAY_BE_OWN:
                raise
            row = await connection.fetchrow(_LOOK, *names, call.now)
            if row is None:
                raise
            call.undone()
            return _known(row, fingerprint)


async def _first(
    call: Call,
    connection: Connection,
    names: Names,
    fingerprint: bytes,
    act: Callable[[], Awaitable[web.StreamResponse]],
) -> web.StreamResponse:
    async with connection.transaction():
        (found,) = await lock_and_look(connection, [names], call.now)
        if found["fingerprint"] is not None:
            return _known(found, fingerprint)
        if not found["ours"]:
            raise Problem(
                409,
                "idempotency_in_progress",
                f"The first request with this {HEADER} is still at work. Ask again in a moment.",
                {"Retry-After": str(RETRY_AFTER_S)},
            )
        response = await call.hold(connection, act)
        await keep(connection, [(names, fingerprint, response)], call.now)
    return response


async def lock_and_look(connection: Connection, names: Sequence[Names], now: datetime) -> list[Row]:
    """For each whether its lock is ``ours``, with the answer that is kept, if ``fingerprint`` is not NULL."""
    return await connection.fetch(_LOCK_AND_LOOK, *zip(*names), now)


async def keep(connection: Connection, done: Sequence[tuple[Names, bytes, web.StreamResponse]], now: datetime) -> None:
    """Keep the answers to requests of these names and fingerprints.

    Raises:
        Overtaken: one of them was done meanwhile. The transaction must be rolled back.
    """
    kept = await connection.fetch(
        _KEEP,
        *zip(*(names for names, _, _ in done)),
        [fingerprint for _, fingerprint, _ in done],
        [answer.status for _, _, answer in done],
        [_kept_body(answer) for _, _, answer in done],
        [answer.content_type for _, _, answer in done],
        now + KEPT_FOR,
        now,
    )
    if len(kept) < len(done):
        raise Overtaken


def _kept_body(response: web.StreamResponse) -> bytes:
    body = response.body if isinstance(response, web.Response) else response
    if not (body is None or isinstance(body, bytes | bytearray)):
        raise TypeError("an answer to be kept is bytes")
    return bytes(body or b"")


def _known(row: Row, fingerprint: bytes) -> web.Response:
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
