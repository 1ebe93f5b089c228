"""The relay core by hand (rtc/native/relay.h), with aioice's STUN as the other side."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import pytest
from aioice import stun

from rtc._worker import EVENT_REQUEST, Worker

SECOND = 1_000_000_000
CLIENT = ("198.51.100.7", 4000)
PEER = ("192.0.2.50", 5000)
RELAYED = ("203.0.113.1", 50_000)
MEDIA = ("203.0.113.1", 443)
WHO = (0, *CLIENT, "", 0)
KEY = bytes(range(32))
ALL_PORTS = b"\xff" * 8192


@pytest.fixture
def worker() -> Iterator[Worker]:
    made = Worker(threaded=False, index=3)
    made.configure_relay(realm="wadud", nonce_key=KEY, nonce_lifetime_s=600, open_ports=ALL_PORTS)
    yield made
    made.close()


def request(method: stun.Method = stun.Method.ALLOCATE, **attributes: Any) -> stun.Message:
    message = stun.Message(message_method=method, message_class=stun.Class.REQUEST)
    for name, value in attributes.items():
        message.attributes[name.replace("_", "-")] = value
    return message


def sent(worker: Worker) -> list[tuple[bytes, tuple[str, int]]]:
    return worker.take_datagrams()


def ask(worker: Worker, message: stun.Message, now: int, client: tuple[str, int] = CLIENT) -> list[stun.Message]:
    worker.receive(bytes(message), client, now)
    answers = sent(worker)
    assert all(to == client for _, to in answers)
    return [stun.parse_message(data) for data, _ in answers]


def with_credentials(method: stun.Method, nonce: bytes) -> stun.Message:
    message = request(method, USERNAME="somebody", REALM="wadud", NONCE=nonce)
    message.add_message_integrity(b"key")
    return message


def nonce_for(worker: Worker, now: int, client: tuple[str, int] = CLIENT) -> bytes:
    [answer] = ask(worker, request(), now, client)
    return bytes(answer.attributes["NONCE"])


def allocated(worker: Worker, now: int = SECOND, *, bandwidth_bps: int = 0) -> None:
    worker.advance(now)
    worker.add_allocation(1, WHO, bandwidth_bps=bandwidth_bps)
    worker.add_relayed(1, RELAYED)
    worker.permit(1, PEER[0], now + 300 * SECOND)
    worker.bind_channel(1, 0x4001, PEER, now + 600 * SECOND)


def channel_data(number: int, data: bytes) -> bytes:
    return struct.pack("!HH", number, len(data)) + data


def send_indication(peer: tuple[str, int], data: bytes) -> bytes:
    message = stun.Message(message_method=stun.Method.SEND, message_class=stun.Class.INDICATION)
    message.attributes["XOR-PEER-ADDRESS"] = peer
    message.attributes["DATA"] = data
    return bytes(message)


def test_who_comes_without_credentials_is_told_realm_and_nonce(worker: Worker) -> None:
    [answer] = ask(worker, request(REQUESTED_TRANSPORT=0x11000000), SECOND)
    assert answer.message_class is stun.Class.ERROR
    assert answer.attributes["ERROR-CODE"][0] == 401
    assert answer.attributes["REALM"] == "wadud"
    assert worker.take_events() == []


def test_a_request_with_our_nonce_is_heard(worker: Worker) -> None:
    message = with_credentials(stun.Method.ALLOCATE, nonce_for(worker, SECOND))
    assert ask(worker, message, 2 * SECOND) == []
    assert worker.take_events() == [(EVENT_REQUEST, 0, *CLIENT, "", 0, bytes(message))]


@pytest.mark.parametrize("nonce", [b"0123456789abcdef", b"short", b"x" * 200, b"!" * 16])
def test_an_invented_nonce_is_stale(worker: Worker, nonce: bytes) -> None:
    [answer] = ask(worker, with_credentials(stun.Method.REFRESH, nonce), SECOND)
    assert answer.attributes["ERROR-CODE"][0] == 438
    assert worker.take_events() == []


def test_a_nonce_is_worth_nothing_at_another_address_nor_after_its_time(worker: Worker) -> None:
    nonce = nonce_for(worker, SECOND)
    for other in (("198.51.100.8", CLIENT[1]), (CLIENT[0], 4001)):
        [answer] = ask(worker, with_credentials(stun.Method.ALLOCATE, nonce), 2 * SECOND, other)
        assert answer.attributes["ERROR-CODE"][0] == 438
    [answer] = ask(worker, with_credentials(stun.Method.ALLOCATE, nonce), 602 * SECOND)
    assert answer.attributes["ERROR-CODE"][0] == 438
    assert worker.take_events() == []


def test_a_nonce_holds_for_every_worker_with_the_same_key(worker: Worker) -> None:
    other = Worker(threaded=False)
    other.configure_relay(realm="wadud", nonce_key=KEY, open_ports=ALL_PORTS)
    assert ask(other, with_credentials(stun.Method.ALLOCATE, nonce_for(worker, SECOND)), 2 * SECOND) == []
    assert len(other.take_events()) == 1
    other.close()


def test_binding_is_answered_with_the_address_it_came_from(worker: Worker) -> None:
    [answer] = ask(worker, request(stun.Method.BINDING), SECOND)
    assert answer.attributes["XOR-MAPPED-ADDRESS"] == CLIENT
    assert answer.message_class is stun.Class.RESPONSE


def test_binding_is_an_event_for_who_wants_it() -> None:
    worker = Worker(threaded=False)
    worker.configure_relay(realm="wadud", nonce_key=KEY, answer_binding=False, open_ports=ALL_PORTS)
    assert ask(worker, request(stun.Method.BINDING), SECOND) == []
    assert [event[0] for event in worker.take_events()] == [EVENT_REQUEST]


def test_before_it_is_configured_nothing_is_answered() -> None:
    worker = Worker(threaded=False)
    assert ask(worker, request(), SECOND) == []
    assert worker.counters()["drop_turn_unexpected"] == 1


def test_an_address_that_proves_nothing_gets_hardly_more_than_it_gave(worker: Worker) -> None:
    """However long it goes on, and whatever is asked."""
    received = answered = 0
    for tick in range(20_000):
        message = bytes(request() if tick % 2 else request(stun.Method.BINDING))
        worker.receive(message, CLIENT, SECOND + tick * 1_000_000)
        received += len(message)
        answered += sum(len(data) for data, _ in sent(worker))
    assert answered <= received + 2400 + 20 * 600
    assert worker.counters()["drop_turn_unanswered"] > 1000


def test_many_unproven_addresses_together_get_hardly_more_than_they_gave(worker: Worker) -> None:
    received = answered = 0
    for number in range(100_000):
        message = bytes(request())
        worker.receive(message, (f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 99), SECOND + number)
        received += len(message)
        answered += sum(len(data) for data, _ in sent(worker))
    assert answered <= received + 40_000 + 1000


def test_requests_of_one_address_are_limited(worker: Worker) -> None:
    message = with_credentials(stun.Method.ALLOCATE, nonce_for(worker, SECOND))
    for _ in range(3000):
        worker.receive(bytes(message), CLIENT, 2 * SECOND)
    assert len(worker.take_events()) <= 1000
    assert worker.counters()["drop_turn_rate"] >= 2000


def test_who_does_not_listen_is_not_buried_in_requests(worker: Worker) -> None:
    worker.configure_relay(realm="wadud", nonce_key=KEY, requests_per_s=1_000_000, open_ports=ALL_PORTS)
    message = with_credentials(stun.Method.ALLOCATE, nonce_for(worker, SECOND))
    for _ in range(6000):
        worker.receive(bytes(message), CLIENT, 2 * SECOND)
    assert worker.counters()["drop_turn_busy"] > 0
    assert worker.counters()["drop_event_ring_full"] == 0


def test_channel_data_goes_to_its_peer_and_back(worker: Worker) -> None:
    allocated(worker)
    worker.receive(channel_data(0x4001, b"to peer") + b"\0", CLIENT, 2 * SECOND)
    assert sent(worker) == [(b"to peer", PEER)]
    worker.receive_relayed(b"to client", PEER, RELAYED, 2 * SECOND)
    assert sent(worker) == [(channel_data(0x4001, b"to client"), CLIENT)]


def test_without_a_channel_data_travels_in_indications(worker: Worker) -> None:
    allocated(worker)
    worker.receive(send_indication((PEER[0], 7), b"hello"), CLIENT, 2 * SECOND)
    assert sent(worker) == [(b"hello", (PEER[0], 7))]
    worker.receive_relayed(b"hello yourself", (PEER[0], 7), RELAYED, 2 * SECOND)
    [(data, to)] = sent(worker)
    answer = stun.parse_message(data)
    assert to == CLIENT
    assert (answer.message_method, answer.message_class) == (stun.Method.DATA, stun.Class.INDICATION)
    assert answer.attributes["XOR-PEER-ADDRESS"] == (PEER[0], 7)
    assert answer.attributes["DATA"] == b"hello yourself"


def test_nothing_passes_without_a_permission_or_after_it(worker: Worker) -> None:
    allocated(worker)
    stranger = ("192.0.2.51", 5000)
    worker.receive(send_indication(stranger, b"x"), CLIENT, 2 * SECOND)
    worker.receive_relayed(b"x", stranger, RELAYED, 2 * SECOND)
    later = SECOND + 300 * SECOND
    worker.receive(channel_data(0x4001, b"x"), CLIENT, later)
    worker.receive_relayed(b"x", PEER, RELAYED, later)
    assert sent(worker) == []
    worker.permit(1, PEER[0], later + 300 * SECOND)
    worker.receive(channel_data(0x4001, b"again"), CLIENT, later + 1)
    assert sent(worker) == [(b"again", PEER)]


def test_a_channel_ends(worker: Worker) -> None:
    allocated(worker)
    later = 602 * SECOND
    worker.permit(1, PEER[0], later + SECOND)
    worker.receive(channel_data(0x4001, b"x"), CLIENT, later)
    assert sent(worker) == []
    worker.receive_relayed(b"as an indication", PEER, RELAYED, later)
    [(data, _)] = sent(worker)
    assert stun.parse_message(data).attributes["DATA"] == b"as an indication"


def test_strangers_and_broken_data_are_dropped_and_counted(worker: Worker) -> None:
    allocated(worker)
    worker.receive(channel_data(0x4001, b"x"), ("198.51.100.9", 4000), 2 * SECOND)
    worker.receive(channel_data(0x4002, b"x"), CLIENT, 2 * SECOND)
    worker.receive(b"\x40\x01\x00\x05four", CLIENT, 2 * SECOND)
    worker.receive(b"\x40\x01", CLIENT, 2 * SECOND)
    worker.receive(channel_data(0x4001, bytes(2049)), CLIENT, 2 * SECOND)
    worker.receive(send_indication(PEER, b"x")[:-4], CLIENT, 2 * SECOND)
    assert sent(worker) == []
    counters = worker.counters()
    assert counters["drop_relay_no_allocation"] == 1
    assert counters["drop_relay_no_channel"] == 1
    assert counters["drop_relay_malformed"] == 3
    assert counters["drop_relay_too_large"] == 1


def test_an_ice_check_for_a_media_port_is_handed_to_the_forwarding_core_and_answered_through_the_relay(
    worker: Worker,
) -> None:
    worker.know_media(*MEDIA, worker)
    allocated(worker)
    worker.permit(1, MEDIA[0], 300 * SECOND, media_only=True)
    worker.bind_channel(1, 0x4002, MEDIA, 300 * SECOND)
    worker.add_transport(1, "ABCDufrag0", "p" * 24)
    check = request(stun.Method.BINDING, USERNAME="ABCDufrag0:them", PRIORITY=1, ICE_CONTROLLING=1)
    check.attributes["USE-CANDIDATE"] = None
    check.add_message_integrity(b"p" * 24)
    check.add_fingerprint()
    worker.receive(channel_data(0x4002, bytes(check)), CLIENT, 2 * SECOND)
    [(data, to)] = sent(worker)
    assert to == CLIENT
    assert data[:2] == b"\x40\x02"
    answer = stun.parse_message(data[4:])
    assert answer.attributes["XOR-MAPPED-ADDRESS"] == RELAYED
    assert worker.counters()["relay_handed_over"] == worker.counters()["relay_handed_back"] == 1


def test_our_own_host_is_reached_at_its_media_ports_only(worker: Worker) -> None:
    worker.know_media(*MEDIA, worker)
    allocated(worker)
    worker.permit(1, MEDIA[0], 300 * SECOND, media_only=True)
    worker.receive(send_indication((MEDIA[0], 5432), b"x"), CLIENT, 2 * SECOND)
    worker.receive_relayed(b"x", (MEDIA[0], 5432), RELAYED, 2 * SECOND)
    worker.receive_relayed(b"x", MEDIA, RELAYED, 2 * SECOND)
    assert sent(worker) == []


def test_media_of_another_node_are_reached_by_a_socket_and_nothing_else_of_its_host(worker: Worker) -> None:
    allocated(worker)
    worker.know_media("192.0.2.77", 443, None)
    worker.permit(1, "192.0.2.77", 300 * SECOND, media_only=True)
    worker.receive(send_indication(("192.0.2.77", 5432), b"x"), CLIENT, 2 * SECOND)
    worker.receive_relayed(b"x", ("192.0.2.77", 5432), RELAYED, 2 * SECOND)
    assert sent(worker) == []
    worker.receive(send_indication(("192.0.2.77", 443), b"media"), CLIENT, 2 * SECOND)
    worker.receive_relayed(b"back", ("192.0.2.77", 443), RELAYED, 2 * SECOND)
    there, back = sent(worker)
    assert there == (b"media", ("192.0.2.77", 443))
    assert back[1] == CLIENT
    assert b"back" in back[0]
    worker.forget_media("192.0.2.77", 443)
    worker.receive(send_indication(("192.0.2.77", 443), b"gone"), CLIENT, 2 * SECOND)
    assert sent(worker) == []


def test_a_port_that_is_not_open_is_reached_by_nobody_in_either_direction() -> None:
    ports = bytearray(ALL_PORTS)
    ports[11211 >> 3] &= ~(1 << (11211 & 7))
    for given, passes in ((None, ()), (bytes(ports), (11210, 11212, 65535))):
        worker = Worker(threaded=False)
        more = {} if given is None else {"open_ports": given}
        worker.configure_relay(realm="wadud", nonce_key=KEY, **more)
        allocated(worker)
        for port in (11210, 11211, 11212, 65535):
            worker.receive(send_indication((PEER[0], port), b"x"), CLIENT, 2 * SECOND)
            worker.bind_channel(1, 0x4100 + port % 10, (PEER[0], port), 600 * SECOND)
            worker.receive(channel_data(0x4100 + port % 10, b"x"), CLIENT, 2 * SECOND)
            worker.receive_relayed(b"x", (PEER[0], port), RELAYED, 2 * SECOND)
            assert len(sent(worker)) == (3 if port in passes else 0), port
        assert worker.counters()["drop_relay_port"] == 3 * (4 - len(passes))
        worker.close()


def test_the_ports_are_given_in_full_or_not_at_all(worker: Worker) -> None:
    with pytest.raises(ValueError, match="open_ports"):
        worker.configure_relay(realm="wadud", nonce_key=KEY, open_ports=b"\xff")
    with pytest.raises(TypeError):
        worker.know_media(*PEER, "worker")  # type: ignore[arg-type]


def test_a_bandwidth_cap_holds(worker: Worker) -> None:
    allocated(worker, bandwidth_bps=1_000_000)
    passed = 0
    for tick in range(10_000):  # 9.6 Mbps for ten seconds
        worker.receive(channel_data(0x4001, bytes(1200)), CLIENT, 2 * SECOND + tick * 1_000_000)
        passed += sum(len(data) for data, _ in sent(worker))
    assert 1_200_000 <= passed <= 1_250_000 + 66_000


def test_an_allocation_moves_with_its_client(worker: Worker) -> None:
    allocated(worker)
    worker.move_allocation(1, (0, "198.51.100.99", 1, "", 0))
    worker.receive(channel_data(0x4001, b"old"), CLIENT, 2 * SECOND)
    worker.receive(channel_data(0x4001, b"new"), ("198.51.100.99", 1), 2 * SECOND)
    assert sent(worker) == [(b"new", PEER)]


def test_an_allocation_moves_also_when_there_is_room_for_no_other() -> None:
    worker = Worker(threaded=False, max_allocations=1)
    worker.configure_relay(realm="wadud", nonce_key=KEY, open_ports=ALL_PORTS)
    allocated(worker)
    worker.move_allocation(1, (0, "198.51.100.99", 1, "", 0))
    worker.receive(channel_data(0x4001, b"new"), ("198.51.100.99", 1), 2 * SECOND)
    assert sent(worker) == [(b"new", PEER)]
    worker.add_allocation(2, WHO)
    assert worker.counters()["commands_refused"] == 1
    worker.close()


def test_a_removed_allocation_is_gone_and_its_addresses_are_free(worker: Worker) -> None:
    allocated(worker)
    worker.remove_allocation(1)
    worker.receive(channel_data(0x4001, b"x"), CLIENT, 2 * SECOND)
    assert sent(worker) == []
    allocated(worker, 3 * SECOND)
    worker.receive(channel_data(0x4001, b"y"), CLIENT, 4 * SECOND)
    assert sent(worker) == [(b"y", PEER)]
    assert worker.counters()["commands_refused"] == 0


def test_ipv6_peers_are_named_in_full(worker: Worker) -> None:
    worker.advance(SECOND)
    worker.add_allocation(1, WHO)
    worker.add_relayed(1, ("2001:db8::1", 50_000))
    worker.permit(1, "2001:db8::2", 300 * SECOND)
    worker.receive_relayed(b"data", ("2001:db8::2", 9), ("2001:db8::1", 50_000), 2 * SECOND)
    [(data, _)] = sent(worker)
    assert stun.parse_message(data).attributes["XOR-PEER-ADDRESS"] == ("2001:db8::2", 9)


def test_permissions_and_channels_take_a_bounded_room(worker: Worker) -> None:
    allocated(worker)
    for number in range(200):
        worker.permit(1, f"192.0.2.{number}", (400 + number) * SECOND)
        worker.bind_channel(1, 0x4100 + number, (f"192.0.2.{number}", 9), (400 + number) * SECOND)
    worker.receive(channel_data(0x4100 + 199, b"newest"), CLIENT, 2 * SECOND)
    assert sent(worker) == [(b"newest", ("192.0.2.199", 9))]
