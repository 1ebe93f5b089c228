"""Names of visits' rooms: made from the appointment and its epoch, and told from every other room by their check.

The form is not that of rooms which are made by `POST /v1/rooms` (it begins with ``v-``), so knowing the name of a
visit's room gives no right to fetch a token for it: tokens of these rooms are signed by `booking.visits` alone,
for who has been let in. The server reads the name back when somebody joins or leaves and knows whose visit it is,
without a table. A raised epoch is another room: who still sits in the old one is alone.
"""

import base64
import hashlib
import hmac
import re
import struct
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from booking.links.link import Seat

_FACTS: Final = struct.Struct(">I16sI")
_CHECK_CHARACTERS: Final = 10
_SHAPE = re.compile(r"v-([a-z2-7]{10})([a-z2-7]{39})")
_IDENTITY = re.compile(r"(patient|doctor|third)-([0-9a-f]{32})")


@dataclass(frozen=True, slots=True)
class VisitRoom:
    """Which visit a room is."""

    tenant: int
    appointment: UUID
    epoch: int


class VisitRooms:
    """``key``: the server's token key; what is derived from it here can sign nothing else."""

    def __init__(self, key: bytes) -> None:
        self._key = hmac.digest(key, b"wadud visit room", hashlib.sha256)

    def name(self, visit: VisitRoom) -> str:
        facts = _FACTS.pack(visit.tenant, visit.appointment.bytes, visit.epoch)
        body = base64.b32encode(facts).decode().rstrip("=").lower()
        return f"v-{self._check(body)}{body}"

    def read(self, name: str) -> VisitRoom | None:
        """Whose visit the room is; None when it is no visit's room."""
        match = _SHAPE.fullmatch(name)
        if match is None or not hmac.compare_digest(self._check(match[2]), match[1]):
            return None
        tenant, appointment, epoch = _FACTS.unpack(base64.b32decode(match[2].upper() + "="))
        return VisitRoom(tenant, UUID(bytes=appointment), epoch)

    def _check(self, body: str) -> str:
        digest = hmac.digest(self._key, body.encode(), hashlib.sha256)
        return base64.b32encode(digest).decode().lower()[:_CHECK_CHARACTERS]


def identity(seat: Seat, holder: UUID) -> str:
    """A person's identity in the room: the same on every device, so that the newer one replaces the older."""
    return f"{seat.word}-{holder.hex}"


def read_identity(text: str) -> tuple[Seat, UUID] | None:
    """The inverse of `identity`."""
    match = _IDENTITY.fullmatch(text)
    return None if match is None else (Seat[match[1].upper()], UUID(match[2]))
