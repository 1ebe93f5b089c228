"""The words that rooms and their callers share: rights, declared tracks, join results, errors, push messages.

Messages are plain dictionaries in the form of the signalling protocol (wadud.v1) without ``seq``, which the session
adds. All times are seconds of one monotonic clock and come in as ``now``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

Json: TypeAlias = "str | int | float | bool | Sequence[Json] | Mapping[str, Json] | None"
Message: TypeAlias = dict[str, Json]

MAX_PARTICIPANTS = 25
MAX_TRACKS = 16  # that one of them publishes, or did on an m-line that is still there


class Right(StrEnum):
    PUBLISH = "publish"
    SUBSCRIBE = "subscribe"
    SHARE_SCREEN = "share_screen"
    MODERATE = "moderate"


class Source(StrEnum):
    MICROPHONE = "microphone"
    CAMERA = "camera"
    SCREEN = "screen"


class ConnectionState(StrEnum):
    CONNECTING = "connecting"
    CONNECTED = "connected"
    RECONNECTING = "reconnecting"


class RoomError(Exception):
    """The caller's fault. ``code`` is an error code of the signalling protocol, the text says what is wrong; nothing
    was changed."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class DeclaredTrack:
    """What the client says about one of its sending m-lines."""

    mid: str
    source: Source
    muted: bool = False


@dataclass(frozen=True, slots=True)
class Joined:
    """Result of a join; `participants` (all but the new one) and `slots` are ready to be sent."""

    participant_id: str
    answer_sdp: str
    participants: list[Message]
    slots: list[Message]
