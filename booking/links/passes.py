"""Passes: what a device holds after the click on a join link, and the gesture that proves the click.

A pass says which seat of which visit a device may ask for, under which epoch. It is a guest's session: a cookie that no
script reads, or a bearer for an embedded page. It alone opens nothing: every use looks at the appointment, at the
device that holds the seat now, and at the epoch, so a moved or cancelled visit ends it without a list of passes.

A gesture is what the page got when it looked at the link and sends back when the person clicks. It is bound to that
link and lives for ten minutes. So a scanner that submits the forms of a page it fetched has nothing to submit.
"""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from backplane.signed import BadSignature, Signed
from booking.links.link import Seat

PASS_LIFETIME: Final = timedelta(hours=24)
GESTURE_LIFETIME: Final = timedelta(minutes=10)
CLOCK_SKEW: Final = timedelta(seconds=10)
_DIGEST_BYTES: Final = 12


@dataclass(frozen=True, slots=True)
class Pass:
    """``device`` is this device's own id: who holds the seat is written with it."""

    tenant: int
    appointment: UUID
    seat: Seat
    holder: UUID
    epoch: int
    device: UUID
    expires_at: datetime


class Passes:
    """Signs and reads passes and gestures; ``masters`` and ``current`` as for `Links`."""

    def __init__(self, masters: Mapping[int, bytes], current: int = 0) -> None:
        self._passes = Signed(masters, current, "wadud visit pass", 1, ">BI16s16sI16sI")
        self._gestures = Signed(masters, current, "wadud join gesture", 1, f">I{_DIGEST_BYTES}s")

    def sign(self, given: Pass) -> str:
        return self._passes.sign(
            given.seat,
            given.tenant,
            given.appointment.bytes,
            given.holder.bytes,
            given.epoch,
            given.device.bytes,
            int(given.expires_at.timestamp()),
        )

    def read(self, text: str, now: datetime) -> Pass | None:
        """The pass, if it is one of ours and not expired."""
        try:
            facts = self._passes.read(text)
        except BadSignature:
            return None
        match facts:
            case (
                int(seat),
                int(tenant),
                bytes(appointment),
                bytes(holder),
                int(epoch),
                bytes(device),
                int(expires),
            ) if now.timestamp() < expires:
                return Pass(
                    tenant,
                    UUID(bytes=appointment),
                    Seat(seat),
                    UUID(bytes=holder),
                    epoch,
                    UUID(bytes=device),
                    datetime.fromtimestamp(expires, UTC),
                )
        return None

    def gesture(self, token: str, now: datetime) -> str:
        """For the click on the link with this token."""
        return self._gestures.sign(int(now.timestamp()), _digest(token))

    def gestured(self, gesture: str, token: str, now: datetime) -> bool:
        """Whether ``gesture`` was given for this token, lately."""
        try:
            facts = self._gestures.read(gesture)
        except BadSignature:
            return False
        match facts:
            case (int(given), bytes(digest)) if hmac.compare_digest(digest, _digest(token)):
                age = now - datetime.fromtimestamp(given, UTC)
                return -CLOCK_SKEW <= age < GESTURE_LIFETIME
        return False


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()[:_DIGEST_BYTES]
