"""Passwords: argon2id in a few threads, and no more people waiting for them than can be served.

One hash costs about 50 ms and 19 MiB (RFC 9106, the parameters that OWASP gives for 19 MiB). Threads and queue are
bounded, so that a flood of sign-ins takes a known share of the machine and the rest is told to come back. An unknown
account is verified against a hash of nothing: its answer takes as long as a wrong password.
"""

import asyncio
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Final, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from argon2.low_level import Type

from booking.refusals import Invalid, Unavailable

MEMORY_KIB: Final = 19 * 1024
TIME_COST: Final = 2
PARALLELISM: Final = 1
THREADS: Final = 2
QUEUE_LENGTH: Final = 64
MIN_CHARS: Final = 8
MAX_CHARS: Final = 200

R = TypeVar("R")

_HASHER: Final = PasswordHasher(TIME_COST, MEMORY_KIB, PARALLELISM, type=Type.ID)

# What attackers try first. A longer list comes in through ``breached``.
_COMMON: Final = frozenset(
    {"12345678", "123456789", "1234567890", "password", "password1", "password123", "qwertyui", "qwerty123"}
    | {"iloveyou", "87654321", "abcd1234", "1q2w3e4r", "pakistan", "pakistan1", "letmein1", "admin123", "welcome1"}
)


class Passwords:
    """Hashes and verifies. ``breached`` says whether a password is known to attackers; it must not block."""

    def __init__(
        self,
        *,
        threads: int = THREADS,
        queue_length: int = QUEUE_LENGTH,
        breached: Callable[[str], bool] = lambda password: password.lower() in _COMMON,
    ) -> None:
        self._pool = ThreadPoolExecutor(threads, "argon2")
        self._room = queue_length + threads
        self._busy = 0
        self._breached = breached
        self._nobody = _hash_of_nobody()

    def check(self, password: str, *, near: str = "") -> None:
        """Invalid when nobody should have this password; ``near``: the contact, which is no password either."""
        plain = _plain(password)
        if not MIN_CHARS <= len(plain) <= MAX_CHARS:
            raise Invalid("weak_password", f"Choose a password of {MIN_CHARS} to {MAX_CHARS} characters.")
        if self._breached(plain) or (near and near.lower() in plain.lower()) or len(set(plain)) < 4:
            raise Invalid("weak_password", "This password is among the first that others try. Choose another.")

    async def hash(self, password: str) -> str:
        """With salt and parameters. Unavailable when too many wait."""
        return await self._run(lambda: _HASHER.hash(_plain(password)))

    async def verify(self, hashed: str | None, password: str) -> bool:
        """Whether it is the one; None (nobody's) never is, and takes as long. Unavailable when too many wait."""
        return await self._run(lambda: self._matches(hashed or self._nobody, password) and hashed is not None)

    def outdated(self, hashed: str) -> bool:
        """Whether it was made with other parameters than today's."""
        return _HASHER.check_needs_rehash(hashed)

    def close(self) -> None:
        """Lets threads end."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _matches(self, hashed: str, password: str) -> bool:
        try:
            return _HASHER.verify(hashed, _plain(password))
        except (VerificationError, InvalidHashError):
            return False

    async def _run(self, work: Callable[[], R]) -> R:
        if self._busy >= self._room:
            raise Unavailable("busy", "Many people sign in just now. Try again in a moment.", retry_after_s=2)
        self._busy += 1
        future = asyncio.get_running_loop().run_in_executor(self._pool, work)
        # Counted until the thread is done with it, even when the person has gone.
        future.add_done_callback(self._done)
        return await asyncio.shield(future)

    def _done(self, _: "asyncio.Future[R]") -> None:
        self._busy -= 1


@cache
def _hash_of_nobody() -> str:
    return _HASHER.hash("")


def _plain(password: str) -> str:
    return unicodedata.normalize("NFKC", password)
