"""Brings the slot assignments of a whole room up to date and tells the worker what changed."""

from collections.abc import Collection

from sfu.media import Kind, MediaPlane
from sfu.participant import Participant
from sfu.protocol import Source
from sfu.slots import Candidate, Holder, assign_audio, assign_video
from sfu.speakers import Speakers
from sfu.track import Slot, Track


def reseat(
    people: Collection[Participant], speakers: Speakers, plane: MediaPlane, now: float
) -> tuple[list[Participant], bool]:
    """Assigns everybody's slots; returns those for whom something changed, and whether anybody had to choose."""
    tracks = {track.id: track for person in people for track in person.tracks.values()}
    candidates: dict[Kind, list[Candidate]] = {kind: [] for kind in Kind}
    for person in people:
        microphones = [track for track in person.tracks.values() if track.kind is Kind.AUDIO]
        for track in person.tracks.values():
            candidates[track.kind].append(_candidate(track, microphones, speakers, now))
    changed, crowded = [], False
    for person in people:
        for kind in Kind:
            others = [item for item in candidates[kind] if item.participant != person.id]
            slots = [slot for slot in person.slots if slot.kind is kind]
            crowded = crowded or len(others) > len(slots) > 0
            if _fill_slots(person, slots, others, tracks, plane, now) and person not in changed:
                changed.append(person)
    return changed, crowded


def _candidate(track: Track, microphones: list[Track], speakers: Speakers, now: float) -> Candidate:
    """A picture is as active as the voice of whom it shows."""
    voices = (
        [track] if track.kind is Kind.AUDIO else [voice for voice in microphones if voice.source is not Source.SCREEN]
    )
    return Candidate(
        track=track.id,
        participant=track.participant_id,
        joined=track.order,
        screen=track.source is Source.SCREEN and track.kind is Kind.VIDEO,
        muted=track.muted,
        speaking=any(speakers.speaking(voice.id) for voice in voices),
        level=max((speakers.level(voice.id) for voice in voices), default=0.0),
        spoke_at=max((speakers.spoke_at(voice.id, now) for voice in voices), default=float("-inf")),
    )


def _fill_slots(
    person: Participant,
    slots: list[Slot],
    others: list[Candidate],
    tracks: dict[str, Track],
    plane: MediaPlane,
    now: float,
) -> bool:
    """Assigns one person's slots of one kind; True when something changed."""
    if not slots:
        return False
    holders = [Holder(slot.track.id, slot.since) if slot.track else None for slot in slots]
    if slots[0].kind is Kind.AUDIO:
        seats = assign_audio(holders, others, now)
    else:
        seats = assign_video(holders, others, person.prefer, now)
    changed = False
    for slot, seat in zip(slots, seats):
        track = tracks[seat.track] if seat is not None else None
        if track is not slot.track:
            slot.track, slot.since = track, now
            plane.set_source(slot.leg, track.feed.worker_id if track is not None else 0)
            changed = True
    return changed
