"""Brings the slot assignments of a whole room up to date and tells the workers what changed."""

from collections.abc import Collection
from dataclasses import dataclass

from sfu.media import Kind
from sfu.participant import Participant
from sfu.protocol import Source
from sfu.slots import Candidate, Holder, assign_audio, assign_video
from sfu.speakers import Speakers
from sfu.track import Slot, Track


@dataclass(slots=True)
class Contention:
    """What the slots of a room leave open."""

    contended: bool = False
    """Somebody has fewer slots than there are tracks, so speech decides."""
    waiting: bool = False
    """A voice whose sender tells no levels waits for somebody else's silence, of which nothing is told."""


def assign_slots(
    people: Collection[Participant], speakers: Speakers, now: float
) -> tuple[list[Participant], Contention]:
    """Assign everybody's slots; returns those for whom something changed, and what that leaves to wait for."""
    tracks = {track.id: track for person in people for track in person.tracks.values()}
    candidates: dict[Kind, list[Candidate]] = {kind: [] for kind in Kind}
    for person in people:
        microphones = [track for track in person.tracks.values() if track.kind is Kind.AUDIO]
        for track in person.tracks.values():
            candidates[track.kind].append(_candidate(track, microphones, speakers, now))
    changed, contention = [], Contention()
    for person in people:
        for kind in Kind:
            others = [item for item in candidates[kind] if item.participant != person.id]
            slots = [slot for slot in person.slots if slot.kind is kind]
            if _fill_slots(person, slots, others, tracks, now) and person not in changed:
                changed.append(person)
            if len(others) > len(slots) > 0:
                contention.contended = True
                contention.waiting = contention.waiting or _waits(slots, others)
    return changed, contention


def _waits(slots: list[Slot], others: list[Candidate]) -> bool:
    shown = {slot.track.id for slot in slots if slot.track}
    yields = any(item.track in shown and not item.may_be_speaking for item in others)
    return yields and any(item.track not in shown and item.may_be_speaking for item in others)


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
        unmetered=track.kind is Kind.AUDIO and "audio_level" not in track.feed.line.extensions,
    )


def _fill_slots(
    person: Participant,
    slots: list[Slot],
    others: list[Candidate],
    tracks: dict[str, Track],
    now: float,
) -> bool:
    """Assigns one person's slots of one kind; True when something changed."""
    if not slots:
        return False
    holders = [Holder(slot.track.id, slot.since) if slot.track else None for slot in slots]
    if slots[0].kind is Kind.AUDIO:
        assigned = assign_audio(holders, others, now)
    else:
        assigned = assign_video(holders, others, person.prefer, now)
    changed = False
    for slot, holder in zip(slots, assigned):
        track = tracks[holder.track] if holder is not None else None
        if track is not slot.track:
            slot.show(track, now)
            changed = True
    return changed
