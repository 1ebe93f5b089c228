"""Refresh, CreatePermission and ChannelBind on allocations, and requests that come again."""

import pytest

from tests.turn.world import FOREIGN, FOREIGN_IPV6, MEDIA, NODE, REALM, UDP, World
from turn import attributes as names
from turn.credentials import long_term_key
from turn.plane import Client
from turn.relay import MAX_CHANNELS, MAX_PERMISSIONS, TurnSettings
from turn.replies import MAX_KEPT, Replies
from turn.stun import MessageClass, build, encode_xor_address

IPV4, IPV6 = b"\x01\0\0\0", b"\x02\0\0\0"
SECOND = 1_000_000_000


@pytest.fixture
def world() -> World:
    """With an allocation of the nurse's."""
    world = World()
    world.allocate()
    return world


@pytest.fixture
def dual() -> World:
    world = World()
    world.allocate((names.ADDITIONAL_ADDRESS_FAMILY, IPV6))
    return world


# --- whose allocation it is ---


@pytest.mark.parametrize("stranger", ["visitor", "porter"])
def test_only_its_owner_touches_an_allocation(world: World, stranger: str) -> None:
    user = world.visitor("bob") if stranger == "visitor" else world.user("porter", "other")
    assert world.refresh(user=user).code == 441
    assert world.refresh(0, user=user).code == 441
    assert world.permit(FOREIGN, user=user).code == 441
    assert world.bind(0x4000, (FOREIGN, 5005), user=user).code == 441
    assert world.server.allocations == 1


def test_without_an_allocation_there_is_a_mismatch(world: World) -> None:
    elsewhere = world.client(2)
    assert world.refresh(client=elsewhere).code == 437
    assert world.refresh(0, client=elsewhere).code == 437
    assert world.permit(FOREIGN, client=elsewhere).code == 437
    assert world.bind(0x4000, (FOREIGN, 5005), client=elsewhere).code == 437


def test_a_renewed_credential_of_the_same_subject_goes_on() -> None:
    world = World()
    world.allocate(user=world.visitor("alice", 60))
    world.pass_time(30)
    assert world.refresh(user=world.visitor("alice", 900)).lifetime == 600
    world.pass_time(90)
    assert world.server.allocations == 1


@pytest.mark.parametrize("method", [names.ALLOCATE, names.REFRESH, names.CREATE_PERMISSION, names.CHANNEL_BIND])
def test_expiry_of_the_credential_counts_with_every_method(method: int) -> None:
    world = World()
    visitor = world.visitor("alice", 60)
    world.allocate(user=visitor)
    world.now += 60
    answer = world.send(world.client(), world.request(method, (0x19, UDP), user=visitor))
    assert answer is not None
    assert answer.code == 401


# --- who cannot prove who he is ---


def test_a_wrong_password_is_challenged_with_the_nonce_at_hand(world: World) -> None:
    message = world.request(names.REFRESH, user=("nurse", long_term_key("nurse", REALM, "wrong")))
    answer = world.send(world.client(), message)
    assert answer is not None
    assert answer.code == 401
    assert answer[names.NONCE] == b"given by the packet plane"
    assert names.MESSAGE_INTEGRITY not in answer


@pytest.mark.parametrize(
    "attributes, code",
    [
        pytest.param([(names.NONCE, b"n"), (names.REALM, b"r")], 400, id="no name"),
        pytest.param([(names.NONCE, b"n"), (names.USERNAME, b"nobody")], 400, id="no realm"),
        pytest.param(
            [(names.NONCE, b"n"), (names.REALM, b"r"), (names.USERNAME, b"x"), (names.PASSWORD_ALGORITHM, b"\0\2\0\0")],
            400,
            id="an algorithm that we never offered",
        ),
        pytest.param([(names.NONCE, b"n"), (names.REALM, b"r"), (names.USERNAME, b"x")], 401, id="nobody"),
        pytest.param([(names.REALM, b"r"), (names.USERNAME, b"x")], None, id="no nonce"),
    ],
)
def test_half_a_credential_is_refused(world: World, attributes: list[tuple[int, bytes]], code: int | None) -> None:
    message = build(names.ALLOCATE, MessageClass.REQUEST, bytes(12), attributes, key=b"some key")
    answer = world.send(world.client(2), message)
    assert (answer and answer.code) == code
    assert world.server.counters.auth_failures == 1


def test_indications_answers_and_strange_methods_are_dropped(world: World) -> None:
    for kind in (MessageClass.INDICATION, MessageClass.SUCCESS, MessageClass.ERROR):
        assert world.send(world.client(), build(names.ALLOCATE, kind, bytes(12))) is None
    for method in (names.BINDING, names.SEND, names.CONNECT, names.CONNECTION_BIND, 0x0FF):
        assert world.send(world.client(), world.request(method)) is None
    assert world.send(world.client(), b"no message at all, but long enough") is None
    assert world.server.counters.malformed == 9


def test_binding_is_answered_where_the_packet_plane_leaves_it_to_us() -> None:
    world = World(TurnSettings(answer_binding=True))
    answer = world.send(world.client(), build(names.BINDING, MessageClass.REQUEST, bytes(12), fingerprint=True))
    assert answer is not None
    assert answer.message.fingerprinted
    assert answer[names.XOR_MAPPED_ADDRESS] == encode_xor_address(world.client()[1:3], bytes(12))
    unknown = world.send(world.client(), build(names.BINDING, MessageClass.REQUEST, bytes(12), [(0x7FF0, b"")]))
    assert unknown is not None
    assert unknown.code == 420


# --- Refresh ---


def test_refresh_prolongs_and_ends(world: World) -> None:
    world.pass_time(500)
    assert world.refresh(1200).lifetime == 1200
    world.pass_time(1199)
    assert world.server.allocations == 1
    assert world.refresh().lifetime == 600
    assert world.refresh(0).lifetime == 0
    assert world.server.allocations == 0
    assert world.plane.named("remove_allocation") == [(1,)]
    assert world.pools[names.FAMILY_IPV4].in_use == 0
    assert world.refresh().code == 437


def test_refresh_may_also_shorten(world: World) -> None:
    world.refresh(3600)
    world.refresh(600)
    world.pass_time(600)
    assert world.server.allocations == 0


def test_refresh_of_a_family_that_is_not_there_is_refused(world: World) -> None:
    assert world.refresh(None, (names.REQUESTED_ADDRESS_FAMILY, IPV6)).code == 443
    assert world.refresh(None, (names.REQUESTED_ADDRESS_FAMILY, IPV4)).code == 0
    assert world.refresh(None, (names.REQUESTED_ADDRESS_FAMILY, b"\x02")).code == 400


def test_one_family_of_two_can_be_ended(dual: World) -> None:
    dual.permit(FOREIGN, FOREIGN_IPV6)
    assert dual.refresh(0, (names.REQUESTED_ADDRESS_FAMILY, IPV6)).lifetime == 0
    assert dual.plane.named("permit")[-1] == (1, FOREIGN_IPV6, 0, True), "withdrawn"
    assert dual.permit(FOREIGN_IPV6).code == 443
    assert dual.refresh(None, (names.REQUESTED_ADDRESS_FAMILY, IPV6)).code == 443
    assert dual.permit(FOREIGN).code == 0
    dual.pass_time(599)
    assert dual.server.allocations == 1
    assert dual.refresh(0, (names.REQUESTED_ADDRESS_FAMILY, IPV4)).code == 0
    assert dual.server.allocations == 0


def test_one_family_of_two_can_run_out(dual: World) -> None:
    dual.permit(FOREIGN, FOREIGN_IPV6)
    dual.pass_time(300)
    assert dual.refresh(None, (names.REQUESTED_ADDRESS_FAMILY, IPV4)).code == 0
    dual.pass_time(300)
    assert dual.server.allocations == 1
    assert dual.permit(FOREIGN_IPV6).code == 443
    assert dual.permit(FOREIGN).code == 0
    dual.refresh()
    dual.pass_time(599)
    assert dual.server.allocations == 1
    dual.pass_time(1)
    assert dual.server.allocations == 0
    assert dual.pools[names.FAMILY_IPV6].in_use == 0


# --- CreatePermission ---


def test_media_of_ours_need_no_socket_and_foreign_peers_one(world: World) -> None:
    assert world.permit(MEDIA[0]).code == 0
    assert world.plane.named("permit") == [(1, MEDIA[0], 1300 * SECOND, True)]
    assert world.sockets.open_fds == {}
    assert world.permit(FOREIGN, "1.1.1.1").code == 0
    assert world.plane.named("permit")[1:] == [(1, FOREIGN, 1300 * SECOND, False), (1, "1.1.1.1", 1300 * SECOND, False)]
    assert len(world.sockets.open_fds) == 1
    order = [command[0] for command in world.plane.commands]
    assert order.index("open_relayed") < order.index("permit", order.index("permit") + 1)


def test_media_of_another_node_need_a_socket_and_open_nothing_else_of_its_host(world: World) -> None:
    assert world.permit(NODE[0]).code == 0
    assert world.plane.named("permit") == [(1, NODE[0], 1300 * SECOND, True)]
    assert len(world.sockets.open_fds) == 1
    assert world.bind(0x4000, NODE).code == 0
    assert world.bind(0x4001, (NODE[0], 5432)).code == 403


def test_unless_the_internet_is_opened_nobody_there_is_permitted_or_bound() -> None:
    world = World(public=False)
    world.allocate()
    assert world.permit(FOREIGN).code == 403
    assert world.permit(NODE[0], FOREIGN).code == 403
    assert world.bind(0x4000, (FOREIGN, 40000)).code == 403
    assert world.plane.named("permit") == world.plane.named("bind_channel") == []
    assert world.sockets.open_fds == {}
    assert world.bind(0x4000, MEDIA).code == 0


@pytest.mark.parametrize(
    "hosts, code",
    [
        ((), 400),
        ((FOREIGN_IPV6,), 443),
        (("127.0.0.1",), 403),
        ((FOREIGN, "10.0.0.1"), 403),
        ((FOREIGN, FOREIGN_IPV6), 443),
        (("169.254.169.254",), 403),
    ],
)
def test_permissions_are_given_all_or_none(world: World, hosts: tuple[str, ...], code: int) -> None:
    before = list(world.plane.commands)
    assert world.permit(*hosts).code == code
    assert world.plane.commands == before
    assert world.sockets.open_fds == {}


def test_disguised_peers_are_refused_over_ipv6(dual: World) -> None:
    assert dual.permit("::ffff:127.0.0.1").code == 403
    assert dual.permit("64:ff9b::a9fe:a9fe").code == 403
    assert dual.permit("2001:db8::9").code == 403, "the relay itself"
    assert dual.permit(FOREIGN_IPV6).code == 0


def test_a_malformed_peer_is_a_bad_request(world: World) -> None:
    assert world.ask(names.CREATE_PERMISSION, (names.XOR_PEER_ADDRESS, b"\0\1\0\0")).code == 400


def test_a_port_of_another_program_is_told_when_a_foreign_peer_needs_it(world: World) -> None:
    world.sockets.taken = lambda address: True
    assert world.permit(MEDIA[0]).code == 0
    assert world.permit(FOREIGN).code == 508
    assert world.bind(0x4000, (FOREIGN, 5005)).code == 508
    assert world.plane.named("open_relayed") == []
    assert len(world.plane.named("permit")) == 1


def test_permissions_are_bounded_and_old_ones_make_room(world: World) -> None:
    for number in range(MAX_PERMISSIONS):
        assert world.permit(f"8.8.4.{number}").code == 0
    assert world.permit("8.8.8.8").code == 508
    assert world.permit("8.8.4.0").code == 0, "to renew one is no more"
    world.refresh(3600)
    world.pass_time(300)
    assert world.permit("8.8.8.8").code == 0


# --- ChannelBind ---


def test_a_channel_is_bound_and_permits_its_peer(world: World) -> None:
    assert world.bind(0x4000, (FOREIGN, 5005)).code == 0
    assert world.plane.commands[-2:] == [
        ("permit", 1, FOREIGN, 1300 * SECOND, False),
        ("bind_channel", 1, 0x4000, (FOREIGN, 5005), 1600 * SECOND),
    ]
    assert world.bind(0x4FFF, MEDIA).code == 0
    assert world.bind(0x7FFE, (FOREIGN, 5006)).code == 0, "of the range that clients of RFC 5766 know"
    assert world.bind(0x4001, (MEDIA[0], 5001)).code == 403, "ours, but no media there"


@pytest.mark.parametrize(
    "number, peer, code",
    [
        (0x3FFF, (FOREIGN, 5005), 400),
        (0x7FFF, (FOREIGN, 5005), 400),
        (0x4000, (FOREIGN, 0), 400),
        (0x4000, (FOREIGN_IPV6, 5005), 443),
        (0x4000, ("192.168.0.1", 5005), 403),
        (0x4000, (FOREIGN, 53), 403),
        (0x4000, (FOREIGN, 11211), 403),
    ],
)
def test_what_cannot_be_bound_is_refused(world: World, number: int, peer: tuple[str, int], code: int) -> None:
    assert world.bind(number, peer).code == code
    assert world.plane.named("bind_channel") == []


def test_a_bind_without_number_or_peer_is_a_bad_request(world: World) -> None:
    assert world.ask(names.CHANNEL_BIND, (names.CHANNEL_NUMBER, b"\x40\0\0\0")).code == 400
    peer = (names.XOR_PEER_ADDRESS, encode_xor_address((FOREIGN, 5005), bytes(12)))
    assert world.ask(names.CHANNEL_BIND, peer, transaction=bytes(12)).code == 400
    assert world.ask(names.CHANNEL_BIND, peer, (names.CHANNEL_NUMBER, b"\x40\0")).code == 400


def test_a_number_keeps_its_peer_and_a_peer_its_number(world: World) -> None:
    assert world.bind(0x4000, (FOREIGN, 5005)).code == 0
    assert world.bind(0x4000, (FOREIGN, 5006)).code == 400
    assert world.bind(0x4001, (FOREIGN, 5005)).code == 400
    assert world.bind(0x4000, (FOREIGN, 5005)).code == 0, "renewed"
    assert world.bind(0x4001, (FOREIGN, 5006)).code == 0
    world.refresh(3600)
    world.pass_time(600)
    assert world.bind(0x4000, (FOREIGN, 5006)).code == 0, "all bindings have run out"


def test_channels_are_bounded_and_old_ones_make_room(world: World) -> None:
    for number in range(MAX_CHANNELS):
        assert world.bind(0x4000 + number, (FOREIGN, 40000 + number)).code == 0
    assert world.bind(0x4F00, (FOREIGN, 39999)).code == 508
    world.refresh(3600)
    world.pass_time(600)
    assert world.bind(0x4F00, (FOREIGN, 39999)).code == 0


# --- requests that come again ---


def test_a_request_that_comes_again_gets_the_same_answer() -> None:
    world = World()
    client = world.client()
    requests = [world.request(names.ALLOCATE, (0x19, UDP)), world.request(names.REFRESH, (names.LIFETIME, bytes(4)))]
    for request in requests:
        answers = [world.send(client, request) for _ in range(3)]
        assert all(answer is not None and answer.code == 0 for answer in answers)
        assert len({data for _, data in world.plane.replies[-3:]}) == 1
    assert world.server.counters.retransmitted == 4
    assert len(world.plane.named("add_allocation")) == len(world.plane.named("remove_allocation")) == 1


def test_an_answer_is_forgotten_after_40_s_and_belongs_to_one_client() -> None:
    world = World()
    request = world.request(names.ALLOCATE, (0x19, UDP))
    world.send(world.client(), request)
    other = world.send(world.client(2), request)
    assert other is not None
    assert world.server.allocations == 2
    world.pass_time(40)
    again = world.send(world.client(), request)
    assert again is not None
    assert again.code == 437


def test_another_request_with_the_same_transaction_is_no_retransmission(world: World) -> None:
    first = world.ask(names.REFRESH, transaction=b"a transactio")
    second = world.refresh(0, transaction=b"a transactio")
    assert (first.lifetime, second.lifetime) == (600, 0)


def test_errors_are_repeated_as_well(world: World) -> None:
    request = world.request(names.ALLOCATE, (0x19, UDP))
    assert world.send(world.client(), request).code == 437  # type: ignore[union-attr]
    world.refresh(0)
    assert world.send(world.client(), request).code == 437  # type: ignore[union-attr]


def test_kept_answers_are_bounded() -> None:
    replies, client = Replies(max_kept=10), Client(0, "198.51.100.7", 5)
    for number in range(25):
        replies.keep(client, bytes([number]), b"request", b"answer", 1.0)
    assert len(replies) == 10
    assert replies.find(client, bytes([24]), b"request", 2.0) == b"answer"
    assert replies.find(client, bytes([14]), b"request", 2.0) is None
    replies.forget(41.0)
    assert len(replies) == 0
    assert MAX_KEPT < 100_000
