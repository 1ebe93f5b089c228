"""A relay that serves somebody, for tests that attack it meanwhile: real processes, a client, its peer."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import struct
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import aiohttp

from tests.support.server import ROOT, free_port, running_server
from turn import attributes as names
from turn.credentials import long_term_key
from turn.stun import Address, MessageClass, build, decode_error, decode_xor_address, encode_xor_address, parse

REALM, PASSWORD = "wadud", "pass word"
USERS = ["nurse", *(f"user{number}" for number in range(8))]
HOST = "127.0.0.1"
UDP, TCP = b"\x11\0\0\0", b"\x06\0\0\0"
CHANNEL = 0x4001
PACE_S = 0.02
PATIENCE_S = 20.0
Attributes = Iterable[tuple[int, bytes]]


@dataclass(frozen=True, slots=True)
class Relay:
    """``port`` is that of UDP, ``tcp`` the shared one."""

    port: int
    tcp: int
    pid: int
    log: Path
    tls: bool

    def resident_kib(self) -> int:
        return int(re.search(r"VmRSS:\s*(\d+)", Path(f"/proc/{self.pid}/status").read_text())[1])  # type: ignore[index]

    async def healthy(self, http: aiohttp.ClientSession) -> bool:
        async with http.get(f"http://{HOST}:{self.tcp}/healthz") as answer:
            return answer.status == 200

    async def metric(self, name: str) -> float:
        scheme = "https" if self.tls else "http"
        async with (
            aiohttp.ClientSession() as http,
            http.get(f"{scheme}://{HOST}:{self.tcp}/metrics", ssl=False) as told,
        ):
            text = await told.text()
        found = re.findall(rf"^wadud_{name}(?:\{{[^}}]*\}})? (\S+)$", text, re.MULTILINE)
        return sum(map(float, found))


def use_credentials(allow: str = "127.0.0.1/32") -> dict[str, str]:
    """The environment of a relay with `USERS`, which may reach ``allow``."""
    users = ",".join(f"{name}:{PASSWORD}" for name in USERS)
    return {**os.environ, "WADUD_RELAY_USERS": users, "WADUD_RELAY_ALLOW": allow}


@asynccontextmanager
async def relay_alone(
    directory: Path, *options: str, allow: str = "127.0.0.1/32", host: str = HOST
) -> AsyncIterator[Relay]:
    """`bin/turn`, with TLS."""
    port, log = free_port(), directory / "relay.log"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "server.relay_main", "--host", host, "--port", str(port), "--workers", "1"),
        *("--self-signed", "--data", str(directory / "data"), *options),
        cwd=ROOT,
        env=use_credentials(allow),
        stdout=asyncio.subprocess.PIPE,
        stderr=log.open("wb"),
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(30):
            while b"is ready" not in (line := await process.stdout.readline()):
                assert line, log.read_text()
        yield Relay(port, port, process.pid, log, True)
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGINT)
            async with asyncio.timeout(15):
                await process.wait()
    assert process.returncode == 0, log.read_text()


@asynccontextmanager
async def relay_inside(directory: Path) -> AsyncIterator[Relay]:
    """`bin/serve` with the relay that it has inside. Reads the environment of this process."""
    media = free_port()
    async with running_server(directory, "--media-port", str(media)) as server:
        yield Relay(media, int(server.url.rpartition(":")[2]), server.pid, server.log, False)


class TurnSocket:
    """One client on one UDP socket, blocking. ``nonce`` is learnt."""

    def __init__(self, relay: Address, user: str = USERS[0], host: str = HOST, password: str = PASSWORD) -> None:
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind((host, 0))
        self.sock.connect(relay)
        self.user, self.key = user, long_term_key(user, REALM, password)
        self.nonce = b""

    def request(self, method: int, attributes: Attributes = ()) -> bytes:
        known = [(names.USERNAME, self.user.encode()), (names.REALM, REALM.encode()), (names.NONCE, self.nonce)]
        return build(method, MessageClass.REQUEST, os.urandom(12), [*known, *attributes], key=self.key)

    def ask(self, method: int, attributes: Attributes = ()) -> tuple[int, dict[int, bytes], bytes]:
        """The code of the answer (0 = success), its attributes and transaction. Sent again until there is one."""
        if not self.nonce:
            bare = build(method, MessageClass.REQUEST, os.urandom(12), attributes)
            self.nonce = parse(self.exchange(bare)).attributes[names.NONCE]
        answer = parse(self.exchange(self.request(method, attributes)))
        error = answer.attributes.get(names.ERROR_CODE)
        return (decode_error(error) if error else 0), answer.attributes, answer.transaction

    def exchange(self, message: bytes) -> bytes:
        self.sock.settimeout(0.25)
        for _ in range(int(PATIENCE_S / 0.25)):
            self.sock.send(message)
            with suppress(TimeoutError):
                while (answer := self.sock.recv(4096))[8:20] != message[8:20]:
                    pass
                return answer
        raise AssertionError("no answer")

    def allocate(self, *, both: bool = False) -> Address:
        """``both``: an address of IPv6 besides. The one of IPv4."""
        wish = [(names.REQUESTED_TRANSPORT, UDP)]
        if both:
            wish.append((names.ADDITIONAL_ADDRESS_FAMILY, b"\x02\0\0\0"))
        code, attributes, transaction = self.ask(names.ALLOCATE, wish)
        assert code == 0, code
        self.allocated = decode_xor_address(attributes[names.XOR_RELAYED_ADDRESS], transaction)
        return self.allocated

    def permit(self, *peers: Address) -> int:
        """The code, 0 = success."""
        transaction = os.urandom(12)
        message = [(names.XOR_PEER_ADDRESS, encode_xor_address(peer, transaction)) for peer in peers]
        return self._with(transaction, names.CREATE_PERMISSION, message)

    def bind(self, number: int, peer: Address) -> int:
        transaction = os.urandom(12)
        message = [
            (names.CHANNEL_NUMBER, struct.pack("!HH", number, 0)),
            (names.XOR_PEER_ADDRESS, encode_xor_address(peer, transaction)),
        ]
        return self._with(transaction, names.CHANNEL_BIND, message)

    def indicate(self, peer: Address, data: bytes) -> None:
        """A Send indication, permitted or not."""
        transaction = os.urandom(12)
        attributes = [(names.XOR_PEER_ADDRESS, encode_xor_address(peer, transaction)), (names.DATA, data)]
        self.sock.send(build(names.SEND, MessageClass.INDICATION, transaction, attributes))

    def _with(self, transaction: bytes, method: int, attributes: Attributes) -> int:
        known = [(names.USERNAME, self.user.encode()), (names.REALM, REALM.encode()), (names.NONCE, self.nonce)]
        message = build(method, MessageClass.REQUEST, transaction, [*known, *attributes], key=self.key)
        error = parse(self.exchange(message)).attributes.get(names.ERROR_CODE)
        return decode_error(error) if error else 0

    def close(self) -> None:
        self.sock.close()


class TurnStream(TurnSocket):
    """The same client over TCP."""

    def __init__(self, relay: Address, user: str = USERS[0], host: str = HOST, password: str = PASSWORD) -> None:
        self.sock = socket.create_connection(relay, timeout=PATIENCE_S, source_address=(host, 0))
        self.user, self.key = user, long_term_key(user, REALM, password)
        self.nonce = b""

    def exchange(self, message: bytes) -> bytes:
        self.sock.settimeout(PATIENCE_S)
        self.sock.sendall(message)
        answer = b""
        while answer[8:20] != message[8:20]:
            head = self._exactly(20)
            answer = head + self._exactly(int.from_bytes(head[2:4]))
        return answer

    def connect(self, peer: Address) -> int:
        """Through a TCP allocation (RFC 6062); the code."""
        transaction = os.urandom(12)
        wanted = (names.XOR_PEER_ADDRESS, encode_xor_address(peer, transaction))
        return self._with(transaction, names.CONNECT, [wanted])

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            more = self.sock.recv(count - len(data))
            assert more, "the relay has closed the connection"
            data += more
        return data


class _Echo(asyncio.DatagramProtocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: Address) -> None:
        self.transport.sendto(data, addr)


@dataclass
class Flow:
    """What the relay is there for: numbered packets to a peer that sends them back."""

    client: TurnSocket
    relayed: Address
    number: int = 0
    back: set[int] = field(default_factory=set)

    def heard(self) -> None:
        with suppress(BlockingIOError):
            while data := self.client.sock.recv(4096):
                if data[:2] == CHANNEL.to_bytes(2) and len(data) == 8:
                    self.back.add(int.from_bytes(data[4:]))

    async def run(self, attack: asyncio.Task[object], least_s: float) -> float:
        """Send at an even pace until the attack is over; the share that came back."""
        first = self.number
        loop = asyncio.get_running_loop()
        began = loop.time()
        while not attack.done() or loop.time() - began < least_s:
            self.number += 1
            self.client.sock.send(struct.pack("!HHI", CHANNEL, 4, self.number))
            await asyncio.sleep(PACE_S)
        for _ in range(25):
            if len([number for number in self.back if number > first]) == self.number - first:
                break
            await asyncio.sleep(PACE_S)
        return len([number for number in self.back if number > first]) / (self.number - first)


@asynccontextmanager
async def flow_through(relay: Relay) -> AsyncIterator[Flow]:
    loop = asyncio.get_running_loop()
    async with AsyncExitStack() as stack:
        echo, _ = await loop.create_datagram_endpoint(_Echo, (HOST, 0))
        stack.callback(echo.close)
        client = TurnSocket((HOST, relay.port))
        stack.callback(client.close)
        relayed = await asyncio.to_thread(client.allocate)
        assert await asyncio.to_thread(client.bind, CHANNEL, echo.get_extra_info("sockname")) == 0
        client.sock.setblocking(False)
        flow = Flow(client, relayed)
        loop.add_reader(client.sock, flow.heard)
        stack.callback(loop.remove_reader, client.sock)
        yield flow
