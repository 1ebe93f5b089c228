"""TCP allocations (RFC 6062) on real sockets: Connect, ConnectionBind and ConnectionAttempt by aioice's messages."""

import asyncio
import random
import socket
import struct
from pathlib import Path

import pytest
import uvloop

from tests.support.clock import MachineTime
from tests.support.port import certificate, client_tls, until
from tests.turn.tcp_world import Caller, Peer, listening, node
from turn import attributes as names
from turn.splice import READ_BYTES, Allowance
from turn.tcp_relay import TcpLimits

# the hook that it names would change the names of all tests of this folder
pytestmark = pytest.mark.filterwarnings("ignore:Overriding the .event_loop_policy. fixture")

EVERY_BYTE = bytes(range(256))


@pytest.fixture(params=[MachineTime, uvloop.EventLoopPolicy], ids=["asyncio", "uvloop"])
def event_loop_policy(request: pytest.FixtureRequest) -> asyncio.AbstractEventLoopPolicy:
    policy: asyncio.AbstractEventLoopPolicy = request.param()
    return policy


async def connected(caller: Caller, peer: tuple[str, int]) -> int:
    """The id of a connection that the relay made to ``peer``."""
    reply = await caller.connect(peer)
    assert reply.error_code is None
    number: int = reply.attributes["CONNECTION-ID"]
    return number


async def bound(caller: Caller, connection: int) -> Peer:
    reply, data = await caller.bind(connection)
    assert reply.error_code is None
    assert reply.check_message_integrity(caller.key)
    return data


async def attempted(caller: Caller, relayed: tuple[str, int]) -> tuple[Peer, int]:
    """A permitted peer that has connected to ``relayed``, and the connection's id."""
    peer = Peer(*await asyncio.open_connection(*relayed))
    caller.node.peers.append(peer)
    told = await caller.attempt()
    assert told.attributes["XOR-PEER-ADDRESS"] == peer.local
    return peer, told.attributes["CONNECTION-ID"]


async def cut(relayed: tuple[str, int]) -> None:
    """Connect to ``relayed`` and be thrown out; the kernel has made the connection by then, or just not."""
    with pytest.raises(ConnectionResetError):
        await Peer(*await asyncio.open_connection(*relayed)).rest()


async def test_a_client_reaches_a_peer_that_sees_the_relayed_address() -> None:
    async with node() as here, listening() as there:
        caller = await here.client()
        relayed = await caller.allocate()
        data = await bound(caller, await connected(caller, there.address))
        peer = await there.next()
        assert peer.remote == relayed
        for sender, receiver in ((data, peer), (peer, data)):
            sender.writer.write(EVERY_BYTE * 1000)
            assert await receiver.read(256_000) == EVERY_BYTE * 1000
        peer.writer.close()
        assert await data.rest() == b""
        data.writer.close()
        await until(lambda: len(here.relay) == 0)
        assert (here.relay.counters.bytes_to_peers, here.relay.counters.bytes_to_clients) == (256_000, 256_000)


async def test_peers_of_ipv6() -> None:
    async with node() as here, listening("::1") as there, listening() as other_family:
        caller = await here.client()
        relayed = await caller.allocate(requested_address_family=names.FAMILY_IPV6 << 24)
        assert relayed[0] == "::1"
        await caller.permit("::1")
        data = await bound(caller, await connected(caller, there.address))
        far = await there.next()
        assert far.remote == relayed
        peer, number = await attempted(caller, relayed)
        also = await bound(caller, number)
        for sender, receiver in ((data, far), (far, data), (peer, also), (also, peer)):
            sender.writer.write(b"salaam")
            assert await receiver.read(6) == b"salaam"
        assert (await caller.connect(other_family.address)).error_code == 443


async def test_a_peer_that_has_permission_reaches_the_client() -> None:
    async with node() as here:
        caller = await here.client()
        relayed = await caller.allocate()
        await caller.permit()
        peer, number = await attempted(caller, relayed)
        data = await bound(caller, number)
        peer.writer.write(b"salaam")
        assert await data.read(6) == b"salaam"
        data.writer.write(b"salaam back")
        assert await peer.read(11) == b"salaam back"


async def test_a_peer_without_permission_is_cut_and_nobody_is_told() -> None:
    async with node() as here:
        caller = await here.client()
        relayed = await caller.allocate()
        await cut(relayed)
        await caller.permit()
        await attempted(caller, relayed)
        assert caller.attempts == []
        here.now += 301  # the permission has run out
        await cut(relayed)
        assert (here.relay.counters.refused, here.relay.counters.accepted) == (2, 1)


async def test_what_both_sides_say_before_the_bind_is_answered_arrives_first() -> None:
    async with node() as here, listening() as there:
        caller = await here.client()
        await caller.allocate()
        number = await connected(caller, there.address)
        peer = await there.next()
        peer.writer.write(b"early " * 5000)
        await peer.writer.drain()
        reply, data = await caller.bind(number, after=b"in the same segment as the request")
        assert reply.error_code is None
        assert await data.read(30_000) == b"early " * 5000
        assert await peer.read(34) == b"in the same segment as the request"


async def test_an_unbound_peer_can_fill_the_kernels_window_and_no_more() -> None:
    async with node(limits=TcpLimits(bandwidth_bps=0)) as here:
        caller = await here.client()
        relayed = await caller.allocate()
        await caller.permit()
        peer, number = await attempted(caller, relayed)
        total = 32 * 1024 * 1024
        pattern = random.Random(1).randbytes(1024 * 1024)
        for _ in range(32):
            peer.writer.write(pattern)
        peer.writer.write_eof()
        transport = peer.writer.transport
        size = -1
        while size != transport.get_write_buffer_size():
            size = transport.get_write_buffer_size()
            for _ in range(100):
                await asyncio.sleep(0)
        assert size > total - 8 * 1024 * 1024  # the rest is in the peer's own buffers, and the window
        data = await bound(caller, number)
        for _ in range(32):
            assert await data.read(len(pattern)) == pattern
        assert await data.rest() == b""


@pytest.mark.parametrize("towards", ["peer", "client"])
async def test_who_does_not_read_holds_the_other_side_back(towards: str) -> None:
    async with node(limits=TcpLimits(bandwidth_bps=0)) as here, listening() as there:
        caller = await here.client()
        await caller.allocate()
        data = await bound(caller, await connected(caller, there.address))
        peer = await there.next()
        sender, receiver = (data, peer) if towards == "peer" else (peer, data)
        receiver.reader._transport.pause_reading()  # type: ignore[attr-defined]
        chunk = random.Random(2).randbytes(1024 * 1024)
        held = False
        sent = 0
        while not held and sent < 256:
            sender.writer.write(chunk)
            sent += 1
            try:
                await asyncio.wait_for(sender.writer.drain(), 0.5)
            except TimeoutError:
                held = True
        assert held, "256 MiB went somewhere"
        receiver.reader._transport.resume_reading()  # type: ignore[attr-defined]
        for _ in range(sent):
            assert await receiver.read(len(chunk)) == chunk


async def test_an_end_is_passed_on_and_the_other_direction_goes_on() -> None:
    async with node() as here, listening() as there:
        caller = await here.client()
        await caller.allocate()
        data = await bound(caller, await connected(caller, there.address))
        peer = await there.next()
        data.writer.write(b"a question")
        data.writer.write_eof()
        assert await peer.rest() == b"a question"
        here.pass_time(59)
        peer.writer.write(b"a long answer")
        assert await data.read(13) == b"a long answer"
        here.pass_time(59)
        peer.writer.write_eof()
        assert await data.rest() == b""
        await until(lambda: len(here.relay) == 0)


async def test_half_a_connection_that_is_silent_for_a_minute_is_closed() -> None:
    async with node() as here, listening() as there:
        caller = await here.client()
        await caller.allocate()
        data = await bound(caller, await connected(caller, there.address))
        peer = await there.next()
        here.pass_time(500)
        assert len(here.relay) == 1  # silence alone ends nothing
        data.writer.write(b"x")
        data.writer.write_eof()
        assert await peer.rest() == b"x"
        here.pass_time(60)
        assert len(here.relay) == 0
        assert await data.rest() == b""


async def test_a_reset_is_passed_on() -> None:
    async with node() as here, listening() as there:
        caller = await here.client()
        await caller.allocate()
        data = await bound(caller, await connected(caller, there.address))
        peer = await there.next()
        peer.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.writer.transport.abort()
        with pytest.raises(ConnectionResetError):
            await data.rest()
        assert len(here.relay) == 0


async def test_everything_ends_with_the_allocation() -> None:
    async with node() as here, listening() as there:
        caller = await here.client()
        relayed = await caller.allocate()
        await caller.permit()
        data = await bound(caller, await connected(caller, there.address))
        far = await there.next()
        peer, _ = await attempted(caller, relayed)
        caller.writer.close()  # the control connection
        assert await data.rest() == b""
        assert await far.rest() == b""
        assert await peer.rest() == b""
        assert len(here.relay) == 0
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(*relayed)


async def test_a_second_connect_to_the_same_peer_is_refused_with_446() -> None:
    async with node() as here, listening() as there:
        caller = await here.client()
        relayed = await caller.allocate()
        await caller.permit()
        await connected(caller, there.address)
        assert (await caller.connect(there.address)).error_code == 446
        peer, _ = await attempted(caller, relayed)
        assert (await caller.connect(peer.local)).error_code == 446  # it came by itself
        other = await here.client()
        await other.allocate()
        await connected(other, there.address)  # from another relayed address


async def test_a_peer_that_is_not_there_is_447() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        async with node() as here:
            caller = await here.client()
            relayed = await caller.allocate()
            assert (await caller.connect(taken.getsockname())).error_code == 447
            assert (await caller.connect(relayed)).error_code == 447  # TCP could connect it to itself
            assert (await caller.connect(taken.getsockname())).error_code == 447  # not 446: it is over
            assert len(here.relay) == 0


def deaf_peer() -> tuple[socket.socket, list[socket.socket]]:
    """A listener whose queue is full, so that a connection to it is neither made nor refused."""
    deaf = socket.socket()
    deaf.bind(("127.0.0.1", 0))
    deaf.listen(0)
    fillers = []
    for _ in range(4):
        filler = socket.socket()
        filler.setblocking(False)
        filler.connect_ex(deaf.getsockname())
        fillers.append(filler)
    return deaf, fillers


async def test_a_connect_that_nobody_answers_is_447_after_thirty_seconds() -> None:
    deaf, fillers = deaf_peer()
    async with node() as here:
        caller = await here.client()
        await caller.allocate()
        request = caller.send(names.CONNECT, xor_peer_address=deaf.getsockname())
        await until(lambda: len(here.relay) == 1)
        assert (await caller.connect(deaf.getsockname())).error_code == 446  # it is still tried
        here.pass_time(29.9)
        assert len(here.relay) == 1
        here.pass_time(0.2)
        assert len(here.relay) == 0
        assert (await caller.answer(request)).error_code == 447
    for sock in (deaf, *fillers):
        sock.close()


async def test_an_allocation_that_ends_while_it_connects_answers_nothing() -> None:
    deaf, fillers = deaf_peer()
    async with node() as here:
        caller = await here.client()
        await caller.allocate()
        caller.send(names.CONNECT, xor_peer_address=deaf.getsockname())
        await until(lambda: len(here.relay) == 1)
        assert (await caller.ask(names.REFRESH, lifetime=0)).error_code is None
        assert len(here.relay) == 0
    for sock in (deaf, *fillers):
        sock.close()


async def test_an_unbound_connection_is_closed_after_thirty_seconds() -> None:
    async with node() as here, listening() as there:
        caller = await here.client()
        relayed = await caller.allocate()
        await caller.permit()
        number = await connected(caller, there.address)
        far = await there.next()
        peer, other = await attempted(caller, relayed)
        here.pass_time(29.9)
        assert len(here.relay) == 2
        here.now += 0.2  # no sweep yet, and too late all the same
        for late in (number, other):
            reply, _ = await caller.bind(late)
            assert reply.error_code == 400
        here.pass_time(0)
        assert await far.rest() == b""
        assert await peer.rest() == b""
        assert here.relay.counters.unbound == 2


async def test_a_connection_is_bound_once_and_by_its_owner_only() -> None:
    async with node() as here, listening() as there:
        caller, thief = await here.client(), await here.client("porter")
        await caller.allocate()
        number = await connected(caller, there.address)
        reply, stolen = await thief.bind(number)
        assert reply.error_code == 441
        assert await stolen.rest() == b""
        reply, _ = await caller.bind(number ^ 1)
        assert reply.error_code == 400
        data = await bound(caller, number)
        reply, _ = await caller.bind(number)
        assert reply.error_code == 400
        data.writer.write(b"still mine")
        assert await (await there.next()).read(10) == b"still mine"


async def test_connections_of_one_allocation_and_of_all_are_bounded(rng: random.Random) -> None:
    async with node(rng=rng, limits=TcpLimits(connections=5, connections_per_allocation=3)) as here:
        caller, other = await here.client(), await here.client("porter")
        relayed = await caller.allocate()
        await caller.permit()
        numbers = {(await attempted(caller, relayed))[1] for _ in range(3)}
        assert len(numbers) == 3
        assert 0 not in numbers
        await cut(relayed)
        async with listening() as there, listening() as elsewhere, listening() as nowhere:
            assert (await caller.connect(there.address)).error_code == 447
            await other.allocate()
            await connected(other, there.address)
            await connected(other, elsewhere.address)
            assert (await other.connect(nowhere.address)).error_code == 447
        assert here.relay.counters.crowded == 3
        assert caller.attempts == []


async def test_a_client_may_try_only_so_many_peers_in_a_second() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        async with node(limits=TcpLimits(connects_per_s=1, connects_burst=3)) as here, listening() as there:
            caller = await here.client()
            await caller.allocate()
            for _ in range(3):
                assert (await caller.connect(taken.getsockname())).error_code == 447
            assert (await caller.connect(there.address)).error_code == 447
            assert here.relay.counters.crowded == 1
            here.now += 1
            await connected(caller, there.address)


async def test_a_relayed_port_that_somebody_listens_on_is_not_taken() -> None:
    async with node() as here:
        relay = here.relay.of_server(here.servers[0])
        with socket.socket() as theirs:
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)  # as a relay that is being drained
            theirs.bind(("127.0.0.1", 0))
            theirs.listen()
            assert not relay.listen(77, theirs.getsockname())
        assert relay.listen(77, ("127.0.0.1", 0))
        relay.remove(77)
        relay.remove(77)


async def test_a_relayed_address_that_is_translated_to_ours_is_listened_on_everywhere() -> None:
    async with node() as here:
        relay = here.relay.of_server(here.servers[0])
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        assert relay.listen(77, ("203.0.113.9", port))
        await cut(("127.0.0.1", port))


async def test_servers_share_the_relay_and_their_allocations_do_not_mix() -> None:
    async with node() as here, listening() as there:
        callers = [await here.client(), await here.client("porter")]
        for caller in callers:
            await caller.allocate()
        assert [server.allocations for server in here.servers] == [1, 1]  # both with number 1
        numbers = [await connected(caller, there.address) for caller in callers]
        for caller, number in zip(callers, numbers):
            data = await bound(caller, number)
            data.writer.write(caller.user.encode())
        for peer in (await there.next(), await there.next()):
            assert await peer.read(5) in (b"nurse", b"porte")
        callers[0].writer.close()
        await until(lambda: len(here.relay) == 1)


@pytest.mark.parametrize("alpn", [(), ("stun.turn",)], ids=["by-first-bytes", "by-alpn"])
async def test_data_connections_over_tls(tmp_path: Path, alpn: tuple[str, ...]) -> None:
    certificate(tmp_path)
    async with node(folder=tmp_path) as here, listening() as there:
        caller = await here.client(tls=client_tls(tmp_path, *alpn))
        await caller.allocate()
        reply, data = await caller.bind(await connected(caller, there.address), after=b"and on")
        assert reply.error_code is None
        peer = await there.next()
        assert await peer.read(6) == b"and on"
        peer.writer.write(EVERY_BYTE * 4000)
        peer.writer.write_eof()
        assert await data.rest() == EVERY_BYTE * 4000
        assert len(here.adopted) == 1  # the control connection


async def test_bandwidth_is_of_the_allocation_and_both_ways_together() -> None:
    allowance = Allowance(8_000_000)  # a million bytes a second, half of it at once
    now, carried = 100.0, 0
    for _ in range(200):
        now += allowance.spend(READ_BYTES, now)
        carried += READ_BYTES
    assert carried == pytest.approx(500_000 + (now - 100) * 1_000_000, rel=0.01)
    assert allowance.spend(1, now + 10) == 0  # what was not used is kept for half a second
    assert allowance.spend(1_000_000, now + 10) == pytest.approx(0.5, rel=0.01)
    assert Allowance(0).spend(10**9, 0.0) == 0


async def test_a_connection_is_held_to_the_bandwidth() -> None:
    async with node(limits=TcpLimits(bandwidth_bps=32_000_000), real_time=True) as here, listening() as there:
        caller = await here.client()
        await caller.allocate()
        data = await bound(caller, await connected(caller, there.address))
        peer = await there.next()
        started = asyncio.get_running_loop().time()
        data.writer.write(bytes(3_000_000))
        await peer.read(3_000_000)
        took = asyncio.get_running_loop().time() - started
        assert 0.2 < took < 3  # 3 MB, of which 2 at once, at 4 MB a second
