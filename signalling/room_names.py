"""Names of rooms: unguessable, and recognisable as ours without a list of them.

A name is 16 random characters (80 bits) and 6 characters that only this server's key can make from them (30 bits). So a
link keeps working over restarts, nobody can fill a table by asking for rooms, and a mistyped link is told from a good
one. Who knows the name may ask for a guest token: the name is the secret of the link.

Other names may be reserved: somebody else (booking) names these rooms, says who may be in them, and signs their tokens.
All that is known of them here is which they are.
"""

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Callable
from typing import Final, TypeAlias

IsReserved: TypeAlias = Callable[[str], bool]
"""Whether the name is of a room that is not ours."""

_RANDOM_BYTES: Final = 10
_CHECK_BYTES: Final = 4
_CHECK_CHARACTERS: Final = 6
_SHAPE = re.compile(r"[a-z2-7]{22}")


class RoomNames:
    """``key``: the server's token key; what is derived from it here cannot sign tokens."""

    def __init__(self, key: bytes) -> None:
        self._key = hmac.digest(key, b"wadud room name", hashlib.sha256)

    def new(self) -> str:
        random = _base32(secrets.token_bytes(_RANDOM_BYTES))
        return random + self._check(random)

    def ours(self, name: str) -> bool:
        """Whether `new` of this server made ``name``."""
        if not _SHAPE.fullmatch(name):
            return False
        random, check = name[:-_CHECK_CHARACTERS], name[-_CHECK_CHARACTERS:]
        return hmac.compare_digest(self._check(random), check)

    def _check(self, random: str) -> str:
        return _base32(hmac.digest(self._key, random.encode(), hashlib.sha256)[:_CHECK_BYTES])[:_CHECK_CHARACTERS]


def _base32(content: bytes) -> str:
    return base64.b32encode(content).decode().rstrip("=").lower()
