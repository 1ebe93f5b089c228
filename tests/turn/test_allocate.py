"""Allocate: what is granted, what is refused with which code, and what the packet plane is told."""

import pytest
from aioice import stun as oracle

from tests.turn.world import (
    FOREIGN,
    MEDIA,
    REALM,
    RELAYED_IPV4,
    RELAYED_IPV6,
    TCP,
    UDP,
    RecordingTcp,
    World,
)
from turn import attributes as names
from turn.relay import TurnSettings
from turn.stun import decode_address, decode_error, decode_xor_address, encode_uint32

IPV4, IPV6 = b"\x01\0\0\0", b"\x02\0\0\0"
EVEN, PAIR = b"\0", b"\x80"


def test_an_allocation_is_granted_without_a_socket() -> None:
    world = World()
    answer = world.allocate(user=world.visitor("alice"))
    client = world.client()
    assert answer.code == 0
    assert answer.relayed[0] == RELAYED_IPV4
    assert 50000 <= answer.relayed[1] <= 50099
    assert answer.lifetime == 600
    mapped = decode_xor_address(answer[names.XOR_MAPPED_ADDRESS], answer.message.transaction)
    assert mapped == (client.host, client.port)
    assert world.plane.commands == [
        ("add_allocation", 1, client, 10_000_000),
        ("add_relayed", 1, answer.relayed),
    ]
    assert world.sockets.open_fds == {}
    assert names.SOFTWARE not in answer


@pytest.mark.parametrize(
    "attributes, code",
    [
        pytest.param([], 400, id="no transport"),
        pytest.param([(names.REQUESTED_TRANSPORT, b"\x11")], 400, id="a short transport"),
        pytest.param([(names.REQUESTED_TRANSPORT, b"\x84\0\0\0")], 442, id="SCTP"),
        pytest.param([(names.REQUESTED_TRANSPORT, TCP)], 442, id="TCP where there is none"),
        pytest.param([(0x19, UDP), (0x7FF0, b"")], 420, id="an unknown attribute"),
        pytest.param([(0x19, UDP), (names.LIFETIME, b"\0\1")], 400, id="a short lifetime"),
        pytest.param([(0x19, UDP), (names.EVEN_PORT, b"")], 400, id="an empty EVEN-PORT"),
        pytest.param([(0x19, UDP), (names.RESERVATION_TOKEN, b"1234")], 400, id="a short token"),
        pytest.param([(0x19, UDP), (names.RESERVATION_TOKEN, b"12345678")], 508, id="a token of nobody"),
        pytest.param([(0x19, UDP), (0x22, b"12345678"), (0x18, EVEN)], 400, id="a token and EVEN-PORT"),
        pytest.param([(0x19, UDP), (0x22, b"12345678"), (0x17, IPV4)], 400, id="a token and a family"),
        pytest.param([(0x19, UDP), (0x22, b"12345678"), (0x8000, IPV6)], 400, id="a token and another family"),
        pytest.param([(0x19, UDP), (0x17, b"\x03\0\0\0")], 440, id="a family that is none"),
        pytest.param([(0x19, UDP), (0x17, b"\x01")], 400, id="a short family"),
        pytest.param([(0x19, UDP), (0x17, IPV4), (0x8000, IPV6)], 400, id="two ways to ask for families"),
        pytest.param([(0x19, UDP), (0x8000, IPV4)], 400, id="IPv4 as the additional family"),
        pytest.param([(0x19, UDP), (0x8000, IPV6), (0x18, PAIR)], 400, id="two families and a reservation"),
        pytest.param([(0x19, UDP), (names.MOBILITY_TICKET, b"mine")], 400, id="a ticket of one's own"),
    ],
)
def test_what_cannot_be_granted_is_refused_by_its_code(attributes: list[tuple[int, bytes]], code: int) -> None:
    world = World()
    assert world.ask(names.ALLOCATE, *attributes).code == code
    assert world.server.allocations == 0
    assert world.plane.commands == []
    assert world.pools[names.FAMILY_IPV4].in_use == 0
    assert world.server.counters.refused == {code: 1}


def test_unknown_attributes_are_named() -> None:
    answer = World().allocate((0x7FF0, b""), (0x0099, b"x"))
    assert answer[names.UNKNOWN_ATTRIBUTES] == b"\x7f\xf0\x00\x99"


@pytest.mark.parametrize("fingerprint", [True, False])
def test_a_fingerprint_is_answered_with_one(fingerprint: bool) -> None:
    world = World()
    answer = world.send(world.client(), world.request(names.ALLOCATE, (0x19, UDP), fingerprint=fingerprint))
    assert answer is not None
    assert answer.message.fingerprinted == fingerprint


def test_dont_fragment_is_accepted() -> None:
    assert World().allocate((names.DONT_FRAGMENT, b"")).code == 0


def test_a_five_tuple_has_one_allocation() -> None:
    world = World()
    world.allocate()
    assert world.allocate().code == 437
    assert world.allocate(user=world.visitor("bob")).code == 437
    assert world.allocate(client=world.client(2)).code == 0
    assert world.allocate(client=world.client(1, stream=5)).code == 0, "the same address over TCP"


# --- lifetimes ---


@pytest.mark.parametrize("asked, granted", [(0, 600), (1, 600), (599, 600), (1800, 1800), (2**32 - 1, 3600)])
def test_lifetimes_are_granted_within_bounds(asked: int, granted: int) -> None:
    world = World()
    assert world.allocate((names.LIFETIME, encode_uint32(asked))).lifetime == granted
    world.pass_time(granted - 0.1)
    assert world.server.allocations == 1
    world.pass_time(0.1)
    assert world.server.allocations == 0
    assert world.plane.named("remove_allocation") == [(1,)]
    assert world.server.counters.expired == 1


def test_no_lifetime_goes_beyond_the_credential() -> None:
    world = World()
    assert world.allocate((names.LIFETIME, encode_uint32(3600)), user=world.visitor("alice", 90)).lifetime == 90
    world.now += 0.5
    other = world.allocate(client=world.client(2), user=world.visitor("alice", 90))
    assert other.lifetime == 89, "not a fraction longer"


def test_an_expired_credential_gets_a_challenge() -> None:
    world = World()
    visitor = world.visitor("alice", 90)
    world.now += 90
    answer = world.send(world.client(), world.request(names.ALLOCATE, (0x19, UDP), user=visitor))
    assert answer is not None
    assert answer.code == 401
    assert answer[names.REALM] == REALM.encode()
    assert names.NONCE in answer
    assert names.MESSAGE_INTEGRITY not in answer
    assert world.server.counters.auth_failures == 1


def test_an_allocation_that_has_run_out_makes_room_before_the_sweep() -> None:
    world = World()
    world.allocate()
    world.now += 600
    assert world.allocate().code == 0
    assert world.server.allocations == 1


# --- families ---


def test_each_family_is_given_on_request() -> None:
    world = World()
    assert world.allocate((names.REQUESTED_ADDRESS_FAMILY, IPV4)).relayed[0] == RELAYED_IPV4
    assert world.allocate((names.REQUESTED_ADDRESS_FAMILY, IPV6), client=world.client(2)).relayed[0] == RELAYED_IPV6


def test_both_families_come_in_one_allocation() -> None:
    world = World()
    answer = world.allocate((names.ADDITIONAL_ADDRESS_FAMILY, IPV6))
    assert answer.code == 0
    assert [command[1][0] for command in world.plane.named("add_relayed")] == [RELAYED_IPV4, RELAYED_IPV6]
    assert names.ADDRESS_ERROR_CODE not in answer
    assert world.server.allocations == 1


@pytest.mark.parametrize(
    "families, there, missing",
    [((names.FAMILY_IPV4,), RELAYED_IPV4, names.FAMILY_IPV6), ((names.FAMILY_IPV6,), RELAYED_IPV6, names.FAMILY_IPV4)],
)
def test_a_missing_family_is_told_beside_the_one_that_is_there(
    families: tuple[int, ...], there: str, missing: int
) -> None:
    answer = World(families=families).allocate((names.ADDITIONAL_ADDRESS_FAMILY, IPV6))
    assert answer.relayed[0] == there
    assert answer[names.ADDRESS_ERROR_CODE][0] == missing
    assert decode_error(answer[names.ADDRESS_ERROR_CODE]) == 440


def test_a_family_that_is_not_there_is_refused() -> None:
    assert World(families=(names.FAMILY_IPV6,)).allocate().code == 440, "IPv4 is the default"
    assert World(families=(names.FAMILY_IPV4,)).allocate((names.REQUESTED_ADDRESS_FAMILY, IPV6)).code == 440
    assert World(families=()).allocate((names.ADDITIONAL_ADDRESS_FAMILY, IPV6)).code == 440


def test_a_full_family_is_told_beside_the_other() -> None:
    world = World(ports=(50000, 50000))
    world.allocate()
    answer = world.allocate((names.ADDITIONAL_ADDRESS_FAMILY, IPV6), client=world.client(2))
    assert answer.relayed[0] == RELAYED_IPV6
    assert decode_error(answer[names.ADDRESS_ERROR_CODE]) == 508
    assert world.allocate(client=world.client(3)).code == 508


# --- even ports and reservations ---


def test_an_even_port_is_open_at_once() -> None:
    world = World()
    answer = world.allocate((names.EVEN_PORT, EVEN))
    assert answer.relayed[1] % 2 == 0
    assert names.RESERVATION_TOKEN not in answer
    assert list(world.sockets.open_fds.values()) == [answer.relayed]
    assert world.plane.named("open_relayed") == [(1, answer.relayed, 100)]


def test_the_next_port_is_reserved_for_the_same_user() -> None:
    world = World()
    first = world.allocate((names.EVEN_PORT, PAIR))
    token = first[names.RESERVATION_TOKEN]
    stranger = world.allocate((names.RESERVATION_TOKEN, token), client=world.client(2), user=world.visitor("bob"))
    assert stranger.code == 508
    second = world.allocate((names.RESERVATION_TOKEN, token), client=world.client(2))
    assert second.relayed == (RELAYED_IPV4, first.relayed[1] + 1)
    assert [command[1] for command in world.plane.named("open_relayed")] == [first.relayed, second.relayed]
    assert world.allocate((names.RESERVATION_TOKEN, token), client=world.client(3)).code == 508, "it was used"


def test_a_reservation_that_nobody_claims_ends_after_30_s() -> None:
    world = World()
    first = world.allocate((names.EVEN_PORT, PAIR))
    world.pass_time(30)
    assert list(world.sockets.open_fds.values()) == [first.relayed]
    assert world.pools[names.FAMILY_IPV4].in_use == 1
    late = world.allocate((names.RESERVATION_TOKEN, first[names.RESERVATION_TOKEN]), client=world.client(2))
    assert late.code == 508


def test_a_pair_that_another_program_holds_half_is_given_back_and_another_drawn() -> None:
    world = World(ports=(50000, 50007))
    world.sockets.taken = lambda address: address[1] in (50001, 50002, 50004)
    answer = world.allocate((names.EVEN_PORT, PAIR))
    assert answer.relayed[1] == 50006
    assert sorted(port for _, port in world.sockets.open_fds.values()) == [50006, 50007]
    assert world.pools[names.FAMILY_IPV4].in_use == 2
    world.sockets.taken = lambda address: True
    assert world.allocate((names.EVEN_PORT, EVEN), client=world.client(2)).code == 508
    assert world.pools[names.FAMILY_IPV4].in_use == 2


# --- quotas, drain, failures ---


def test_a_user_has_a_quota_that_renewed_credentials_share() -> None:
    world = World(TurnSettings(quota=2))
    for number in (1, 2):
        visitor = world.visitor("alice", 100 + number)
        assert world.allocate(client=world.client(number), user=visitor).code == 0
    assert world.allocate(client=world.client(3), user=world.visitor("alice", 500)).code == 486
    assert world.allocate(client=world.client(3), user=world.visitor("bob")).code == 0
    world.refresh(0, client=world.client(1), user=world.visitor("alice"))
    assert world.allocate(client=world.client(4), user=world.visitor("alice", 500)).code == 0


@pytest.mark.parametrize(
    "hosts, other",
    [
        (("198.51.100.7", "198.51.100.7"), "198.51.100.8"),
        (("2001:db8:1:2::1", "2001:db8:1:2:ffff::9"), "2001:db8:1:3::1"),
    ],
)
def test_an_address_has_a_quota_and_a_network_of_64_bits_is_one(hosts: tuple[str, str], other: str) -> None:
    world = World(TurnSettings(quota_address=2))
    for number, host in enumerate(hosts):
        client = world.client(number, host=host)
        assert world.allocate(client=client, user=world.visitor(str(number))).code == 0
    assert world.allocate(client=world.client(3, host=hosts[0]), user=world.visitor("c")).code == 486
    assert world.allocate(client=world.client(3, host=other), user=world.visitor("c")).code == 0
    world.pass_time(600)
    assert world.allocate(client=world.client(4, host=hosts[0]), user=world.visitor("c")).code == 0


def test_the_servers_of_one_process_share_quotas_and_reservations() -> None:
    one = World(TurnSettings(quota=1))
    other = World(TurnSettings(quota=1), beside=one)
    first = one.allocate((names.EVEN_PORT, PAIR), user=one.visitor("alice"))
    assert other.allocate(client=other.client(2), user=other.visitor("alice")).code == 486
    one.refresh(0, user=one.visitor("alice"))
    token = (names.RESERVATION_TOKEN, first[names.RESERVATION_TOKEN])
    assert other.allocate(token, client=other.client(2), user=other.visitor("alice")).code == 0
    assert one.allocate(user=one.visitor("alice")).code == 486


def test_the_server_has_a_bound() -> None:
    world = World(TurnSettings(max_allocations=1))
    world.allocate()
    assert world.allocate(client=world.client(2)).code == 508


def test_a_draining_server_sends_clients_elsewhere() -> None:
    world = World(TurnSettings(alternates=(("192.0.2.77", 443),)))
    world.allocate()
    world.server.drain()
    assert not world.server.drained
    answer = world.allocate(client=world.client(2))
    assert answer.code == 300
    assert decode_address(answer[names.ALTERNATE_SERVER]) == ("192.0.2.77", 443)
    ipv6 = world.allocate(client=world.client(2, host="2001:db8:7::1"))
    assert ipv6.code == 508, "an alternate of the other family would be no help"
    assert world.refresh().code == 0, "who is there may stay"
    world.refresh(0)
    assert world.server.drained


def test_a_failure_of_our_own_is_500_and_leaves_nothing_behind(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    world.plane.failing = True
    assert world.allocate().code == 500
    assert world.allocate((names.EVEN_PORT, PAIR)).code == 500
    assert "transaction failed" in caplog.text
    world.plane.failing = False
    assert world.sockets.open_fds == {}
    assert world.server.allocations == 0
    assert world.pools[names.FAMILY_IPV4].in_use == 0
    assert world.allocate().code == 0


# --- TCP allocations ---


def test_a_tcp_allocation_needs_a_stream_and_nothing_of_udp() -> None:
    tcp = RecordingTcp()
    world = World(tcp=tcp)
    assert world.allocate(transport=TCP).code == 400
    stream = world.client(stream=3)
    for extra in ((names.EVEN_PORT, EVEN), (names.DONT_FRAGMENT, b""), (names.RESERVATION_TOKEN, b"12345678")):
        assert world.allocate(extra, transport=TCP, client=stream).code == 400
    assert world.allocate((names.MOBILITY_TICKET, b""), transport=TCP, client=stream).code == 405
    answer = world.allocate(transport=TCP, client=stream)
    assert answer.code == 0
    assert list(tcp.listening.values()) == [answer.relayed]
    assert world.plane.commands == [], "no packet passes the plane"
    assert world.permit(FOREIGN, client=stream).code == 0
    assert world.permit(MEDIA[0], client=stream).code == 403, "our media are UDP"
    assert world.bind(0x4000, (FOREIGN, 5005), client=stream).code == 400
    assert world.plane.commands == []
    world.server.stream_closed(3)
    assert tcp.removed == [1]
    assert world.server.allocations == 0


# --- as somebody else's client sees it ---


def test_aioice_asks_and_reads_the_answer() -> None:
    world = World()
    name, key = world.visitor("alice")
    request = oracle.Message(message_method=oracle.Method.ALLOCATE, message_class=oracle.Class.REQUEST)
    request.attributes["LIFETIME"] = 900
    request.attributes["REQUESTED-TRANSPORT"] = 0x11000000
    request.attributes["USERNAME"] = name
    request.attributes["REALM"] = REALM
    request.attributes["NONCE"] = b"given by the packet plane"
    request.add_message_integrity(key)
    world.server.handle_request(world.client(), bytes(request), world.now)
    answer = oracle.parse_message(world.plane.replies[-1][1])
    assert answer.check_message_integrity(key)
    assert answer.message_class is oracle.Class.RESPONSE
    assert answer.transaction_id == request.transaction_id
    assert answer.attributes["LIFETIME"] == 900
    assert answer.attributes["XOR-RELAYED-ADDRESS"] == world.plane.named("add_relayed")[0][1]
    assert answer.attributes["XOR-MAPPED-ADDRESS"] == tuple(world.client()[1:3])


def test_aioice_reads_a_refusal() -> None:
    world = World()
    world.server.handle_request(world.client(), world.request(names.REFRESH), world.now)
    answer = oracle.parse_message(world.plane.replies[-1][1])
    assert answer.check_message_integrity(world.user()[1])
    assert answer.attributes["ERROR-CODE"] == (437, "Allocation Mismatch")
