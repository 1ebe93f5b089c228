"""The sockets of TCP allocations (RFC 6062): a listener at each relayed address, and connections from and to it.

Listener and connections share one local address. The listener is bound without SO_REUSEPORT, so that a port which
another program (or a relay of ours that is being drained) listens on is refused; only then the option is set, which
lets the outgoing connections bind beside it. Peers therefore see the relayed transport address as source (section 5.2).

A connection that waits for its ConnectionBind is not read: what the peer says meanwhile is kept by the kernel, within
the window that TCP grants to a socket that nobody reads (net.ipv4.tcp_rmem, 128 KiB as a rule), and is read when the
two are spliced. Nor is it noticed when such a peer goes away, so a place in the table can be had no more often than
every `unbound_s`, and the client hears of no more attempts than that.

The servers of a process (one for each worker) have their relay ports, limits and connection ids in common. Where a
relayed address is translated on its way to this machine, the port of every address of the family is bound.

Everything is bounded: allocations, connections of each and of all, seconds for every step. Times are the caller's:
``clock`` gives the same monotonic seconds as the ``now`` of `sweep`, which the shell calls about once a second.
"""

import asyncio
import errno
import functools
import secrets
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from backplane.listeners import Listener
from backplane.ratelimit import TokenBucket
from turn.plane import Client
from turn.server import TurnServer
from turn.splice import Allowance, Splice
from turn.stun import Address

CONNECTION_EXISTS: Final = 446
CONNECTION_FAILED: Final = 447

BACKLOG: Final = 16
UNSENT_BYTES: Final = 64 * 1024  # TCP_NOTSENT_LOWAT: the rest waits with the client
_RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER


@dataclass(frozen=True, slots=True)
class TcpLimits:
    """``bandwidth_bps``: of all connections of one allocation, both ways together; 0 = any."""

    allocations: int = 2048
    connections: int = 4096
    connections_per_allocation: int = 16
    connect_s: float = 30.0  # RFC 6062 section 5.2
    unbound_s: float = 30.0  # sections 5.2 and 5.3
    half_closed_s: float = 60.0  # one side has ended and the other is silent
    bandwidth_bps: int = 10_000_000
    connects_per_s: float = 5.0  # of one allocation, so that a relay is a poor tool for trying many ports
    connects_burst: float = 32.0


@dataclass(slots=True)
class TcpCounters:
    connected: int = 0  # Connects that stood
    connect_failed: int = 0
    accepted: int = 0  # from permitted peers
    refused: int = 0  # from others
    crowded: int = 0  # attempts of either kind for which there was no room
    bound: int = 0
    unbound: int = 0  # waited in vain
    bytes_to_peers: int = 0  # of connections that have ended
    bytes_to_clients: int = 0


@dataclass(slots=True, eq=False)
class _Allocation:
    server: TurnServer
    number: int
    relayed: Address
    local: Address
    listener: Listener
    allowance: Allowance
    connects: TokenBucket
    connections: dict[Address, "_Connection"] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class _Connection:
    """To one peer. ``answer`` is there until it stands, ``splice`` since it was bound."""

    number: int
    allocation: _Allocation
    peer: Address
    sock: socket.socket
    deadline: float
    answer: Callable[[int, int], None] | None = None
    splice: Splice | None = None


class PeerConnections:
    """All of them; `of_server` makes the `turn.plane.TcpRelay` of one server. To be used inside the running loop.

    ``take`` gives the client's data connection up (`DataConnections.take`).
    """

    def __init__(
        self,
        take: Callable[[Client], socket.socket | None],
        *,
        limits: TcpLimits | None = None,
        entropy: Callable[[int], bytes] = secrets.token_bytes,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.limits: Final = limits or TcpLimits()
        self.counters: Final = TcpCounters()
        self._take = take
        self._entropy = entropy
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._allocations: dict[tuple[TurnServer, int], _Allocation] = {}
        self._connections: dict[int, _Connection] = {}

    def __len__(self) -> int:
        """How many connections there are, those that are being made included."""
        return len(self._connections)

    def of_server(self, server: TurnServer) -> "ServerConnections":
        """For `TurnServer.use_tcp`."""
        return ServerConnections(self, server)

    def server_of(self, connection: int) -> TurnServer | None:
        """Whose connection that is."""
        found = self._connections.get(connection)
        return None if found is None else found.allocation.server

    def listen(self, server: TurnServer, allocation: int, relayed: Address) -> bool:
        """See `turn.plane.TcpRelay`, as for all that follow."""
        if len(self._allocations) >= self.limits.allocations:
            return False
        try:
            sock = _listening(relayed)
        except OSError:
            return False
        key = server, allocation
        listener = Listener(sock, functools.partial(self._arrived, key))
        self._allocations[key] = _Allocation(
            server,
            allocation,
            relayed,
            listener.address,
            listener,
            Allowance(self.limits.bandwidth_bps),
            TokenBucket(self.limits.connects_per_s, self.limits.connects_burst),
        )
        return True

    def connect(self, server: TurnServer, allocation: int, peer: Address, answer: Callable[[int, int], None]) -> None:
        held = self._allocations.get((server, allocation))
        if held is None or peer in (held.relayed, held.local):  # TCP can connect to itself
            self._fail(answer)
        elif peer in held.connections:
            answer(CONNECTION_EXISTS, 0)
        elif not self._has_room(held) or not held.connects.allow(self._clock()):
            self.counters.crowded += 1
            self._fail(answer)
        else:
            self._connect(held, peer, answer)

    def claim(self, server: TurnServer, connection: int) -> int:
        found = self._connections.get(connection)
        if found is None or found.allocation.server is not server or not self._is_unbound(found):
            return 0
        return found.allocation.number

    def bind(self, connection: int, client: Client) -> None:
        found = self._connections.get(connection)
        data = self._take(client)
        if found is None or not self._is_unbound(found):
            if data is not None:
                data.close()
        elif data is None:  # the client is gone, or talks over a stream that is not ours to splice
            self._drop(found)
        else:
            ended = functools.partial(self._ended, found)
            found.splice = Splice(data, found.sock, found.allocation.allowance, self._clock, ended)
            self.counters.bound += 1

    def remove(self, server: TurnServer, allocation: int) -> None:
        held = self._allocations.pop((server, allocation), None)
        if held is None:
            return
        held.listener.close()
        for connection in list(held.connections.values()):
            self._drop(connection)

    def sweep(self, now: float) -> None:
        """End what has taken too long."""
        for connection in list(self._connections.values()):
            if connection.splice is not None:
                idle_since = connection.splice.idle_since
                if idle_since is not None and idle_since + self.limits.half_closed_s <= now:
                    self._drop(connection)
            elif connection.deadline <= now:
                if connection.answer is None:
                    self.counters.unbound += 1
                self._drop(connection)

    def close(self) -> None:
        """End everything."""
        for server, allocation in list(self._allocations):
            self.remove(server, allocation)

    def _is_unbound(self, connection: _Connection) -> bool:
        return connection.answer is None and connection.splice is None and connection.deadline > self._clock()

    def _has_room(self, allocation: _Allocation) -> bool:
        limits = self.limits
        return (
            len(self._connections) < limits.connections
            and len(allocation.connections) < limits.connections_per_allocation
        )

    def _fail(self, answer: Callable[[int, int], None]) -> None:
        self.counters.connect_failed += 1
        answer(CONNECTION_FAILED, 0)

    def _add(self, allocation: _Allocation, peer: Address, sock: socket.socket, lives_s: float) -> _Connection:
        number = 0
        while not number or number in self._connections:
            number = int.from_bytes(self._entropy(4))
        connection = _Connection(number, allocation, peer, sock, self._clock() + lives_s)
        self._connections[number] = connection
        allocation.connections[peer] = connection
        return connection

    def _connect(self, held: _Allocation, peer: Address, answer: Callable[[int, int], None]) -> None:
        try:
            sock = _outgoing(held.local)
        except OSError:
            self._fail(answer)
            return
        code = sock.connect_ex(peer)
        if code not in (0, errno.EINPROGRESS):  # EADDRNOTAVAIL: the last connection to that peer is in TIME_WAIT
            sock.close()
            self._fail(answer)
            return
        connection = self._add(held, peer, sock, self.limits.connect_s)
        connection.answer = answer
        self._loop.add_writer(sock, self._connected, connection)

    def _connected(self, connection: _Connection) -> None:
        if connection.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._drop(connection)
            return
        answer = connection.answer
        assert answer is not None, "it is watched only until it stands"
        self._loop.remove_writer(connection.sock)
        connection.answer = None
        connection.deadline = self._clock() + self.limits.unbound_s
        self.counters.connected += 1
        answer(0, connection.number)

    def _arrived(self, key: tuple[TurnServer, int], sock: socket.socket, peer: Address) -> None:
        held = self._allocations.get(key)
        if held is None or not held.server.permitted(held.number, peer[0], self._clock()):
            self.counters.refused += 1
            _reset(sock)
        elif peer in held.connections or not self._has_room(held):
            self.counters.crowded += 1
            _reset(sock)
        else:
            _prepare(sock)
            connection = self._add(held, peer, sock, self.limits.unbound_s)
            self.counters.accepted += 1
            held.server.connection_attempt(held.number, connection.number, peer)

    def _drop(self, connection: _Connection) -> None:
        """Close it and forget it; a Connect that waits is answered."""
        if connection.splice is not None:
            connection.splice.close()
            self._ended(connection)
            return
        answer, connection.answer = connection.answer, None
        if answer is not None:
            self._loop.remove_writer(connection.sock)
        connection.sock.close()
        self._forget(connection)
        if answer is not None:
            self._fail(answer)

    def _ended(self, connection: _Connection) -> None:
        assert connection.splice is not None, "only a bound connection ends by itself"
        self.counters.bytes_to_peers += connection.splice.bytes_to_peer
        self.counters.bytes_to_clients += connection.splice.bytes_to_client
        self._forget(connection)

    def _forget(self, connection: _Connection) -> None:
        del self._connections[connection.number]
        del connection.allocation.connections[connection.peer]


class ServerConnections:
    """Those of one server: a `turn.plane.TcpRelay`."""

    def __init__(self, connections: PeerConnections, server: TurnServer) -> None:
        self._connections = connections
        self._server = server

    def listen(self, allocation: int, relayed: Address) -> bool:
        return self._connections.listen(self._server, allocation, relayed)

    def connect(self, allocation: int, peer: Address, answer: Callable[[int, int], None]) -> None:
        self._connections.connect(self._server, allocation, peer, answer)

    def claim(self, connection: int) -> int:
        return self._connections.claim(self._server, connection)

    def bind(self, connection: int, client: Client) -> None:
        self._connections.bind(connection, client)

    def remove(self, allocation: int) -> None:
        self._connections.remove(self._server, allocation)


def _listening(address: Address) -> socket.socket:
    host, port = address
    sock = _socket(host)
    try:
        try:
            sock.bind(address)
        except OSError as error:
            if error.errno != errno.EADDRNOTAVAIL:
                raise
            sock.bind(("::" if ":" in host else "0.0.0.0", port))
        sock.listen(BACKLOG)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    except OSError:
        sock.close()
        raise
    return sock


def _outgoing(local: Address) -> socket.socket:
    sock = _socket(local[0])
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(local)
        _prepare(sock)
    except OSError:
        sock.close()
        raise
    return sock


def _socket(host: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # beside what is in TIME_WAIT
    sock.setblocking(False)
    return sock


def _prepare(sock: socket.socket) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)


def _reset(sock: socket.socket) -> None:
    """Close at once, without TIME_WAIT."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    sock.close()
