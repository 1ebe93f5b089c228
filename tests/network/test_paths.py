"""ICE, consent and the handshake over paths that change, break and lie: the server's part of RFC 8445, 7675, 5764."""

import hashlib
import hmac

import pytest
from aioice import stun

from rtc._wire import stun_check, stun_parse
from rtc.peer import PRIORITY
from tests.network.emulator import Address, Link
from tests.network.world import SERVER, Person, World, call

STRANGER: Address = ("192.0.2.66", 6666)
DEAD = Link(loss=1.0)
NEAR = Link(delay_s=0.02)


def sent_to(world: World, address: Address) -> list[bytes]:
    """What the server sends to an address from now on."""
    sent: list[bytes] = []
    world.network.taps.append(
        lambda data, source, target, now_ns: sent.append(data) if (source, target) == (SERVER, address) else None
    )
    return sent


def check(person: Person, *, password: str = "", **changes: bool) -> bytes:
    """A connectivity check as this person's peer would send it."""
    options = {"controlling": True, "use_candidate": True} | changes
    return stun_check(
        bytes(12),
        f"{person.peer._remote_ufrag}:{person.peer.ufrag}".encode(),
        (password or person.peer._remote_password).encode(),
        priority=PRIORITY,
        tiebreaker=5,
        **options,
    )


def arrives(world: World, sender: Person, receiver: Person, seconds: float = 1) -> int:
    before = len(receiver.hears(sender, "audio"))
    world.run(seconds)
    return len(receiver.hears(sender, "audio")) - before


def talking(link: Link = NEAR) -> tuple[World, Person, Person]:
    """Two people in the middle of a conversation."""
    world = call(link=link)
    left, right = world.people
    left.talk()
    right.talk()
    world.run(1)
    return world, left, right


# --- who gets an answer -----------------------------------------------------------------------------------------------


def test_an_unverified_sender_gets_no_byte() -> None:
    world, left, _ = talking()
    sent = sent_to(world, STRANGER)
    requests = [
        check(left, password="wrong+wrong+wrong+wrong+"),
        check(left)[:-1],
        check(left)[:40],
        bytes([22, 254, 253]) + bytes(10) + bytes([1]) + bytes(180),  # a ClientHello
        bytes([0x80, 96]) + bytes(100),
        bytes([0x80, 200]) + bytes(60),
        b"",
        bytes(1400),
    ]
    for request in requests:
        world.network.send(request, STRANGER, SERVER)
    world.run(5)
    assert sent == []
    assert arrives(world, left, world.people[1]) >= 49


def test_the_answer_to_a_verified_check_is_not_larger_than_the_check() -> None:
    world, left, _ = talking()
    for port, request in enumerate((check(left), check(left, use_candidate=False), check(left, controlling=False))):
        address = (STRANGER[0], 7000 + port)
        sent = sent_to(world, address)
        world.network.send(request, address, SERVER)
        world.run(0.05)
        messages = [data for data in sent if data[0] < 4]
        answers = [data for data in messages if stun_parse(data)["class"] != "request"]
        assert len(answers) == 1
        assert all(len(message) <= len(request) for message in messages)
        assert len(messages) <= 2, "whose address that is may be asked"


def test_a_check_of_a_controlled_agent_is_a_role_conflict() -> None:
    world, left, right = talking()
    sent = sent_to(world, STRANGER)
    world.network.send(check(left, controlling=False), STRANGER, SERVER)
    world.run(0.1)
    assert [stun_parse(data)["error_code"] for data in sent] == [487]
    assert arrives(world, right, left) >= 49  # and it has moved nothing


def test_an_unknown_attribute_that_must_be_understood_is_named() -> None:
    world, left, _ = talking()
    sent = sent_to(world, STRANGER)
    message = stun.Message(stun.Method.BINDING, stun.Class.REQUEST, bytes(12))
    message.attributes["USERNAME"] = f"{left.peer._remote_ufrag}:{left.peer.ufrag}"
    head = bytes(message)
    unknown = b"\x7f\x01\x00\x04abcd"
    head = head[:2] + (len(head) - 20 + len(unknown)).to_bytes(2, "big") + head[4:] + unknown
    raw = _with_integrity(head, left.peer._remote_password.encode())
    world.network.send(raw, STRANGER, SERVER)
    world.run(0.1)
    (answer,) = (stun_parse(data) for data in sent)
    assert answer["class"] == "error"
    assert answer["error_code"] == 420


def _with_integrity(head: bytes, password: bytes) -> bytes:
    """RFC 8489 section 14.5: the length that is hashed counts the attribute itself."""
    head = head[:2] + (len(head) - 20 + 24).to_bytes(2, "big") + head[4:]
    return head + b"\x00\x08\x00\x14" + hmac.new(password, head, hashlib.sha1).digest()


# --- the handshake ----------------------------------------------------------------------------------------------------


def test_a_client_hello_that_overtakes_the_check_is_kept() -> None:
    world = World(1, NEAR)
    left = world.add()
    checks: list[bytes] = []

    def censor(data: bytes, source: Address, target: Address) -> bool:
        if source != SERVER and data[0] < 4:
            checks.append(data)
        return source != SERVER and data[0] < 4

    world.network.censor = censor
    left.peer.nominated_at = world.now  # the peer believes in the path already
    assert left.peer._dtls is not None
    left.peer._dtls.start(world.now)
    left.touch()
    world.run(0.05)
    assert world.server.counter("dtls_in") == 1
    assert world.server.counter("dtls_out") == 0  # never answered before the address is verified
    world.network.censor = lambda data, source, target: False
    world.network.send(check(left), left.address, SERVER)
    world.run(0.021)
    assert world.server.counter("dtls_in") == 1  # not repeated
    assert world.server.counter("dtls_out") > 0
    world.connect_all()


@pytest.mark.parametrize("lost", range(4))
@pytest.mark.parametrize("from_server", [True, False])
def test_any_lost_handshake_datagram_is_repeated(lost: int, from_server: bool) -> None:
    world = World(1)
    handshake: list[bytes] = []

    def censor(data: bytes, source: Address, target: Address) -> bool:
        if not 20 <= data[0] < 64 or (source == SERVER) != from_server:
            return False
        handshake.append(data)
        return len(handshake) == lost + 1

    world.network.censor = censor
    world.add()
    assert world.connect_all(2) < 1


def test_ice_restarts_while_the_handshake_is_half_done() -> None:
    world = World(1, Link(delay_s=0.05))
    left, right = world.add(), world.add()
    world.until(lambda: world.server.counter("dtls_out") > 0, 2)
    assert not left.peer.connected
    for person in (left, right):
        person.offer(restart=True)
    world.connect_all(3)
    left.talk()
    assert arrives(world, left, right) >= 40


# --- a path that changes ----------------------------------------------------------------------------------------------


def test_ice_restart_goes_on_with_the_old_pair_until_the_new_is_nominated() -> None:
    world, left, right = talking()
    old = left.address
    left.offer(restart=True)
    world.network.connect(left.address[0], SERVER[0], DEAD)  # the new checks do not get through yet
    assert arrives(world, right, left, 1.5) >= 74
    new = ("203.0.113.200", 5555)
    world.network.connect(new[0], SERVER[0], Link(delay_s=0.02))
    left.move(new)
    left.peer.check_soon(world.now)
    left.touch()
    world.run(0.3)
    silence = sent_to(world, old)
    assert arrives(world, left, right) >= 49
    assert arrives(world, right, left) >= 49
    assert silence == []


def test_ice_restart_in_place_loses_nothing() -> None:
    world, left, right = talking()
    for _ in range(3):
        left.offer(restart=True)
        right.offer(restart=True)
        world.run(1)
    left.quiet()
    right.quiet()
    world.run(0.5)
    assert right.numbers(left, "audio") == list(range(left.microphone.sent))
    assert left.numbers(right, "audio") == list(range(right.microphone.sent))


def test_a_changed_address_is_taken_at_the_first_check() -> None:
    world, left, right = talking()
    new = ("203.0.113.201", 1234)
    left.move(new)
    left.peer.check_soon(world.now)
    left.touch()
    sent = sent_to(world, new)
    world.run(0.045)
    assert any(data[0] >= 128 for data in sent)  # media, within a round trip
    assert arrives(world, right, left) >= 49
    assert arrives(world, left, right) >= 49
    assert world.server.counter("ice_switches") == 1


def test_whose_path_does_not_change_is_asked_nothing() -> None:
    world, _, _ = talking()
    world.run(20)
    assert world.server.counter("checks_out") == 0


@pytest.mark.parametrize("seed", range(5))
def test_a_changed_address_is_kept_over_a_path_that_loses_a_third(seed: int) -> None:
    world = call(seed, link=Link(delay_s=0.05))
    left, right = world.people
    right.talk()
    world.run(1)
    new = ("203.0.113.201", 1234)
    world.network.connect(new[0], SERVER[0], Link(delay_s=0.1, loss=0.33))
    left.move(new)
    left.peer.check_soon(world.now)
    left.touch()
    world.run(3)
    assert arrives(world, right, left, 10) >= 250


def test_a_stranger_whose_address_is_forged_gets_a_second_of_media() -> None:
    """And who forged it gets on with the call as soon as they check again."""
    world, left, right = talking()
    sent = sent_to(world, STRANGER)
    for _ in range(25):
        world.network.send(check(left), STRANGER, SERVER)
        world.run(1)
    assert 0 < sum(data[0] >= 128 for data in sent) <= 70
    assert not any(20 <= data[0] < 64 for data in sent)
    assert arrives(world, right, left) >= 49


def test_somebody_else_s_media_cannot_move_an_address() -> None:
    world, left, right = talking()
    recorded: list[bytes] = []
    world.network.taps.append(
        lambda data, source, target, now_ns: recorded.append(data) if source == left.address else None
    )
    world.run(0.5)
    sent = sent_to(world, STRANGER)
    for data in recorded:
        if data[0] >= 4:
            world.network.send(data, STRANGER, SERVER)
    assert arrives(world, right, left) >= 49
    assert sent == []


def test_checks_from_two_addresses_in_turn_keep_the_call() -> None:
    world, left, right = talking()
    homes = [left.address, ("203.0.113.202", 4321)]
    for turn in range(10):
        left.move(homes[turn % 2])
        left.peer.check_soon(world.now)
        left.touch()
        world.run(0.1)
        assert arrives(world, right, left, 0.5) >= 24
    assert world.server.counter("ice_switches") == 9


# --- silence ----------------------------------------------------------------------------------------------------------


def test_others_are_told_of_a_lost_path_within_2_s_and_of_its_return() -> None:
    world, left, right = talking(Link(delay_s=0.005))
    world.network.connect(left.address[0], SERVER[0], DEAD)
    cut = world.now

    def states() -> list[tuple[float, str]]:
        return [(at - cut, m["participant"]["connection"]) for at, m in right.mail("participant_updated") if at > cut]

    world.run(2)
    assert [state for _, state in states()] == ["reconnecting"]
    assert 1 < states()[0][0] <= 2
    world.run(3)
    world.network.connect(left.address[0], SERVER[0], Link(delay_s=0.005))
    cut = world.now
    world.run(0.1)
    assert [state for _, state in states()] == ["connected"]


def test_a_lost_answer_to_a_check_is_not_a_failure() -> None:
    world, left, right = talking()
    world.network.connect(SERVER[0], left.address[0], Link(delay_s=0.02, loss=0.5))
    world.run(20)
    told = [message["participant"]["connection"] for _, message in right.mail("participant_updated")]
    assert "reconnecting" not in told
    assert left.peer.connected


def test_sending_stops_when_consent_is_30_s_old() -> None:
    world, left, right = talking()
    world.network.connect(left.address[0], SERVER[0], DEAD)
    cut = world.now
    times: list[float] = []
    world.network.taps.append(
        lambda data, source, target, now_ns: times.append(now_ns / 1e9 - cut) if target == left.address else None
    )
    world.run(60)
    assert times[-1] == pytest.approx(30, abs=3)  # 30 s after the last check, and checks come each 2.5 s
    assert right.numbers(left, "audio")
    world.network.connect(left.address[0], SERVER[0], Link(delay_s=0.02))
    world.run(3)
    assert arrives(world, right, left) >= 49  # a fresh check is fresh consent


def test_silent_people_stay_connected_by_their_checks_alone() -> None:
    world = call(link=Link(delay_s=0.02))
    world.run(120)
    left, right = world.people
    told = {message["participant"]["connection"] for _, message in right.mail("participant_updated")}
    assert "reconnecting" not in told
    left.talk()
    assert arrives(world, left, right) >= 48


def test_people_who_leave_get_nothing_more() -> None:
    world, left, right = talking()
    sent = sent_to(world, left.address)
    left.leave()
    goodbye = len(sent)
    world.run(5)
    assert len(sent) == goodbye
    assert [message["reason"] for _, message in right.mail("participant_left")] == ["left"]
