"""The traps of the media path that others have paid for, each as a call in which it would have been sprung."""

from collections import Counter
from collections.abc import Callable
from itertools import pairwise

import pytest

from rtc._wire import rtcp_nack, rtp_parse
from rtc.peer import Peer, PeerOptions
from tests.network.emulator import Address, Link
from tests.network.media import read_stamp, read_vp8
from tests.network.world import Person, World, call, sequences, without_hole

PLI = (206, 1)
ONE_PICTURE = PeerOptions(video_slots=1)


def dropped(peer: Peer, lost: Callable[[dict[str, int]], bool]) -> None:
    """Packets for which `lost` says so never leave."""
    peer.drop_sent = lambda packet: lost(rtp_parse(packet))


def pictures(person: Person, kind: str = "video") -> list[tuple[int, bytes]]:
    """(timestamp, payload) of the first packet of each frame, in order."""
    firsts = {}
    for packet in sorted(person.stream(kind), key=lambda packet: packet.sequence):
        if packet.payload and packet.payload[0] & 0x10:
            firsts[packet.sequence] = (packet.timestamp, packet.payload)
    return list(firsts.values())


# --- keyframes --------------------------------------------------------------------------------------------------------


def test_a_late_joiner_gets_a_keyframe_as_soon_as_it_is_ready() -> None:
    world = call(link=Link(delay_s=0.02))
    left, right = world.people
    left.show()
    world.run(3)
    asked = len(left.feedback(*PLI))
    late = world.add()
    world.connect_all()
    ready = world.now
    world.until(lambda: bool(late.numbers(left, "video")), 1)
    assert world.now - ready < 0.11  # request and answer travel, and the camera's next frame is up to 40 ms away
    assert read_vp8(late.stream("video")[0].payload).key
    assert len(left.feedback(*PLI)) - asked == 1
    assert without_hole(sequences(right))


def test_a_request_from_before_the_handshake_is_remembered() -> None:
    world = call(link=Link(delay_s=0.02))
    left, _ = world.people
    left.show()
    world.run(2)
    asked = len(left.feedback(*PLI))
    late = world.add(up=Link(delay_s=0.4), down=Link(delay_s=0.4))  # its slot has a source long before it has keys
    world.run(1)
    assert not late.peer.connected
    world.connect_all()
    world.until(lambda: bool(late.numbers(left, "video")), 1)
    assert read_vp8(late.stream("video")[0].payload).key
    assert 1 <= len(left.feedback(*PLI)) - asked <= 4


def test_a_lost_first_keyframe_is_asked_for_again() -> None:
    world = call()
    left, right = world.people
    left.show()
    dropped(left.peer, lambda rtp: rtp["timestamp"] == left.camera.timestamp and left.camera.frames == 0)
    world.until(lambda: bool(right.numbers(left, "video")), 2)
    assert left.camera.keyframes >= 1
    assert read_vp8(right.stream("video")[0].payload).key


def test_requests_of_many_receivers_become_one() -> None:
    world = call(people=8)
    publisher, *receivers = world.people
    publisher.show()
    world.run(3)
    asked = len(publisher.feedback(*PLI))
    for _ in range(5):  # each asks five times within 100 ms
        for receiver in receivers:
            slot = next(slot for slot in receiver.peer.slots.values() if slot.kind == "video" and slot.received)
            receiver.peer.ask_keyframe(slot.ssrc)
            receiver.touch()
        world.run(0.02)
    world.run(0.3)
    assert world.server.counter("pli_in") >= 35
    assert len(publisher.feedback(*PLI)) - asked == 1
    world.run(2)
    assert len(publisher.feedback(*PLI)) - asked <= 2


# --- a slot changes its source ----------------------------------------------------------------------------------------


def two_cameras(first_wide: bool, second_wide: bool) -> tuple[World, Person, Person, Person]:
    """A viewer with one video slot, and two people who show themselves, about to roll over."""
    world = call(people=3, options=ONE_PICTURE)
    viewer, first, second = world.people
    for person, wide in ((first, first_wide), (second, second_wide)):
        person.camera.wide = wide
        person.camera.picture = 0x7FFF - 20 if wide else 0x7F - 20
        person.camera.tl0 = 250
        person.show()
    return world, viewer, first, second


def watch_in_turn(world: World, viewer: Person, people: list[Person]) -> None:
    for person in people:
        world.room.prefer(viewer.id, [person.id], world.now)
        world.settle()
        world.run(1.5)


@pytest.mark.parametrize("first_wide,second_wide", [(True, True), (False, False), (True, False), (False, True)])
def test_picture_ids_and_layer_indices_go_on_without_a_hole(first_wide: bool, second_wide: bool) -> None:
    world, viewer, first, second = two_cameras(first_wide, second_wide)
    watch_in_turn(world, viewer, [first, second, first, second])
    seen = [read_vp8(payload) for _, payload in pictures(viewer)]
    assert len(seen) > 120
    changes = 0
    for before, after in pairwise(seen):
        size = 0x8000 if before.wide and after.wide else 0x80
        assert (after.number - before.number) % size == 1
        assert (after.tl0 - before.tl0) % 256 == 1
        changes += before.wide != after.wide
    assert changes == (3 if first_wide != second_wide else 0)
    assert {stamp.number for stamp in viewer.hears(first, "video")}
    assert {stamp.number for stamp in viewer.hears(second, "video")}


def test_sequence_numbers_and_timestamps_go_on_over_a_change_of_source() -> None:
    world, viewer, first, second = two_cameras(True, True)
    watch_in_turn(world, viewer, [first, second, first])
    assert without_hole(sequences(viewer))
    frames = pictures(viewer)
    assert all(0 < (b - a) % 2**32 <= 90_000 * 0.3 for (a, _), (b, _) in pairwise(frames))
    shown = (frames[-1][0] - frames[0][0]) % 2**32 / 90_000
    assert shown == pytest.approx(len(frames) * 0.04, abs=0.3)  # media time is wall time
    assert all(read_vp8(payload).key for _, payload in frames[:1])
    assert world.keystream_reused() == 0


def test_a_new_source_begins_with_a_keyframe() -> None:
    world, viewer, first, second = two_cameras(True, True)
    watch_in_turn(world, viewer, [first, second, first])
    order = sorted(viewer.stream("video"), key=lambda packet: packet.sequence)
    senders = [(stamp.sender, packet) for packet in order if (stamp := read_stamp(packet.payload))]
    turns = [after for (before, _), (sender, after) in pairwise(senders) if before != sender]
    assert len(turns) >= 2
    assert all(read_vp8(packet.payload).key for packet in turns)


def test_first_sequence_numbers_out_are_below_2_to_the_15() -> None:
    """A receiver that misses the first packets still guesses the rollover counter (RFC 3711 section 3.3.1)."""
    for seed in range(20):
        world = call(seed)
        left, right = world.people
        left.talk()
        left.show()
        world.run(0.2)
        assert all(0 <= stream.first < 2**15 for stream in right.peer.slots.values() if stream.received)


# --- sequence numbers in ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lost", range(1, 12))
def test_a_stream_that_starts_near_65535_and_loses_its_first_packets_is_heard(lost: int) -> None:
    """Also when all packets before the roll-over are lost, so that the counter cannot be known."""
    world = call()
    left, right = world.people
    left.peer.senders["audio"].sequence = left.peer.senders["video"].sequence = 65_530
    seen: Counter[bytes] = Counter()

    def first_ones(data: bytes, source: Address, target: Address) -> bool:
        if source != left.address or data[0] < 128 or 192 <= data[1] <= 223:
            return False
        ssrc = data[8:12]
        seen[ssrc] += 1
        return seen[ssrc] <= lost

    world.network.censor = first_ones  # the sender's counter moves on all the same
    left.talk()
    left.show()
    world.run(3)
    assert right.numbers(left, "audio")[0] <= lost + 1
    assert right.numbers(left, "audio")[-1] >= left.microphone.sent - 2
    assert right.numbers(left, "video")[-1] >= left.camera.sent - 4
    assert without_hole(sequences(right, "audio"))
    assert without_hole(sequences(right))


def test_padding_only_packets_do_not_freeze_the_picture() -> None:
    world = call()
    left, right = world.people
    left.show()
    for _ in range(50):
        world.run(0.05)
        left.peer.send("video", b"", left.camera.timestamp, padding=200)
        left.touch()
    left.quiet()
    world.run(0.5)
    assert right.numbers(left, "video") == list(range(left.camera.sent))
    assert without_hole(sequences(right))
    assert world.server.counter("nack_packets_in") == 0
    assert world.server.counter("drop_padding_only") == 50  # their padding is; they themselves keep their numbers


def test_lost_padding_only_packets_are_repaired_both_ways() -> None:
    link = Link(delay_s=0.02, loss=0.1)
    world = World(1)
    left, right = world.add(up=link), world.add(down=link)
    world.connect_all()
    left.show()
    for _ in range(100):
        world.run(0.05)
        left.peer.send("video", b"", left.camera.timestamp, padding=100)
        left.touch()
    left.quiet()
    world.run(2)
    numbers = sequences(right)
    assert len(numbers) == left.camera.sent + 100
    assert without_hole(numbers)


def test_a_leap_of_timestamps_is_not_loss() -> None:
    """Discontinuous transmission: the numbers go on, the timestamps leap."""
    world = call()
    left, right = world.people
    for _ in range(8):
        left.talk()
        world.run(1)
        left.quiet()
        world.run(1.0)
        left.microphone.timestamp += 48_000
    reports = left.reports(left.peer.senders["audio"].ssrc)
    assert max(report["lost"] for report in reports) == 0
    assert max(report["fraction_lost"] for report in reports) == 0
    assert max(report["jitter"] for report in reports) < 480  # 10 ms
    assert right.numbers(left, "audio") == list(range(left.microphone.sent))
    assert without_hole(sequences(right, "audio"))


# --- retransmission ---------------------------------------------------------------------------------------------------


def ask_again(viewer: Person, ssrc: int, number: int) -> None:
    viewer.peer.send_rtcp(rtcp_nack(1, ssrc, [number & 0xFFFF]))
    viewer.touch()


def test_a_storm_of_nacks_is_served_a_few_times_only() -> None:
    world = call()
    left, right = world.people
    left.show()
    world.run(2)
    newest = right.stream("video")[-1]
    for _ in range(500):
        ask_again(right, newest.ssrc, newest.sequence)
        world.run(0.005)
    assert world.server.counter("nack_packets_in") == 500
    assert 1 <= world.server.counter("rtx_out") <= 10
    assert world.server.counter("drop_rtx_throttled") >= 400


def test_a_second_nack_within_the_round_trip_is_ignored() -> None:
    world = call(link=Link(delay_s=0.05))
    counts: list[tuple[int, int]] = []
    left, right = world.people
    left.show()
    world.run(5)  # reports have told the round trip by now
    newest = right.stream("video")[-1]
    left.quiet()
    for after_s, served in ((0.0, 1), (0.01, 1), (0.08, 1), (0.02, 2)):
        world.run(after_s)
        ask_again(right, newest.ssrc, newest.sequence)
        world.network.after(0.06, lambda served=served: counts.append((world.server.counter("rtx_out"), served)))
    world.run(0.2)
    assert [count for count, _ in counts] == [served for _, served in counts]


def test_nacks_for_what_was_never_sent_are_not_served() -> None:
    world = call()
    left, right = world.people
    left.show()
    world.run(2)
    newest = right.stream("video")[-1]
    for number in range(newest.sequence + 100, newest.sequence + 1100):
        ask_again(right, newest.ssrc, number)
    world.run(0.1)
    assert world.server.counter("rtx_out") == 0
    assert world.server.counter("drop_rtx_miss") == 1000
