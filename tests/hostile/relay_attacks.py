"""Floods against a relay, each from many addresses of 127/8, and what they got for it. They block."""

from __future__ import annotations

import os
import random
import socket
import ssl
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass

from tests.hostile.relay_world import HOST, UDP, USERS, Relay, TurnSocket
from turn import attributes as names
from turn.stun import Address, MessageClass, StunError, build, parse

DATAGRAMS = 8000
BURST, PAUSE_S = 64, 0.004
STRANGERS = 256
HOLD_S = 1.0


@dataclass
class Result:
    sent: int = 0
    received: int = 0
    successes: int = 0
    took_s: float = 0.0
    most_beyond: int = 0  # bytes that one address got beyond what it had sent


def own_address(number: int, network: int) -> str:
    return f"127.{network}.{number >> 8}.{1 + (number & 0xFF) % 254}"


@contextmanager
def strangers(count: int, network: int) -> Iterator[list[socket.socket]]:
    """Sockets, each of an address of its own."""
    with ExitStack() as stack:
        found = []
        for number in range(count):
            sock = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            sock.bind((own_address(number, network), 0))
            sock.setblocking(False)
            found.append(sock)
        yield found


def _answers(sock: socket.socket, result: Result) -> int:
    """Bytes of what has come in."""
    received = 0
    with suppress(BlockingIOError, ConnectionRefusedError):
        while True:
            data = sock.recv(4096)
            received += len(data)
            with suppress(StunError):
                result.successes += parse(data).kind is MessageClass.SUCCESS
    result.received += received
    return received


def _flood(
    target: Address, sockets: list[socket.socket], make: Callable[[int], bytes], count: int = DATAGRAMS
) -> Result:
    """``count`` datagrams in turn from all sockets, in bursts: what the kernel would not hold is nobody's merit."""
    result, began = Result(), time.monotonic()
    given = [0] * len(sockets)
    for number in range(count):
        which = number % len(sockets)
        with suppress(BlockingIOError, ConnectionRefusedError):
            given[which] += sockets[which].sendto(make(number), target)
        if number % BURST == BURST - 1:
            time.sleep(PAUSE_S)
    time.sleep(0.1)
    result.sent = sum(given)
    for sock, sent in zip(sockets, given):
        result.most_beyond = max(result.most_beyond, _answers(sock, result) - sent)
    result.took_s = time.monotonic() - began
    return result


def _request(method: int, *attributes: tuple[int, bytes]) -> bytes:
    return build(method, MessageClass.REQUEST, os.urandom(12), attributes)


def _signed(nonce: bytes, user: str = USERS[0], key: bytes = b"no idea") -> bytes:
    attributes = [
        (names.USERNAME, user.encode()),
        (names.REALM, b"wadud"),
        (names.NONCE, nonce),
        (names.REQUESTED_TRANSPORT, UDP),
    ]
    return build(names.ALLOCATE, MessageClass.REQUEST, os.urandom(12), attributes, key=key)


def allocate_without_credentials(relay: Relay) -> Result:
    with strangers(STRANGERS, 10) as sockets:
        return _flood((HOST, relay.port), sockets, lambda number: _request(names.ALLOCATE))


def invented_nonces(relay: Relay) -> Result:
    rng = random.Random(1)
    with strangers(STRANGERS, 11) as sockets:
        return _flood((HOST, relay.port), sockets, lambda number: _signed(rng.randbytes(8).hex().encode()))


def forged_integrity(relay: Relay) -> Result:
    """With nonces that were given to those very addresses: as far as somebody without a password gets."""
    with strangers(16, 12) as sockets:
        nonces = []
        for sock in sockets:
            sock.settimeout(5)
            sock.sendto(_request(names.ALLOCATE), (HOST, relay.port))
            nonces.append(parse(sock.recv(2048)).attributes[names.NONCE])
            sock.setblocking(False)
        return _flood((HOST, relay.port), sockets, lambda number: _signed(nonces[number % 16], f"user{number}"), 4000)


def replayed(relay: Relay) -> Result:
    """What a user has sent, again and again: by other addresses, and by another port of the user's address. The user's
    own port may say it again, and is told the same again."""
    user = TurnSocket((HOST, relay.port), "user0")
    try:
        user.ask(names.REFRESH)
        message = user.request(names.ALLOCATE, [(names.REQUESTED_TRANSPORT, UDP)])
        first = user.exchange(message)
        for _ in range(200):
            assert user.exchange(message) == first
        with strangers(64, 13) as sockets:
            for sock in sockets[:8]:
                sock.close()
            sockets[:8] = [TurnSocket((HOST, relay.port), "user0").sock for _ in range(8)]  # behind the same address
            for sock in sockets[:8]:
                sock.setblocking(False)
            result = _flood((HOST, relay.port), sockets, lambda number: message, 4000)
            for sock in sockets[:8]:
                sock.close()
        assert user.ask(names.REFRESH, [(names.LIFETIME, bytes(4))])[0] == 0
        assert user.exchange(message) == first, "an answer is repeated, an allocation is not"
        assert user.ask(names.REFRESH)[0] == 437
        return result
    finally:
        user.close()


def too_many_permissions_and_channels(relay: Relay) -> Result:
    user = TurnSocket((HOST, relay.port), "user1", own_address(1, 14))
    try:
        user.allocate()
        permitted = [user.permit((f"8.8.{number >> 8}.{number & 0xFF}", 9)) for number in range(300)]
        bound = [user.bind(0x4000 + number, ("8.8.0.1", 40000 + number)) for number in range(300)]
        assert permitted == [0] * 64 + [508] * 236
        assert bound == [0] * 64 + [508] * 236
        assert user.ask(names.REFRESH, [(names.LIFETIME, bytes(4))])[0] == 0
        return Result(1, 0)
    finally:
        user.close()


def as_many_allocations_as_granted(relay: Relay) -> Result:
    """Of users that know their passwords, from one address each, and more than they may; then they go."""
    result = Result(1, 0)
    held: list[TurnSocket] = []
    try:
        for number, user in enumerate(USERS[2:6]):
            granted = 0
            for _ in range(60):
                held.append(TurnSocket((HOST, relay.port), user, own_address(number, 15)))
                code, _, _ = held[-1].ask(names.ALLOCATE, [(names.REQUESTED_TRANSPORT, UDP)])
                assert code in (0, 486), code
                granted += code == 0
            assert granted == 40, granted
        for client in held:
            client.ask(names.REFRESH, [(names.LIFETIME, bytes(4))])
        return result
    finally:
        for client in held:
            client.close()


def data_for_no_channel(relay: Relay) -> Result:
    rng = random.Random(2)
    user = TurnSocket((HOST, relay.port), "user6")
    user.allocate()
    user.sock.setblocking(False)

    def make(number: int) -> bytes:
        size = rng.randrange(1200)
        return struct.pack("!HH", rng.randrange(0x4000, 0x8000), rng.choice((size, size, 65535))) + bytes(size)

    try:
        with strangers(STRANGERS, 16) as sockets:
            return _flood((HOST, relay.port), [user.sock, *sockets], make)
    finally:
        user.close()


def junk(relay: Relay) -> Result:
    rng = random.Random(3)
    with strangers(STRANGERS, 17) as sockets:
        return _flood((HOST, relay.port), sockets, lambda number: rng.randbytes(rng.randrange(1, 1400)))


def to_a_relayed_port(relayed: Address) -> Result:
    """From addresses that nobody has permitted."""
    rng = random.Random(4)
    with strangers(STRANGERS, 18) as sockets:
        return _flood(relayed, sockets, lambda number: rng.randbytes(rng.randrange(1, 1400)))


DATAGRAM_ATTACKS = (
    allocate_without_credentials,
    invented_nonces,
    forged_integrity,
    replayed,
    too_many_permissions_and_channels,
    as_many_allocations_as_granted,
    data_for_no_channel,
    junk,
)

# ---- connections ----

HELLO = bytes.fromhex("16030100f4010000f00303") + bytes(32)  # a ClientHello that ends in its middle
UNFINISHED = struct.pack("!HHI", 3, 100, 0x2112A442) + bytes(12)  # the header of a longer Allocate


def _hold(relay: Relay, count: int, say: Callable[[socket.socket, int], None]) -> Result:
    """``count`` connections that say so at once and again every little while."""
    with ExitStack() as stack:
        sockets = []
        for number in range(count):
            sock = stack.enter_context(socket.socket())
            sock.bind((own_address(number, 20), 0))
            sock.settimeout(10)
            sock.connect((HOST, relay.tcp))
            sockets.append(sock)
        for step in range(10):
            for sock in sockets:
                with suppress(OSError):
                    say(sock, step)
            time.sleep(HOLD_S / 10)
    return Result(count, 0)


def _once(data: bytes) -> Callable[[socket.socket, int], None]:
    return lambda sock, step: sock.sendall(data) if step == 0 else None


def _byte_by_byte(data: bytes) -> Callable[[socket.socket, int], None]:
    return lambda sock, step: sock.sendall(data[step : step + 1])


def silent(relay: Relay) -> Result:
    return _hold(relay, 400, lambda sock, step: None)


def byte_by_byte(relay: Relay) -> Result:
    return _hold(relay, 300, _byte_by_byte(UNFINISHED))


def http_byte_by_byte(relay: Relay) -> Result:
    return _hold(relay, 300, _byte_by_byte(b"GET /healthz HTTP/1.1\r\n"))


def unfinished_frames(relay: Relay) -> Result:
    return _hold(relay, 300, _once(UNFINISHED))


def unfinished_handshakes(relay: Relay) -> Result:
    return _hold(relay, 300, _once(HELLO))


def junk_on_tcp(relay: Relay) -> Result:
    return _hold(relay, 300, lambda sock, step: sock.sendall(os.urandom(500)))


def gone_at_once(relay: Relay) -> Result:
    """Reset as soon as the first bytes are out, whatever they promise."""
    openings = (b"", UNFINISHED, HELLO, b"GET / HTTP/1.1\r\n\r\n", b"\0\x1a" + UNFINISHED, os.urandom(40))
    for number in range(600):
        with socket.socket() as sock:
            sock.settimeout(10)
            sock.connect((HOST, relay.tcp))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.sendall(openings[number % len(openings)])
    return Result(600, 0)


def challenges_unread(relay: Relay) -> Result:
    """Requests over TCP whose answers nobody reads."""
    many = b"".join(_request(names.ALLOCATE) for _ in range(500))
    return _hold(relay, 50, lambda sock, step: (sock.setblocking(False), sock.send(many), None)[2])


def silent_inside_tls(relay: Relay) -> Result:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with ExitStack() as stack:
        for number in range(100):
            plain = stack.enter_context(socket.create_connection((HOST, relay.tcp), 10))
            inside = stack.enter_context(context.wrap_socket(plain))
            if number % 2:
                inside.sendall(UNFINISHED[: 1 + number % 20])
        time.sleep(HOLD_S)
    return Result(100, 0)


CONNECTION_ATTACKS = (
    silent,
    byte_by_byte,
    http_byte_by_byte,
    unfinished_frames,
    unfinished_handshakes,
    junk_on_tcp,
    gone_at_once,
    challenges_unread,
)
