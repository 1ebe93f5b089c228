"""Rooms and what the worker tells them: speakers, slots, quality, stages of a join."""

from collections.abc import Callable
from random import Random

import pytest

from rtc.worker_events import EventKind
from sfu.protocol import DeclaredTrack, Source
from tests.sfu.fakes import AUDIO_OFFER, House

MICROPHONE = (DeclaredTrack("0", Source.MICROPHONE),)


@pytest.fixture
def house() -> House:
    return House()


def group(house: House, count: int) -> list[str]:
    """Ids of people who only talk, with three audio slots each."""
    ids = [house.join(f"guest{i}", offer=AUDIO_OFFER, tracks=MICROPHONE).participant_id for i in range(count)]
    house.clear()
    return ids


def heard_by(house: House, id: str) -> set[str]:
    return {slot.participant for slot in house.room().slots_for(id) if slot.participant}


def talk(house: House, indexes: list[int], seconds: float, level: int = 25) -> None:
    for _ in range(round(seconds / 0.1)):
        for index in indexes:
            house.speak(index, level)
        house.pass_time(0.1)


def test_three_audio_slots_follow_the_speakers(house: House) -> None:
    ids = group(house, 8)
    assert heard_by(house, ids[0]) == {ids[1], ids[2], ids[3]}
    talk(house, [6], 0.2)
    assert ids[6] in heard_by(house, ids[0])
    talk(house, [5], 0.2)
    assert {ids[5], ids[6]} <= heard_by(house, ids[0])


def test_speaker_is_heard_without_waiting_for_a_tick(house: House) -> None:
    ids = group(house, 8)
    house.speak(7, 20)
    house.now += 0.1
    house.speak(7, 20)
    assert ids[7] in heard_by(house, ids[0])


def test_slots_do_not_move_while_the_same_people_speak(house: House) -> None:
    group(house, 8)
    talk(house, [1, 2, 6], 3)
    house.clear()
    before = len(house.worker.named("set_source"))
    talk(house, [1, 2, 6], 5)
    assert len(house.worker.named("set_source")) == before


def test_recent_speaker_is_not_cut_off_by_a_fourth(house: House) -> None:
    ids = group(house, 8)
    talk(house, [4, 5, 6], 2)
    assert heard_by(house, ids[0]) == {ids[4], ids[5], ids[6]}
    talk(house, [4, 5, 7], 0.8)
    assert heard_by(house, ids[0]) == {ids[4], ids[5], ids[6]}
    talk(house, [4, 5, 7], 2)
    assert heard_by(house, ids[0]) == {ids[4], ids[5], ids[7]}


def test_voice_whose_sender_tells_no_levels_is_heard_while_a_slot_is_not_needed(house: House) -> None:
    ids = group(house, 5)
    plain = "\n".join(line for line in AUDIO_OFFER.splitlines() if "ssrc-audio-level" not in line)
    gateway = house.join("gateway", offer=plain, tracks=MICROPHONE).participant_id
    assert gateway in heard_by(house, ids[0])
    talk(house, [1, 2, 3], 1)
    assert heard_by(house, ids[0]) == {ids[1], ids[2], ids[3]}
    talk(house, [1, 2], 1.2)
    assert heard_by(house, ids[0]) == {ids[1], ids[2], ids[3]}, "a pause is no end"
    talk(house, [1, 2], 3)  # a level that is not renewed is believed for 2.4 s
    assert heard_by(house, ids[0]) == {ids[1], ids[2], gateway}
    house.room().mute(gateway, "0", True, house.now)
    talk(house, [1, 2], 1)
    talk(house, [1, 2, 4], 1)
    assert heard_by(house, ids[0]) == {ids[1], ids[2], ids[4]}
    before = len(house.worker.named("set_source"))
    talk(house, [1, 2], 5)
    assert len(house.worker.named("set_source")) == before


def test_voice_whose_sender_tells_no_levels_is_heard_when_all_have_fallen_silent(house: House) -> None:
    ids = group(house, 5)
    plain = "\n".join(line for line in AUDIO_OFFER.splitlines() if "ssrc-audio-level" not in line)
    gateway = house.join("gateway", offer=plain, tracks=MICROPHONE).participant_id
    talk(house, [1, 2, 3], 1)
    assert gateway not in heard_by(house, ids[0])
    for _ in range(50):
        house.pass_time(0.1)
    assert gateway in heard_by(house, ids[0])
    assert house.room().wakes_at == float("inf"), "nothing is left to wait for"


def test_two_people_cost_no_assignment_work_while_they_talk(house: House) -> None:
    group(house, 2)
    before = len(house.worker.commands)
    talk(house, [0, 1], 5)
    assert len(house.worker.commands) == before


def test_speakers_are_told_loudest_first_every_300_ms(house: House) -> None:
    ids = group(house, 3)
    for _ in range(30):
        house.speak(0, 40)
        house.speak(2, 15)
        house.pass_time(0.1)
    mails = house.mail(ids[1], "speakers")
    assert [entry["participant"] for entry in mails[-1]["speakers"]] == [ids[2], ids[0]]
    assert all(0 <= entry["level"] <= 1 for entry in mails[-1]["speakers"])
    assert len(mails) <= 11
    house.pass_time(5)
    assert house.mail(ids[1], "speakers")[-1]["speakers"] == []


def test_levels_that_waited_for_a_tick_count_at_their_own_times() -> None:
    told = []
    for at_once in (False, True):
        house = House()
        ids = group(house, 2)
        began, track = house.now, house.track_of(1, "0")
        for step, level in ((1, 50), (2, 20), (3, 45)):
            house.now = began + (3 if at_once else step) / 10
            house.event(EventKind.LEVEL, track, level, True, began + step / 10)
        house.node.tick(house.now)
        told.append([entry["level"] for mail in house.mail(ids[0], "speakers") for entry in mail["speakers"]])
    assert told[0]
    assert told[0] == told[1]


def test_muted_speaker_disappears_from_the_speakers(house: House) -> None:
    ids = group(house, 2)
    talk(house, [0], 1)
    house.room().mute(ids[0], "0", True, house.now)
    talk(house, [0], 0.5)
    assert house.mail(ids[1], "speakers")[-1]["speakers"] == []


def test_latecomer_is_told_who_speaks(house: House) -> None:
    ids = group(house, 2)
    talk(house, [0], 2)
    late = house.join("late", offer=AUDIO_OFFER, tracks=MICROPHONE)
    talk(house, [0], 0.4)
    assert house.mail(late.participant_id, "speakers")[0]["speakers"][0]["participant"] == ids[0]


def test_who_falls_silent_as_somebody_comes_is_shown_as_a_speaker_no_longer(house: House) -> None:
    ids = group(house, 2)
    talk(house, [0], 2)
    assert house.mail(ids[1], "speakers")[-1]["speakers"][0]["participant"] == ids[0]
    house.join("late", offer=AUDIO_OFFER, tracks=MICROPHONE)
    house.room().mute(ids[0], "0", True, house.now)
    house.pass_time(5)
    assert house.mail(ids[1], "speakers")[-1]["speakers"] == []


def test_who_comes_while_all_are_silent_costs_the_others_no_message(house: House) -> None:
    ids = group(house, 2)
    talk(house, [0], 2)
    house.pass_time(5)
    house.clear()
    house.join("late", offer=AUDIO_OFFER, tracks=MICROPHONE)
    house.pass_time(5)
    assert house.mail(ids[1], "speakers") == []


def stats(house: House, index: int, rtt_us: int = 50_000, loss: int = 0, estimate: int = 0) -> None:
    house.event(EventKind.STATS, house.transport(index), rtt_us, 64_000, 64_000, loss, 0, estimate, 3_000)


def test_quality_is_told_every_two_seconds_when_it_changed(house: House) -> None:
    ids = group(house, 2)
    house.pass_time(2)
    house.clear()
    for _ in range(6):
        stats(house, 0)
        house.pass_time(1)
    (told,) = house.mail(ids[1], "quality")
    assert told["participants"] == [{"participant": ids[0], "score": 5, "rtt_ms": 50, "loss_percent": 0}]
    stats(house, 0, loss=500)
    house.pass_time(2)
    assert house.mail(ids[1], "quality")[-1]["participants"] == [
        {"participant": ids[0], "score": 1, "rtt_ms": 50, "loss_percent": 5}
    ]


def happenings(house: House, rng: Random, people: int) -> list[tuple[object, ...]]:
    """Two minutes of a call with long spells in which nothing happens; what became of it, step by step."""
    seen: list[tuple[object, ...]] = []
    ids = group(house, people)
    for index in range(people - 1):  # the last never gets that far
        house.connect(index)
    for _ in range(1200):
        index, chance = rng.randrange(people), rng.random()
        if chance < 0.03:
            house.speak(index, rng.choice((15, 25, 40, 60, 127)), voice=rng.random() < 0.8)
        elif chance < 0.04:
            stats(house, index, rtt_us=rng.randrange(200_000), loss=rng.randrange(900))
        elif chance < 0.045:
            house.room().mute(ids[index], "0", rng.random() < 0.5, house.now)
        elif chance < 0.047:
            house.event(EventKind.TRACK_STARTED, house.track_of(index, "0"))
        house.pass_time(0.1)
        seen.append((house.inbox.copy(), len(house.worker.named("set_source")), [a.closed for a in house.associations]))
        house.clear()
    house.join("late", offer=AUDIO_OFFER, tracks=MICROPHONE)
    return [*seen, (house.inbox,)]


@pytest.mark.parametrize("people", [2, 8])
def test_a_room_that_is_left_alone_until_it_wakes_misses_nothing(rng: Random, people: int) -> None:
    seed, calls = rng.random(), [0, 0]
    outcomes = []
    for always in (False, True):
        house = House()
        tick = house.room().tick

        def counted(now: float, tick: Callable[[float], None] = tick, always: bool = always) -> None:
            calls[always] += 1
            tick(now)

        house.room().tick = counted  # type: ignore[method-assign]
        if always:
            house.node.tick = lambda now, *part: counted(now)  # type: ignore[method-assign]
        outcomes.append(happenings(house, Random(seed), people))
    assert outcomes[0] == outcomes[1]
    assert any(mail for mail, *_ in outcomes[0])
    assert calls[False] < calls[True]


def test_a_room_in_which_nothing_happens_is_left_alone(house: House) -> None:
    ids = group(house, 2)
    for index in range(2):
        house.connect(index)
        stats(house, index)
    talk(house, [0], 2)
    house.pass_time(30)
    house.clear()
    ticked: list[float] = []
    house.room().tick = ticked.append  # type: ignore[method-assign, assignment]
    house.pass_time(10)
    assert ticked == []
    house.speak(1)
    house.pass_time(0.1)
    assert ticked == [house.now]
    assert house.mail(ids[0], "quality") == []


def test_estimates_go_to_the_metrics(house: House) -> None:
    group(house, 1)
    stats(house, 0, estimate=0)
    stats(house, 0, estimate=800_000)
    assert house.estimates == [800_000.0]


def test_stages_of_a_join_are_reported_once_each(house: House) -> None:
    group(house, 2)
    house.stages.clear()
    house.now += 0.010
    house.event(EventKind.SELECTED, house.transport(0), "203.0.113.5", 40000)
    house.now += 0.010
    house.event(EventKind.DTLS, house.transport(0), b"finished")
    house.now += 0.010
    house.event(EventKind.TRACK_STARTED, house.track_of(0, "0"))
    house.event(EventKind.SELECTED, house.transport(0), "203.0.113.5", 40001)
    house.event(EventKind.TRACK_STARTED, house.track_of(0, "0"))
    assert [(stage, round(seconds, 3)) for stage, seconds in house.stages] == [
        ("ice", 0.01),
        ("dtls", 0.02),
        ("first_in", 0.03),
    ]
    house.stages.clear()
    house.now += 0.005
    house.connect(1)
    assert ("first_out", 0.035) in [(stage, round(seconds, 3)) for stage, seconds in house.stages]


def test_answer_is_a_stage_and_its_making_is_measured(house: House) -> None:
    times = iter([7.0, 7.004])
    house.clock = lambda: next(times)
    house.join("ann")
    assert [(stage, round(seconds, 3)) for stage, seconds in house.stages] == [("answer", 0.004)]


def test_video_slots_prefer_who_speaks() -> None:
    house = House()
    ids = [house.join(f"guest{i}").participant_id for i in range(10)]
    shown = {slot.participant for slot in house.room().slots_for(ids[0]) if slot.kind == "video"}
    assert ids[9] not in shown
    house.pass_time(5)
    for _ in range(5):
        house.speak(9)
        house.pass_time(0.1)
    shown = {slot.participant for slot in house.room().slots_for(ids[0]) if slot.kind == "video"}
    assert ids[9] in shown
    assert len(shown) == 8


def test_events_of_the_departed_are_ignored(house: House) -> None:
    ids = group(house, 2)
    transport, track = house.transport(0), house.track_of(0, "0")
    house.room().leave(ids[0], "left", house.now)
    for kind, id, rest in (
        (EventKind.DTLS, transport, (b"x",)),
        (EventKind.SELECTED, transport, ("203.0.113.5", 1)),
        (EventKind.QUIET, transport, ()),
        (EventKind.STATS, transport, (1, 2, 3, 4, 5, 6, 7)),
        (EventKind.LEVEL, track, (20, True, 0.0)),
        (EventKind.TRACK_STARTED, track, ()),
    ):
        house.event(kind, id, *rest)
    assert house.node.participants == 1
