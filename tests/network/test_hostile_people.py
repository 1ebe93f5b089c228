"""One participant tries to hurt another's media: with feedback of all kinds and with leaps of its own numbers."""

from itertools import pairwise

import pytest

from rtc._wire import rtcp_nack, rtcp_pli, rtcp_remb, rtcp_rr, rtp_parse
from rtc.peer import ABS_SEND_TIME, PeerOptions
from tests.network.emulator import SECOND
from tests.network.world import SERVER, Person, World, call, sequences, without_hole

LIMIT = (206, 15)
PLI = (206, 1)
NO_LIMIT = 20_000_000


def limits(person: Person) -> list[int]:
    """Bit rates that a sender was told to stay under, oldest first."""
    return [block["bitrate"] for _, block in person.feedback(*LIMIT) if "bitrate" in block]


def compound(*blocks: bytes) -> bytes:
    return rtcp_rr(1, []) + b"".join(blocks)


def test_a_storm_of_limits_is_not_passed_on() -> None:
    world = call()
    left, right = world.people
    left.show()
    world.run(2)
    before = world.server.counter("remb_out")
    for _ in range(20):
        right.peer.send_rtcp(compound(*[rtcp_remb(1, 90_000, [2])] * 50))
        right.touch()
        world.run(0.05)
    assert 1 <= world.server.counter("remb_out") - before <= 8
    assert limits(left)[-1] == pytest.approx(90_000, rel=0.01)


def test_the_newest_limit_of_a_quick_series_arrives() -> None:
    world = call()
    left, right = world.people
    left.show()
    world.run(2)
    for bitrate in (100_000, 90_000, 80_000):
        right.peer.send_rtcp(compound(rtcp_remb(1, bitrate, [2])))
        right.touch()
        world.run(0.01)
    world.run(0.5)
    assert limits(left)[-1] == pytest.approx(80_000, rel=0.01)


def test_a_limit_ends_when_its_viewer_is_no_longer_the_only_one() -> None:
    world = call()
    left, right = world.people
    left.show()
    world.run(2)
    right.peer.send_rtcp(compound(rtcp_remb(1, 10_000, [2])))
    right.touch()
    world.run(0.5)
    assert limits(left)[-1] < 20_000
    world.add()
    world.connect_all()
    world.run(1.5)
    assert limits(left)[-1] == pytest.approx(NO_LIMIT, rel=0.01)


def test_a_storm_of_nacks_that_goes_round_the_memory_is_bounded() -> None:
    world = call()
    left, right = world.people
    left.show()
    world.run(8)
    newest = right.stream("video")[-1]
    sequence = rtp_packet_number(right)
    before = world.server.counter("rtx_out")
    for turn in range(100):
        wanted = [(sequence - 1 - 128 * (turn % 2 + 2 * (k // 16)) - k % 16) & 0xFFFF for k in range(16)]
        blocks = [rtcp_nack(1, newest.ssrc, sorted((n - 128 * i) & 0xFFFF for n in wanted)) for i in (0, 1, 2)]
        right.peer.send_rtcp(compound(*blocks * 10))
        right.touch()
        world.run(0.001)
    assert world.server.counter("rtx_out") - before <= 600
    world.run(1)
    assert without_hole(sequences(right))


def rtp_packet_number(person: Person) -> int:
    """The newest outbound video sequence number, modulo 2^16."""
    return person.stream("video")[-1].sequence & 0xFFFF


def test_leaps_of_a_source_do_not_reach_receivers() -> None:
    world = call()
    left, right = world.people
    left.talk()
    left.show()
    world.run(1)
    for _ in range(4):
        for kind in ("audio", "video"):
            left.peer.senders[kind].sequence += 30_000
        world.run(0.5)
    before = {kind: len(right.numbers(left, kind)) for kind in ("audio", "video")}
    world.run(1)
    assert len(right.numbers(left, "audio")) - before["audio"] >= 45
    assert len(right.numbers(left, "video")) - before["video"] >= 60
    assert without_hole(sequences(right, "audio"))
    assert without_hole(sequences(right))
    assert world.keystream_reused() == 0


def test_who_cannot_decode_a_source_asks_for_no_keyframes() -> None:
    world = World()
    left = world.add(PeerOptions(codec="H264"))
    right = world.add(join=False)
    right._described = lambda sdp: sdp.replace("H264/90000", "unknown/90000")  # type: ignore[method-assign]
    right.join()
    world.connect_all()
    left.show()
    world.run(1)
    asked = len(left.feedback(*PLI))
    world.run(5)
    assert not right.numbers(left, "video")
    assert len(left.feedback(*PLI)) - asked <= 1


def test_send_times_go_on_evenly_after_19_hours() -> None:
    world = World()
    world.network.now_ns = 2**46 - 4 * SECOND
    left, right = world.add(), world.add()
    world.connect_all()
    stamps: list[int] = []

    def note(data: bytes, source: tuple[str, int], target: tuple[str, int], now_ns: int) -> None:
        if source == SERVER and target == right.address and 128 <= data[0] < 192 and not 192 <= data[1] <= 223:
            stamp = rtp_parse(data)["extensions"].get(ABS_SEND_TIME)
            if stamp:
                stamps.append(int.from_bytes(stamp, "big"))

    world.network.taps.append(note)
    left.show()
    world.run(8)
    assert len(stamps) > 100
    assert all((b - a) % 2**24 < 2**18 for a, b in pairwise(stamps))  # under a second


def test_a_storm_of_keyframe_requests_is_one_request_each_half_second() -> None:
    world = call()
    left, right = world.people
    left.show()
    world.run(2)
    ssrc = right.stream("video")[-1].ssrc
    asked = len(left.feedback(*PLI))
    for _ in range(200):
        right.peer.send_rtcp(compound(*[rtcp_pli(1, ssrc)] * 40))
        right.touch()
        world.run(0.01)
    assert len(left.feedback(*PLI)) - asked <= 5
