"""Whose packet it is: SSRCs that are unknown, unsignalled, replaced or repeated, and m-lines that come and go."""

import pytest

from rtc._wire import Srtp
from rtc.peer import MID
from rtc.peer_streams import rtp_packet
from tests.network.emulator import Link
from tests.network.world import SERVER, Person, World, call, sequences, without_hole

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
    sources = {slot.source for slot in right.slots if slot.kind == "video"}
    assert sources == {"camera", "screen"}
    left.peer.line("screen").stopped = True
    left.offer()
    assert {slot.source for slot in right.slots if slot.kind == "video"} == {"camera", None}
    assert flows(world, left, right)


def test_handshake_and_media_pass_a_path_of_1280_octets() -> None:
    world = call(link=Link(mtu=1280))
    left, right = world.people
    left.camera.size = 1180
    left.show()
    assert flows(world, left, right)
    assert world.network.path(SERVER[0], right.address[0]).fates["too large"] == 0
