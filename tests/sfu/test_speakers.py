"""Audio levels over time."""

import math

import pytest

from sfu.speakers import HOLD_S, Speakers, loudness


def hear(speakers: Speakers, track: str, level: int, start: float, seconds: float, voice: bool = True) -> float:
    """Level events every 100 ms; returns the time of the last."""
    now = start
    while now <= start + seconds:
        speakers.observe(track, level, voice, now)
        now += 0.1
    return now - 0.1


@pytest.fixture
def speakers() -> Speakers:
    speakers = Speakers()
    for track in "ab":
        speakers.add(track)
    return speakers


def test_loudness_spans_from_minus_70_to_minus_10_dbov() -> None:
    assert [loudness(level) for level in (127, 70, 40, 10, 0)] == [0.0, 0.0, 0.5, 1.0, 1.0]


def test_speech_is_noticed_within_200_ms(speakers: Speakers) -> None:
    began = [speakers.observe("a", 30, True, 10 + step / 10) for step in range(3)]
    assert began.count(True) == 1
    assert speakers.speaking("a")


def test_silence_after_speech_is_noticed_within_a_second(speakers: Speakers) -> None:
    end = hear(speakers, "a", 30, 10, 1)
    end = hear(speakers, "a", 127, end + 0.1, 0.9)
    assert not speakers.speaking("a")
    assert speakers.spoke_at("a", end) < end


def test_missing_packets_of_discontinuous_transmission_are_silence(speakers: Speakers) -> None:
    end = hear(speakers, "a", 30, 10, 1)
    assert speakers.speaking("a")
    assert not speakers.advance(end + HOLD_S)
    assert speakers.advance(end + HOLD_S + 2.4)
    assert not speakers.speaking("a")
    assert speakers.level("a") < 0.01


def test_decay_depends_on_time_not_on_the_number_of_looks(speakers: Speakers) -> None:
    for track in "ab":
        hear(speakers, track, 30, 10, 1)
    other = Speakers()
    other.add("a")
    hear(other, "a", 30, 10, 1)
    for step in range(50):
        speakers.advance(11 + step / 100)
    other.advance(11.49)
    assert speakers.level("a") == pytest.approx(other.level("a"))


def test_level_between_the_thresholds_keeps_the_state(speakers: Speakers) -> None:
    between = 59  # 0.18
    hear(speakers, "a", between, 10, 3)
    assert not speakers.speaking("a")
    end = hear(speakers, "a", 30, 13.1, 1)
    hear(speakers, "a", between, end + 0.1, 3)
    assert speakers.speaking("a")


def test_noise_without_voice_counts_half_once_the_sender_knows_the_bit(speakers: Speakers) -> None:
    hear(speakers, "a", 50, 10, 1, voice=False)
    assert speakers.speaking("a")
    hear(speakers, "b", 50, 10, 0.1, voice=True)
    hear(speakers, "b", 50, 10.2, 1, voice=False)
    assert speakers.level("b") == pytest.approx(speakers.level("a") / 2, abs=0.02)


def test_loudest_first(speakers: Speakers) -> None:
    hear(speakers, "a", 45, 10, 1)
    hear(speakers, "b", 20, 10, 1)
    assert [track for track, _ in speakers.loudest()] == ["b", "a"]


def test_muted_track_is_silent_at_once_and_stays_so(speakers: Speakers) -> None:
    end = hear(speakers, "a", 20, 10, 1)
    speakers.mute("a", True)
    assert speakers.loudest() == []
    assert not speakers.observe("a", 20, True, end + 0.1)
    assert speakers.level("a") == 0
    speakers.mute("a", False)
    hear(speakers, "a", 20, end + 0.2, 0.3)
    assert speakers.speaking("a")


def test_unknown_tracks_are_ignored(speakers: Speakers) -> None:
    assert not speakers.observe("z", 20, True, 10)
    assert not speakers.speaking("z")
    speakers.remove("z")


def test_speech_that_goes_on_unlooked_at_is_as_recent_as_if_looked_at(speakers: Speakers) -> None:
    end = hear(speakers, "a", 30, 10, 2)
    speakers.advance(end)
    assert speakers.wakes_at == pytest.approx(end + HOLD_S)
    assert speakers.spoke_at("a", end + 2) == pytest.approx(end + 2)
    assert speakers.spoke_at("a", end + 9) == pytest.approx(end + HOLD_S)
    speakers.observe("a", 127, False, end + 2)
    assert speakers.spoke_at("a", end + 2) == pytest.approx(end + 1.9)
    assert speakers.wakes_at < end + 2
    for step in range(40):
        speakers.advance(end + 2 + step / 10)
    assert speakers.wakes_at == math.inf
    assert speakers.spoke_at("a", end + 9) == pytest.approx(end + 1.9)


def test_a_level_that_is_only_renewed_wakes_nobody(speakers: Speakers) -> None:
    end = hear(speakers, "a", 30, 10, 2)
    speakers.advance(end)
    wakes_at = speakers.wakes_at
    assert not speakers.observe("a", 30, True, end + 2)
    assert speakers.wakes_at == wakes_at
    assert not speakers.advance(wakes_at)
    assert speakers.wakes_at == pytest.approx(end + 2 + HOLD_S)
    assert speakers.speaking("a")
