"""One TCP address for everything: HTTP, TLS, TURN over TCP and ICE over TCP, told apart by what the client says first.

A connection is an `_Arrival` until its protocol is known. Its first bytes are looked at but left where they are
(MSG_PEEK), so whoever takes the socket reads the stream from its beginning; SO_RCVLOWAT has the kernel wake us only
when enough has come to say more, so a client that sends byte by byte costs a few wake-ups. HTTP goes to the protocol
that ``http`` makes; TURN and ICE connections are given away as sockets and never come back. TLS ends here: ALPN
decides, else the first decrypted bytes do, and what is TURN or ICE goes over a `Bridge`.

Whoever says nothing costs a descriptor for a few seconds and no more: every step has a deadline, and of the undecided
connections there are at most so many, in all and from one address prefix; one more pushes out the oldest, because a
client that means it says so within a round trip. Deeds are counted by kind, refusals by reason, in closed sets; no log
line is written per connection.
"""

import asyncio
import contextlib
import socket
import ssl
import struct
from collections import Counter, OrderedDict
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Final, cast

from backplane.first_bytes import LONGEST_FRAME, Kind, tell
from backplane.listeners import BACKLOG, Listener
from backplane.logs import Log
from backplane.ratelimit import address_key
from backplane.tls import ALPN_HTTP, ALPN_TURN, ServerTls
from backplane.tls_bridge import Bridge

Address = tuple[str, int]
TakeTurn = Callable[[socket.socket, Address, Address], None]
TakeIce = Callable[[socket.socket, Address, Address, bytes], None]
UNSENT_BYTES: Final = 16 * 1024  # what waits in the kernel to be sent can be neither dropped nor overtaken
_RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER: forget the connection at close, as nothing is owed to the peer
KINDS: Final = ("http", "https", "turn", "turn_tls", "ice", "ice_tls")
REASONS: Final = (
    "silent",  # no or too few first bytes in time
    "left",  # closed by the client before it said enough
    "malformed",  # first bytes of no protocol of ours
    "crowded",  # the oldest of too many undecided ones
    "tls_slow",
    "tls_failed",
    "tls_silent",  # as silent, inside TLS
    "tls_malformed",
    "unwanted",  # TURN or ICE while nobody takes it, TLS without a certificate
    "failed",  # our fault
)
_CLOSE_TIMEOUT_S: Final = 1.0
_log = Log(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """Of connections whose protocol is not known yet; seconds for each step.

    Each step waits for one flight of the client, the handshake for two. Where a packet of it is lost three times in a
    row, TCP needs 1 + 2 + 4 s (RFC 6298 section 2).
    """

    first_bytes_s: float = 10.0
    handshake_s: float = 20.0
    inside_s: float = 10.0
    undecided: int = 2000
    undecided_per_prefix: int = 256  # IPv4 address or /64: a ward behind one NAT that comes back at once


class SharedPort:
    """Listens once `listen` was called. ``http`` makes the protocol of a connection; None = no HTTP.

    ``turn`` and ``ice`` take sockets (non-blocking, nothing read of them), the remote and the local address, and for
    ICE the first RFC 4571 frame, which is still in the socket too. They own the socket; None = such connections are
    closed.
    ``crowded``: whether many clients share this address (a proxy of ours), so that the limit per prefix does not hold.
    """

    def __init__(
        self,
        http: Callable[[], asyncio.Protocol] | None,
        tls: ServerTls | None = None,
        limits: Limits | None = None,
        crowded: Callable[[str], bool] = lambda _: False,
        turn: TakeTurn | None = None,
        ice: TakeIce | None = None,
    ) -> None:
        self.http = http
        self.tls = tls
        self.turn = turn
        self.ice = ice
        self.limits = limits or Limits()
        self.taken: Counter[str] = Counter(dict.fromkeys(KINDS, 0))
        self.dropped: Counter[str] = Counter(dict.fromkeys(REASONS, 0))
        self.number = 0
        """The port that it listens on."""
        self._crowded = crowded
        self._listeners: list[Listener] = []
        self._undecided: OrderedDict[_Arrival, None] = OrderedDict()
        self._of_prefix: dict[str, OrderedDict[_Arrival, None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._bridges: set[Bridge] = set()

    @property
    def undecided(self) -> int:
        """Connections whose protocol is not known yet."""
        return len(self._undecided)

    @property
    def pauses(self) -> int:
        """How often accepting paused because descriptors or memory had run out."""
        return sum(listener.pauses for listener in self._listeners)

    def listen(self, sockets: Sequence[socket.socket]) -> int:
        """Listen on ``sockets``, bound to one port, besides what is listened on already. Returns that port; OSError
        when another program listens there since they were bound."""
        for one in sockets:
            one.listen(BACKLOG)
        self._listeners += [Listener(one, self._arrived) for one in sockets]
        self.number = int(sockets[0].getsockname()[1])
        return self.number

    def stop_listening(self) -> None:
        """Nobody new; who is here stays."""
        for listener in self._listeners:
            listener.close()

    async def close(self) -> None:
        """Also cut whoever is undecided or inside a bridge. HTTP connections are their server's."""
        self.stop_listening()
        for arrival in list(self._undecided):
            arrival.drop(None)
        for bridge in list(self._bridges):
            bridge.abort()
        if self._tasks:  # they end by what was just done to their sockets
            await asyncio.wait(self._tasks, timeout=_CLOSE_TIMEOUT_S)

    def _arrived(self, sock: socket.socket, remote: Address) -> None:
        prefix = "" if self._crowded(remote[0]) else address_key(remote[0])
        arrival = _Arrival(self, sock, remote, prefix)
        neighbours = self._of_prefix.setdefault(prefix, OrderedDict())
        if prefix and len(neighbours) >= self.limits.undecided_per_prefix:
            next(iter(neighbours)).drop("crowded")
        elif len(self._undecided) >= self.limits.undecided:
            next(iter(self._undecided)).drop("crowded")
        self._undecided[arrival] = None
        self._of_prefix.setdefault(prefix, neighbours)[arrival] = None
        arrival.look()

    def decided(self, arrival: "_Arrival") -> None:
        """``arrival`` no longer counts; called once or more."""
        if self._undecided.pop(arrival, arrival) is arrival:
            return
        neighbours = self._of_prefix[arrival.prefix]
        del neighbours[arrival]
        if not neighbours:
            del self._of_prefix[arrival.prefix]

    def run(self, work: Coroutine[object, object, None]) -> None:
        """Do ``work`` beside everything else."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def bridge(self, kind: Kind, transport: asyncio.Transport, first: bytes) -> socket.socket:
        """The plain end of a TLS connection. OSError when descriptors have run out."""
        loop = asyncio.get_running_loop()
        bridge = Bridge(loop, transport, first, self._bridges.discard, turn=kind is Kind.TURN)
        self._bridges.add(bridge)
        return bridge.far

    def wanted(self, kind: Kind) -> bool:
        """Is there somebody who takes this?"""
        takers = {Kind.HTTP: self.http, Kind.TLS: self.tls, Kind.TURN: self.turn, Kind.ICE: self.ice}
        return takers.get(kind) is not None

    def hand_over(self, kind: Kind, sock: socket.socket, remote: Address, local: Address, first: bytes) -> bool:
        """Give a TURN or ICE connection away; when its taker fails, it is closed and the answer is False."""
        try:
            if kind is Kind.TURN and self.turn is not None:
                self.turn(sock, remote, local)
            elif kind is Kind.ICE and self.ice is not None:
                self.ice(sock, remote, local, first[: 2 + int.from_bytes(first[:2])])
        except Exception:
            _log.error("hand-over failed", kind=kind.value)
            self.dropped["failed"] += 1
            sock.close()
            return False
        return True


class _Arrival:
    """One connection until its protocol is known and somebody has taken it."""

    __slots__ = (
        "_loop",
        "_lowat",
        "_ours",
        "_port",
        "_remote",
        "_sock",
        "_timer",
        "_transport",
        "_watching",
        "gone",
        "prefix",
    )

    def __init__(self, port: SharedPort, sock: socket.socket, remote: Address, prefix: str) -> None:
        self.prefix = prefix
        self.gone = False
        self._port = port
        self._sock = sock
        self._remote = remote
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._ours = True  # the socket; else the loop's, from the beginning of the handshake
        self._lowat = 1
        self._watching = False
        self._timer = self._loop.call_later(port.limits.first_bytes_s, self.drop, "silent")

    def drop(self, reason: str | None) -> None:
        """End it without a word; counted unless ``reason`` is None."""
        if self.gone:
            return
        self._leave()
        if reason is not None:
            self._port.dropped[reason] += 1
        if self._transport is not None:
            self._transport.abort()
            return
        try:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self._sock.shutdown(socket.SHUT_RDWR)  # at which the loop closes it, if it is the loop's
        except OSError:
            pass  # the client was faster
        if self._ours:
            self._sock.close()

    def look(self) -> None:
        """Look at the first bytes, and do what they say."""
        try:
            first = self._sock.recv(LONGEST_FRAME, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            self._wait_for(1)
            return
        except OSError:
            self.drop("left")
            return
        if self._watching and len(first) < self._lowat:
            self.drop("left")  # woken before enough is there: no more will come
            return
        told = tell(first)
        if isinstance(told, int):
            self._wait_for(told)
        elif told is Kind.JUNK:
            self.drop("malformed")
        elif not self._port.wanted(told):
            self.drop("unwanted")
        elif told is Kind.HTTP and self._port.http is not None:
            self._unwatch()
            self._leave()
            self._port.taken["http"] += 1
            self._port.run(self._serve(self._port.http))
        elif told is Kind.TLS and self._port.tls is not None:
            self._unwatch()
            self._timer.cancel()  # the handshake has a deadline of its own
            self._ours = False
            self._port.run(self._shake_hands(self._port.tls))
        else:
            self._unwatch()
            self._leave()
            _for_media(self._sock)
            local = _plain(self._sock.getsockname())
            if self._port.hand_over(told, self._sock, self._remote, local, first):
                self._port.taken[told.value] += 1

    async def _serve(self, http: Callable[[], asyncio.Protocol]) -> None:
        with contextlib.suppress(OSError):  # the client was gone before it was served
            await self._loop.connect_accepted_socket(http, self._sock)

    async def _shake_hands(self, tls: ServerTls) -> None:
        try:
            await self._loop.connect_accepted_socket(
                lambda: _Inside(self),
                self._sock,
                ssl=tls.context,
                ssl_handshake_timeout=self._port.limits.handshake_s,
            )
        except ssl.SSLError:
            self.drop("tls_failed")
        except ConnectionAbortedError:
            self.drop("tls_slow")
        except OSError:
            self.drop("left")
        else:
            if self._transport is None:
                self.drop("left")  # it ended within the handshake, which not every loop calls an error

    def inside(self, transport: asyncio.Transport) -> None:
        """The handshake is done; what is inside must show in time."""
        if self.gone:
            transport.abort()
            return
        self._transport = transport
        self._timer = self._loop.call_later(self._port.limits.inside_s, self.drop, "tls_silent")

    def inside_is(self, kind: Kind, first: bytes) -> None:
        """What is inside TLS, and what has been decrypted of it."""
        transport = self._transport
        assert transport is not None
        if kind is Kind.JUNK or kind is Kind.TLS:
            self.drop("tls_malformed")
            return
        if not self._port.wanted(kind):
            self.drop("unwanted")
            return
        self._leave()
        if kind is Kind.HTTP and self._port.http is not None:
            self._port.taken["https"] += 1
            http = self._port.http()
            transport.set_protocol(http)
            http.connection_made(transport)
            if first:
                http.data_received(first)
            return
        local = _plain(self._sock.getsockname())
        _for_media(self._sock)
        try:
            far = self._port.bridge(kind, transport, first)
        except OSError:
            self._port.dropped["failed"] += 1
            transport.abort()
            return
        if self._port.hand_over(kind, far, self._remote, local, first):
            self._port.taken[f"{kind.value}_tls"] += 1

    def _wait_for(self, size: int) -> None:
        if size != self._lowat:
            self._lowat = size
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, size)
        if not self._watching:
            self._watching = True
            self._loop.add_reader(self._sock, self.look)

    def _unwatch(self) -> None:
        if self._watching:
            self._watching = False
            self._loop.remove_reader(self._sock)
        if self._lowat > 1:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)

    def _leave(self) -> None:
        self.gone = True
        self._timer.cancel()
        if self._watching:
            self._watching = False
            self._loop.remove_reader(self._sock)
        self._port.decided(self)


class _Inside(asyncio.Protocol):
    """What comes out of TLS until it is known what it is. Gives its transport to the protocol that it is."""

    __slots__ = ("_arrival", "_first")

    def __init__(self, arrival: _Arrival) -> None:
        self._arrival = arrival
        self._first = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast(asyncio.Transport, transport)  # uvloop's is, in all but name
        self._arrival.inside(transport)
        if self._arrival.gone:
            return
        chosen = transport.get_extra_info("ssl_object").selected_alpn_protocol()
        if chosen == ALPN_HTTP:
            self._arrival.inside_is(Kind.HTTP, b"")
        elif chosen == ALPN_TURN:
            self._arrival.inside_is(Kind.TURN, b"")

    def data_received(self, data: bytes) -> None:
        if self._arrival.gone:
            return
        self._first += data
        told = tell(self._first)
        if not isinstance(told, int):
            self._arrival.inside_is(told, self._first)

    def connection_lost(self, exc: Exception | None) -> None:
        self._arrival.drop("left")


def _for_media(sock: socket.socket) -> None:
    """Small writes go out at once, and little waits in the kernel."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)


def _plain(address: tuple[str, int]) -> Address:
    return address[0].partition("%")[0], address[1]
