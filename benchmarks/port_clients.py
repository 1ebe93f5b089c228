"""Clients of the shared port, for port.py and its small twin among the tests: idle WebSockets and TURN over TLS.

Each is one protocol object on a TLS connection of the running loop, as small as it can be, because thousands of them
live beside each other in one process and must not be what is measured. A TURN client carries a voice-like flow: 160
bytes 50 times a second through a channel to a peer who sends each packet back, so that every packet is relayed twice.
It knows servers by address and credentials only and checks the MESSAGE-INTEGRITY of every answer.
"""

import asyncio
import base64
import os
import socket
import ssl
import struct
import time
from collections.abc import Sequence
from typing import Final, cast

from turn.attributes import (
    ALLOCATE,
    CHANNEL_BIND,
    CHANNEL_NUMBER,
    CREATE_PERMISSION,
    ERROR_CODE,
    NONCE,
    REALM,
    REQUESTED_TRANSPORT,
    TRANSPORT_UDP,
    USERNAME,
    XOR_PEER_ADDRESS,
    XOR_RELAYED_ADDRESS,
)
from turn.credentials import long_term_key
from turn.stun import Address, Message, MessageClass, build, decode_error, encode_xor_address, parse, verify

PACKET_BYTES: Final = 160  # 20 ms of speech at 64 kbit/s
INTERVAL_S: Final = 0.02
_CHANNEL: Final = 0x4000
_STUN_HEADER: Final = 20
_FRAME_HEADER: Final = 4
_STAMP: Final = struct.Struct("!QI")  # when it was sent (time.perf_counter_ns), by which client
_CHANNEL_HEADER: Final = struct.pack("!HH", _CHANNEL, PACKET_BYTES)
_PADDING: Final = bytes(PACKET_BYTES - _STAMP.size)
_PING_TEXT: Final = b'{"type":"ping","id":1}'
_WEBSOCKET_CLOSE: Final = 8
_WEBSOCKET_PING: Final = 9
_PATIENCE_S: Final = 20.0


class IdleSocket(asyncio.Protocol):
    """A WebSocket on /v1/signal that has not joined: it answers pings, and says ``ping`` when `speak` is called, as the
    page does in the waiting room. ``up`` from the upgrade until it ends."""

    def __init__(self) -> None:
        self.up = False
        self.heard = 0
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._transport: asyncio.Transport | None = None
        self._read = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        key = base64.b64encode(os.urandom(16))
        self._transport.write(
            b"GET /v1/signal HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: wadud.v1\r\nSec-WebSocket-Key: " + key + b"\r\n\r\n"
        )

    def data_received(self, data: bytes) -> None:
        self._read += data
        if not self.up:
            head, found, rest = self._read.partition(b"\r\n\r\n")
            if not found:
                return
            if not head.startswith(b"HTTP/1.1 101 "):
                self._fail(ConnectionError(head[:40].decode(errors="replace")))
                return
            self.up, self._read = True, rest
            if not self.opened.done():
                self.opened.set_result(None)
        # Frames of a server are short here (pings, pongs, errors): one byte tells their length (RFC 6455 section 5.2).
        while len(self._read) >= 2 and len(self._read) >= 2 + self._read[1]:
            code, body = self._read[0] & 15, self._read[2 : 2 + self._read[1]]
            self._read = self._read[2 + len(body) :]
            self.heard += 1
            if code == _WEBSOCKET_PING:
                self._send(0x8A, body)
            elif code == _WEBSOCKET_CLOSE:
                self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(exc or ConnectionError("closed"))

    def speak(self) -> None:
        """What keeps a conversation from being silent."""
        if self.up:
            self._send(0x81, _PING_TEXT)

    def close(self) -> None:
        self.up = False
        if self._transport is not None:
            self._transport.abort()

    def _send(self, first: int, body: bytes) -> None:
        assert self._transport is not None
        # A mask of zeroes is one (RFC 6455 section 5.3): it changes nothing, and the server's work is the same.
        self._transport.write(bytes((first, 0x80 | len(body), 0, 0, 0, 0)) + body)

    def _fail(self, error: Exception) -> None:
        self.up = False
        if not self.opened.done():
            self.opened.set_exception(error)


async def open_socket(server: Address, tls: ssl.SSLContext, source: str) -> IdleSocket:
    """Connected from the address ``source``, and upgraded. ConnectionError or TimeoutError when that is refused."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(_PATIENCE_S):
        _, opened = await loop.create_connection(
            IdleSocket, *server, ssl=tls, server_hostname="localhost", local_addr=(source, 0)
        )
        await opened.opened
    return opened


class Flows:
    """What all TURN clients together have sent and got back, with the round trips in microseconds."""

    def __init__(self) -> None:
        self.sent = 0
        self.received = 0
        self.strange = 0
        self.round_trips_us: list[float] = []


class TurnTls(asyncio.Protocol):
    """One TURN client over TLS. ``up`` from its channel until its connection ends."""

    def __init__(self, number: int, flows: Flows) -> None:
        self.up = False
        self.number = number
        self._flows = flows
        self._transport: asyncio.Transport | None = None
        self._read = b""
        self._answer: asyncio.Future[Message] | None = None
        self._key = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        buffer = self._read + data if self._read else data
        at, size = 0, len(buffer)
        while size - at >= _FRAME_HEADER:
            length = int.from_bytes(buffer[at + 2 : at + 4])
            if buffer[at] < 0x40:  # RFC 8656 section 12: the two first bits tell STUN from ChannelData
                end = at + _STUN_HEADER + length
            else:
                end = at + _FRAME_HEADER + (length + 3 & ~3)
            if end > size:
                break
            if buffer[at] < 0x40:
                self._take_answer(buffer[at:end])
            else:
                self._take_packet(buffer, at + _FRAME_HEADER, length)
            at = end
        self._read = buffer[at:]

    def connection_lost(self, exc: Exception | None) -> None:
        self.up = False
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or ConnectionError("closed"))

    def count_in(self, flows: Flows) -> None:
        """What is sent and comes from now on counts there."""
        self._flows = flows

    async def allocate(self, username: str, password: str, peer: Address) -> None:
        """An allocation, a permission and a channel. ConnectionError with the code when one is refused."""
        asked = [(REQUESTED_TRANSPORT, bytes((TRANSPORT_UDP, 0, 0, 0)))]
        async with asyncio.timeout(_PATIENCE_S):
            challenge = await self._ask(ALLOCATE, asked, challenged=True)
            realm, nonce = challenge.attributes[REALM], challenge.attributes[NONCE]
            self._key = long_term_key(username, realm.decode(), password)
            who = [(USERNAME, username.encode()), (REALM, realm), (NONCE, nonce)]
            made = await self._ask(ALLOCATE, [*asked, *who])
            if XOR_RELAYED_ADDRESS not in made.attributes:
                raise ConnectionError("no relayed address")
            await self._ask(CREATE_PERMISSION, who, peer)
            await self._ask(CHANNEL_BIND, [(CHANNEL_NUMBER, _CHANNEL.to_bytes(2) + b"\0\0"), *who], peer)
        self.up = True

    def send(self) -> None:
        """The next packet of the flow, to the peer, who is to send it back."""
        assert self._transport is not None
        stamp = _STAMP.pack(time.perf_counter_ns(), self.number)
        self._transport.write(b"".join((_CHANNEL_HEADER, stamp, _PADDING)))
        self._flows.sent += 1

    def close(self) -> None:
        self.up = False
        if self._transport is not None:
            self._transport.abort()

    async def _ask(
        self,
        method: int,
        attributes: Sequence[tuple[int, bytes]],
        peer: Address | None = None,
        *,
        challenged: bool = False,
    ) -> Message:
        assert self._transport is not None
        transaction = os.urandom(12)
        if peer is not None:
            attributes = [(XOR_PEER_ADDRESS, encode_xor_address(peer, transaction)), *attributes]
        self._answer = asyncio.get_running_loop().create_future()
        key = None if challenged else self._key
        self._transport.write(build(method, MessageClass.REQUEST, transaction, attributes, key=key))
        answer = await self._answer
        if challenged == (answer.kind is MessageClass.SUCCESS):
            code = decode_error(answer.attributes[ERROR_CODE]) if ERROR_CODE in answer.attributes else 0
            raise ConnectionError(f"request {method}: {code}")
        if not challenged and not verify(answer, self._key):
            raise ConnectionError(f"request {method}: the answer is not the server's")
        return answer

    def _take_answer(self, data: bytes) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(parse(data))

    def _take_packet(self, buffer: bytes, at: int, length: int) -> None:
        if length != PACKET_BYTES:
            self._flows.strange += 1
            return
        sent_ns, number = _STAMP.unpack_from(buffer, at)
        if number != self.number:
            self._flows.strange += 1
            return
        self._flows.received += 1
        self._flows.round_trips_us.append((time.perf_counter_ns() - sent_ns) / 1000)


async def open_relay(
    server: Address, tls: ssl.SSLContext, source: str, number: int, flows: Flows, login: tuple[str, str], peer: Address
) -> TurnTls:
    """A client with a channel to ``peer``. ConnectionError or TimeoutError when something is refused."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(_PATIENCE_S):
        transport, client = await loop.create_connection(
            lambda: TurnTls(number, flows), *server, ssl=tls, server_hostname="localhost", local_addr=(source, 0)
        )
    wire: socket.socket = transport.get_extra_info("socket")
    wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    await client.allocate(*login, peer)
    return client


async def talk(clients: Sequence[TurnTls], seconds: float) -> None:
    """Every client that is up sends each `INTERVAL_S`, all of them evenly spread over it; then what is under way comes
    in for a second."""
    if not clients:
        return
    begin, sent = time.perf_counter(), 0
    step_s = INTERVAL_S / len(clients)
    while (passed := time.perf_counter() - begin) < seconds:
        due = int(passed / step_s)
        if due - sent > len(clients):
            sent = due - len(clients)  # nobody speaks twice at once: a client that was late sends less, not bursts
        while sent < due:
            client = clients[sent % len(clients)]
            if client.up:
                client.send()
            sent += 1
        await asyncio.sleep(0.001)
    await asyncio.sleep(1.0)


class Echo:
    """The peers: one UDP socket that sends every datagram back. ``address``: where."""

    def __init__(self, host: str = "127.2.0.1") -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self._socket.setblocking(False)
        self._socket.bind((host, 0))
        self.address: Address = self._socket.getsockname()
        asyncio.get_running_loop().add_reader(self._socket, self._answer)

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()

    def _answer(self) -> None:
        for _ in range(64):
            try:
                packet, sender = self._socket.recvfrom(2048)
                self._socket.sendto(packet, sender)
            except BlockingIOError:
                return
