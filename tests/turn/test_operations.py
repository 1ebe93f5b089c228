"""Mobility, TCP connections, revocation, closing streams, and that nothing is left behind in the end."""

import random

import pytest

from tests.turn.world import FOREIGN, FOREIGN_IPV6, MEDIA, NODE, TCP, RecordingTcp, World
from turn import attributes as names
from turn.allocations import COMPACT_ABOVE, Allocation, AllocationTable, Relayed
from turn.plane import Client
from turn.ports import PortPool
from turn.quotas import Quotas
from turn.relay import TurnSettings
from turn.stun import MessageClass, decode_xor_address, encode_uint32, encode_xor_address, parse


def ticket_of(world: World, **options: object) -> bytes:
    return world.allocate((names.MOBILITY_TICKET, b""), **options)[names.MOBILITY_TICKET]


def move(world: World, ticket: bytes, number: int = 2, lifetime: int | None = None, **options: object):  # type: ignore[no-untyped-def]
    client = options.pop("client", None) or world.client(number, host="192.0.2.50")
    return world.refresh(lifetime, (names.MOBILITY_TICKET, ticket), client=client, **options)


# --- mobility (RFC 8016) ---


def test_a_ticket_takes_an_allocation_along() -> None:
    world = World()
    ticket = ticket_of(world)
    assert len(ticket) >= 16
    assert b"\0" not in ticket
    answer = move(world, ticket)
    assert answer.code == 0
    assert answer[names.MOBILITY_TICKET] != ticket
    there = world.client(2, host="192.0.2.50")
    assert world.plane.named("move_allocation") == [(1, there)]
    assert world.permit(FOREIGN, client=there).code == 0
    assert world.permit(FOREIGN).code == 437, "nothing is left at the old place"
    assert world.server.counters.moved == 1


def test_a_ticket_is_worth_one_move() -> None:
    world = World()
    first = ticket_of(world)
    second = move(world, first)[names.MOBILITY_TICKET]
    assert move(world, first, number=3).code == 400
    assert move(world, second, number=3).code == 0
    assert world.server.allocations == 1


@pytest.mark.parametrize("stream", [0, 5])
def test_a_move_that_is_asked_for_again_is_answered_alike(stream: int) -> None:
    """Over UDP an answer may be lost; over TCP coturn's client asks twice all the same."""
    world = World()
    request = world.request(names.REFRESH, (names.MOBILITY_TICKET, ticket_of(world)))
    there = world.client(2, stream=stream)
    answers = {world.send(there, request)[names.MOBILITY_TICKET] for _ in range(2)}  # type: ignore[index]
    assert len(answers) == 1
    assert len(world.plane.named("move_allocation")) == 1


def test_a_ticket_is_worth_nothing_to_somebody_else() -> None:
    world = World()
    ticket = ticket_of(world)
    assert move(world, ticket, user=world.visitor("bob")).code == 441
    assert move(world, ticket).code == 0, "and it was not used up"


def test_tickets_of_nobody_and_of_the_dead_are_refused() -> None:
    world = World()
    ticket = ticket_of(world)
    assert move(world, b"").code == 400
    assert move(world, b"A" * 24).code == 400
    world.now += 600
    assert move(world, ticket).code == 400
    world.pass_time(1)
    assert move(world, ticket).code == 400


def test_a_move_onto_an_allocation_is_a_mismatch() -> None:
    world = World()
    ticket = ticket_of(world)
    world.allocate(client=world.client(2))
    assert move(world, ticket, client=world.client(2)).code == 437


def test_at_its_own_place_a_ticket_is_renewed() -> None:
    world = World()
    ticket = ticket_of(world)
    answer = move(world, ticket, client=world.client())
    assert answer.code == 0
    assert answer[names.MOBILITY_TICKET] != ticket
    assert world.plane.named("move_allocation") == []


def test_a_ticket_may_end_its_allocation_from_elsewhere() -> None:
    world = World()
    assert move(world, ticket_of(world), lifetime=0).lifetime == 0
    assert world.server.allocations == 0
    assert world.plane.named("remove_allocation") == [(1,)]


def test_mobility_can_be_forbidden() -> None:
    world = World(TurnSettings(mobility=False))
    assert world.allocate((names.MOBILITY_TICKET, b"")).code == 405
    world.allocate()
    assert move(world, b"A" * 24, client=world.client()).code == 405


def test_quotas_follow_a_move_and_count_once() -> None:
    world = World(TurnSettings(quota=1, quota_address=1))
    ticket = ticket_of(world)
    ticket = move(world, ticket, number=2)[names.MOBILITY_TICKET]
    assert world.allocate(client=world.client(3)).code == 486, "it is still the user's one"
    visitor = world.visitor("bob")
    assert world.allocate(client=world.client(3), user=visitor).code == 0, "the old address is free again"
    crowded = world.client(4)
    assert move(world, ticket, client=crowded).code == 486
    assert world.plane.named("move_allocation")[1:] == []


def test_a_mobile_allocation_outlives_its_stream_and_others_do_not() -> None:
    world = World()
    ticket = ticket_of(world, client=world.client(1, stream=7))
    world.allocate(client=world.client(2, stream=8))
    world.server.stream_closed(7)
    world.server.stream_closed(8)
    world.server.stream_closed(9)
    assert world.server.allocations == 1
    assert move(world, ticket, client=world.client(3, stream=10)).code == 0
    world.server.stream_closed(7)
    assert world.server.allocations == 1


# --- TCP connections (RFC 6062) ---


@pytest.fixture
def tcp() -> RecordingTcp:
    return RecordingTcp()


@pytest.fixture
def control(tcp: RecordingTcp) -> tuple[World, Client]:
    world = World(tcp=tcp)
    client = world.client(stream=3)
    world.allocate(transport=TCP, client=client)
    return world, client


def connect(world: World, client: Client, peer: tuple[str, int]) -> bytes:
    transaction = next(world.transactions).to_bytes(12, "big")
    value = encode_xor_address(peer, transaction)
    return world.request(names.CONNECT, (names.XOR_PEER_ADDRESS, value), transaction=transaction)


def last_code(world: World) -> int:
    value = parse(world.plane.replies[-1][1]).attributes.get(names.ERROR_CODE)
    return 0 if value is None else value[2] * 100 + value[3]


def test_connect_is_answered_when_the_connection_stands(control: tuple[World, Client], tcp: RecordingTcp) -> None:
    world, client = control
    assert world.send(client, connect(world, client, (FOREIGN, 40080))) is None
    tcp.pending[0](0, 77)
    reply = parse(world.plane.replies[-1][1])
    assert reply.kind is MessageClass.SUCCESS
    assert reply.attributes[names.CONNECTION_ID] == encode_uint32(77)
    for code in (446, 447):
        world.send(client, connect(world, client, (FOREIGN, 40080)))
        tcp.pending[-1](code, 0)
        assert last_code(world) == code


def test_an_answer_that_comes_after_the_allocation_ended_is_dropped(
    control: tuple[World, Client], tcp: RecordingTcp
) -> None:
    world, client = control
    world.send(client, connect(world, client, (FOREIGN, 40080)))
    world.refresh(0, client=client)
    before = len(world.plane.replies)
    tcp.pending[0](0, 77)
    assert len(world.plane.replies) == before


@pytest.mark.parametrize(
    "peer, code",
    [
        (("10.0.0.1", 40080), 403),
        (MEDIA, 403),
        (NODE, 403),
        ((FOREIGN, 25), 403),
        ((FOREIGN, 443), 403),
        ((FOREIGN, 5432), 403),
        ((FOREIGN, 37810), 403),
        ((FOREIGN_IPV6, 40080), 443),
        ((FOREIGN, 0), 400),
    ],
)
def test_connect_obeys_the_policy(
    control: tuple[World, Client], tcp: RecordingTcp, peer: tuple[str, int], code: int
) -> None:
    world, client = control
    answer = world.send(client, connect(world, client, peer))
    assert answer is not None
    assert answer.code == code
    assert tcp.pending == []


def test_connect_needs_a_tcp_allocation(tcp: RecordingTcp) -> None:
    world = World(tcp=tcp)
    world.allocate()
    answer = world.send(world.client(), connect(world, world.client(), (FOREIGN, 40080)))
    assert answer is not None
    assert answer.code == 400


def test_a_data_connection_is_bound_by_its_owner_over_a_stream_of_its_own(
    control: tuple[World, Client], tcp: RecordingTcp
) -> None:
    world, client = control
    tcp.waiting[77] = 1
    data, number = world.client(5, stream=4), (names.CONNECTION_ID, encode_uint32(77))
    assert world.ask(names.CONNECTION_BIND, client=data).code == 400
    assert world.ask(names.CONNECTION_BIND, (names.CONNECTION_ID, encode_uint32(78)), client=data).code == 400
    assert world.ask(names.CONNECTION_BIND, number, client=client).code == 400, "that stream is the control connection"
    assert world.ask(names.CONNECTION_BIND, number, client=world.client(5)).code == 400, "UDP"
    assert world.ask(names.CONNECTION_BIND, number, client=data, user=world.visitor("bob")).code == 441
    assert tcp.bound == []
    assert world.ask(names.CONNECTION_BIND, number, client=data).code == 0
    assert tcp.bound == [(77, data)]


def test_a_permitted_peer_is_announced(control: tuple[World, Client]) -> None:
    world, client = control
    assert not world.server.permitted(1, FOREIGN, world.now)
    world.permit(FOREIGN, client=client)
    assert world.server.permitted(1, FOREIGN, world.now)
    assert not world.server.permitted(1, "1.1.1.1", world.now)
    assert not world.server.permitted(2, FOREIGN, world.now)
    assert not world.server.permitted(1, FOREIGN, world.now + 300)
    world.server.connection_attempt(1, 78, (FOREIGN, 5005))
    world.server.connection_attempt(2, 79, (FOREIGN, 5005))
    recipient, data = world.plane.replies[-1]
    indication = parse(data)
    assert recipient == client
    assert (indication.method, indication.kind) == (names.CONNECTION_ATTEMPT, MessageClass.INDICATION)
    assert indication.attributes[names.CONNECTION_ID] == encode_uint32(78)
    assert decode_xor_address(indication.attributes[names.XOR_PEER_ADDRESS], indication.transaction) == (FOREIGN, 5005)


# --- revocation and the end ---


def test_revocation_ends_a_subjects_allocations_at_once() -> None:
    world = World()
    for number in (1, 2):
        world.allocate(client=world.client(number), user=world.visitor("alice", 100 * number))
    world.allocate(client=world.client(3), user=world.visitor("bob"))
    world.server.revoke("alice")
    assert world.plane.named("remove_allocation") == [(1,), (2,)]
    assert world.server.allocations == 1
    again = world.send(world.client(1), world.request(names.ALLOCATE, user=world.visitor("alice")))
    assert again is not None
    assert again.code == 401


def test_close_ends_everything() -> None:
    world = World()
    world.allocate((names.EVEN_PORT, b"\x80"))
    world.allocate(client=world.client(2))
    world.server.close()
    assert world.server.allocations == 0
    assert world.pools[names.FAMILY_IPV4].in_use == 0
    assert len(world.sockets.open_fds) == 1, "the plane's own, which it closes; not the reserved one"


def test_nothing_is_left_when_all_has_run_out(rng: random.Random) -> None:
    world = World(TurnSettings(quota_address=300), ports=(50000, 50999))
    for number in range(300):
        client = world.client(number, stream=rng.choice((0, number + 1)))
        world.allocate((names.MOBILITY_TICKET, b""), client=client, user=world.visitor(str(number % 50)))
        world.permit(FOREIGN, client=client, user=world.visitor(str(number % 50)))
        world.now += rng.random()
    world.pass_time(601)
    table = world.server._relay.table
    assert len(table) == 0
    assert world.server.counters.expired == 300
    for name in ("_by_client", "_by_stream", "_by_ticket", "_heap"):
        assert not getattr(table, name), name
    assert len(world.server._relay.quotas) == 0
    assert all(pool.in_use == 0 for pool in world.pools.values())
    assert len(world.server._replies) == 0


def test_the_heap_stays_small_however_many_come_and_go() -> None:
    table, pool = AllocationTable(Quotas()), PortPool("203.0.113.9", 50000, 50001)
    for number in range(10_000):
        client = Client(0, "198.51.100.7", number)
        allocation = Allocation(table.new_number(), client, "me", (Relayed(pool, 50000, 600.0 + number),))
        table.add(allocation)
        table.remove(allocation)
    assert len(table._heap) <= COMPACT_ABOVE + 1
