"""The relay of one process: a TURN server for each worker, and the connections that workers have adopted.

Requests come as events of the worker whose socket (or adopted connection) they arrived at, and the allocation lives
there. Credentials, quotas, the peer policy, the relay ports and TCP allocations' sockets are everybody's. Connections
that carry no allocation are closed after a while: a descriptor is a thing to run out of.
"""

import secrets
import socket
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from typing import Final, Protocol, cast

from backplane.startup import StartError
from rtc._worker import STREAM_TURN
from rtc.worker_events import EventKind, WorkerEvent
from turn.counters import TurnCounters
from turn.credentials import Credentials
from turn.discovery import Places
from turn.discovery_sockets import DiscoverySockets
from turn.peer_ports import port_set
from turn.peers import PeerPolicy
from turn.plane import Client, RelayPlane
from turn.ports import PortPool, Reservations
from turn.quotas import Quotas
from turn.relay import TurnSettings
from turn.server import TurnServer
from turn.sockets import RelaySockets
from turn.stun import Address
from turn.tcp_allocations import TcpAllocations
from turn.tcp_relay import TcpLimits

IDLE_STREAM_S: Final = 60.0  # a connection without an allocation
LEARN_S: Final = 10.0  # between two looks at our own addresses
SWEEP_S: Final = 1.0
NONCE_LIFETIME_S: Final = 3600
_MOST_ID: Final = 2**31 - 1


class RelayWorker(RelayPlane, Protocol):
    """The relay's side of `rtc._worker.Worker`."""

    @property
    def port(self) -> int: ...
    def configure_relay(
        self,
        *,
        realm: str,
        nonce_key: bytes,
        nonce_lifetime_s: int = ...,
        answer_binding: bool = ...,
        requests_per_s: int = ...,
        open_ports: bytes = ...,
    ) -> None: ...
    def know_media(self, host: str, port: int, worker: None) -> None: ...
    def forget_media(self, host: str, port: int) -> None: ...
    def adopt_stream(self, stream: int, fd: int, kind: int, remote: Address, local: Address) -> None: ...
    def close_stream(self, stream: int) -> None: ...


@dataclass(frozen=True, slots=True)
class RelayConfig:
    """``relayed``: the addresses that relayed addresses are made of, at most one per family. ``own_addresses``: those
    of this machine that do not change, and what is translated to them; ``machine`` tells the others, which come and go.
    ``media``: where our own media are received, ``nodes``: where other nodes receive theirs. ``public``, ``allow``: who
    else is reached, see `turn.peers`. ``requests_per_s``: of one client address."""

    credentials: Credentials
    relayed: Sequence[str]
    ports: tuple[int, int]
    own_addresses: Iterable[str] = ()
    machine: Callable[[], frozenset[str]] = frozenset
    media: Iterable[Address] = ()
    nodes: Iterable[Address] = ()
    public: bool = False
    allow: Sequence[str] = ()
    settings: TurnSettings = field(default_factory=TurnSettings)
    requests_per_s: int = 1000


class Streams:
    """Gives connections to workers, and ids to them: TURN over TCP, and ICE-TCP (RFC 6544)."""

    def __init__(self, workers: Sequence[RelayWorker]) -> None:
        self._workers = workers
        self._next = [1] * len(workers)

    def adopt(self, sock: socket.socket, worker: int, kind: int, remote: Address, local: Address) -> int:
        """The connection is the worker's from now on; its id there."""
        stream = self._next[worker]
        self._next[worker] = stream % _MOST_ID + 1
        with sock:
            self._workers[worker].adopt_stream(stream, sock.detach(), kind, remote, local)
        return stream


@dataclass(slots=True)
class _ServedWorker:
    """A worker with its server and its TURN connections (when they were adopted, or last found in use)."""

    index: int
    worker: RelayWorker
    server: TurnServer
    streams: dict[int, float] = field(default_factory=dict)


class RelayNode:
    """A user of the workers' events (`rtc.worker_events.WorkerEvents`)."""

    def __init__(
        self,
        workers: Sequence[RelayWorker],
        config: RelayConfig,
        *,
        streams: Streams | None = None,
        entropy: Callable[[int], bytes] = secrets.token_bytes,
        clock: Callable[[], float] = time.monotonic,
        unix: Callable[[], float] = time.time,
    ) -> None:
        """``clock`` is the workers' (CLOCK_MONOTONIC). ValueError for what is no address, network or range, and as
        `PeerPolicy.learn_nodes`."""
        self._clock = clock
        self._unix = unix
        self._streams = streams or Streams(workers)
        self._config = config
        self._machine = config.machine()
        self._learnt = clock()
        self._sweep_at = clock() + SWEEP_S
        self.peers = PeerPolicy(config.allow, self._own(), config.media, config.nodes, public=config.public)
        # Where only media are reached, no other port is open in the packet plane, whatever is permitted by mistake.
        open_ports = {} if self.peers.only_media else {"open_ports": port_set()}
        # A ticket is known to the server that gave it, and whoever comes from elsewhere may come to another worker.
        settings = replace(config.settings, mobility=config.settings.mobility and len(workers) == 1)
        pools = [PortPool(str(ip_address(host)), *config.ports) for host in config.relayed]
        sockets, quotas, reservations = RelaySockets(), Quotas(), Reservations()
        nonce_key = entropy(32)
        self._discovery: DiscoverySockets | None = None
        self.tcp = TcpAllocations(
            realm=config.credentials.realm,
            adopt=self._adopt_turn,
            limits=TcpLimits(bandwidth_bps=config.settings.bandwidth_bps),
            entropy=entropy,
            clock=clock,
        )
        self._served: list[_ServedWorker] = []
        for index, worker in enumerate(workers):
            server = TurnServer(
                self.tcp.plane(worker),
                settings,
                credentials=config.credentials,
                peers=self.peers,
                pools=pools,
                sockets=sockets,
                entropy=entropy,
                unix_offset=unix() - clock(),
                quotas=quotas,
                reservations=reservations,
            )
            if not self.peers.only_media:
                self.tcp.serve(server)
            self._served.append(_ServedWorker(index, worker, server))
            worker.configure_relay(
                realm=config.credentials.realm,
                nonce_key=nonce_key,
                nonce_lifetime_s=NONCE_LIFETIME_S,
                answer_binding=not config.settings.answer_binding,
                requests_per_s=config.requests_per_s,
                **open_ports,
            )
            for host, port in self.peers.nodes:
                worker.know_media(host, port, None)

    @property
    def allocations(self) -> int:
        return sum(served.server.allocations for served in self._served)

    @property
    def streams(self) -> int:
        """TURN connections that workers have adopted."""
        return sum(len(served.streams) for served in self._served)

    @property
    def drained(self) -> bool:
        return all(served.server.drained for served in self._served)

    def counters(self) -> Mapping[str, int]:
        """The sums of `TurnCounters`, named ``relay_...``; ``relay_refused_401`` and so on by code."""
        total: dict[str, int] = {}
        for served in self._served:
            for name in TurnCounters.__slots__:
                value = getattr(served.server.counters, name)
                if isinstance(value, int):
                    names = f"relay_{name}"
                    total[names] = total.get(names, 0) + value
            for code, count in served.server.counters.refused.items():
                total[f"relay_refused_{code}"] = total.get(f"relay_refused_{code}", 0) + count
        total.update(self.tcp.counters())
        return total

    @property
    def event_kinds(self) -> tuple[EventKind, ...]:
        """What `handle_event` takes."""
        return EventKind.REQUEST, EventKind.STREAM_CLOSED

    def handle_event(self, worker: int, event: WorkerEvent, now: float) -> None:
        """An event of the worker with that index."""
        served = self._served[worker]
        if event[0] == EventKind.REQUEST:
            # (type, stream, host, port, local host, local port, message), as rtc._worker promises
            client, message = Client._make(event[1:6]), cast(bytes, event[6])
            if self._discovery is None or not self._discovery.handle(client, message, served.worker.reply):
                served.server.handle_request(client, message, now)
        else:
            stream = cast(int, event[1])
            served.streams.pop(stream, None)
            served.server.stream_closed(stream)

    def timer(self) -> float:
        """When `handle_timers` wants to be called."""
        return self._sweep_at

    def handle_timers(self, now: float) -> None:
        """Sweep once a second."""
        if now >= self._sweep_at:
            self._sweep_at = now + SWEEP_S
            self.sweep(now)

    def discover(self, places: Places, *, wildcard: bool) -> None:
        """Answer NAT behaviour discovery (RFC 5780) from now on; ``settings.answer_binding`` must be set. ``wildcard``:
        the workers' sockets are bound to both hosts. OSError when a socket cannot be had."""
        discovery = DiscoverySockets(places, self._served[0].worker.reply, wildcard=wildcard, clock=self._clock)
        discovery.open()
        self._discovery = discovery

    def discover_from(self, host: str, alternate: str, bind: str) -> None:
        """`discover` with the first worker's port and the next; ``bind``: what workers' sockets are bound to.
        StartError."""
        port = self._served[0].worker.port
        try:
            self.discover(Places((host, port), (alternate, port + 1)), wildcard=bind in ("0.0.0.0", "::"))
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise StartError(f"--stun-alternate {alternate}: {reason} (UDP ports {port} and {port + 1}).") from None

    def learn_nodes(self, nodes: Iterable[Address]) -> None:
        """Where other nodes receive media from now on. ValueError as `PeerPolicy.learn_nodes`."""
        before = self.peers.nodes
        self.peers.learn_nodes(nodes)
        for served in self._served:
            for host, port in before - self.peers.nodes:
                served.worker.forget_media(host, port)
            for host, port in self.peers.nodes - before:
                served.worker.know_media(host, port, None)

    def adopt_turn(self, sock: socket.socket, remote: Address, local: Address) -> None:
        """Take a TURN connection: a data connection of a TCP allocation, or one for the worker that has fewest."""
        self.tcp.arrived(sock, remote, local)

    def _adopt_turn(self, sock: socket.socket, remote: Address, local: Address) -> None:
        served = min(self._served, key=lambda each: len(each.streams))
        stream = self._streams.adopt(sock, served.index, STREAM_TURN, remote, local)
        served.streams[stream] = self._clock()

    def _own(self) -> set[str]:
        return {*self._config.own_addresses, *self._machine}

    def _learn(self, now: float) -> None:
        """What addresses this machine has now. Permissions that were given before run out by themselves."""
        if now - self._learnt < LEARN_S:
            return
        self._learnt = now
        machine = self._config.machine()
        if machine != self._machine:
            self._machine = machine
            self.peers.learn(self._own(), self._config.media)

    def sweep(self, now: float) -> None:
        """End what has run out."""
        self._learn(now)
        for served in self._served:
            served.server.unix_offset = self._unix() - self._clock()
            served.server.sweep(now)
            for stream, since in [*served.streams.items()]:
                if now - since < IDLE_STREAM_S:
                    break  # in the order of their age
                del served.streams[stream]
                if served.server.serves(stream):
                    served.streams[stream] = now
                else:
                    served.worker.close_stream(stream)
        self.tcp.sweep(now)

    def drain(self) -> None:
        """No new allocations from now on."""
        for served in self._served:
            served.server.drain()

    def revoke(self, subject: str) -> None:
        """End what was allocated with time-limited credentials of that subject, and refuse them."""
        for served in self._served:
            served.server.revoke(subject)

    def restore(self, subject: str) -> None:
        """Take the time-limited credentials of that subject again."""
        self._config.credentials.restore(subject)

    def close(self) -> None:
        """End everything; the workers stay open."""
        if self._discovery is not None:
            self._discovery.close()
        for served in self._served:
            served.server.close()
        self.tcp.close()
