"""A track that a participant publishes, and a slot that shows somebody else's track to one."""

from dataclasses import dataclass

from rtc.sdp_answer import Line
from sfu.media import Kind
from sfu.protocol import Message, Source


@dataclass(slots=True)
class Feed:
    """The worker's track behind a sending m-line. It outlives a line that goes inactive: the sender's rollover counter
    goes on there (RFC 3711 section 3.3.1), so the worker may not forget it before the line is gone or has another
    SSRC."""

    worker_id: int
    line: Line
    started: bool = False  # a first packet has come

    def serves(self, line: Line) -> bool:
        """True when the worker's track as it was configured also fits `line`."""
        return (
            line.kind == self.line.kind
            and line.extensions == self.line.extensions
            and (0 in (line.ssrc, self.line.ssrc) or line.ssrc == self.line.ssrc)
            and (0 in (line.rtx_ssrc, self.line.rtx_ssrc) or line.rtx_ssrc == self.line.rtx_ssrc)
            and all(codec in self.line.codecs for codec in line.codecs)
        )


@dataclass(slots=True)
class Track:
    """A publication: what others are told of. Its feed may change under it (another SSRC)."""

    id: str
    participant_id: str
    mid: str
    kind: Kind
    source: Source
    muted: bool
    feed: Feed
    order: int  # of publishing, in the room

    def message(self) -> Message:
        return {"id": self.id, "source": self.source.value, "kind": self.kind.word, "muted": self.muted}


@dataclass(slots=True)
class Slot:
    """One receiving m-line of a participant."""

    mid: str
    kind: Kind
    leg: int
    line: Line
    track: Track | None = None
    since: float = 0.0

    def message(self) -> Message:
        track = self.track
        return {
            "mid": self.mid,
            "kind": self.kind.word,
            "track": track.id if track else None,
            "participant": track.participant_id if track else None,
            "source": track.source.value if track else None,
        }
