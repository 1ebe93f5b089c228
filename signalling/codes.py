"""Error codes and close codes of wadud.v1, each with its meaning and what the client should do.

Two families: a refusal that leaves the socket usable (``fatal`` false), and one after which the server closes the
socket with the close code given here. An error never ends a session by itself: after a fatal one the session may still
be resumed while its window is open, except where the code says that there is none.
"""

from dataclasses import dataclass
from enum import Enum, IntEnum


class CloseCode(IntEnum):
    """WebSocket close codes that the server uses (RFC 6455 section 7.4)."""

    NORMAL = 1000
    GOING_AWAY = 1001
    TOO_LARGE = 1009
    FAULT = 1011
    PROTOCOL = 4400
    TOKEN = 4401
    FULL = 4403
    UNKNOWN_SESSION = 4404
    SLOW = 4408
    REPLACED = 4409
    BYE = 4410
    RATE = 4429
    DRAINING = 4503


@dataclass(frozen=True, slots=True)
class Fault:
    """``close`` None = not fatal."""

    code: str
    close: CloseCode | None
    meaning: str


class ErrorCode(Enum):
    """Every code that an ``error`` can carry."""

    BAD_JSON = Fault("bad_json", None, "The frame is not JSON, or is nested too deeply.")
    BAD_MESSAGE = Fault(
        "bad_message", None, "Not a text frame, or a field is missing, unknown, of the wrong type or out of its limits."
    )
    UNKNOWN_TYPE = Fault("unknown_type", None, "No client message has this type.")
    TOO_LARGE = Fault("too_large", CloseCode.TOO_LARGE, "The frame is larger than 256 KiB.")
    BAD_TOKEN = Fault("bad_token", CloseCode.TOKEN, "The token is not one of ours, or was altered.")
    TOKEN_EXPIRED = Fault("token_expired", CloseCode.TOKEN, "The token's time is over.")
    TOKEN_NOT_YET_VALID = Fault("token_not_yet_valid", CloseCode.TOKEN, "The token's time has not begun.")
    TOKEN_REVOKED = Fault("token_revoked", CloseCode.TOKEN, "The token, or every older token of its room, was revoked.")
    ROOM_FULL = Fault(
        "room_full", CloseCode.FULL, "The room has its 25 people, or the server its number of rooms or of people."
    )
    TOO_MANY_ROOMS = Fault(
        "too_many_rooms", CloseCode.FULL, "From this address as many rooms were begun as one address may have at once."
    )
    TOO_MANY_PEOPLE = Fault(
        "too_many_people", CloseCode.FULL, "From this address as many people are in rooms as one address may have."
    )
    BAD_SDP = Fault("bad_sdp", None, "The offer cannot be read or asks for what we do not do.")
    NO_CODEC = Fault("no_codec", None, "An m-line of the offer has no codec that we forward.")
    FORBIDDEN = Fault("forbidden", None, "The token does not give the right for this.")
    UNKNOWN_SESSION = Fault("unknown_session", CloseCode.UNKNOWN_SESSION, "No such session, or the wrong secret.")
    UNKNOWN_PARTICIPANT = Fault("unknown_participant", None, "Nobody with this id is in the room.")
    UNKNOWN_MID = Fault("unknown_mid", None, "No sending m-line has this mid.")
    NOT_JOINED = Fault(
        "not_joined", CloseCode.PROTOCOL, "Something else came before join or resume, or nothing in time."
    )
    ALREADY_JOINED = Fault("already_joined", None, "This socket carries a session already.")
    RATE_LIMITED = Fault("rate_limited", CloseCode.RATE, "Too many messages, or too many faulty ones.")
    DRAINING = Fault("draining", CloseCode.DRAINING, "The server is going away and takes nobody in.")
    SERVER_ERROR = Fault("server_error", None, "Our fault; it has been logged. Nothing was changed.")

    @property
    def code(self) -> str:
        return self.value.code

    @property
    def fatal(self) -> bool:
        return self.value.close is not None

    @property
    def close(self) -> CloseCode | None:
        return self.value.close

    @property
    def meaning(self) -> str:
        return self.value.meaning


_BY_CODE = {member.code: member for member in ErrorCode}


def error_code(code: str) -> ErrorCode:
    """The member with this ``code``. KeyError when there is none."""
    return _BY_CODE[code]


class SignallingError(Exception):
    """The peer's fault: becomes one ``error`` message. ``re`` is the id of the request, when it could be read."""

    def __init__(self, code: ErrorCode, message: str = "", re: int | None = None) -> None:
        super().__init__(message or code.meaning)
        self.code = code
        self.message = message or code.meaning
        self.re = re
