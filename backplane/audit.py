"""Who did what to what: an append-only audit trail per tenant, sealed by a chain of hashes.

`record` writes an entry in the transaction of the deed itself, so there is none without the other. A `Sealer` follows a
moment later, apart from the deed, so that writers never queue for the head of the chain: it takes the entries that are
not sealed yet and links them, n-th seal = sha256(hash of the one before, canonical bytes of the entry). An entry may be
sealed once every transaction as old as its own has ended (``tx`` below the snapshot's xmin), for then nothing older can
appear any more; entries of one round are chained in the order of their numbers.

`verify` walks the chain of a tenant anew. A changed byte, a missing row or a forged one breaks it there. Cutting rows
off the end of both tables leaves a shorter chain that is whole: so the `Head` is for keeping elsewhere (the daily
anchor file), and is given to a later `verify`.
"""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

import msgspec

from backplane.postgres import Connection, Database, Row

SEAL_BATCH: Final = 1000
WALK_BATCH: Final = 1000
GENESIS: Final = bytes(32)
# Two sealers of one tenant would make two heads; the pair (this, tenant) is the lock.
_LOCK_SPACE: Final = 0x5EA1

_FIELDS: Final = "e.id, e.tenant_id, e.at, e.actor, e.actor_role, e.action, e.subject_kind, e.subject_id, e.facts"
# $1: everything below it was sealed in an earlier round; $2: the oldest transaction that may still be open.
_DUE: Final = "tx >= $1::text::xid8 AND tx < $2::text::xid8"
# In the first round also numbers not given out yet: such rows come from another cluster by dump and restore.
_DUE_AT_FIRST: Final = "(tx < $2::text::xid8 OR tx >= pg_snapshot_xmax(pg_current_snapshot())) AND $1::text IS NOT NULL"
_UNSEALED: Final = "NOT EXISTS (SELECT FROM audit_seal s WHERE s.entry_id = e.id)"


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One deed. ``actor`` None: the system. ``facts``: ids and minimal facts, nothing of a person's own words."""

    actor: UUID | None
    actor_role: str
    action: str
    subject_kind: str
    subject_id: UUID
    facts: dict[str, object] = msgspec.field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Head:
    """The end of a tenant's chain: number of seals and the hash of the last one."""

    n: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class Verdict:
    """What `verify` found. ``broken_at``: number of the first seal that does not fit; None: the chain is whole."""

    head: Head
    unsealed: int
    broken_at: int | None = None
    reason: str = ""
    entry_id: int | None = None

    @property
    def sound(self) -> bool:
        return self.broken_at is None


async def record(connection: Connection, entry: Entry, now: datetime, *, tenant: int | None = None) -> None:
    """Writes an entry of the connection's tenant, in the transaction of the deed. A connection of the platform
    names the ``tenant`` whose trail it is."""
    await connection.execute(
        "INSERT INTO audit_entry (tenant_id, at, actor, actor_role, action, subject_kind, subject_id, facts)"
        " VALUES (coalesce($1, app_tenant()), $2, $3, $4, $5, $6, $7, $8)",
        tenant,
        now,
        entry.actor,
        entry.actor_role,
        entry.action,
        entry.subject_kind,
        entry.subject_id,
        entry.facts,
    )


def canonical(row: Row) -> bytes:
    """The bytes of an entry that are hashed: JSON with sorted keys, times in UTC to the microsecond.

    Numbers among the facts are taken as Postgres gives them back, so the same at sealing and at verifying.
    """
    at: datetime = row["at"]
    return msgspec.json.encode(
        [
            row["id"],
            row["tenant_id"],
            at.astimezone(UTC).isoformat(timespec="microseconds"),
            row["actor"],
            row["actor_role"],
            row["action"],
            row["subject_kind"],
            row["subject_id"],
            row["facts"],
        ],
        order="deterministic",
    )


def link(previous: bytes, row: Row) -> bytes:
    """The seal of an entry after the seal ``previous``."""
    return hashlib.sha256(previous + canonical(row)).digest()


class Sealer:
    """Seals in rounds; several, in several processes, do not disturb each other.

    It remembers up to which transaction everything is sealed, so only its first round looks at the whole trail.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._since = "0"

    async def seal(self) -> int:
        """One round: seals what may be sealed, of all tenants; returns how many entries."""
        async with self._database.platform() as connection:
            horizon = await connection.fetchval("SELECT pg_snapshot_xmin(pg_current_snapshot())::text")
            rows = await connection.fetch(
                f"SELECT DISTINCT tenant_id FROM audit_entry e WHERE {self._due()} AND {_UNSEALED}",
                self._since,
                horizon,
            )
        sealed = 0
        complete = True
        for row in rows:
            async with self._database.tenant(row["tenant_id"]) as connection:
                while count := await self._seal_batch(connection, row["tenant_id"], horizon):
                    sealed += count
            complete = complete and count is not None
        if complete:
            self._since = horizon
        return sealed

    def _due(self) -> str:
        return _DUE_AT_FIRST if self._since == "0" else _DUE

    async def _seal_batch(self, connection: Connection, tenant: int, horizon: str) -> int | None:
        """How many were sealed; None: another sealer is at this tenant."""
        async with connection.transaction():
            if not await connection.fetchval("SELECT pg_try_advisory_xact_lock($1, hashint8($2))", _LOCK_SPACE, tenant):
                return None
            head = await _head(connection, tenant)
            rows = await connection.fetch(
                f"SELECT {_FIELDS} FROM audit_entry e WHERE tenant_id = $3 AND {self._due()} AND {_UNSEALED}"
                " ORDER BY id LIMIT $4",
                self._since,
                horizon,
                tenant,
                SEAL_BATCH,
            )
            seals = []
            n, previous = head.n, head.hash
            for row in rows:
                n, current = n + 1, link(previous, row)
                seals.append((n, row["id"], previous, current))
                previous = current
            await connection.executemany(
                "INSERT INTO audit_seal (n, entry_id, prev_hash, hash) VALUES ($1, $2, $3, $4)", seals
            )
        return len(seals)


async def seal(database: Database) -> int:
    """One round of a new `Sealer`; returns how many entries were sealed."""
    return await Sealer(database).seal()


async def _head(connection: Connection, tenant: int) -> Head:
    row = await connection.fetchrow(
        "SELECT n, hash FROM audit_seal WHERE tenant_id = $1 ORDER BY n DESC LIMIT 1", tenant
    )
    return Head(0, GENESIS) if row is None else Head(row["n"], row["hash"])


async def verify(connection: Connection, tenant: int, anchor: Head | None = None) -> Verdict:
    """Walks the whole chain of ``tenant`` in one snapshot. ``anchor``: a head known from earlier, to be found on it."""
    async with connection.transaction("repeatable_read", readonly=True):
        unsealed = await connection.fetchval(
            f"SELECT count(*) FROM audit_entry e WHERE tenant_id = $1 AND {_UNSEALED}", tenant
        )
        head = Head(0, GENESIS)
        while True:
            rows = await connection.fetch(
                f"SELECT s.n, s.entry_id, s.prev_hash, s.hash, {_FIELDS} FROM audit_seal s"
                " LEFT JOIN audit_entry e ON e.id = s.entry_id AND e.tenant_id = s.tenant_id"
                " WHERE s.tenant_id = $1 AND s.n > $2 ORDER BY s.n LIMIT $3",
                tenant,
                head.n,
                WALK_BATCH,
            )
            for row in rows:
                reason = _fault(head, row, anchor)
                if reason:
                    return Verdict(head, unsealed, head.n + 1, reason, row["entry_id"])
                head = Head(row["n"], row["hash"])
            if len(rows) < WALK_BATCH:
                break
    if anchor is not None and anchor.n > head.n:
        return Verdict(head, unsealed, head.n + 1, "the chain ends before the anchor")
    return Verdict(head, unsealed)


def _fault(head: Head, row: Row, anchor: Head | None) -> str:
    if row["n"] != head.n + 1:
        return "a seal is missing"
    if row["id"] is None:
        return "the entry is missing"
    if row["prev_hash"] != head.hash:
        return "the seal does not follow the one before"
    if row["hash"] != link(head.hash, row):
        return "the entry has changed since it was sealed"
    if anchor is not None and row["n"] == anchor.n and row["hash"] != anchor.hash:
        return "the chain differs from the anchor"
    return ""
