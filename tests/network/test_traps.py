"""The traps of the media path that others have paid for, each as a call in which it would have been sprung."""

from collections import Counter
from collections.abc import Callable
from itertools import pairwise

import pytest

from rtc._wire import Srtp, rtcp_nack, rtp_parse
from rtc.peer import MID, Peer, PeerOptions
from rtc.peer_streams import rtp_packet
from tests.network.emulator import Address, Link
from tests.network.media import read_stamp, read_vp8
from tests.network.world import SERVER, Person, World, call

PLI = (206, 1)
ONE_PICTURE = PeerOptions(video_slots=1)


def dropped(peer: Peer, lost: Callable[[dict[str, int]], bool]) -> None:
    """Packets for which `lost` says so never leave."""
    peer.drop_sent = lambda packet: lost(rtp_parse(packet))


def sequences(person: Person, kind: str = "video") -> list[int]:
    return sorted(packet.sequence for packet in person.stream(kind))


def without_hole(numbers: list[int]) -> bool:
    return all(b - a == 1 for a, b in pairwise(numbers))


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
    assert 1 <= world.server.counter("rtx_out") <= 4
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


# --- whose SSRC -------------------------------------------------------------------------------------------------------


def send_as(person: Person, ssrc: int, number: int, payload_type: int = 96, mid: bytes = b"") -> None:
    """One authentic packet under any SSRC."""
    extensions = {MID: mid} if mid else None
    packet = rtp_packet(payload_type, number, 0, ssrc, bytes(50), extensions=extensions)
    keys = person.peer.srtp_keys
    assert keys is not None
    world = person.world
    sealed = Srtp(keys.profile, keys.local_key, keys.local_salt).protect(packet)
    world.network.send(sealed, person.address, SERVER)


def test_a_storm_of_unknown_ssrcs_keeps_no_state() -> None:
    world = call()
    left, right = world.people
    left.talk()
    left.show()
    world.run(1)
    for ssrc in range(1_000_000, 1_005_000):
        send_as(left, ssrc, 1)
    world.run(1)
    assert world.server.counter("drop_unknown_ssrc") == 5000
    left.quiet()
    world.run(0.5)
    assert right.numbers(left, "video") == list(range(left.camera.sent))
    assert right.numbers(left, "audio") == list(range(left.microphone.sent))


def test_a_storm_of_ssrcs_that_claim_a_mid_moves_the_track_rarely() -> None:
    world = call()
    left, right = world.people
    left.show()
    world.run(1)
    for ssrc in range(1_000_000, 1_001_000):
        send_as(left, ssrc, 1, mid=left.peer.mids["video"].encode())
        world.run(0.001)
    assert world.server.counter("drop_ssrc_limit") > 900
    world.run(2)  # only the sender itself can do that, to itself; its true stream comes back
    before = len(right.numbers(left, "video"))
    world.run(1)
    assert len(right.numbers(left, "video")) - before > 60


@pytest.mark.parametrize("loss", [0, 0.1])
def test_unsignalled_ssrcs_are_learnt_from_the_mid(loss: float) -> None:
    world = World(1, Link(delay_s=0.02, loss=loss))
    left, right = world.add(join=False), world.add(join=False)
    for person in (left, right):
        person.hides_ssrcs = True
        person.join()
    world.connect_all(20)
    left.talk()
    left.show()
    world.run(10)
    left.quiet()
    world.run(2)
    assert len(set(right.numbers(left, "video"))) > 0.98 * left.camera.sent
    assert len(set(right.numbers(left, "audio"))) > (0.75 if loss else 0.99) * left.microphone.sent


def renew_ssrc(person: Person, kind: str) -> None:
    old = person.peer.senders[kind]
    fresh = person.peer._new_sender(kind)
    fresh.extensions = old.extensions
    person.peer.senders[kind] = fresh


@pytest.mark.parametrize("signalled", [True, False])
def test_a_replaced_ssrc_takes_over_without_a_hole(signalled: bool) -> None:
    world = call()
    left, right = world.people
    left.talk()
    left.show()
    world.run(2)
    for kind in ("audio", "video"):
        renew_ssrc(left, kind)
    if signalled:
        left.offer()
    left.camera.needs_key = True
    before = {kind: len(right.numbers(left, kind)) for kind in ("audio", "video")}
    world.run(2)
    assert len(right.numbers(left, "audio")) - before["audio"] >= 95
    assert len(right.numbers(left, "video")) - before["video"] >= 140
    assert without_hole(sequences(right, "audio"))
    assert without_hole(sequences(right))
    assert world.keystream_reused() == 0


def test_packets_of_a_former_ssrc_do_not_bring_it_back_when_repeated() -> None:
    world = call()
    left, right = world.people
    recorded: list[bytes] = []
    world.network.taps.append(
        lambda data, source, target, now_ns: (
            recorded.append(data) if source == left.address and data[0] >= 128 else None
        )
    )
    left.talk()
    world.run(1)
    renew_ssrc(left, "audio")
    world.run(1)
    replays = world.server.counter("drop_srtp_replay") + world.server.counter("drop_srtp_old")
    for data in recorded[:40]:
        world.network.send(data, left.address, SERVER)
        world.run(0.02)
    assert world.server.counter("drop_srtp_replay") + world.server.counter("drop_srtp_old") - replays >= 35
    left.quiet()
    world.run(1)
    assert right.numbers(left, "audio") == list(range(left.microphone.sent))


# --- lines that come and go -------------------------------------------------------------------------------------------


def flows(world: World, sender: Person, receiver: Person) -> bool:
    """Pictures sent from now on arrive."""
    sender.camera.needs_key = True
    before = len(receiver.numbers(sender, "video"))
    world.run(1)
    return len(receiver.numbers(sender, "video")) - before > 60


def test_unpublish_and_publish_again_on_the_same_line() -> None:
    world = call()
    left, right = world.people
    left.show()
    assert flows(world, left, right)
    for _ in range(3):
        left.peer.line("video").paused = True
        left.offer()
        assert not flows(world, left, right)
        left.peer.line("video").paused = False
        left.offer()
        assert flows(world, left, right)
    assert without_hole(sequences(right))
    assert world.server.counter("commands_refused") == 0


@pytest.mark.parametrize("same_mid,at_once", [(True, True), (True, False), (False, False)])
def test_a_line_is_stopped_and_its_place_taken_by_a_new_track(same_mid: bool, at_once: bool) -> None:
    world = call()
    left, right = world.people
    left.show()
    assert flows(world, left, right)
    line = left.peer.line("video")
    line.stopped = True
    if not at_once:
        left.offer()
        assert not flows(world, left, right)
    left.peer.add_sender("video", "video", mid=line.mid if same_mid else "")
    left.offer()
    assert flows(world, left, right)
    assert without_hole(sequences(right))
    assert world.server.counter("commands_refused") == 0


def test_a_screen_is_shared_beside_the_camera_and_ended() -> None:
    world = call()
    left, right = world.people
    left.show()
    world.run(1)
    left.peer.add_sender("screen", "video")
    left.offer()
    sources = {slot["source"] for slot in right.slots if slot["kind"] == "video"}
    assert sources == {"camera", "screen"}
    left.peer.line("screen").stopped = True
    left.offer()
    assert {slot["source"] for slot in right.slots if slot["kind"] == "video"} == {"camera", None}
    assert flows(world, left, right)


def test_handshake_and_media_pass_a_path_of_1280_octets() -> None:
    world = call(link=Link(mtu=1280))
    left, right = world.people
    left.camera.size = 1180
    left.show()
    assert flows(world, left, right)
    assert world.network.path(SERVER[0], right.address[0]).fates["too large"] == 0
