"""What a room tells the people in it: events, and the states that they are made of.

The field names are those of the signalling protocol (docs/protocol.md), so an event is its own message once it has got
a number in its session. It is made of values that are checked where they come in, is never changed, and goes to all its
receivers as it is: whoever sends it on encodes it once.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from msgspec import Struct

from sfu.media import KindWord
from sfu.protocol import ConnectionState, Source

Role: TypeAlias = Literal["host", "guest"]
ByeReason: TypeAlias = Literal[
    "removed", "replaced", "room_closed", "token_expired", "revoked", "draining", "connection_lost"
]


class TrackInfo(Struct, frozen=True):
    """A published track."""

    id: str
    source: Source
    kind: KindWord
    muted: bool


class ParticipantInfo(Struct, frozen=True):
    id: str
    name: str
    role: Role
    connection: ConnectionState
    tracks: list[TrackInfo]


class SlotInfo(Struct, frozen=True):
    """What a receiving m-line shows; ``track``, ``participant`` and ``source`` are None together."""

    mid: str
    kind: KindWord
    track: str | None
    participant: str | None
    source: Source | None


class Speaker(Struct, frozen=True):
    """``level``: 0 to 1."""

    participant: str
    level: float


class Quality(Struct, frozen=True):
    """``score``: 1 (bad) to 5 (good), see `sfu.quality`."""

    participant: str
    score: float
    rtt_ms: float
    loss_percent: float


class Event(Struct, frozen=True, tag_field="type"):
    """Base of all events."""


class ParticipantJoined(Event, frozen=True, tag="participant_joined"):
    participant: ParticipantInfo


class ParticipantLeft(Event, frozen=True, tag="participant_left"):
    participant: str
    reason: str


class ParticipantUpdated(Event, frozen=True, tag="participant_updated"):
    participant: ParticipantInfo


class SlotsChanged(Event, frozen=True, tag="slots"):
    """All slots of the receiver."""

    slots: list[SlotInfo]


class SpeakersChanged(Event, frozen=True, tag="speakers"):
    """Who speaks, the loudest first."""

    speakers: list[Speaker]


class QualityReport(Event, frozen=True, tag="quality"):
    participants: list[Quality]


class Bye(Event, frozen=True, tag="bye"):
    """The receiver is out of the room already."""

    reason: ByeReason


RoomEvent: TypeAlias = (
    ParticipantJoined | ParticipantLeft | ParticipantUpdated | SlotsChanged | SpeakersChanged | QualityReport | Bye
)


@dataclass(frozen=True, slots=True)
class Joined:
    """The result of a join. ``participants``: all but the new one."""

    participant_id: str
    answer_sdp: str
    participants: list[ParticipantInfo]
    slots: list[SlotInfo]
