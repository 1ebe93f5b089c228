"""Every message of wadud.v1 as a type, and the codec between them and text frames.

One JSON object per WebSocket text frame, told apart by ``type``. What clients send is checked here once, field by
field, with lengths and ranges, and unknown fields are refused, so nothing behind this module meets a value that it has
to doubt. What the server sends is made of the same kind of types, so the document (docs/protocol.md) can be held
against them: answers are here, and a push is an event of a room (`sfu.events`) with its number in the session, ``seq``.
An event is encoded once, whoever hears of it, and `numbered` for each. Unknown fields in server messages are to be
ignored by clients: additions do not change the version.
"""

from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from backplane.bounds import WIDE, outside_decoder
from sfu.events import ParticipantInfo, RoomEvent, SlotInfo
from sfu.protocol import MAX_TRACKS, Source
from signalling.codes import ErrorCode, SignallingError

SUBPROTOCOL: Final = "wadud.v1"
VERSION: Final = "1.1"
MAX_FRAME_BYTES: Final = 256 * 1024
_MAX_REASON: Final = 200

RequestId = Annotated[int, Meta(ge=1, le=2**53 - 1, extra=WIDE)]  # kept in no column
Mid = Annotated[str, Meta(min_length=1, max_length=16)]  # RFC 9143 section 15.1 and RFC 8285: one-byte extensions
Sdp = Annotated[str, Meta(min_length=1, max_length=200_000)]
Token = Annotated[str, Meta(min_length=1, max_length=4096)]
ParticipantId = Annotated[str, Meta(min_length=1, max_length=64)]


class TrackIntent(Struct, forbid_unknown_fields=True, frozen=True):
    """What the client says about one of its sending m-lines."""

    mid: Mid
    source: Source
    muted: bool = False


TrackIntents = Annotated[list[TrackIntent], Meta(max_length=MAX_TRACKS)]


class Request(Struct, forbid_unknown_fields=True, frozen=True, tag_field="type"):
    """What every request has: an ``id`` that the answer repeats as ``re``."""

    id: RequestId


class Join(Request, frozen=True, tag="join"):
    token: Token
    offer: Sdp
    tracks: TrackIntents
    client: Annotated[str, Meta(max_length=200)] | None = None


class Resume(Request, frozen=True, tag="resume"):
    session: Annotated[str, Meta(min_length=1, max_length=64)]
    secret: Annotated[str, Meta(min_length=1, max_length=128)]
    seen: Annotated[int, Meta(ge=0, le=2**53 - 1, extra=WIDE)]


class Offer(Request, frozen=True, tag="offer"):
    sdp: Sdp
    tracks: TrackIntents
    restart: bool = False


class Mute(Request, frozen=True, tag="mute"):
    mid: Mid
    muted: bool


class Prefer(Request, frozen=True, tag="prefer"):
    participants: Annotated[list[ParticipantId], Meta(max_length=100)]


class Remove(Request, frozen=True, tag="remove"):
    participant: ParticipantId


class Leave(Request, frozen=True, tag="leave"):
    pass


class Ping(Request, frozen=True, tag="ping"):
    pass


ClientMessage = Join | Resume | Offer | Mute | Prefer | Remove | Leave | Ping


class ServerStruct(Struct, frozen=True, tag_field="type"):
    """Base of the answers."""


class Joined(ServerStruct, frozen=True, tag="joined"):
    re: int
    session: str
    secret: str
    participant: str
    room: str
    answer: str
    participants: list[ParticipantInfo]
    slots: list[SlotInfo]
    rights: list[str]
    resume_window_s: int


class Resumed(ServerStruct, frozen=True, tag="resumed"):
    re: int
    participants: list[ParticipantInfo]
    slots: list[SlotInfo]
    generation: int


class Answer(ServerStruct, frozen=True, tag="answer"):
    re: int
    sdp: str
    slots: list[SlotInfo]


class Done(ServerStruct, frozen=True, tag="done"):
    re: int


class Pong(ServerStruct, frozen=True, tag="pong"):
    re: int
    time_ms: int


class Error(ServerStruct, frozen=True, tag="error"):
    re: int | None
    code: str
    message: str
    fatal: bool


ServerAnswer = Joined | Resumed | Answer | Done | Pong | Error


class _Envelope(Struct):
    """As much of a faulty request as its answer needs."""

    type: str | None = None
    id: RequestId | None = None


_decoder: msgspec.json.Decoder[ClientMessage] = outside_decoder(ClientMessage)
_envelope_decoder: msgspec.json.Decoder[_Envelope] = outside_decoder(_Envelope)
_encoder = msgspec.json.Encoder()
CLIENT_TYPES: Final = frozenset(
    str(message.__struct_config__.tag) for message in (Join, Resume, Offer, Mute, Prefer, Remove, Leave, Ping)
)


def decode(text: str | bytes) -> ClientMessage:
    """One client frame as its message. SignallingError bad_json, bad_message, unknown_type or too_large."""
    if len(text) > MAX_FRAME_BYTES:
        raise SignallingError(ErrorCode.TOO_LARGE)
    try:
        return _decoder.decode(text)
    except msgspec.ValidationError as error:
        raise _refusal(text, str(error)) from None
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        raise SignallingError(ErrorCode.BAD_JSON) from None


def _refusal(text: str | bytes, why: str) -> SignallingError:
    """The error for well-formed JSON that is no client message; ``why`` may quote the peer, so it is cut."""
    why = why[:_MAX_REASON]
    try:
        msgspec.json.decode(text, type=msgspec.Raw)  # the first decoder stopped at the first thing it did not like
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return SignallingError(ErrorCode.BAD_JSON)
    try:
        envelope = _envelope_decoder.decode(text)
    except msgspec.ValidationError:
        return SignallingError(ErrorCode.BAD_MESSAGE, why)
    if envelope.type is not None and envelope.type not in CLIENT_TYPES:
        return SignallingError(ErrorCode.UNKNOWN_TYPE, re=envelope.id)
    return SignallingError(ErrorCode.BAD_MESSAGE, why, envelope.id)


def encode(message: ServerAnswer | RoomEvent) -> bytes:
    """An answer as a text frame, or an event that is still to be `numbered`."""
    return _encoder.encode(message)


def numbered(event: bytes, seq: int) -> bytes:
    """An encoded event as the push with that number, as a text frame."""
    return b'{"seq":%d,' % seq + memoryview(event)[1:]
