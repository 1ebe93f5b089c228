"""The words that rooms and their callers share: rights, declared tracks, errors. What rooms tell: `sfu.events`."""

from dataclasses import dataclass
from enum import StrEnum

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
