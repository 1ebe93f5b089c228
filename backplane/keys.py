"""Signed tokens of many kinds, and the keys that sign them, which change while the server runs.

A token is a JWT (RFC 7519) whose header says exactly three things: ``alg``, ``kid`` and ``typ``. The key decides the
algorithm, never the header; a header that names a key by any other means (jwk, jku, x5u, x5c, crit) is refused before
anything of it is used. ``typ`` differs for every kind of token (RFC 8725 section 3.11), so that no kind can stand in
for another, whatever a handler forgets.

A key is published some time before it signs and stays published until the last token that it signed has expired: a
server that reads the keys now and then never meets a token whose key it cannot know (`due` says when to make the next).
Verifying one ES256 signature takes about a tenth of a millisecond; whoever verifies the same token again and again
keeps the answer (booking/identity/access.py). Here is no I/O; keys are kept by booking/identity/key_store.py.
"""

import base64
import binascii
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, TypeVar

import msgspec
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey
from msgspec import Struct

ALGORITHM: Final = "ES256"
MAX_TOKEN_CHARS: Final = 4096
CLOCK_SKEW: Final = timedelta(seconds=10)  # between two servers of one installation

SIGNS_FOR: Final = timedelta(days=30)
PUBLISHED_BEFORE: Final = timedelta(hours=1)
VERIFIES_AFTER: Final = timedelta(days=4)  # the longest token, an invitation, lives three
RENEWED_BEFORE: Final = timedelta(days=2)

T = TypeVar("T", bound=Struct)


class TokenKind(StrEnum):
    """The ``typ`` of each kind of token."""

    ACCESS = "at+jwt"  # RFC 9068
    JOIN = "join+jwt"
    INVITE = "invite+jwt"
    EMAIL = "email+jwt"
    SECOND_FACTOR = "mfa+jwt"
    GUEST = "guest+jwt"


class TokenError(Exception):
    """The token proves nothing. ``code``: bad_token, token_expired or token_not_yet_valid."""

    def __init__(self, code: str = "bad_token") -> None:
        super().__init__(code)
        self.code = code


class UnknownKeyError(TokenError):
    """No key of that name is known; it may have been made by another server a moment ago."""


class _Header(Struct, frozen=True, forbid_unknown_fields=True):
    alg: str
    kid: str
    typ: str


class _Common(Struct, frozen=True):
    """The claims that every token has. Times are unix seconds and may have a fraction (RFC 7519 section 2)."""

    iss: str
    aud: str
    iat: float
    exp: float
    nbf: float = 0


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key pair and its life."""

    kid: str
    pair: ECKey
    created_at: datetime
    signs_from: datetime
    signs_until: datetime
    verifies_until: datetime
    algorithm: str = ALGORITHM

    @classmethod
    def generate(cls, now: datetime, *, signs_from: datetime | None = None) -> "SigningKey":
        """A fresh key that signs from ``signs_from`` on; by default at once, which only the very first key may."""
        begins = signs_from or now
        ends = begins + SIGNS_FOR
        kid = secrets.token_urlsafe(9)
        return cls(kid, ECKey.generate_key("P-256", private=True), now, begins, ends, ends + VERIFIES_AFTER)

    @property
    def public_jwk(self) -> dict[str, str]:
        """RFC 7517 section 4: the public part with its use."""
        public = {name: str(value) for name, value in self.pair.as_dict(private=False).items()}
        return {**public, "kid": self.kid, "alg": self.algorithm, "use": "sig"}


class KeyRing:
    """The keys that count, of any age."""

    def __init__(self, keys: Sequence[SigningKey] = ()) -> None:
        self._keys = {key.kid: key for key in keys}

    def __len__(self) -> int:
        return len(self._keys)

    def may_sign(self, now: datetime) -> bool:
        """Whether any key may sign."""
        return any(key.signs_from <= now < key.signs_until for key in self._keys.values())

    def signer(self, now: datetime) -> SigningKey:
        """The newest key that may sign. LookupError when none may."""
        able = [key for key in self._keys.values() if key.signs_from <= now < key.signs_until]
        if not able:
            raise LookupError("no key may sign now")
        return max(able, key=lambda key: key.signs_from)

    def verifier(self, kid: str, now: datetime) -> SigningKey:
        """The key called ``kid`` while what it signed still counts. UnknownKeyError."""
        key = self._keys.get(kid)
        if key is None or now >= key.verifies_until:
            raise UnknownKeyError
        return key

    def due(self, now: datetime) -> datetime | None:
        """From when on a new key should sign, when it is time to make one; None: not yet."""
        if not self.may_sign(now):
            return now
        latest = max(key.signs_until for key in self._keys.values())
        if latest - now > RENEWED_BEFORE:
            return None
        return max(now + PUBLISHED_BEFORE, latest - RENEWED_BEFORE + PUBLISHED_BEFORE)

    def jwks(self, now: datetime) -> dict[str, list[dict[str, str]]]:
        """RFC 7517 section 5: the public keys, the ones to come included."""
        return {"keys": [key.public_jwk for key in self._keys.values() if now < key.verifies_until]}


class Authority:
    """Signs and verifies tokens of one installation, ``issuer``. ``ring`` is replaced when keys change."""

    def __init__(self, issuer: str, ring: KeyRing) -> None:
        self.issuer = issuer
        self.ring = ring

    def sign(self, kind: TokenKind, audience: str, claims: Struct, now: datetime, lifetime: timedelta) -> str:
        """A token with ``claims`` and the common ones. LookupError when no key may sign."""
        key = self.ring.signer(now)
        issued = round(now.timestamp(), 3)
        common = _Common(self.issuer, audience, issued, issued + lifetime.total_seconds(), issued)
        payload = msgspec.json.encode({**msgspec.to_builtins(claims), **msgspec.to_builtins(common)})
        header = {"alg": key.algorithm, "kid": key.kid, "typ": str(kind)}
        return jws.serialize_compact(header, payload, key.pair, algorithms=[key.algorithm])

    def verify(self, kind: TokenKind, audience: str, token: str, model: type[T], now: datetime) -> T:
        """The claims of ``token`` when it is of this kind, ours, and holds now. TokenError otherwise."""
        header = _header(token)
        if header.typ != kind:
            raise TokenError
        key = self.ring.verifier(header.kid, now)
        if header.alg != key.algorithm:
            raise TokenError
        try:
            payload = jws.deserialize_compact(token, key.pair, algorithms=[key.algorithm]).payload
            common = msgspec.json.decode(payload, type=_Common)
            claims = msgspec.json.decode(payload, type=model)
        except (JoseError, ValueError, msgspec.MsgspecError, RecursionError):
            raise TokenError from None
        if common.iss != self.issuer or common.aud != audience:
            raise TokenError
        moment = now.timestamp()
        if moment >= common.exp:
            raise TokenError("token_expired")
        # A clock that was set back makes tokens of a moment ago come from the future. What is fetched again at once is
        # refused then, since nobody could say how long it has lived; an invitation lies in a mailbox, and counts.
        if kind is not TokenKind.INVITE and max(common.nbf, common.iat) > moment + CLOCK_SKEW.total_seconds():
            raise TokenError("token_not_yet_valid")
        return claims


def _header(token: str) -> _Header:
    if len(token) > MAX_TOKEN_CHARS or not token.isascii() or token.count(".") != 2:
        raise TokenError
    first = token.partition(".")[0]
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(first + "=" * (-len(first) % 4)), type=_Header)
    except (binascii.Error, ValueError, msgspec.MsgspecError, RecursionError):
        raise TokenError from None
