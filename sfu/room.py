"""One room: who is in it, what they send, and who sees whom in which slot.

Sans-IO: every method takes ``now`` (seconds, monotonic), commands go to the workers of its members, events leave
through `Notify`. A method that raises `RoomError` has changed nothing. Each member has a worker, whose ids mean nothing
to another one; all are on the worker of the first as long as no pipe brings a track to another worker.
"""

import base64
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from rtc.ice import Entropy
from rtc.sdp import NoCodecError, SdpError
from rtc.sdp_answer import Negotiated, Policy
from rtc.worker_events import EventKind, WorkerEvent
from sfu.connection import Associate, Connection
from sfu.events import (
    Bye,
    ByeReason,
    Joined,
    ParticipantInfo,
    ParticipantJoined,
    ParticipantLeft,
    ParticipantUpdated,
    Role,
    RoomEvent,
    SlotInfo,
    SlotsChanged,
)
from sfu.media import MAX_TRANSPORTS, Kind, NoPipeError, TrackAddress, WorkerHandle
from sfu.participant import Participant
from sfu.protocol import MAX_PARTICIPANTS, DeclaredTrack, Right, RoomError
from sfu.quality import PathSample
from sfu.reports import QualityReports, SpeakersReport
from sfu.slot_assignment import Contention, assign_slots
from sfu.speakers import Speakers

Notify: TypeAlias = Callable[[Sequence[str], RoomEvent], None]
"""Called with the ids of the participants who are to hear of an event, once for all of them, and the event. Ids are
unique in the process. The actor of `Room.join` and `Room.offer` is never among them while these run."""

_STATS = int(EventKind.STATS)


@dataclass(frozen=True, slots=True)
class Dependencies:
    """What a room needs of its node."""

    associate: Associate
    fingerprint: bytes  # SHA-256 of our certificate
    entropy: Entropy
    clock: Callable[[], float]  # only to measure how long an answer takes to make
    notify: Notify
    observe_stage: Callable[[str, float], None]
    observe_estimate: Callable[[float], None]
    emptied: "Callable[[Room], None]"


class Room:
    """Made by `Node.room`; gone (`Node.find` gives None) once its last participant has left."""

    def __init__(self, name: str, home: WorkerHandle, needs: Dependencies, policy: Policy) -> None:
        """``home``: the worker of the members for whom no other is named."""
        self.name = name
        self.home = home
        self.policy = policy
        """Of the joins and offers to come."""
        self.wakes_at = 0.0
        """From when `tick` has something to do; whatever happens meanwhile sets it to 0."""
        self._needs = needs
        self._notify = needs.notify
        self._people: dict[str, Participant] = {}  # by id, in order of joining
        self._by_transport: dict[tuple[WorkerHandle, int], Participant] = {}
        self._speakers = Speakers()
        self._orders = 0
        self._contention = Contention()
        self._speakers_report = SpeakersReport()
        self._quality_reports = QualityReports()

    def __len__(self) -> int:
        return len(self._people)

    @property
    def in_use(self) -> bool:
        """Whether anybody in here has a media path that is alive."""
        return any(person.connection.connected and not person.media_quiet for person in self._people.values())

    # --- what signalling asks ---------------------------------------------------------------------------------------

    def join(
        self,
        identity: str,
        name: str,
        role: Role,
        rights: Collection[Right],
        offer_sdp: str,
        tracks: Sequence[DeclaredTrack],
        now: float,
        *,
        policy: Policy | None = None,
        spare: int = 0,
        worker: WorkerHandle | None = None,
    ) -> Joined:
        """Let a person in. One who is in already with the same ``identity`` is put out with "replaced".

        ``policy`` stands in for the room's in this answer. ``worker``: who is to carry their media, the room's home
        when None; ``spare``: places of it to leave free.

        Raises:
            RoomError: room_full, bad_sdp, no_codec, forbidden (publishing without the right), unknown_mid (a declared
                track has no sending m-line), bad_message.
            NoPipeError: somebody in the room has another worker. Nothing was changed.
        """
        started = self._needs.clock()
        worker = worker or self.home
        person = None
        try:
            if any(other.worker is not worker for other in self._people.values()):
                raise NoPipeError
            replaced = [person for person in self._people.values() if person.identity == identity]
            if len(self._people) - len(replaced) >= MAX_PARTICIPANTS:
                raise RoomError("room_full", f"A room holds at most {MAX_PARTICIPANTS} people.")
            if len(worker.transports) - len(replaced) >= MAX_TRANSPORTS - spare:
                raise RoomError("room_full", "The server has as many people as it takes.")
            person = self._new_participant(identity, name, role, frozenset(rights), worker, now)
            negotiated, sources = self._negotiate(person, offer_sdp, tracks, policy or self.policy)
            person.connection.apply(negotiated)
        except Exception:
            if person is not None:
                person.connection.close()
            self._check_empty()
            raise
        for other in replaced:
            self._put_out(other, "replaced")
        self._people[person.id] = person
        self._by_transport[worker, person.connection.transport] = person
        worker.transports[person.connection.transport] = self
        self._apply(person, negotiated, sources)
        person.announced = person.info()
        self._tell(ParticipantJoined(person.announced), but=person.id)
        self._assign_slots(now, quiet=person.id)
        self._reached(person, "answer", now + self._needs.clock() - started)
        self._quality_reports.somebody_came()
        self._speakers_report.somebody_came()
        return Joined(person.id, negotiated.answer, self.participants_for(person.id), person.slot_infos())

    def offer(
        self, participant_id: str, sdp: str, tracks: Sequence[DeclaredTrack], now: float
    ) -> tuple[str, list[SlotInfo]]:
        """Renegotiation: (answer, slots). `tracks` declares new sending m-lines and may repeat known ones (their
        `source` and `muted` are then taken over).

        An ICE restart is recognised by its new credentials. RoomError as `join`, and unknown_participant.
        """
        person = self._person(participant_id)
        negotiated, sources = self._negotiate(person, sdp, tracks, self.policy)
        person.connection.apply(negotiated)
        self._apply(person, negotiated, sources)
        self._announce(person)
        self._assign_slots(now, quiet=person.id)
        return negotiated.answer, person.slot_infos()

    def mute(self, participant_id: str, mid: str, muted: bool, now: float) -> None:
        """Others are told at once. RoomError: unknown_participant, unknown_mid."""
        person = self._person(participant_id)
        track = person.tracks.get(mid)
        if track is None:
            raise RoomError("unknown_mid", f"Nothing is published on the mid {mid!r}.")
        if track.muted == muted:
            return
        track.muted = muted
        self._speakers.mute(track.id, muted)
        self._announce(person)
        self._assign_slots(now)

    def prefer(self, participant_id: str, participants: Sequence[str], now: float) -> None:
        """Who should have this participant's video slots, best first; unknown ids are ignored.

        RoomError: unknown_participant.
        """
        person = self._person(participant_id)
        person.prefer = tuple(dict.fromkeys(id for id in participants if id in self._people))
        self._assign_slots(now)

    def remove(self, participant_id: str, target: str, now: float) -> None:
        """`participant_id` puts `target` out ("removed"). RoomError: forbidden, unknown_participant."""
        if Right.MODERATE not in self._person(participant_id).rights:
            raise RoomError("forbidden", "Removing people needs the right moderate.")
        self.expel(self._person(target).id, "removed", now)

    def expel(self, participant_id: str, reason: ByeReason, now: float) -> None:
        """Somebody is put out for that reason. Unknown ids are ignored."""
        if participant_id in self._people:
            self._put_out(self._people[participant_id], reason)
            self._close_gap(now)

    def leave(self, participant_id: str, reason: str, now: float) -> None:
        """Take a participant out (own wish, resume window over) without a `Bye`. Unknown ids are ignored."""
        if participant_id in self._people:
            self._take_out(self._people[participant_id])
            self._tell(ParticipantLeft(participant_id, reason))
            self._close_gap(now)

    def close(self, reason: ByeReason, now: float) -> None:
        """Put everybody out; nobody is told of the others' leaving."""
        people = list(self._people.values())
        for person in people:
            self._take_out(person)
        self._notify([person.id for person in people], Bye(reason))
        self._check_empty()

    def signalling_lost(self, participant_id: str, now: float) -> None:
        """Others see "reconnecting"; media goes on. Unknown ids are ignored."""
        self._signalling(participant_id, lost=True)

    def signalling_regained(self, participant_id: str, now: float) -> None:
        """The end of `signalling_lost`."""
        self._signalling(participant_id, lost=False)

    def participants_for(self, participant_id: str) -> list[ParticipantInfo]:
        """All others, for ``resumed``. RoomError: unknown_participant."""
        self._person(participant_id)
        return [person.info() for person in self._people.values() if person.id != participant_id]

    def slots_for(self, participant_id: str) -> list[SlotInfo]:
        """For ``resumed``. RoomError: unknown_participant."""
        return self._person(participant_id).slot_infos()

    # --- what the worker tells --------------------------------------------------------------------------------------

    def media_event(self, worker: WorkerHandle, event: WorkerEvent, now: float) -> None:
        """An event of one of this room's transports or tracks; those of ids that are gone are ignored."""
        if event[0] == _STATS:  # most events are: not behind everybody else's patterns
            self._stats(worker, event, now)
            self.wakes_at = 0.0
            return
        match event:
            case (EventKind.LEVEL, int(track), int(level), bool(voice), float(at)):
                self._level(TrackAddress(worker, track), level, voice, min(at, now), now)
                self.wakes_at = min(self.wakes_at, self._speakers.wakes_at)
            case (EventKind.TRACK_STARTED, int(track)):
                self._track_started(TrackAddress(worker, track), now)
                self.wakes_at = 0.0
            case (kind, int(transport), *rest) if person := self._by_transport.get((worker, transport)):
                self._transport_event(person, kind, rest, now)

    def _transport_event(self, person: Participant, kind: object, rest: Sequence[object], now: float) -> None:
        match (kind, *rest):
            case (EventKind.DTLS, bytes(datagram)):
                if person.connection.dtls_received(datagram, now):
                    self.connected(person, now)
            case (EventKind.SELECTED, _, _):
                self._reached(person, "ice", now)
                self._quiet(person, False)
            case (EventKind.QUIET | EventKind.CONSENT_LOST,):
                self._quiet(person, True)
            case (EventKind.HEARD,):
                self._quiet(person, False)

    def _stats(self, worker: WorkerHandle, event: WorkerEvent, now: float) -> None:
        match event:
            case (
                _,
                int(transport),
                int(rtt_us),
                int(in_bps),
                int(),
                int(loss_in),
                int(loss_out),
                int(estimate_bps),
                int(jitter_us),
            ) if person := self._by_transport.get((worker, transport)):
                if in_bps and (person.stages.get("first_in") is not None or rtt_us):
                    person.connection.media_heard(now)
                if estimate_bps:
                    self._needs.observe_estimate(float(estimate_bps))
                person.path = PathSample(rtt_us / 1e3, jitter_us / 1e3, max(loss_in, loss_out) / 100)
                self._quality_reports.changed()

    def handle_timer(self, worker: WorkerHandle, transport: int, now: float) -> None:
        """The DTLS timer of a transport has run out."""
        person = self._by_transport.get((worker, transport))
        if person is not None and person.connection.handle_timer(now):
            self.connected(person, now)

    def connected(self, person: Participant, now: float) -> None:
        """The keys are out."""
        self.wakes_at = 0.0
        self._reached(person, "dtls", now)
        self._announce(person)
        self._check_first_out([person], now)

    def _track_started(self, address: TrackAddress, now: float) -> None:
        for person in self._people.values():
            for track in person.tracks.values():
                if track.feed.address == address:
                    track.feed.started = True
                    self._reached(person, "first_in", now)
                    person.connection.media_heard(now)
                    self._check_first_out(self._people.values(), now)

    def _level(self, address: TrackAddress, level: int, voice: bool, at: float, now: float) -> None:
        """Heard at ``at``: several wait for one tick."""
        for person in self._people.values():
            for track in person.tracks.values():
                if track.feed.address == address:
                    began = self._speakers.observe(track.id, level, voice, at)
                    if began and self._contention.contended:  # the first syllable does not wait for a tick
                        self._assign_slots(now)
                    return

    # --- time -------------------------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Speakers, slots and quality; wants to be called every 300 ms from `wakes_at` on (`Node.tick` does)."""
        changed = self._speakers.advance(now)
        loudest = self._speakers.loudest()
        # while somebody speaks, a louder voice or the end of a hold moves slots without a change in who speaks
        if self._contention.waiting or (self._contention.contended and (changed or loudest)):
            self._assign_slots(now)
        for event in (
            self._speakers_report.take(loudest, self._people.values(), now),
            self._quality_reports.take(self._people.values(), now),
        ):
            if event is not None:
                self._tell(event)
        undecided = self._contention.waiting or (self._contention.contended and loudest)
        wakes_at = now if undecided else self._speakers.wakes_at
        wakes_at = min(wakes_at, self._speakers_report.due(loudest), self._quality_reports.due())
        for person in self._people.values():
            person.connection.release(now)
            wakes_at = min(wakes_at, person.connection.releases_at)
        self.wakes_at = wakes_at

    # --- inside -----------------------------------------------------------------------------------------------------

    def _person(self, participant_id: str) -> Participant:
        person = self._people.get(participant_id)
        if person is None:
            raise RoomError("unknown_participant", "Nobody with this id is in the room.")
        return person

    def _new_participant(
        self, identity: str, name: str, role: Role, rights: frozenset[Right], worker: WorkerHandle, now: float
    ) -> Participant:
        needs = self._needs
        connection = Connection(worker, needs.associate, needs.fingerprint, needs.entropy)
        id = "p" + base64.b32encode(needs.entropy(10)).decode().lower()
        return Participant(id, identity, name, role, rights, worker, connection, now)

    def _negotiate(
        self, person: Participant, sdp: str, tracks: Sequence[DeclaredTrack], policy: Policy
    ) -> tuple[Negotiated, Mapping[str, DeclaredTrack]]:
        declared = {track.mid: track for track in tracks}
        try:
            negotiated = person.connection.negotiate(
                sdp,
                publishing={*declared, *person.tracks},
                may_subscribe=Right.SUBSCRIBE in person.rights,
                policy=policy,
            )
        except NoCodecError as error:
            raise RoomError("no_codec", str(error)) from error
        except SdpError as error:
            raise RoomError("bad_sdp", str(error)) from error
        return negotiated, person.sources(negotiated.lines, declared)

    def _apply(self, person: Participant, negotiated: Negotiated, sources: Mapping[str, DeclaredTrack]) -> None:
        changes = person.apply_lines(negotiated.lines, sources, self._new_order)
        for track in changes.unpublished:
            self._speakers.remove(track.id)
        for track in changes.published:
            if track.kind is Kind.AUDIO:
                self._speakers.add(track.id, muted=track.muted)
        for track in person.tracks.values():
            self._speakers.mute(track.id, track.muted)
            person.worker.tracks[track.feed.address.number] = self
        for track in changes.refed:
            for other in self._people.values():
                for slot in other.slots:
                    if slot.track is track:
                        slot.refresh()

    def _new_order(self) -> int:
        self._orders += 1
        return self._orders

    def _assign_slots(self, now: float, quiet: str = "") -> None:
        """Slots after a change; `quiet` hears of its own by an answer."""
        self.wakes_at = 0.0
        changed, self._contention = assign_slots(self._people.values(), self._speakers, now)
        for person in changed:
            if person.id != quiet:
                self._notify([person.id], SlotsChanged(person.slot_infos()))
        self._check_first_out(self._people.values(), now)

    def _put_out(self, person: Participant, reason: ByeReason) -> None:
        self._take_out(person)
        self._notify([person.id], Bye(reason))
        self._tell(ParticipantLeft(person.id, reason))

    def _close_gap(self, now: float) -> None:
        """Somebody has left."""
        self._assign_slots(now)
        self._check_empty()

    def _take_out(self, person: Participant) -> None:
        transport = person.connection.transport
        del self._people[person.id]
        del self._by_transport[person.worker, transport]
        self._quality_reports.changed()
        person.worker.transports.pop(transport, None)
        for number in person.track_numbers():
            person.worker.tracks.pop(number, None)
        for track in person.tracks.values():
            self._speakers.remove(track.id)
        person.connection.close()

    def _check_empty(self) -> None:
        if not self._people:
            self._needs.emptied(self)

    def _signalling(self, participant_id: str, *, lost: bool) -> None:
        person = self._people.get(participant_id)
        if person is not None:
            person.signalling_lost = lost
            self._announce(person)

    def _quiet(self, person: Participant, quiet: bool) -> None:
        person.media_quiet = quiet
        self._announce(person)

    def _announce(self, person: Participant) -> None:
        """Tells the others what has changed about a participant, if anything."""
        info = person.info()
        if info != person.announced:
            person.announced = info
            self._tell(ParticipantUpdated(info), but=person.id)

    def _tell(self, event: RoomEvent, but: str = "") -> None:
        receivers = [id for id in self._people if id != but]
        if receivers:
            self._notify(receivers, event)

    def _reached(self, person: Participant, stage: str, now: float) -> None:
        seconds = person.reached(stage, now)
        if seconds is not None:
            self._needs.observe_stage(stage, seconds)

    def _check_first_out(self, people: Iterable[Participant], now: float) -> None:
        """The worker does not tell of a first packet out; it follows at once when a started track has a keyed leg."""
        for person in people:
            if "first_out" in person.stages or not person.connection.connected:
                continue
            if any(slot.track is not None and slot.track.feed.started for slot in person.slots):
                self._reached(person, "first_out", now)
