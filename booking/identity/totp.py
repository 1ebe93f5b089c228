"""Codes of an authenticator app (TOTP, RFC 6238), and the ten codes for the day it is lost.

The step of now, the one before and the one after are taken; a step counts once (section 5.2), which the database
decides with a compare-and-set, so the same code shown twice at the same time opens one door. How often one may try says
`booking.identity.throttle`; that strangers have a hundred tries a day stands here, in the database, which forgets
nothing when servers and buses are started anew.
"""

import base64
import hmac
import re
import secrets
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import pyotp

from backplane.postgres import Connection
from backplane.sealed import Sealer
from booking.refusals import Conflict, TooMany

STEP_S: Final = 30
MAX_TRIES: Final = 100
TRIES_WITHIN: Final = timedelta(days=1)
RECOVERY_CODES: Final = 10
RECOVERY_CHARS: Final = 16  # of base32: 80 bits
_PURPOSE: Final = "totp"


async def begin(connection: Connection, sealer: Sealer, person: UUID, now: datetime) -> str:
    """A new secret for ``person``, which counts once it is confirmed. Conflict when there is a confirmed one."""
    secret = pyotp.random_base32()
    written = await connection.fetchval(
        "INSERT INTO totp (person_id, secret_sealed, tries_since, created_at) VALUES ($1, $2, $3, $3)"
        " ON CONFLICT (person_id) DO UPDATE SET secret_sealed = excluded.secret_sealed, last_step = 0,"
        " created_at = excluded.created_at WHERE totp.confirmed_at IS NULL RETURNING true",
        person,
        sealer.seal(secret.encode(), _PURPOSE),
        now,
    )
    if not written:
        raise Conflict("already_enrolled", "There is an authenticator already. Remove it first.")
    return secret


def uri(secret: str, account: str, issuer: str) -> str:
    """otpauth: as authenticator apps read it from a QR code."""
    return pyotp.TOTP(secret, interval=STEP_S).provisioning_uri(name=account, issuer_name=issuer)


async def check(
    connection: Connection, sealer: Sealer, person: UUID, code: str, now: datetime, *, counted: bool
) -> bool:
    """Whether ``code`` is right and new, or a recovery code that was not used. TooMany after too many tries.

    ``counted``: a stranger tries. Must not stand in a transaction that may roll back: a try stays counted.
    """
    # A stamp from the future (the clock was set back) counts as now: nobody waits longer than from now on.
    row = await connection.fetchrow(
        "UPDATE totp SET tries = CASE WHEN tries_since <= $2 THEN 0 ELSE least(tries, 1000) END + $4,"
        " tries_since = CASE WHEN tries_since <= $2 THEN $3 ELSE least(tries_since, $3) END"
        " WHERE person_id = $1 RETURNING secret_sealed, tries, tries_since, confirmed_at",
        person,
        now - TRIES_WITHIN,
        now,
        int(counted),
    )
    if row is None:
        return False
    if counted and row["tries"] > MAX_TRIES:
        wait_s = (row["tries_since"] + TRIES_WITHIN - now).total_seconds()
        detail = "Too many wrong codes. Use a recovery code, a passkey, or a browser that you have signed in with."
        raise TooMany("rate_limited", detail, retry_after_s=max(1, int(wait_s)))
    if is_recovery_code(code):  # never compared with the app's as well: nobody counts these
        right = row["confirmed_at"] is not None and await _recovers(connection, sealer, person, code, now)
    else:
        right = await _right(connection, sealer, person, row["secret_sealed"], code, now)
    if right:
        await connection.execute("UPDATE totp SET tries = 0 WHERE person_id = $1", person)
        return True
    return False


def is_recovery_code(code: str) -> bool:
    """Whether ``code`` has the length of a recovery code; of those there are too many to guess one. Then it is no other
    code, whatever else stands in it."""
    return len(_plain(code)) == RECOVERY_CHARS


async def confirm(connection: Connection, sealer: Sealer, person: UUID, now: datetime) -> list[str]:
    """The authenticator counts from now on; ten recovery codes, shown this once."""
    await connection.execute(
        "UPDATE totp SET confirmed_at = $2 WHERE person_id = $1 AND confirmed_at IS NULL", person, now
    )
    return await renew_recovery_codes(connection, sealer, person)


async def renew_recovery_codes(connection: Connection, sealer: Sealer, person: UUID) -> list[str]:
    """Ten new ones in place of the old."""
    made = [base64.b32encode(secrets.token_bytes(10)).decode().lower() for _ in range(RECOVERY_CODES)]
    await connection.execute("DELETE FROM recovery_code WHERE person_id = $1", person)
    await connection.executemany(
        "INSERT INTO recovery_code (person_id, mac) VALUES ($1, $2)",
        [(person, _mac(sealer, person, code)) for code in made],
    )
    return [f"{code[:4]}-{code[4:8]}-{code[8:12]}-{code[12:]}" for code in made]


async def remove(connection: Connection, person: UUID) -> None:
    await connection.execute("DELETE FROM totp WHERE person_id = $1", person)
    await connection.execute("DELETE FROM recovery_code WHERE person_id = $1", person)


async def _right(connection: Connection, sealer: Sealer, person: UUID, sealed: str, code: str, now: datetime) -> bool:
    digits = "".join(str(int(letter)) for letter in code if letter.isdecimal())
    if len(digits) != 6 or re.search(r"[A-Za-z]", code):
        return False
    authenticator = pyotp.TOTP(sealer.unseal(sealed, _PURPOSE).decode(), interval=STEP_S)
    step = int(now.timestamp()) // STEP_S
    matching = [
        each for each in (step - 1, step, step + 1) if hmac.compare_digest(authenticator.generate_otp(each), digits)
    ]
    if not matching:
        return False
    # No step beyond the next one can have been used, unless the clock was set back since.
    fresh = await connection.fetchval(
        "UPDATE totp SET last_step = $2 WHERE person_id = $1 AND (last_step < $2 OR last_step > $3) RETURNING true",
        person,
        matching[0],
        step + 1,
    )
    return bool(fresh)


async def _recovers(connection: Connection, sealer: Sealer, person: UUID, code: str, now: datetime) -> bool:
    used = await connection.fetchval(
        "UPDATE recovery_code SET used_at = $3 WHERE person_id = $1 AND mac = $2 AND used_at IS NULL RETURNING true",
        person,
        _mac(sealer, person, _plain(code)),
        now,
    )
    return bool(used)


def _plain(code: str) -> str:
    return re.sub(r"[^a-z2-7]", "", code.lower())


def _mac(sealer: Sealer, person: UUID, code: str) -> bytes:
    return sealer.mac("recovery", person.bytes, code)
