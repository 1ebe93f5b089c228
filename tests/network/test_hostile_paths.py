"""Addresses that are not theirs, and checks that ask for more than they give (RFC 8445 section 19)."""

from aioice import stun

from rtc._worker import EVENT_DTLS, EVENT_SELECTED, Worker
from tests.network.emulator import SECOND
from tests.network.world import SERVER, call
from tests.rtc.checks import PASSWORD, UFRAG, check


def test_a_check_with_a_forged_source_does_not_take_an_address_away() -> None:
    world = call(people=3)
    left, right, mallory = world.people
    left.talk()
    world.run(1)
    before = len(right.numbers(left, "audio"))
    for number in range(100):
        username = f"{mallory.peer._remote_ufrag}:{mallory.peer.ufrag}".encode()
        forged = mallory.peer._check(number.to_bytes(12, "big"), username)
        world.network.send(forged, left.address, SERVER)
        world.run(0.02)
    assert len(right.numbers(left, "audio")) - before >= 98
    assert not [stamp for stamp in left.hears(mallory, "audio")]


def test_an_ipv6_address_made_to_look_the_same_takes_nothing_away() -> None:
    mask, most = (1 << 64) - 1, 1 << 63

    def unshift(x: int, by: int) -> int:
        result = x
        for _ in range(64 // by + 1):
            result = x ^ result >> by
        return result

    def mix(x: int) -> int:
        x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & mask
        x = (x ^ x >> 27) * 0x94D049BB133111EB & mask
        return x ^ x >> 31

    def unmix(x: int) -> int:
        x = unshift(x, 31) * pow(0x94D049BB133111EB, -1, 1 << 64) & mask
        x = unshift(x, 27) * pow(0xBF58476D1CE4E5B9, -1, 1 << 64) & mask
        return unshift(x, 30)

    def text(high: int, low: int) -> str:
        whole = f"{high:016x}{low:016x}"
        return ":".join(whole[at : at + 4] for at in range(0, 32, 4))

    assert unmix(mix(12345)) == 12345
    victim_high, victim_low, own_high, port = 0x2001_0DB8_0000_0001, 7, 0x2001_0DB8_0000_0002, 40_000
    key = mix(victim_high ^ mix(victim_low)) ^ port ^ most
    for own_port in range(1024, 1100):  # the highest bit of the mixed half is free to choose
        own_low = unmix(unmix(key ^ own_port ^ most) ^ own_high)
        worker = Worker(threaded=False)
        worker.add_transport(1, UFRAG, PASSWORD)
        worker.add_transport(2, "wxyz9876", PASSWORD)
        victim = (text(victim_high, victim_low), port)
        worker.receive(check(), victim, 1)
        worker.take_events()
        worker.receive(check(ufrag="wxyz9876"), (text(own_high, own_low), own_port), 8 * SECOND)
        worker.receive(bytes([22]) + bytes(99), victim, 8 * SECOND)
        events = worker.take_events()
        worker.close()
        assert events[-1][:2] == (EVENT_DTLS, 1)  # the victim's handshake goes on


def test_a_receivers_spare_path_does_not_take_over_between_two_checks() -> None:
    worker = Worker(threaded=False)
    worker.add_transport(1, UFRAG, PASSWORD)
    worker.receive(check(), ("192.0.2.7", 40_000), 1)
    worker.take_events()
    for second in range(1, 20):
        worker.receive(check(nominate=False), ("192.0.2.8", 40_000), second * SECOND)
        if second % 3 == 0:
            worker.receive(check(nominate=False), ("192.0.2.7", 40_000), second * SECOND + 1)
    assert not [event for event in worker.take_events() if event[0] == EVENT_SELECTED]
    worker.close()


def test_no_answer_to_a_check_is_larger_than_the_check() -> None:
    worker = Worker(threaded=False)
    worker.add_transport(1, UFRAG, PASSWORD)
    message = stun.Message(stun.Method.BINDING, stun.Class.REQUEST, bytes(12))
    message.attributes["USERNAME"] = f"{UFRAG}:"
    message.add_message_integrity(PASSWORD.encode())
    worker.receive(bytes(message), ("2001:db8::1", 40_000), 1)
    assert all(len(data) <= len(bytes(message)) for data, _ in worker.take_datagrams())
    worker.close()
