"""A small TURN node for TCP allocations on loopback, with real sockets and a clock of its own, and a foreign client.

The shared port, the server and the sockets are the product's. In the place of the packet plane stands a loop that
reads messages from control connections and challenges those without a nonce. The client's messages are made and read
by aioice, which knows nothing of RFC 6062; the three methods and one attribute that it lacks are added to its tables.
"""

import asyncio
import contextlib
import itertools
import random
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aioice import stun

from backplane.listeners import bound
from backplane.shared_port import SharedPort
from backplane.tls import ServerTls
from turn import attributes as names
from turn.credentials import Credentials, long_term_key
from turn.data_connection import DataConnections, DataLimits
from turn.peers import PeerPolicy
from turn.plane import Client
from turn.ports import PortPool
from turn.relay import TurnSettings
from turn.server import TurnServer
from turn.splice import READ_BYTES
from turn.stun import Address, MessageClass, build, encode_error, parse
from turn.tcp_allocations import FIRST_STREAM, TcpAllocations
from turn.tcp_relay import PeerConnections, TcpLimits

REALM = "wadud"
USERS = {"nurse": "pass word", "porter": "other"}
PATIENCE_S = 10
UNIX = 1_800_000_000
PATIENT = READ_BYTES * 4

for _number, _name, _pack, _unpack in (
    (0x0026, "PADDING", stun.pack_bytes, stun.unpack_bytes),
    (0x0027, "RESPONSE-PORT", stun.pack_unsigned_short, stun.unpack_unsigned_short),
    (0x002A, "CONNECTION-ID", stun.pack_unsigned, stun.unpack_unsigned),
    (0x000A, "UNKNOWN-ATTRIBUTES", stun.pack_bytes, stun.unpack_bytes),
    (0x0017, "REQUESTED-ADDRESS-FAMILY", stun.pack_unsigned, stun.unpack_unsigned),
):
    entry: Any = (_number, _name, _pack, _unpack)
    stun.ATTRIBUTES_BY_TYPE[_number] = entry
    stun.ATTRIBUTES_BY_NAME[_name] = entry


def read_foreign(data: bytes) -> stun.Message:
    """What aioice reads, which takes every message of a method that it does not know for a Binding."""
    known = (int.from_bytes(data[:2], "big") & 0x0110 | names.BINDING).to_bytes(2, "big")
    # the checksum is of the message as it came, so it is left out of the reading
    at = len(data) - 8 if data[-8:-4] == b"\x80\x28\0\4" else len(data)
    message = stun.parse_message(known + (at - 20).to_bytes(2, "big") + data[4:at])
    if message._integrity_data is not None:
        message._integrity_data = data[:2] + message._integrity_data[2:]
    return message


def request_of(method: int, **attributes: Any) -> stun.Message:
    """An unsigned request. ``connection_id=5`` stands for CONNECTION-ID."""
    named = {name.upper().replace("_", "-"): value for name, value in attributes.items()}
    return stun.Message(method, stun.Class.REQUEST, attributes=named)  # type: ignore[arg-type]


async def read_message(reader: asyncio.StreamReader) -> bytes:
    head = await asyncio.wait_for(reader.readexactly(20), PATIENCE_S)
    return head + await asyncio.wait_for(reader.readexactly(int.from_bytes(head[2:4], "big")), PATIENCE_S)


@dataclass
class Node:
    """``now`` is its clock."""

    port: SharedPort
    number: int
    servers: list[TurnServer]
    tcp: TcpAllocations
    control: dict[int, asyncio.StreamWriter]
    adopted: list[int]
    now: float = 1000.0
    folder: Path | None = None
    peers: list["Peer"] = field(default_factory=list)

    @property
    def relay(self) -> PeerConnections:
        return self.tcp.peers

    @property
    def data(self) -> DataConnections:
        return self.tcp.data

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        for server in self.servers:
            server.sweep(self.now)
        self.tcp.sweep(self.now)

    async def client(self, user: str = "nurse", *, tls: ssl.SSLContext | None = None) -> "Caller":
        reader, writer = await self.open(tls)
        return Caller(self, reader, writer, user, long_term_key(user, REALM, USERS[user]), tls)

    async def open(self, tls: ssl.SSLContext | None = None) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.number, ssl=tls, limit=PATIENT)


@dataclass
class Caller:
    """A client with its control connection."""

    node: Node
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    user: str
    key: bytes
    tls: ssl.SSLContext | None = None
    nonce: bytes = b"not yet"
    attempts: list[stun.Message] = field(default_factory=list)

    def signed(self, method: int, **attributes: Any) -> stun.Message:
        request = request_of(method, **attributes, username=self.user, realm=REALM, nonce=self.nonce)
        request.add_message_integrity(self.key)
        return request

    def send(self, method: int, **attributes: Any) -> stun.Message:
        request = self.signed(method, **attributes)
        self.writer.write(bytes(request))
        return request

    async def answer(self, request: stun.Message) -> stun.Message:
        """Attempts that come in between are kept."""
        while True:
            data = await read_message(self.reader)
            if data[:2] == b"\x00\x1c":
                self.attempts.append(read_foreign(data))
                continue
            reply = read_foreign(data)
            assert reply.transaction_id == request.transaction_id
            assert reply.check_message_integrity(self.key)
            return reply

    async def ask(self, method: int, **attributes: Any) -> stun.Message:
        return await self.answer(self.send(method, **attributes))

    async def attempt(self) -> stun.Message:
        """The next ConnectionAttempt."""
        while not self.attempts:
            data = await read_message(self.reader)
            assert data[:2] == b"\x00\x1c"
            self.attempts.append(read_foreign(data))
        return self.attempts.pop(0)

    async def allocate(self, **attributes: Any) -> Address:
        reply = await self.ask(names.ALLOCATE, requested_transport=6 << 24, **attributes)
        assert reply.message_class is stun.Class.RESPONSE
        relayed: Address = reply.attributes["XOR-RELAYED-ADDRESS"]
        return relayed

    async def permit(self, host: str = "127.0.0.1") -> None:
        reply = await self.ask(names.CREATE_PERMISSION, xor_peer_address=(host, 9))
        assert reply.message_class is stun.Class.RESPONSE

    async def connect(self, peer: Address) -> stun.Message:
        return await self.ask(names.CONNECT, xor_peer_address=peer)

    async def bind(self, connection: int, after: bytes = b"") -> tuple[stun.Message, "Peer"]:
        """The answer to a ConnectionBind on a connection of its own, and that. ``after`` goes out with the request."""
        reader, writer = await self.node.open(self.tls)
        request = self.signed(names.CONNECTION_BIND, connection_id=connection)
        writer.write(bytes(request) + after)
        reply = read_foreign(await read_message(reader))
        assert reply.transaction_id == request.transaction_id
        data = Peer(reader, writer)
        self.node.peers.append(data)
        return reply, data


@dataclass
class Peer:
    """An end of a TCP connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def read(self, size: int) -> bytes:
        return await asyncio.wait_for(self.reader.readexactly(size), PATIENCE_S)

    async def rest(self) -> bytes:
        return await asyncio.wait_for(self.reader.read(), PATIENCE_S)

    @property
    def remote(self) -> Address:
        host, port = self.writer.get_extra_info("peername")[:2]
        return host, port

    @property
    def local(self) -> Address:
        host, port = self.writer.get_extra_info("sockname")[:2]
        return host, port


class Listening:
    """Somebody out there that a client wants to reach. ``arrived`` holds who came."""

    def __init__(self) -> None:
        self.arrived: asyncio.Queue[Peer] = asyncio.Queue()
        self.address: Address = ("", 0)

    def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.arrived.put_nowait(Peer(reader, writer))

    async def next(self) -> Peer:
        return await asyncio.wait_for(self.arrived.get(), PATIENCE_S)


@asynccontextmanager
async def listening(host: str = "127.0.0.1") -> AsyncIterator[Listening]:
    peer = Listening()
    server = await asyncio.start_server(peer.take, host, 0, limit=PATIENT)
    peer.address = server.sockets[0].getsockname()[:2]
    async with server:
        yield peer


class Front:
    """A worker's place: answers go to the control connections."""

    def __init__(self, control: dict[int, asyncio.StreamWriter]) -> None:
        self._control = control

    def reply(self, client: Client, message: bytes) -> None:
        assert client.stream < FIRST_STREAM
        if client.stream in self._control:
            self._control[client.stream].write(message)

    def __getattr__(self, name: str) -> Callable[..., None]:
        def unexpected(*_: object, **__: object) -> None:
            raise AssertionError(f"{name}: a TCP allocation is nothing that the packet plane knows")

        return unexpected


def _challenge(message: bytes) -> bytes:
    request = parse(message)
    attributes = [(names.ERROR_CODE, encode_error(401)), (names.REALM, REALM.encode()), (names.NONCE, b"front")]
    return build(request.method, MessageClass.ERROR, request.transaction, attributes)


@asynccontextmanager
async def node(
    *,
    rng: random.Random | None = None,
    limits: TcpLimits | None = None,
    data_limits: DataLimits | None = None,
    folder: Path | None = None,
    real_time: bool = False,
) -> AsyncIterator[Node]:
    """Two servers, as of two workers, who take turns with control connections. ``folder``: holds a certificate
    (tests.support.port)."""
    rng = rng or random.Random(1)
    streams, tasks = itertools.count(1), set[asyncio.Task[None]]()
    writers: dict[int, asyncio.StreamWriter] = {}
    adopted: list[int] = []
    clock = asyncio.get_running_loop().time if real_time else lambda: here.now

    async def control(sock: socket.socket, remote: Address, local: Address) -> None:
        reader, writer = await asyncio.open_connection(sock=sock)
        client = Client(next(streams), *remote, *local)
        server = servers[client.stream % 2]
        writers[client.stream] = writer
        adopted.append(client.stream)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readexactly(20)
                message = head + await reader.readexactly(int.from_bytes(head[2:4], "big"))
                if names.NONCE in parse(message).attributes:
                    server.handle_request(client, message, clock())
                else:
                    writer.write(_challenge(message))
        del writers[client.stream]
        server.stream_closed(client.stream)
        writer.close()

    def adopt(sock: socket.socket, remote: Address, local: Address) -> None:
        task = asyncio.get_running_loop().create_task(control(sock, remote, local))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    tcp = TcpAllocations(realm=REALM, adopt=adopt, limits=limits, data_limits=data_limits, clock=lambda: clock())
    pools = [PortPool(host, 61000, 65535, rng) for host in ("127.0.0.1", "::1")]
    servers = [
        TurnServer(
            tcp.plane(Front(writers)),  # type: ignore[arg-type]  # every command but one is an error
            TurnSettings(),
            credentials=Credentials(REALM, USERS, None),
            peers=PeerPolicy(["127.0.0.0/8", "::1/128"], [], []),
            pools=pools,
            sockets=None,  # type: ignore[arg-type]  # nor does it open UDP sockets
            entropy=rng.randbytes,
            unix_offset=UNIX,
        )
        for _ in range(2)
    ]
    for each in servers:
        tcp.serve(each)
    tls = ServerTls(folder / "certificate.pem", folder / "key.pem") if folder else None
    port = SharedPort(asyncio.Protocol, tls)
    port.turn = tcp.arrived
    here = Node(port, port.listen(bound("127.0.0.1", 0)), servers, tcp, writers, adopted, folder=folder)
    try:
        yield here
    finally:
        for writer in list(writers.values()):
            writer.close()
        for peer in here.peers:
            peer.writer.close()
        for each in servers:
            each.close()
        tcp.close()
        await port.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
