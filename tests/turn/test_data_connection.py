"""What a new connection may say before it carries a peer's bytes: one ConnectionBind, or else it is somebody else's."""

import asyncio
import random
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

import pytest
from aioice import stun

from tests.support.port import until
from tests.turn.tcp_world import (
    REALM,
    Caller,
    Listening,
    Node,
    Peer,
    listening,
    node,
    read_foreign,
    read_message,
    request_of,
)
from turn import attributes as names
from turn.data_connection import MAX_BYTES, DataConnections, DataLimits
from turn.plane import Client
from turn.stun import Address

REMOTE, LOCAL = ("198.51.100.7", 40001), ("203.0.113.9", 443)
BIND = b"\x00\x0b\x00\x08\x21\x12\xa4\x42" + bytes(range(12)) + b"\x00\x2a\x00\x04\0\0\0\1"


@dataclass
class Bare:
    """Data connections that have no server: requests are kept."""

    data: DataConnections
    adopted: list[tuple[socket.socket, Address, Address]] = field(default_factory=list)
    asked: list[tuple[Client, bytes]] = field(default_factory=list)
    now: float = 0.0

    def arrives(self, said: bytes = b"", host: str = REMOTE[0]) -> socket.socket:
        """The client's end of a new connection."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(False)
        if said:
            theirs.send(said)
        self.data.arrived(ours, (host, REMOTE[1]), LOCAL)
        return theirs


def bare(limits: DataLimits | None = None) -> Bare:
    streams = iter(range(1, 1000))
    here = Bare(
        DataConnections(
            realm=REALM,
            adopt=lambda *given: here.adopted.append(given),
            handle=lambda client, message, now: here.asked.append((client, message)),
            new_stream=lambda: next(streams),
            limits=limits,
            clock=lambda: here.now,
        )
    )
    return here


@contextmanager
def closing(here: Bare, *sockets: socket.socket) -> Iterator[None]:
    try:
        yield
    finally:
        here.data.close()
        for sock in (*sockets, *(each[0] for each in here.adopted)):
            sock.close()


def ended(sock: socket.socket) -> bool:
    try:
        return sock.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:  # something that it had said was not read
        return True


@asynccontextmanager
async def waiting() -> AsyncIterator[tuple[Node, Caller, int, Listening]]:
    """A client for whom connection ``number`` waits."""
    async with node() as here, listening() as there:
        caller = await here.client()
        await caller.allocate()
        reply = await caller.connect(there.address)
        yield here, caller, reply.attributes["CONNECTION-ID"], there


async def exchange(peer: Peer, *messages: bytes) -> list[stun.Message]:
    """What is answered to messages that are sent at once."""
    peer.writer.write(b"".join(messages))
    return [read_foreign(await read_message(peer.reader)) for _ in messages]


# --- whose connection is it? ---


@pytest.mark.parametrize("pace", ["at once", "byte by byte", "nothing yet"])
async def test_what_begins_otherwise_is_passed_on_unread(pace: str) -> None:
    here = bare()
    said = b"\x00\x03\x00\x00\x21\x12\xa4\x42" + bytes(12)
    theirs = here.arrives({"at once": said, "byte by byte": said[:1], "nothing yet": b""}[pace])
    with closing(here, theirs):
        if pace != "at once":
            assert len(here.data) == 1
            for byte in said[1:] if pace == "byte by byte" else said:
                theirs.send(bytes((byte,)))
                await asyncio.sleep(0)
        await until(lambda: bool(here.adopted))
        sock, remote, local = here.adopted[0]
        assert (remote, local) == (REMOTE, LOCAL)
        assert sock.recv(100) == said
        assert len(here.data) == 0


async def test_a_message_that_comes_byte_by_byte_is_read_to_its_end_and_no_further() -> None:
    async with waiting() as (here, caller, number, there):
        request = bytes(caller.signed(names.CONNECTION_BIND, connection_id=number))
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        here.data.arrived(ours, REMOTE, LOCAL)
        for byte in request + b"next":
            theirs.send(bytes((byte,)))
            await asyncio.sleep(0)
        assert await (await there.next()).read(4) == b"next"
        assert read_foreign(theirs.recv(1000)).error_code is None
        theirs.close()


async def test_a_client_that_leaves_is_forgotten() -> None:
    here = bare()
    for said in (b"", BIND[:9], BIND[:-1]):
        here.arrives(said).close()
        await until(lambda: len(here.data) == 0)
    here.arrives(BIND[:1]).close()  # which is not noticed
    here.data.sweep(10.0)
    assert len(here.data) == 0
    assert (here.data.counters.left, here.data.counters.late) == (3, 1)


# --- credentials ---


async def test_a_request_without_credentials_is_challenged_and_the_next_one_counts() -> None:
    async with waiting() as (here, caller, number, there):
        peer = Peer(*await here.open())
        (refused,) = await exchange(peer, bytes(request_of(names.CONNECTION_BIND, connection_id=number)))
        assert refused.error_code == 401
        assert refused.attributes["REALM"] == REALM
        caller.nonce = refused.attributes["NONCE"]
        (bound,) = await exchange(peer, bytes(caller.signed(names.CONNECTION_BIND, connection_id=number)))
        assert bound.error_code is None
        assert bound.check_message_integrity(caller.key)
        peer.writer.write(b"through")
        assert await (await there.next()).read(7) == b"through"
        peer.writer.close()


async def test_both_tries_may_be_sent_at_once() -> None:
    async with waiting() as (here, caller, number, _):
        peer = Peer(*await here.open())
        unsigned = request_of(names.CONNECTION_BIND, connection_id=number)
        signed = caller.signed(names.CONNECTION_BIND, connection_id=number)
        answers = await exchange(peer, bytes(unsigned), bytes(signed))
        assert [answer.error_code for answer in answers] == [401, None]
        peer.writer.close()


async def test_there_is_no_third_try() -> None:
    async with waiting() as (here, caller, number, _):
        right, caller.key = caller.key, b"guessed"
        wrong = bytes(caller.signed(names.CONNECTION_BIND, connection_id=number))
        caller.key = right
        good = bytes(caller.signed(names.CONNECTION_BIND, connection_id=number))
        peer = Peer(*await here.open())
        peer.writer.write(wrong + wrong + good)
        answers = await peer.rest()
        half = len(answers) // 2
        assert [read_foreign(each).error_code for each in (answers[:half], answers[half:])] == [401, 401]
        assert here.relay.server_of(number) is not None  # it still waits for its owner
        peer.writer.close()
        await until(lambda: len(here.data) == 0)
        assert here.data.counters.refused == 2


async def test_integrity_without_a_nonce_is_malformed() -> None:
    async with waiting() as (here, caller, number, _):
        request = request_of(names.CONNECTION_BIND, connection_id=number, username=caller.user, realm=REALM)
        request.add_message_integrity(caller.key)
        peer = Peer(*await here.open())
        (answer,) = await exchange(peer, bytes(request))
        assert answer.error_code == 400
        assert await peer.rest() == b""
        peer.writer.close()


async def test_a_refusal_arrives_even_when_the_client_has_said_more() -> None:
    async with waiting() as (_, caller, number, _):
        reply, data = await caller.bind(number ^ 1, after=bytes(100_000))
        assert reply.error_code == 400
        assert reply.check_message_integrity(caller.key)
        assert await data.rest() == b""


# --- hostile ---


@pytest.mark.parametrize(
    "said",
    [
        BIND[:4] + b"\x21\x12\xa4\x43" + BIND[8:],
        BIND[:3] + b"\x07" + BIND[4:],
        BIND[:2] + (MAX_BYTES - 16).to_bytes(2) + BIND[4:],
        BIND[:20] + b"\x00\x2a\x00\x40\0\0\0\1",
    ],
    ids=["cookie", "length", "too-long", "attribute"],
)
async def test_what_is_no_message_is_not_answered(said: bytes) -> None:
    here = bare()
    theirs = here.arrives(said)
    with closing(here, theirs):
        await until(lambda: len(here.data) == 0)
        assert ended(theirs)
        assert here.data.counters.malformed == 1


async def test_after_a_challenge_nothing_but_a_connection_bind_is_taken() -> None:
    here = bare()
    theirs = here.arrives(BIND + b"\x00\x03" + BIND[2:])
    with closing(here, theirs):
        await until(lambda: len(here.data) == 0)
        assert read_foreign(theirs.recv(1000)).error_code == 401
        assert ended(theirs)
        assert (here.data.counters.challenged, here.data.counters.malformed, here.asked) == (1, 1, [])


async def test_whoever_is_not_bound_after_ten_seconds_is_closed() -> None:
    here = bare()
    slow = [here.arrives(said) for said in (b"", BIND[:1], BIND[:15], BIND)]  # the last has been challenged
    with closing(here, *slow):
        await until(lambda: here.data.counters.challenged == 1)
        here.now = 9.9
        here.data.sweep(here.now)
        late = here.arrives(BIND[:15])
        assert len(here.data) == 5
        here.data.sweep(10.0)
        assert len(here.data) == 1
        slow[3].recv(1000)
        assert all(ended(each) for each in slow)
        assert not ended(late)
        late.close()


async def test_the_waiting_are_bounded_in_all_and_for_each_prefix() -> None:
    here = bare(DataLimits(waiting=4, waiting_per_prefix=2))
    hosts = ["198.51.100.1", "198.51.100.1", "198.51.100.1", "2001:db8::1", "2001:db8::2", "2001:db8::3"]
    sockets = [here.arrives(BIND[:10], host) for host in hosts]
    sockets.append(here.arrives(BIND[:10], "198.51.100.9"))
    with closing(here, *sockets):
        assert [ended(each) for each in sockets] == [True, False, True, False, False, True, False]  # the oldest went
        assert len(here.data) == 4
        assert here.data.counters.crowded == 3


async def test_one_address_may_ask_only_so_often() -> None:
    here = bare(DataLimits(requests_per_s=1, burst=3))
    sockets = [here.arrives(BIND) for _ in range(4)]
    with closing(here, *sockets):
        await until(lambda: here.data.counters.challenged == 3)
        assert len(here.data) == 3
        assert here.data.counters.crowded == 1
        elsewhere = here.arrives(BIND, "198.51.100.9")
        await until(lambda: here.data.counters.challenged == 4)
        elsewhere.close()


async def test_random_bytes_behind_the_first_two_do_no_harm(rng: random.Random) -> None:
    here = bare(DataLimits(requests_per_s=1e6, burst=1e6))
    sockets = []
    for _ in range(300):
        noise = bytearray(BIND + rng.randbytes(rng.randrange(60)))
        for _ in range(rng.randrange(6)):
            noise[rng.randrange(2, len(noise))] = rng.randrange(256)
        sockets.append(here.arrives(bytes(noise)))
    with closing(here, *sockets):
        for _ in range(10):
            await asyncio.sleep(0)
        here.data.sweep(10.0)
        assert len(here.data) == 0


async def test_an_answer_for_another_stream_is_the_planes() -> None:
    here = bare()
    assert not here.data.reply(Client(77, *REMOTE, *LOCAL), b"an answer")
    assert here.data.take(Client(77, *REMOTE, *LOCAL)) is None
