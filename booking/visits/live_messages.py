"""The words of `GET /v1/visits/live` (subprotocol wadud.visits.v1), and the tickets that open a view on it.

A browser cannot send a header with a WebSocket, and a cookie there would be anybody's page's to use. So a page asks
over HTTP, as whoever it is, for a ticket of one minute for one thing to watch, and shows it on the socket:

    > {"type": "watch", "id": 1, "ticket": "...", "after": 0}
    < {"type": "visit", "id": 1, "seq": 1, "visit": {...}}      the whole state, now and after every change
    < {"type": "bye", "id": 1, "seq": 9, "reason": "moved"}     this watch is over, the socket is not

A socket that is lost is opened again, with new tickets: what comes first is the state as it is, so nothing has to be
replayed. Messages of the waiting room are numbered; ``after`` names the last one that the page has.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum
from typing import Annotated, Final, Literal
from uuid import UUID

import msgspec
from msgspec import Meta, Struct

from backplane.bounds import Count, outside_decoder
from backplane.frames import TOO_MANY_FRAMES
from booking.links.link import Seat
from booking.links.signed import BadSignature, Signed
from booking.visits.views import QueueView, VisitView
from booking.waiting_room.walk_in import TicketView

SUBPROTOCOL: Final = "wadud.visits.v1"
MAX_FRAME_BYTES: Final = 4096
TICKET_LIFETIME: Final = timedelta(minutes=1)


class CloseCode(IntEnum):
    """Why the server closes a socket."""

    NORMAL = 1000
    GOING_AWAY = 1001
    FAULT = 1011
    """Our own fault."""
    PROTOCOL = 4400
    """A frame that is not of this protocol, or nothing in time."""
    TICKET = 4401
    """The ticket is not ours, or its minute is over: ask for another one."""
    SLOW = 4408
    """The page does not read what it is sent."""
    REPLACED = 4409
    """The same person has opened too many sockets; the oldest goes."""
    RATE = TOO_MANY_FRAMES
    """Too many frames, of whatever kind."""


class Kind(IntEnum):
    """What a ticket lets one watch. The numbers are signed."""

    VISIT = 1
    QUEUE = 2
    PLACE = 3
    INSTANT = 4
    RINGS = 5


@dataclass(frozen=True, slots=True)
class LiveTicket:
    """``subject``: of the notes that tell of a change. ``key``: the appointment, ticket, request or provider.

    ``seat``, ``holder``, ``device`` and ``epoch`` are of a visit; ``holder`` is always who watches.
    """

    kind: Kind
    tenant: int
    subject: UUID
    key: UUID
    seat: Seat
    holder: UUID
    device: UUID
    epoch: int = 0


class LiveTickets:
    """Signs and reads live tickets; ``masters`` and ``current`` as for `Links`."""

    def __init__(self, masters: Mapping[int, bytes], current: int = 0) -> None:
        self._signed = Signed(masters, current, "wadud live ticket", 1, ">BI16s16sB16s16sII")

    def sign(self, ticket: LiveTicket, now: datetime) -> str:
        return self._signed.sign(
            ticket.kind,
            ticket.tenant,
            ticket.subject.bytes,
            ticket.key.bytes,
            ticket.seat,
            ticket.holder.bytes,
            ticket.device.bytes,
            ticket.epoch,
            int((now + TICKET_LIFETIME).timestamp()),
        )

    def read(self, text: str, now: datetime) -> LiveTicket | None:
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
                int(seat),
                bytes(holder),
                bytes(device),
                int(epoch),
                int(expires),
            ) if now.timestamp() < expires:
                return LiveTicket(
                    Kind(kind),
                    tenant,
                    UUID(bytes=subject),
                    UUID(bytes=key),
                    Seat(seat),
                    UUID(bytes=holder),
                    UUID(bytes=device),
                    epoch,
                )
        return None


class Watch(Struct, frozen=True, tag="watch", forbid_unknown_fields=True):
    id: Count
    ticket: Annotated[str, Meta(max_length=200)]
    after: Count = 0


class Ping(Struct, frozen=True, tag="ping", forbid_unknown_fields=True):
    id: Count = 0


ClientMessage = Watch | Ping


class VisitPush(Struct, frozen=True, tag="visit"):
    id: int
    seq: int
    visit: VisitView


class QueuePush(Struct, frozen=True, tag="queue"):
    id: int
    seq: int
    queue: QueueView


class PlacePush(Struct, frozen=True, tag="place"):
    id: int
    seq: int
    place: TicketView


class InstantView(Struct, frozen=True):
    """A patient's request for a doctor now. ``state``: ringing, accepted, unanswered or cancelled."""

    request: UUID
    state: str
    ring: int
    ring_until: datetime
    doctor: str | None
    appointment: UUID | None


class RingView(Struct, frozen=True):
    """A request that rings at a doctor. ``here``: the page of who asks is open."""

    request: UUID
    specialty: str
    language: str
    reason: str
    rung_at: datetime
    ring_until: datetime
    here: bool


class InstantPush(Struct, frozen=True, tag="instant"):
    id: int
    seq: int
    instant: InstantView


class RingsPush(Struct, frozen=True, tag="rings"):
    id: int
    seq: int
    rings: list[RingView]


class Bye(Struct, frozen=True, tag="bye"):
    """moved: another device has the seat. replaced: the visit was changed, its new link holds. gone: it is not there
    any more, or not for this person. failed: our own fault; open a new socket after a while."""

    id: int
    seq: int
    reason: Literal["moved", "replaced", "gone", "failed"]


class Error(Struct, frozen=True, tag="error"):
    """The socket is closed after it."""

    code: Literal["bad_message", "bad_ticket", "rate_limited", "too_many", "silent", "server_error"]
    message: str


class Pong(Struct, frozen=True, tag="pong"):
    id: int


Push = VisitPush | QueuePush | PlacePush | InstantPush | RingsPush | Bye
ServerMessage = Push | Error | Pong

_decoder: Final[msgspec.json.Decoder[ClientMessage]] = outside_decoder(ClientMessage)
_encoder: Final = msgspec.json.Encoder()


def decode(frame: bytes) -> ClientMessage | None:
    """None for what is no message of this protocol."""
    try:
        return _decoder.decode(frame)
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        return None


def encode(message: ServerMessage) -> bytes:
    return _encoder.encode(message)
