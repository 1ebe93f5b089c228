"""A track that a participant publishes, and a slot that shows somebody else's track to one."""

from dataclasses import dataclass

from rtc.sdp_answer import Line
from sfu.events import SlotInfo, TrackInfo
from sfu.media import Kind, TrackAddress, WorkerHandle
from sfu.protocol import Source


@dataclass(slots=True)
class Feed:
    """The worker's track behind a sending m-line. It outlives a line that goes inactive: the sender's rollover counter
    goes on there (RFC 3711 section 3.3.1), so the worker may not forget it before the line is gone or has another
    SSRC."""

    address: TrackAddress
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

    def info(self) -> TrackInfo:
        return TrackInfo(self.id, self.source, self.kind.word, self.muted)


@dataclass(slots=True)
class Slot:
    """One receiving m-line of a participant; ``leg`` is its number at the participant's worker."""

    mid: str
    kind: Kind
    worker: WorkerHandle
    leg: int
    line: Line
    track: Track | None = None
    since: float = 0.0

    def show(self, track: Track | None, now: float) -> None:
        """Send that track from now on, or nothing.

        Raises:
            NoPipeError: as `WorkerHandle.forward`; nothing was changed.
        """
        self.worker.forward(self.leg, None if track is None else track.feed.address)
        self.track, self.since = track, now

    def refresh(self) -> None:
        """The feed of the track has changed."""
        self.worker.forward(self.leg, None if self.track is None else self.track.feed.address)

    def info(self) -> SlotInfo:
        track = self.track
        if track is None:
            return SlotInfo(self.mid, self.kind.word, None, None, None)
        return SlotInfo(self.mid, self.kind.word, track.id, track.participant_id, track.source)
