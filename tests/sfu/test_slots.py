"""Slot assignment: stable, without duplicates, the loudest in."""

import dataclasses

from hypothesis import given, settings
from hypothesis import strategies as st

from sfu.slots import AUDIO_HOLD_S, OVERTAKE_MARGIN, VIDEO_HOLD_S, Candidate, Holder, assign_audio, assign_video

NOW = 1000.0
Slots = list[Holder | None]


def names(slots: Slots) -> list[str | None]:
    return [holder.track if holder else None for holder in slots]


def held(*tracks: str | None, since: float = 0.0) -> Slots:
    return [Holder(track, since) if track else None for track in tracks]


def quiet(track: str, joined: int, **options: object) -> Candidate:
    return dataclasses.replace(Candidate(track, "p" + track, joined), **options)  # type: ignore[arg-type]


def loud(track: str, joined: int, level: float = 0.6) -> Candidate:
    return Candidate(track, "p" + track, joined, speaking=True, level=level, spoke_at=NOW)


def test_all_are_mapped_while_there_are_slots_enough() -> None:
    people = [quiet("a", 1), quiet("b", 2, muted=True)]
    assert names(assign_audio([None] * 3, people, NOW)) == ["a", "b", None]


def test_fourth_speaker_takes_the_slot_of_who_is_silent_for_longest() -> None:
    people = [
        quiet("a", 1, spoke_at=NOW - 2),
        quiet("b", 2, spoke_at=NOW - 9),
        quiet("c", 3, spoke_at=NOW - 5),
        loud("d", 4),
    ]
    assert names(assign_audio(held("a", "b", "c"), people, NOW)) == ["a", "d", "c"]


def test_speaker_keeps_the_slot_for_a_second_of_silence() -> None:
    people = [quiet(name, index, spoke_at=NOW - 0.5) for index, name in enumerate("abc")]
    for silence, expected in ((AUDIO_HOLD_S - 0.01, ["a", "b", "c"]), (AUDIO_HOLD_S, ["d", "b", "c"])):
        people[0] = quiet("a", 0, spoke_at=NOW - silence)
        assert names(assign_audio(held("a", "b", "c"), [*people, loud("d", 4)], NOW)) == expected


def test_clearly_louder_speaker_overtakes_the_quietest() -> None:
    three = [loud("a", 1, 0.7), loud("b", 2, 0.3), loud("c", 3, 0.5)]
    louder = loud("d", 4, 0.3 + OVERTAKE_MARGIN + 0.01)
    assert names(assign_audio(held("a", "b", "c"), [*three, louder], NOW)) == ["a", "d", "c"]


def test_slightly_louder_speaker_does_not_overtake() -> None:
    three = [loud("a", 1, 0.7), loud("b", 2, 0.3), loud("c", 3, 0.5)]
    assert names(assign_audio(held("a", "b", "c"), [*three, loud("d", 4, 0.4)], NOW)) == ["a", "b", "c"]


def test_nobody_is_overtaken_right_after_getting_the_slot() -> None:
    three = [loud("a", 1, 0.3), loud("b", 2, 0.3), loud("c", 3, 0.3)]
    assert names(assign_audio(held("a", "b", "c", since=NOW), [*three, loud("d", 4, 0.9)], NOW)) == ["a", "b", "c"]


def test_place_of_one_who_left_is_filled_by_the_latest_speaker() -> None:
    people = [quiet("a", 1), quiet("c", 3), quiet("d", 4), quiet("e", 5, spoke_at=NOW - 9)]
    assert names(assign_audio(held("a", "b", "c"), people, NOW)) == ["a", "e", "c"]


def test_voice_of_unknown_loudness_comes_before_the_silent_and_behind_speakers() -> None:
    unknown = quiet("u", 9, unmetered=True)
    silent = [quiet("a", 1), quiet("b", 2, spoke_at=NOW - 5), quiet("c", 3, spoke_at=NOW - 9)]
    assert names(assign_audio(held("a", "b", "c"), [*silent, unknown], NOW)) == ["u", "b", "c"]
    assert names(assign_audio([None] * 3, [*silent, unknown], NOW)) == ["u", "b", "c"]
    pausing = [quiet(name, index, spoke_at=NOW - AUDIO_HOLD_S + 0.1) for index, name in enumerate("abc")]
    assert names(assign_audio(held("a", "b", "c"), [*pausing, unknown], NOW)) == ["a", "b", "c"]
    assert names(assign_audio(held("u", "b", "c"), [*silent, unknown, loud("d", 4)], NOW)) == ["u", "b", "d"]
    speakers = [loud("b", 2), loud("c", 3), loud("d", 4)]
    assert names(assign_audio(held("u", "b", "c"), [*speakers, unknown], NOW)) == ["d", "b", "c"]


def test_muted_voice_of_unknown_loudness_is_silent() -> None:
    people = [quiet("a", 1), quiet("b", 2), quiet("u", 3, unmetered=True, muted=True)]
    assert names(assign_audio(held("a", "b"), people, NOW)) == ["a", "b"]
    assert names(assign_audio(held("u", "b"), [*people, quiet("v", 4, unmetered=True)], NOW)) == ["v", "b"]


def test_voices_of_unknown_loudness_do_not_drive_each_other_out() -> None:
    people = [quiet(name, index, unmetered=True) for index, name in enumerate("uvwx")]
    assert names(assign_audio(held("v", "w", "x"), people, NOW)) == ["v", "w", "x"]


def test_screens_come_first_then_the_preferred_then_speakers_then_the_first_to_join() -> None:
    people = [quiet("a", 1), quiet("b", 2), loud("c", 3), quiet("d", 4), quiet("s", 5, screen=True)]
    assert set(names(assign_video([None] * 1, people, ["pd"], NOW))) == {"s"}
    assert set(names(assign_video([None] * 2, people, ["pd"], NOW))) == {"s", "d"}
    assert set(names(assign_video([None] * 3, people, ["pd"], NOW))) == {"s", "d", "c"}
    assert set(names(assign_video([None] * 4, people, ["pd"], NOW))) == {"s", "d", "c", "a"}


def test_preferred_come_in_the_order_of_preference() -> None:
    people = [quiet(name, index) for index, name in enumerate("abcd")]
    assert set(names(assign_video([None] * 2, people, ["pd", "pb", "pa"], NOW))) == {"d", "b"}


def test_screen_takes_the_slot_of_the_silent_not_of_the_speaker() -> None:
    people = [loud("a", 1), quiet("b", 2), quiet("s", 3, screen=True)]
    assert names(assign_video(held("a", "b"), people, [], NOW)) == ["a", "s"]


def test_visible_face_stays_until_its_owner_is_silent_for_long_enough() -> None:
    for silence, expected in ((VIDEO_HOLD_S - 0.1, ["a", "b"]), (VIDEO_HOLD_S, ["a", "c"])):
        people = [loud("a", 1), quiet("b", 2, spoke_at=NOW - silence), loud("c", 3)]
        assert names(assign_video(held("a", "b"), people, [], NOW)) == expected


def test_switched_off_camera_gives_way_to_one_that_is_on() -> None:
    people = [quiet("a", 1, muted=True), quiet("b", 2), quiet("c", 3)]
    assert names(assign_video(held("a", "b"), people, [], NOW)) == ["c", "b"]


def test_switched_off_camera_stays_while_nobody_needs_the_slot() -> None:
    people = [quiet("a", 1, muted=True), quiet("b", 2, muted=True), quiet("c", 3, muted=True)]
    assert names(assign_video(held("b", "a"), people, [], NOW)) == ["b", "a"]


CANDIDATES = st.lists(
    st.builds(
        Candidate,
        track=st.sampled_from("abcdefghij"),
        participant=st.sampled_from(["p1", "p2", "p3", "p4"]),
        joined=st.integers(0, 100),
        screen=st.booleans(),
        muted=st.booleans(),
        speaking=st.booleans(),
        level=st.floats(0, 1),
        spoke_at=st.floats(NOW - 10, NOW),
        unmetered=st.booleans(),
    ),
    unique_by=(lambda c: c.track, lambda c: c.joined),
    max_size=10,
)
HOLDERS = st.lists(st.sampled_from("abcdefghij"), unique=True, max_size=6).flatmap(
    lambda tracks: st.permutations([*tracks, *[""] * (6 - len(tracks))])
)
PREFER = st.lists(st.sampled_from(["p1", "p2", "p3", "p4", "p5"]), unique=True)


def check(before: Slots, after: Slots, candidates: list[Candidate]) -> None:
    known = {candidate.track for candidate in candidates}
    seated = [holder.track for holder in after if holder]
    assert len(after) == len(before)
    assert len(set(seated)) == len(seated), "a track in two slots"
    assert set(seated) <= known
    assert len(seated) == min(len(after), len(candidates)), "a slot stays empty though somebody waits"
    for old, new in zip(before, after):
        if old is not None and old.track in seated:
            assert new is not None
            assert new == old, "somebody moved"


@settings(max_examples=300, deadline=None)
@given(HOLDERS, CANDIDATES)
def test_audio_slots_are_stable_full_and_without_duplicates(tracks: list[str], candidates: list[Candidate]) -> None:
    before = held(*[track or None for track in tracks])
    after = assign_audio(before, candidates, NOW)
    check(before, after, candidates)
    assert assign_audio(after, candidates, NOW) == after, "a second look changes nothing"


@settings(max_examples=300, deadline=None)
@given(HOLDERS, CANDIDATES, PREFER)
def test_video_slots_are_stable_full_and_without_duplicates(
    tracks: list[str], candidates: list[Candidate], prefer: list[str]
) -> None:
    before = held(*[track or None for track in tracks])
    after = assign_video(before, candidates, prefer, NOW)
    check(before, after, candidates)
    assert assign_video(after, candidates, prefer, NOW) == after, "a second look changes nothing"
    screens = [c.track for c in candidates if c.screen and not c.muted]
    if len(screens) <= len(before):
        assert set(screens) <= set(names(after))


@settings(max_examples=300, deadline=None)
@given(HOLDERS, CANDIDATES)
def test_the_loudest_speaker_is_heard_once_holds_are_over(tracks: list[str], candidates: list[Candidate]) -> None:
    settled = [dataclasses.replace(c, spoke_at=NOW if c.speaking else NOW - AUDIO_HOLD_S) for c in candidates]
    after = assign_audio(held(*[track or None for track in tracks]), settled, NOW)
    seated = [c for c in settled if c.track in names(after)]
    for waiting in settled:
        if waiting.speaking and waiting not in seated:
            assert all(c.speaking and c.level + OVERTAKE_MARGIN >= waiting.level for c in seated if _was(c, tracks))


def _was(candidate: Candidate, tracks: list[str]) -> bool:
    """Held a slot before, so may be overtaken."""
    return candidate.track in tracks
