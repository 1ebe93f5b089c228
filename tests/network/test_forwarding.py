"""Calls over networks of every quality: what is sent arrives once, in time, and whoever suffers is told of."""

from itertools import pairwise

import pytest

from rtc._wire import rtcp_remb
from rtc.peer import PeerOptions
from tests.network.emulator import GilbertElliott, Link
from tests.network.media import AUDIO_S
from tests.network.world import Person, World, call

VOICE_ONLY = PeerOptions(video=False, video_slots=0)


def everybody_sends(world: World, seconds: float) -> None:
    """Sound and pictures of all, then time for what is under way or to be repeated."""
    for person in world.people:
        person.talk()
        person.show()
    world.run(seconds)
    for person in world.people:
        person.quiet()
    world.run(2)


def share(receiver: Person, sender: Person, kind: str) -> float:
    """Of what was sent, the share that arrived."""
    sent = sender.camera.sent if kind == "video" else sender.microphone.sent
    return len(set(receiver.numbers(sender, kind))) / sent


def each_arrived_once(receiver: Person, sender: Person) -> bool:
    return all(
        len(numbers) == len(set(numbers))
        for numbers in (receiver.numbers(sender, "audio"), receiver.numbers(sender, "video"))
    )


def test_two_people_hear_and_see_each_other() -> None:
    world = call()
    left, right = world.people
    everybody_sends(world, 5)
    for receiver, sender in ((left, right), (right, left)):
        assert receiver.numbers(sender, "video") == list(range(sender.camera.sent))
        assert receiver.numbers(sender, "audio") == list(range(sender.microphone.sent))
    delays = [packet.at for packet in right.stream("audio")]
    assert max(b - a for a, b in pairwise(delays)) < AUDIO_S + 0.005
    assert world.keystream_reused() == 0


def test_the_same_seed_gives_the_same_call() -> None:
    traces = []
    for _ in range(2):
        world = call(7, link=Link(delay_s=0.02, jitter_s=0.02, loss=0.05, reorder=0.02, duplicate=0.02))
        everybody_sends(world, 2)
        traces.append([(packet.at, packet.sequence, packet.payload) for packet in world.people[0].packets])
    assert traces[0] == traces[1]


def test_ten_percent_loss_each_way_is_repaired() -> None:
    world = call(link=Link(delay_s=0.02, loss=0.1))
    left, right = world.people
    everybody_sends(world, 20)
    for receiver, sender in ((left, right), (right, left)):
        assert share(receiver, sender, "video") > 0.99
        assert share(receiver, sender, "audio") == pytest.approx(0.81, abs=0.05)  # no NACK for sound
        assert each_arrived_once(receiver, sender)
    assert world.server.counter("recovered") > 50
    assert world.server.counter("rtx_out") > 50
    assert world.keystream_reused() == 0


def test_bursts_of_losses_are_repaired() -> None:
    world = call(link=Link(delay_s=0.03, bursts=GilbertElliott(0.01, 0.3)))
    left, right = world.people
    everybody_sends(world, 20)
    assert share(right, left, "video") > 0.99
    assert share(left, right, "video") > 0.99


def test_thirty_percent_loss_and_200_ms_round_trip_still_connect() -> None:
    """Half of the pairs within 3 s, nine of ten within 6 s, all within 10 s, and then they talk."""
    times = []
    for seed in range(20):
        world = World(seed, Link(delay_s=0.1, jitter_s=0.03, loss=0.3))
        left, right = world.add(), world.add()
        times.append(world.connect_all(60))
        everybody_sends(world, 2)
        assert share(right, left, "audio") > 0.3
        assert share(left, right, "audio") > 0.3
    times.sort()
    assert times[0] > 0.6  # three round trips
    assert times[10] < 3
    assert times[17] < 6
    assert times[19] < 10


def test_duplication_and_reordering_do_no_harm() -> None:
    world = call(link=Link(delay_s=0.02, duplicate=0.1, reorder=0.1, reorder_s=0.03))
    left, right = world.people
    everybody_sends(world, 10)
    for receiver, sender in ((left, right), (right, left)):
        assert sorted(receiver.numbers(sender, "video")) == list(range(sender.camera.sent))
        assert sorted(receiver.numbers(sender, "audio")) == list(range(sender.microphone.sent))
    assert world.server.counter("drop_srtp_replay") > 100  # refused before a second decryption
    assert world.keystream_reused() == 0


def test_rate_limited_link_keeps_the_voice_going() -> None:
    world = World(1)
    left = world.add()
    right = world.add(down=Link(delay_s=0.02, rate_bps=2_000_000, queue_octets=30_000))
    world.connect_all()
    everybody_sends(world, 10)
    assert share(right, left, "audio") > 0.98
    assert share(right, left, "video") > 0.98
    world.network.connect("198.51.100.1", right.address[0], Link(delay_s=0.02, rate_bps=300_000, queue_octets=10_000))
    before = len(left.reports(left.peer.senders["audio"].ssrc))
    everybody_sends(world, 10)
    told = left.reports(left.peer.senders["audio"].ssrc)[before:]
    assert max(report["fraction_lost"] for report in told) > 25  # the publisher's encoder is told to protect itself


def test_reports_measure_the_round_trip() -> None:
    world = call(link=Link(delay_s=0.06))
    everybody_sends(world, 10)
    for person in world.people:
        measured = [event[2] for _, event in world.server.events if event[0] == 8 and event[1] == person.transport]
        assert measured[-1] == pytest.approx(120_000, abs=5_000)


def mapped(reports: list[dict[str, int]], timestamp: int, clock_rate: int) -> float:
    """NTP seconds of an RTP timestamp by the newest of those reports."""
    report = reports[-1]
    ahead = (timestamp - report["rtp"] + 2**31) % 2**32 - 2**31
    return report["ntp"] / 2**32 + ahead / clock_rate


def test_sound_and_pictures_of_one_sender_stay_on_one_clock() -> None:
    """The publisher's own relation of media time to wall clock reaches the receiver: lips stay in step."""
    world = call(link=Link(delay_s=0.03, jitter_s=0.04, loss=0.05))
    left, right = world.people
    left.talk()
    left.show()
    offsets: dict[str, list[float]] = {"audio": [], "video": []}
    for _ in range(12):
        world.run(1.7)
        for kind, clock_rate in (("audio", 48_000), ("video", 90_000)):
            packet = right.stream(kind)[-1]
            reports = [b for _, b in right.rtcp if b["type"] == 200 and b["sender"] == packet.ssrc]
            if reports:
                captured = right.hears(left, kind)[-1].captured_ns / 1e9
                offsets[kind].append(mapped(reports, packet.timestamp, clock_rate) - captured)
    everything = offsets["audio"] + offsets["video"]
    assert len(everything) > 20
    assert max(everything) - min(everything) < 0.001


def test_jitter_is_measured_in_each_kind_s_own_clock() -> None:
    world = World(1, Link(delay_s=0.02))
    left, _ = world.add(up=Link(delay_s=0.02, jitter_s=0.015)), world.add()
    world.connect_all()
    left.camera.packets = 1
    everybody_sends(world, 20)
    jitter_ms = {}
    for name, rate in (("audio", 48), ("video", 90)):
        values = [report["jitter"] / rate for report in left.reports(left.peer.senders[name].ssrc)]
        jitter_ms[name] = sum(values[5:]) / len(values[5:])
    assert jitter_ms["audio"] == pytest.approx(5, abs=1.5)  # mean distance of two uniform delays: a third of the range
    assert jitter_ms["video"] == pytest.approx(5, abs=1.5)


def test_transport_feedback_comes_every_50_to_100_ms_and_tells_what_arrived() -> None:
    world = World(1)
    left, _ = world.add(up=Link(delay_s=0.02, loss=0.1)), world.add()
    world.connect_all()
    everybody_sends(world, 5)
    feedback = left.feedback(205, 15)
    spans = [b - a for (a, _), (b, _) in pairwise(feedback) if b < 1005]
    assert min(spans) >= 0.05
    assert max(spans) <= 0.1 + 1e-6
    told = sum(block["twcc"]["count"] for _, block in feedback)
    arrived = sum(block["twcc"]["received"] for _, block in feedback)
    assert arrived / told == pytest.approx(0.9, abs=0.03)


def test_the_worse_leg_s_loss_is_told_for_sound_only() -> None:
    world = World(1)
    left, right, _ = world.add(), world.add(down=Link(delay_s=0.02, loss=0.2)), world.add()
    world.connect_all()
    everybody_sends(world, 10)
    lost = {name: left.reports(sender.ssrc) for name, sender in left.peer.senders.items()}
    audio = [r["fraction_lost"] / 256 for r in lost["audio"]][3:10]
    assert sum(audio) / len(audio) == pytest.approx(0.2, abs=0.06)
    assert all(r["lost"] == 0 for r in lost["audio"])  # estimators read the sum: it is our own uplink's
    assert all(r["fraction_lost"] == 0 for r in lost["video"])
    assert right.numbers(left, "video")


def test_a_single_viewer_s_limit_is_passed_on_while_it_binds() -> None:
    world = call()
    left, right = world.people
    left.show()
    world.run(3)

    def viewer_says(bitrate: int) -> list[int]:
        before = len(left.feedback(206, 15))
        ssrcs = [stream.ssrc for stream in right.peer.slots.values() if stream.kind == "video"]
        right.peer.send_rtcp(rtcp_remb(1, bitrate, ssrcs))
        right.touch()
        world.run(0.1)
        return [block["bitrate"] for _, block in left.feedback(206, 15)[before:]]

    assert viewer_says(200_000) == [pytest.approx(200_000, rel=0.01)]
    assert all(bitrate >= 5_000_000 for bitrate in viewer_says(5_000_000))
    world.add()
    world.run(1)
    assert viewer_says(200_000) == []  # two viewers: one must not starve the other


def test_twenty_five_people_come_and_go_without_renegotiation() -> None:
    options = PeerOptions(audio_slots=3, video_slots=2)
    world = call(people=25, options=options)
    for person in world.people:
        person.talk(60)
    speaker = world.people[20]
    speaker.talk(20)
    speaker.show()
    world.run(3)
    listeners = [person for person in world.people if person is not speaker]
    assert all(len(listener.numbers(speaker, "audio")) > 120 for listener in listeners)
    assert all(each_arrived_once(listener, speaker) for listener in listeners)
    for person in world.people[:20]:
        person.leave()
    world.run(1)
    rest = world.people[20:]
    before = {person: len(person.numbers(speaker, "audio")) for person in rest[1:]}
    world.run(1)
    assert all(len(person.numbers(speaker, "audio")) - before[person] >= 49 for person in rest[1:])
    late = world.add(options)
    world.until(lambda: len(late.numbers(speaker, "audio")) > 20, 3)
    assert world.server.counter("commands_refused") == 0
    assert world.keystream_reused() == 0


def test_three_audio_slots_follow_the_loudest_of_six() -> None:
    world = call(people=6, options=VOICE_ONLY)
    listener, *others = world.people
    for person in others:
        person.talk(80)  # background noise
    world.run(2)

    def heard() -> set[int]:
        sources = {slot.participant for slot in listener.slots if slot.participant}
        return {world.by_id[id].number for id in sources}

    for person in others[2:5]:
        person.talk(25)
    world.until(lambda: heard() == {4, 5, 6}, 2)
    for person in others[2:5]:
        before = len(listener.hears(person, "audio"))
        world.run(0.5)
        assert len(listener.hears(person, "audio")) - before >= 24
    told = [message["speakers"] for _, message in listener.mail("speakers")]
    assert {world.by_id[entry["participant"]].number for entry in told[-1]} == {4, 5, 6}

    changes = len(listener.mail("slots"))
    for person, level in zip(others[:2], (27, 23), strict=True):
        person.talk(level)  # about as loud as who is heard: no reason to cut anybody off
    world.run(4)
    assert heard() == {4, 5, 6}
    assert len(listener.mail("slots")) == changes
    others[4].talk(80)
    world.until(lambda: 6 not in heard(), 2)
    assert len(heard()) == 3
