"""Tickets: what lets one socket watch one thing, for a minute.

A browser cannot send a header with a WebSocket, and a cookie there would be anybody's page's to use. So a page asks
over HTTP, as whoever it is, for a ticket, and shows it on the socket. A ticket is a right that was checked when it was
given; what may change afterwards (a seat taken elsewhere, a visit that was moved) the topic checks at every reading.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from backplane.signed import BadSignature, Signed

LIFETIME: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Ticket:
    """`kind`: of the topic. `subject`: of the notes that tell of a change. `key`: what is watched.

    `holder`: who watches; `device`: from where, a pass or a session. `role` (0 to 255) and `epoch` (32 bits) are
    the topic's own: as what the holder watches, and which state of the thing the ticket was given for.
    """

    kind: int
    tenant: int
    subject: UUID
    key: UUID
    role: int
    holder: UUID
    device: UUID
    epoch: int = 0


class Tickets:
    """Signs and reads tickets; `masters` and `current` as for `Signed`."""

    def __init__(self, masters: Mapping[int, bytes], current: int = 0) -> None:
        self._signed = Signed(masters, current, "wadud live ticket", 1, ">BI16s16sB16s16sII")

    def sign(self, ticket: Ticket, now: datetime) -> str:
        return self._signed.sign(
            ticket.kind,
            ticket.tenant,
            ticket.subject.bytes,
            ticket.key.bytes,
            ticket.role,
            ticket.holder.bytes,
            ticket.device.bytes,
            ticket.epoch,
            int((now + LIFETIME).timestamp()),
        )

    def read(self, text: str, now: datetime) -> Ticket | None:
        """The ticket, if it is ours and its minute is not over."""
        try:
            facts = self._signed.read(text)
        except BadSignature:
            return None
        match facts:
            case (
                int(kind),
                int(tenant),
                bytes(subject),
                bytes(key),
                int(role),
                bytes(holder),
                bytes(device),
                int(epoch),
                int(expires),
            ) if now.timestamp() < expires:
                ids = [UUID(bytes=each) for each in (subject, key, holder, device)]
                return Ticket(kind, tenant, ids[0], ids[1], role, ids[2], ids[3], epoch)
        return None
