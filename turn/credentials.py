"""Who may use the relay: long-term credentials (RFC 8489 section 9.2) of a fixed list, and time-limited ones.

A time-limited user name is "expiry:subject" with the expiry in Unix seconds, and its password the HMAC-SHA1 of the
name under a secret that we share with whoever hands credentials out (the REST draft, draft-uberti-behave-turn-rest).
Nothing about it is stored, so it is checked anew with every request: an expired or revoked one is refused for Refresh
as for Allocate. While a secret is being replaced the previous one counts as well.

The *owner* is what quotas and allocations belong to. For the fixed list it is the user name. For time-limited names it
is ":subject", so that somebody may renew a credential without losing the allocation; names of the list hold no colon,
so the two never meet.
"""

import base64
import hashlib
import hmac
import math
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from turn.attributes import USERNAME
from turn.stun import Message, verify

MAX_CACHED: Final = 10_000
MAX_REVOKED: Final = 65_536
MAX_USERNAME_BYTES: Final = 508  # RFC 8489 section 14.3
MAX_EXPIRY_DIGITS: Final = 12


@dataclass(frozen=True, slots=True)
class Secrets:
    """The secret that new credentials are made with, and the one before it while its credentials still live."""

    current: str
    previous: str | None = None

    def __post_init__(self) -> None:
        if not self.current or self.previous == "":
            raise ValueError("a secret is not empty")


@dataclass(frozen=True, slots=True)
class Account:
    """Somebody whose MESSAGE-INTEGRITY was right. ``expires_at`` in Unix seconds."""

    owner: str
    key: bytes
    expires_at: float = math.inf


def issue(secret: str, subject: str, expires_at: int) -> tuple[str, str]:
    """User name and password of ``subject`` until ``expires_at`` (Unix seconds). ValueError when they would not fit
    a user name."""
    username = f"{expires_at}:{subject}"
    if not 0 <= expires_at < 10**MAX_EXPIRY_DIGITS or len(username.encode()) > MAX_USERNAME_BYTES:
        raise ValueError("the expiry or the subject is too long")
    return username, _password(secret, username)


def _password(secret: str, username: str) -> str:
    return base64.b64encode(hmac.digest(secret.encode(), username.encode(), "sha1")).decode()


def _prepared(text: str) -> str:
    """What of RFC 8265's OpaqueString matters: other spaces become spaces, and one form of every character."""
    if text.isascii():
        return text
    return unicodedata.normalize("NFC", "".join(" " if unicodedata.category(c) == "Zs" else c for c in text))


def long_term_key(username: str, realm: str, password: str) -> bytes:
    """The key of MESSAGE-INTEGRITY (RFC 8489 section 9.2.2)."""
    text = f"{username}:{_prepared(realm)}:{_prepared(password)}"
    return hashlib.md5(text.encode(), usedforsecurity=False).digest()


class Credentials:
    """Checks requests against a list of users and against shared secrets; either may be missing."""

    def __init__(self, realm: str, users: Mapping[str, str] | None = None, secrets: Secrets | None = None) -> None:
        """``users``: name to password. ValueError for a name with a colon or a realm that fits no attribute."""
        if not realm or len(realm.encode()) > 763:
            raise ValueError("a realm has 1 to 763 bytes")
        users = users or {}
        if wrong := [name for name in users if not name or ":" in name or len(name.encode()) > MAX_USERNAME_BYTES]:
            raise ValueError(f"{len(wrong)} user names are empty, too long or hold a colon")
        self.realm = realm
        self._secrets = secrets
        self._users = {
            name.encode(): Account(name, long_term_key(name, realm, password)) for name, password in users.items()
        }
        self._proven: dict[bytes, Account] = {}  # time-limited ones whose key is known to be right
        self._revoked: dict[str, None] = {}

    def rotate(self, secrets: Secrets | None) -> None:
        """Take other secrets from now on."""
        self._secrets = secrets
        self._proven.clear()

    def revoke(self, subject: str) -> None:
        """Refuse every time-limited credential of ``subject`` from now on, and those made later, until `restore`."""
        self._revoked.pop(f":{subject}", None)
        self._revoked[f":{subject}"] = None
        if len(self._revoked) > MAX_REVOKED:
            del self._revoked[next(iter(self._revoked))]

    def restore(self, subject: str) -> None:
        self._revoked.pop(f":{subject}", None)

    def authenticate(self, request: Message, unix: float) -> Account | None:
        """Whose request that is at the time ``unix``; None when the name is unknown, expired or revoked, or
        MESSAGE-INTEGRITY is missing or wrong."""
        username = request.attributes.get(USERNAME)
        if username is None:
            return None
        account = self._proven.get(username) or self._users.get(username)
        if account is not None:
            if account.expires_at <= unix or account.owner in self._revoked or not verify(request, account.key):
                return None
            return account
        return self._prove(request, username, unix)

    def _prove(self, request: Message, username: bytes, unix: float) -> Account | None:
        """The account of a time-limited name not seen before. It is remembered only once its key was right, so that
        strangers cannot push others out."""
        if self._secrets is None or len(username) > MAX_USERNAME_BYTES:
            return None
        digits, colon, _ = username.partition(b":")
        if not colon or not digits.isdigit() or len(digits) > MAX_EXPIRY_DIGITS or int(digits) <= unix:
            return None
        try:
            name = username.decode()
        except UnicodeDecodeError:
            return None
        owner = name[len(digits) :]
        if owner in self._revoked:
            return None
        for secret in (self._secrets.current, self._secrets.previous):
            if secret is None:
                continue
            key = long_term_key(name, self.realm, _password(secret, name))
            if verify(request, key):
                account = Account(owner, key, float(digits))
                if len(self._proven) >= MAX_CACHED:
                    del self._proven[next(iter(self._proven))]
                self._proven[username] = account
                return account
        return None
