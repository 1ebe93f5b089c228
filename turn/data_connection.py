"""New connections that carry nothing but one ConnectionBind and then a peer's bytes (RFC 6062 section 5.4).

The packet plane knows messages; what follows a ConnectionBind is no message. So every connection that speaks STUN is
looked at first: if its first two bytes are ConnectionBind's it stays here, else it goes on as it came, unread. That
one message is read to its last byte and not further, because the next byte may be the peer's already.

The plane's gate has not seen the request: nobody checked its nonce. It has to stop what such a nonce is for, and does:
the client's address is proven by the handshake of TCP (over which nothing can be forged or amplified), and a copy of an
old request is worth nothing, since the connection id in it is good for one connection, once, for 30 seconds, and is
chance that only the allocation's client was told. MESSAGE-INTEGRITY and the credential's expiry are checked as ever.
What is left to a stranger is work to make, which is bounded: two messages for each connection (the second after a
refusal that tells what was missing), ten seconds, and a rate for each address.
"""

import asyncio
import contextlib
import secrets
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from backplane.nonblocking import received
from backplane.ratelimit import KeyedBuckets, address_key
from turn.attributes import CONNECTION_BIND, ERROR_CODE, MESSAGE_INTEGRITY, NONCE, REALM
from turn.plane import Client
from turn.stun import (
    COOKIE,
    HEADER_BYTES,
    Address,
    Message,
    MessageClass,
    StunError,
    build,
    decode_error,
    encode_error,
    parse,
)

MAX_BYTES: Final = 2048  # of the message
TRIES: Final = 2
LOOK_AGAIN_S: Final = 0.05  # when one byte is there: a poll of a socket pair cannot wait for two
NONCE_BYTES: Final = 12
_TRY_AGAIN: Final = (401, 438)
_BIND: Final = CONNECTION_BIND.to_bytes(2, "big")  # the message type of its request
_DRAIN_BYTES: Final = 16 * 1024


@dataclass(frozen=True, slots=True)
class DataLimits:
    """``waiting``: connections at once that are not bound yet; the rate and burst are of requests from one prefix."""

    waiting: int = 2000
    waiting_per_prefix: int = 256
    deadline_s: float = 10.0
    requests_per_s: float = 20.0
    burst: float = 64.0


@dataclass(slots=True)
class DataCounters:
    passed_on: int = 0  # that turned out to be something else
    bound: int = 0
    challenged: int = 0  # requests without nonce or integrity
    refused: int = 0  # by the server
    malformed: int = 0
    crowded: int = 0  # no room, or too many requests
    late: int = 0  # by the deadline, whatever they had said
    left: int = 0


@dataclass(slots=True, eq=False)
class _Waiting:
    sock: socket.socket
    client: Client
    prefix: str
    deadline: float
    watching: bool = False
    timer: asyncio.TimerHandle | None = None
    message: bytearray = field(default_factory=bytearray)
    requests: int = 0
    code: int = -1  # of the answer to the last request; 0 = success, negative = there was none
    answering: bool = True  # else all has been said, and only the client's end is awaited
    broken: bool = False
    gone: bool = False


class DataConnections:
    """Takes every plain connection that speaks STUN (`arrived`). To be used inside the running loop.

    ``adopt`` takes those that are something else, unread. ``handle`` is `TurnServer.handle_request`; its answers come
    back through `reply`. ``new_stream`` gives the number of a stream that nobody else uses. ``clock``: the seconds that
    `sweep` and ``handle`` are given.
    """

    def __init__(
        self,
        *,
        realm: str,
        adopt: Callable[[socket.socket, Address, Address], None],
        handle: Callable[[Client, bytes, float], None],
        new_stream: Callable[[], int],
        limits: DataLimits | None = None,
        entropy: Callable[[int], bytes] = secrets.token_bytes,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.limits: Final = limits or DataLimits()
        self.counters: Final = DataCounters()
        self._realm = realm.encode()
        self._adopt = adopt
        self._handle = handle
        self._new_stream = new_stream
        self._entropy = entropy
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._by_stream: dict[int, _Waiting] = {}  # the oldest first
        self._of_prefix: dict[str, int] = {}
        self._buckets = KeyedBuckets(self.limits.requests_per_s, self.limits.burst)

    def __len__(self) -> int:
        return len(self._by_stream)

    def arrived(self, sock: socket.socket, remote: Address, local: Address) -> None:
        """Look at a connection (non-blocking, a socket pair's end included), and keep it or pass it on."""
        first = _peek(sock)
        if first == b"":
            self.counters.left += 1
            sock.close()
        elif first is not None and not _BIND.startswith(first):
            self.counters.passed_on += 1
            self._adopt(sock, remote, local)
        else:
            self._keep(sock, remote, local)

    def reply(self, client: Client, message: bytes) -> bool:
        """Answer over a connection of ours; False when the stream is none, so the packet plane's."""
        waiting = self._by_stream.get(client.stream)
        if waiting is None:
            return False
        try:
            waiting.broken = waiting.sock.send(message) < len(message)
        except OSError:
            waiting.broken = True
        answer = parse(message)
        waiting.code = decode_error(answer.attributes[ERROR_CODE]) if answer.kind is MessageClass.ERROR else 0
        return True

    def take(self, client: Client) -> socket.socket | None:
        """Give the connection up to whoever carries the peer's bytes. None when the client has left."""
        waiting = self._by_stream.get(client.stream)
        if waiting is None or waiting.broken or not waiting.answering:
            return None
        self._forget(waiting)
        self.counters.bound += 1
        return waiting.sock

    def sweep(self, now: float) -> None:
        """Close what has taken too long."""
        for waiting in list(self._by_stream.values()):
            if waiting.deadline > now:
                break
            if waiting.answering:
                self.counters.late += 1
            self._close(waiting)

    def close(self) -> None:
        """Close all that wait."""
        for waiting in list(self._by_stream.values()):
            self._close(waiting)

    def _keep(self, sock: socket.socket, remote: Address, local: Address) -> None:
        prefix = address_key(remote[0])
        held = self._of_prefix.get(prefix, 0)
        if held >= self.limits.waiting_per_prefix:
            self.counters.crowded += 1
            sock.close()
            return
        if len(self._by_stream) >= self.limits.waiting:  # who means it is done within a round trip
            self.counters.crowded += 1
            self._close(next(iter(self._by_stream.values())))
        client = Client(self._new_stream(), *remote, *local)
        waiting = _Waiting(sock, client, prefix, self._clock() + self.limits.deadline_s)
        self._by_stream[client.stream] = waiting
        self._of_prefix[prefix] = self._of_prefix.get(prefix, 0) + 1
        self._look(waiting)

    def _watch(self, waiting: _Waiting, readable: Callable[[_Waiting], None]) -> None:
        waiting.watching = True
        self._loop.add_reader(waiting.sock, readable, waiting)

    def _unwatch(self, waiting: _Waiting) -> None:
        if waiting.watching:
            waiting.watching = False
            self._loop.remove_reader(waiting.sock)

    def _look(self, waiting: _Waiting) -> None:
        """Is it ConnectionBind? Until that is known not a byte is read."""
        waiting.timer = None
        first = _peek(waiting.sock)
        if first is None:
            if not waiting.watching:
                self._watch(waiting, self._look)
            return
        self._unwatch(waiting)
        if first == _BIND:
            self._watch(waiting, self._read)
            self._read(waiting)
        elif not first:
            self.counters.left += 1
            self._close(waiting)
        elif _BIND.startswith(first):
            waiting.timer = self._loop.call_later(LOOK_AGAIN_S, self._look, waiting)
        else:
            self._forget(waiting)
            self.counters.passed_on += 1
            client = waiting.client
            try:
                self._adopt(waiting.sock, (client.host, client.port), (client.local_host, client.local_port))
            except Exception:
                waiting.sock.close()  # or nobody would
                raise

    def _read(self, waiting: _Waiting) -> None:
        """Read what is left of the message, no byte more."""
        message = waiting.message
        while not waiting.gone:
            missing = _missing(message)
            if missing < 0:
                self.counters.malformed += 1
                self._close(waiting)
            elif not missing:
                waiting.message = bytearray()
                self._ask(waiting, bytes(message))
                return
            else:
                data = received(waiting.sock, missing)
                if data is None:
                    return
                if not data:
                    self.counters.left += 1
                    self._close(waiting)
                message += data

    def _ask(self, waiting: _Waiting, message: bytes) -> None:
        now = self._clock()
        waiting.requests += 1
        try:
            request = parse(message)
            if request.method != CONNECTION_BIND or request.kind is not MessageClass.REQUEST:
                raise StunError("only a ConnectionBind is taken here")
        except StunError:
            self.counters.malformed += 1
            self._close(waiting)
            return
        if not self._buckets.allow(waiting.prefix, now):
            self.counters.crowded += 1
            self._close(waiting)
            return
        waiting.code = -1
        if MESSAGE_INTEGRITY in request.attributes and NONCE in request.attributes:
            self._handle(waiting.client, message, now)
            if waiting.gone:
                return
            self.counters.refused += 1
        else:
            self._challenge(waiting, request)
        if waiting.broken or waiting.code < 0:
            self._close(waiting)
        elif waiting.code in _TRY_AGAIN and waiting.requests < TRIES:
            self._loop.call_soon(self._read, waiting)  # the next may be here already
        else:
            self._finish(waiting)

    def _challenge(self, waiting: _Waiting, request: Message) -> None:
        """What the packet plane's gate does (RFC 8489 section 9.2.4). The nonce is never looked at again."""
        self.counters.challenged += 1
        if MESSAGE_INTEGRITY in request.attributes:
            attributes = [(ERROR_CODE, encode_error(400))]
        else:
            nonce = self._entropy(NONCE_BYTES).hex().encode()
            attributes = [(ERROR_CODE, encode_error(401)), (REALM, self._realm), (NONCE, nonce)]
        answer = build(
            CONNECTION_BIND,
            MessageClass.ERROR,
            request.transaction,
            attributes,
            fingerprint=request.fingerprinted,
        )
        self.reply(waiting.client, answer)

    def _finish(self, waiting: _Waiting) -> None:
        """End it so that the last answer arrives: closing with something unread would take it back."""
        waiting.answering = False
        with contextlib.suppress(OSError):
            waiting.sock.shutdown(socket.SHUT_WR)
        self._unwatch(waiting)
        self._watch(waiting, self._drain)

    def _drain(self, waiting: _Waiting) -> None:
        if received(waiting.sock, _DRAIN_BYTES) == b"":
            self._close(waiting)

    def _forget(self, waiting: _Waiting) -> None:
        waiting.gone = True
        self._unwatch(waiting)
        if waiting.timer is not None:
            waiting.timer.cancel()
        del self._by_stream[waiting.client.stream]
        left = self._of_prefix[waiting.prefix] - 1
        if left:
            self._of_prefix[waiting.prefix] = left
        else:
            del self._of_prefix[waiting.prefix]

    def _close(self, waiting: _Waiting) -> None:
        if not waiting.gone:
            self._forget(waiting)
            waiting.sock.close()


def _peek(sock: socket.socket) -> bytes | None:
    """The first two bytes, or fewer, nothing at the end; None when there is nothing yet."""
    return received(sock, 2, socket.MSG_PEEK)


def _missing(message: bytearray) -> int:
    """How many bytes there are to read before more can be said; 0 = it is whole, negative = it is no message."""
    have = len(message)
    if have < HEADER_BYTES:
        return HEADER_BYTES - have
    size = HEADER_BYTES + int.from_bytes(message[2:4])
    if size > MAX_BYTES or size & 3 or int.from_bytes(message[4:8]) != COOKIE:
        return -1
    return size - have
