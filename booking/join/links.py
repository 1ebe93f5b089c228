"""Join links: what a person clicks to come to a visit, `/j/<clinic>#<token>`.

The token stands behind the `#`, so it reaches no log, no referrer and no mail scanner's request. It is signed, not
secretly stored: 54 bytes of facts and a 16-byte HMAC (RFC 2104, SHA-256 truncated as in RFC 4868), together 94
characters, where a JWT of the same facts takes 330 and two SMS. Its key is derived for this purpose alone, so nothing
else that we sign can stand in for a link, nor a link for anything else.

A link may be used again and again inside its window: mail scanners and second devices must not spend it. What ends it is
the appointment's `join_epoch`, raised by every move and cancellation, and for an invited third person the withdrawal of
the invitation. The window in the token is what was true when it was signed; the appointment decides.
"""

import base64
import binascii
import hashlib
import hmac
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from typing import Final
from uuid import UUID

OPENS_BEFORE: Final = timedelta(minutes=30)
CLOSES_AFTER: Final = timedelta(minutes=60)
TOKEN_CHARACTERS: Final = 94
_VERSION: Final = 1
_FACTS: Final = struct.Struct(">BBBI16s16sIII3s")
_MAC_BYTES: Final = 16
_LANGUAGE = re.compile(r"[a-z]{2,3}")
_PURPOSE: Final = b"wadud join link"


class Seat(IntEnum):
    """A place in a visit. The numbers stand in signed links and never change."""

    PATIENT = 1
    DOCTOR = 2
    THIRD = 3

    @property
    def word(self) -> str:
        return self.name.lower()


class BadLink(Exception):
    """Not a link of ours, or altered."""


@dataclass(frozen=True, slots=True)
class Link:
    """What a link says. ``holder`` is a person, for `Seat.THIRD` an invitation; ``language`` an ISO 639 code."""

    tenant: int
    appointment: UUID
    seat: Seat
    holder: UUID
    epoch: int
    opens_at: datetime
    closes_at: datetime
    language: str


@dataclass(frozen=True, slots=True)
class Window:
    """When a visit can be entered: half-open, both aware."""

    opens_at: datetime
    closes_at: datetime

    @classmethod
    def around(cls, start: datetime, end: datetime, reopened_until: datetime | None = None) -> "Window":
        """From half an hour before the visit to an hour after it, longer when the doctor calls once more."""
        closes = end + CLOSES_AFTER
        return cls(start - OPENS_BEFORE, max(closes, reopened_until or closes))

    def state(self, now: datetime) -> str:
        """early, open or over."""
        if now < self.opens_at:
            return "early"
        return "open" if now < self.closes_at else "over"


class Links:
    """Signs and reads links. ``keys`` by key id (0 to 255): all of them read, the ``current`` one signs.

    links = Links.derived({0: authority.key})
    token = links.sign(Link(...)); link = links.read(token)
    """

    def __init__(self, keys: Mapping[int, bytes], current: int) -> None:
        if current not in keys or not all(0 <= kid <= 255 for kid in keys):
            raise ValueError("the current key must be among the keys, and ids fit a byte")
        self._keys = dict(keys)
        self._current = current

    @classmethod
    def derived(cls, masters: Mapping[int, bytes], current: int = 0) -> "Links":
        """Keys for links made from keys that serve something else."""
        return cls({kid: hmac.digest(key, _PURPOSE, hashlib.sha256) for kid, key in masters.items()}, current)

    def sign(self, link: Link) -> str:
        """ValueError when a value does not fit: the tenant 32 bits, the language two or three small letters."""
        if not _LANGUAGE.fullmatch(link.language) or not 0 <= link.tenant < 1 << 32:
            raise ValueError("this does not fit a link")
        facts = _FACTS.pack(
            _VERSION,
            self._current,
            link.seat,
            link.tenant,
            link.appointment.bytes,
            link.holder.bytes,
            link.epoch,
            int(link.opens_at.timestamp()),
            int(link.closes_at.timestamp()),
            link.language.encode(),
        )
        return base64.urlsafe_b64encode(facts + _mac(self._keys[self._current], facts)).decode().rstrip("=")

    def read(self, token: str) -> Link:
        """What ``token`` says, whatever the time. BadLink when it is not ours."""
        content = _unpadded(token)
        facts, mac = content[: _FACTS.size], content[_FACTS.size :]
        key = self._keys.get(facts[1])
        if key is None or facts[0] != _VERSION or not hmac.compare_digest(_mac(key, facts), mac):
            raise BadLink
        _, _, seat, tenant, appointment, holder, epoch, opens, closes, language = _FACTS.unpack(facts)
        return Link(
            tenant,
            UUID(bytes=appointment),
            Seat(seat),
            UUID(bytes=holder),
            epoch,
            datetime.fromtimestamp(opens, UTC),
            datetime.fromtimestamp(closes, UTC),
            language.rstrip(b"\0").decode(),
        )


def link_path(slug: str, token: str) -> str:
    """The path of a link, for the clinic of that slug."""
    return f"/j/{slug}#{token}"


def _mac(key: bytes, facts: bytes) -> bytes:
    return hmac.digest(key, facts, hashlib.sha256)[:_MAC_BYTES]


def _unpadded(token: str) -> bytes:
    if len(token) != TOKEN_CHARACTERS or not token.isascii():
        raise BadLink
    try:
        content = base64.b64decode(token + "==", altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise BadLink from None
    # The last character carries spare bits; only the spelling that we wrote is a link.
    if base64.urlsafe_b64encode(content).decode().rstrip("=") != token:
        raise BadLink
    return content
