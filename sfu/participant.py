"""One person in a room: identity and rights, what they publish, the slots they receive in, and what others are told of
them.

`apply_lines` turns negotiated m-lines into commands for the person's worker: it adds and removes what has changed and
leaves alone what has not.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from rtc.sdp_answer import Line, LineRole
from sfu.connection import Connection
from sfu.events import ParticipantInfo, Role, SlotInfo
from sfu.media import KINDS, Kind, TrackAddress, WorkerHandle
from sfu.protocol import MAX_TRACKS, ConnectionState, DeclaredTrack, Right, RoomError, Source
from sfu.quality import PathSample
from sfu.track import Feed, Slot, Track

_SOURCE_KINDS = {
    Source.MICROPHONE: (Kind.AUDIO,),
    Source.CAMERA: (Kind.VIDEO,),
    Source.SCREEN: (Kind.VIDEO, Kind.AUDIO),
}
_DEFAULT_SOURCE = {Kind.AUDIO: Source.MICROPHONE, Kind.VIDEO: Source.CAMERA}
STAGES = ("answer", "ice", "dtls", "first_in", "first_out")


@dataclass(slots=True)
class Changes:
    """What `Participant.apply_lines` did, as far as the room must act on it."""

    published: list[Track] = field(default_factory=list)
    unpublished: list[Track] = field(default_factory=list)
    refed: list[Track] = field(default_factory=list)
    """Same publication, other track of the worker: slots that show it need it as their source again."""


class Participant:
    def __init__(
        self,
        id: str,
        identity: str,
        name: str,
        role: Role,
        rights: frozenset[Right],
        worker: WorkerHandle,
        connection: Connection,
        offered_at: float,
    ) -> None:
        self.id = id
        self.identity = identity
        self.name = name
        self.role = role
        self.rights = rights
        self.worker = worker
        self.connection = connection
        self.tracks: dict[str, Track] = {}  # by mid
        self.slots: list[Slot] = []  # in m-line order
        self.prefer: tuple[str, ...] = ()
        self.signalling_lost = False
        self.media_quiet = False
        self.path: PathSample | None = None
        self.stages: dict[str, float] = {}  # seconds since the offer
        self.announced: ParticipantInfo | None = None
        self._offered_at = offered_at
        self._feeds: dict[str, Feed] = {}  # by mid

    @property
    def state(self) -> ConnectionState:
        if self.signalling_lost or self.media_quiet:
            return ConnectionState.RECONNECTING
        return ConnectionState.CONNECTED if self.connection.connected else ConnectionState.CONNECTING

    def info(self) -> ParticipantInfo:
        tracks = sorted(self.tracks.values(), key=lambda track: track.order)
        return ParticipantInfo(self.id, self.name, self.role, self.state, [track.info() for track in tracks])

    def slot_infos(self) -> list[SlotInfo]:
        return [slot.info() for slot in self.slots]

    def reached(self, stage: str, now: float) -> float | None:
        """Notes that a stage of the join was reached; seconds since the offer, None when it was already."""
        if stage in self.stages:
            return None
        self.stages[stage] = now - self._offered_at
        return self.stages[stage]

    def sources(self, lines: tuple[Line, ...], declared: Mapping[str, DeclaredTrack]) -> dict[str, DeclaredTrack]:
        """What each sending m-line carries: as declared now, as before, or the usual for its kind.

        RoomError: bad_sdp, unknown_mid, bad_message, forbidden.
        """
        sending = {line.mid: KINDS[line.kind] for line in lines if line.role is LineRole.PUBLISHING}
        # the worker keeps hundreds of KiB for each, also while it rests
        resting = self._feeds.keys() & {line.mid for line in lines if line.role is not LineRole.REJECTED}
        if len(sending.keys() | resting) > MAX_TRACKS:
            raise RoomError("bad_sdp", f"More than {MAX_TRACKS} m-lines send, or did so and were not stopped.")
        for mid, track in declared.items():
            if mid not in sending:
                raise RoomError("unknown_mid", f"No sending m-line of the offer has the mid {mid!r}.")
            if sending[mid] not in _SOURCE_KINDS[track.source]:
                raise RoomError("bad_message", f"A {track.source} track cannot be {sending[mid].word}.")
        result = {}
        for mid, kind in sending.items():
            known = self.tracks.get(mid)
            if mid in declared:
                result[mid] = declared[mid]
            elif known is not None and known.kind is kind:
                result[mid] = DeclaredTrack(mid, known.source, known.muted)
            else:
                result[mid] = DeclaredTrack(mid, _DEFAULT_SOURCE[kind])
            wanted = Right.SHARE_SCREEN if result[mid].source is Source.SCREEN else Right.PUBLISH
            if wanted not in self.rights:
                raise RoomError("forbidden", f"Publishing {result[mid].source} needs the right {wanted}.")
        return result

    def apply_lines(
        self, lines: tuple[Line, ...], sources: Mapping[str, DeclaredTrack], new_order: Callable[[], int]
    ) -> Changes:
        """Make worker, tracks and slots what `lines` say."""
        changes = Changes()
        by_mid = {line.mid: line for line in lines if line.role is not LineRole.REJECTED}
        for mid in list(self._feeds):
            if mid not in by_mid or by_mid[mid].kind != self._feeds[mid].line.kind:
                self._end_feed(mid, changes)
        for mid in list(self.tracks):
            if by_mid[mid].role is not LineRole.PUBLISHING:
                changes.unpublished.append(self.tracks.pop(mid))
        self._apply_slots(lines)
        for line in lines:
            if line.role is LineRole.PUBLISHING:
                self._apply_publishing(line, sources[line.mid], new_order, changes)
        return changes

    def _apply_publishing(
        self, line: Line, declared: DeclaredTrack, new_order: Callable[[], int], changes: Changes
    ) -> None:
        kind = KINDS[line.kind]
        feed = self._feeds.get(line.mid)
        fed_anew = False
        if feed is None or not feed.serves(line):
            if feed is not None:
                self._remove_track(feed)
                fed_anew = True
            feed = self._feeds[line.mid] = Feed(TrackAddress(self.worker, self.worker.new_track()), line)
            self.worker.plane.add_track(
                feed.address.number,
                self.connection.transport,
                kind=kind,
                mid=line.mid,
                codecs=line.codecs,
                extensions=line.extensions,
                ssrc=line.ssrc,
                rtx_ssrc=line.rtx_ssrc,
            )
        track = self.tracks.get(line.mid)
        if track is None:
            order = new_order()
            track = Track(
                id=f"t{order}",
                participant_id=self.id,
                mid=line.mid,
                kind=kind,
                source=declared.source,
                muted=declared.muted,
                feed=feed,
                order=order,
            )
            self.tracks[line.mid] = track
            changes.published.append(track)
            return
        track.source, track.muted = declared.source, declared.muted
        if fed_anew:
            track.feed = feed
            changes.refed.append(track)

    def _end_feed(self, mid: str, changes: Changes) -> None:
        self._remove_track(self._feeds.pop(mid))
        track = self.tracks.pop(mid, None)
        if track is not None:
            changes.unpublished.append(track)

    def _remove_track(self, feed: Feed) -> None:
        self.worker.plane.remove_track(feed.address.number)
        self.worker.tracks.pop(feed.address.number, None)

    def _apply_slots(self, lines: tuple[Line, ...]) -> None:
        wanted = [line for line in lines if line.role is LineRole.SLOT]
        known = {slot.mid: slot for slot in self.slots}
        for slot in self.slots:
            if not any(line.mid == slot.mid and line == slot.line for line in wanted):
                self.worker.plane.remove_leg(slot.leg)
                del known[slot.mid]
        self.slots = [known.get(line.mid) or self._new_slot(line) for line in wanted]

    def _new_slot(self, line: Line) -> Slot:
        slot = Slot(line.mid, KINDS[line.kind], self.worker, self.worker.new_leg(), line)
        self.worker.plane.add_leg(
            slot.leg,
            self.connection.transport,
            kind=slot.kind,
            mid=line.mid,
            codecs=line.codecs,
            extensions=line.extensions,
            ssrc=line.ssrc,
            rtx_ssrc=line.rtx_ssrc,
        )
        return slot

    def track_numbers(self) -> list[int]:
        """Of this participant's tracks at the worker, those included that rest."""
        return [feed.address.number for feed in self._feeds.values()]
