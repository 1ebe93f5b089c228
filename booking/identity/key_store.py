"""Signing keys in the database: the same for every server, made in time, read again when a token names another."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

import msgspec
from joserfc.jwk import ECKey

from backplane.clocks import just_now
from backplane.keys import Authority, KeyRing, SigningKey
from backplane.logs import Log
from backplane.postgres import Connection, Database
from backplane.sealed import Sealer, SealError

REREAD_AFTER: Final = timedelta(seconds=5)
_PURPOSE: Final = "signing-key"
_LOCK: Final = 0x5749_4B45_59  # two servers that start together make one key
_log = Log(__name__)


class KeyStore:
    """Keeps ``authority.ring`` true. `tend` wants to be called at the start and every few minutes."""

    def __init__(self, db: Database, sealer: Sealer, authority: Authority, clock: Callable[[], datetime]) -> None:
        self._db = db
        self._sealer = sealer
        self._clock = clock
        self._read_at: datetime | None = None
        self.authority = authority

    async def tend(self) -> None:
        """Read the keys, and make the next one when it is time."""
        now = self._clock()
        async with self._db.platform() as connection:
            self.authority.ring = await self._read(connection)
            if self.authority.ring.due(now) is None:
                return
            async with connection.transaction():
                await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
                ring = await self._read(connection)
                begins = ring.due(now)
                if begins is not None:
                    await self._write(connection, SigningKey.generate(now, signs_from=begins))
            self.authority.ring = await self._read(connection)

    async def able_to_sign(self) -> None:
        """Make a key at once when none may sign now: the clock has leapt, over days or back before the first key."""
        if not self.authority.ring.may_sign(self._clock()):
            await self.tend()

    async def rotate(self) -> None:
        """A new key that signs as soon as every server can know it, before its time: the old one may have leaked."""
        now = self._clock()
        async with self._db.platform() as connection, connection.transaction():
            begins = now + timedelta(minutes=5)
            await connection.execute(
                "UPDATE signing_key SET signs_until = $1 WHERE signs_from < $1 AND signs_until > $1", begins
            )
            await self._write(connection, SigningKey.generate(now, signs_from=begins))
            self.authority.ring = await self._read(connection)

    async def reread(self) -> bool:
        """Read the keys for a token that names an unknown one, but not for every such token. Whether it was done."""
        now = self._clock()
        if self._read_at is not None and just_now(self._read_at, now, REREAD_AFTER):
            return False
        self._read_at = now
        async with self._db.platform() as connection:
            self.authority.ring = await self._read(connection)
        return True

    async def _read(self, connection: Connection) -> KeyRing:
        rows = await connection.fetch("SELECT * FROM signing_key WHERE verifies_until > $1", self._clock())
        keys = []
        for row in rows:
            try:
                pair = ECKey.import_key(msgspec.json.decode(self._sealer.unseal(row["private_sealed"], _PURPOSE)))
            except (SealError, msgspec.MsgspecError, ValueError):
                # Another installation's data directory was here: its tokens cannot be trusted, and a new key is made.
                _log.error("signing key cannot be opened")
                continue
            times = (row[name] for name in ("created_at", "signs_from", "signs_until", "verifies_until"))
            created, begins, ends, over = times
            keys.append(SigningKey(row["kid"], pair, created, begins, ends, over, row["algorithm"]))
        self._read_at = self._clock()
        return KeyRing(keys)

    async def _write(self, connection: Connection, key: SigningKey) -> None:
        await connection.execute(
            "INSERT INTO signing_key (kid, algorithm, public_jwk, private_sealed, created_at, signs_from, signs_until,"
            " verifies_until) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
            key.kid,
            key.algorithm,
            key.public_jwk,
            self._sealer.seal(msgspec.json.encode(key.pair.as_dict(private=True)), _PURPOSE),
            key.created_at,
            key.signs_from,
            key.signs_until,
            key.verifies_until,
        )
