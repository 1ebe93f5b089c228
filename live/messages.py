"""The messages of the live socket, subprotocol wadud.visits.v1 (docs/visits.md). The name is older than its topics.

    > {"type": "watch", "id": 1, "ticket": "...", "after": 0}
    < {"type": "visit", "id": 1, "seq": 1, "visit": {...}, "version": "..."}   the state, now and after every change
    < {"type": "bye", "id": 1, "seq": 9, "reason": "moved"}                    this watch is over, the socket is not

The type of a push is the name of its topic, which is also the field that holds what is shown.
"""

from enum import IntEnum
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

from backplane.bounds import Count, outside_decoder
from backplane.frames import TOO_MANY_FRAMES

SUBPROTOCOL: Final = "wadud.visits.v1"
MAX_FRAME_BYTES: Final = 4096


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


class Watch(Struct, frozen=True, tag="watch", forbid_unknown_fields=True):
    """`after`: of things that are numbered, the last one that the page has. `version`: of the state that it has."""

    id: Count
    ticket: Annotated[str, Meta(max_length=200)]
    after: Count = 0
    version: Annotated[str, Meta(max_length=32)] = ""


class Ping(Struct, frozen=True, tag="ping", forbid_unknown_fields=True):
    id: Count = 0


ClientMessage = Watch | Ping


class Unchanged(Struct, frozen=True, tag="unchanged"):
    """The state is still the one whose version the page has shown."""

    id: int
    seq: int


class Bye(Struct, frozen=True, tag="bye"):
    """moved: another device has the place. replaced: what was watched has changed, and its newest link holds. gone: it
    is not there any more, or not for this person. failed: our own fault; open a new socket after a while."""

    id: int
    seq: int
    reason: Literal["moved", "replaced", "gone", "failed"]


class Error(Struct, frozen=True, tag="error"):
    """The socket is closed after it."""

    code: Literal["bad_message", "bad_ticket", "rate_limited", "too_many", "silent", "server_error"]
    message: str


class Pong(Struct, frozen=True, tag="pong"):
    id: int


_decoder: Final[msgspec.json.Decoder[ClientMessage]] = outside_decoder(ClientMessage)
_encoder: Final = msgspec.json.Encoder()


def decode(frame: bytes) -> ClientMessage | None:
    """None for what is no message of this protocol."""
    try:
        return _decoder.decode(frame)
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        return None


def encode(message: Unchanged | Bye | Error | Pong) -> bytes:
    return _encoder.encode(message)


def push(topic: str, id: int, seq: int, view: bytes, version: str) -> bytes:
    """What is shown, as a message to the watch of that id; `view` is JSON."""
    return _encoder.encode({"type": topic, "id": id, "seq": seq, topic: msgspec.Raw(view), "version": version})
