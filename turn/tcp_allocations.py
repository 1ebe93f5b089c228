"""TCP allocations of one process (RFC 6062), put together: peers' connections, clients' data connections, the servers.

A ConnectionBind may come in anywhere; the connection id in it tells whose it is. Its answer goes back by the stream
that it came on, which no worker knows: the numbers of such streams lie above those of the workers', so that one
comparison tells them apart.
"""

import dataclasses
import itertools
import secrets
import socket
import time
from collections.abc import Callable, Mapping
from typing import Final

from turn.attributes import CONNECTION_ID
from turn.data_connection import DataConnections, DataLimits
from turn.plane import Client, RelayPlane
from turn.server import TurnServer
from turn.stun import Address, parse
from turn.tcp_relay import PeerConnections, TcpLimits

FIRST_STREAM: Final = 2**31  # rtc._worker's ids end below


class TcpAllocations:
    """Give each server the `plane` that is made of its worker's, then `serve` it, if anybody is reached over TCP.
    `arrived` takes every plain TURN connection; ``adopt`` gets those that are not ours. `sweep` wants to be called
    about once a second, with the time of ``clock``. To be used inside the running loop."""

    def __init__(
        self,
        *,
        realm: str,
        adopt: Callable[[socket.socket, Address, Address], None],
        limits: TcpLimits | None = None,
        data_limits: DataLimits | None = None,
        entropy: Callable[[int], bytes] = secrets.token_bytes,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.data: Final = DataConnections(
            realm=realm,
            adopt=adopt,
            handle=self._handle,
            new_stream=itertools.count(FIRST_STREAM).__next__,
            limits=data_limits,
            entropy=entropy,
            clock=clock,
        )
        self.peers: Final = PeerConnections(self.data.take, limits=limits, entropy=entropy, clock=clock)
        self._servers: list[TurnServer] = []

    def plane(self, worker: RelayPlane) -> RelayPlane:
        """``worker``, but for answers to data connections."""
        return _Plane(worker, self.data)

    def serve(self, server: TurnServer) -> None:
        """Offer TCP allocations at ``server``."""
        self._servers.append(server)
        server.use_tcp(self.peers.of_server(server))

    def arrived(self, sock: socket.socket, remote: Address, local: Address) -> None:
        """A connection that speaks STUN, of which nothing was read."""
        self.data.arrived(sock, remote, local)

    def sweep(self, now: float) -> None:
        """End what has taken too long."""
        self.data.sweep(now)
        self.peers.sweep(now)

    def close(self) -> None:
        """End everything; the servers first, if they are to be closed too."""
        self.data.close()
        self.peers.close()

    def counters(self) -> Mapping[str, int]:
        """Named ``relay_tcp_...`` and ``relay_data_...``."""
        return {
            **{f"relay_tcp_{name}": count for name, count in dataclasses.asdict(self.peers.counters).items()},
            **{f"relay_data_{name}": count for name, count in dataclasses.asdict(self.data.counters).items()},
        }

    def _handle(self, client: Client, message: bytes, now: float) -> None:
        connection = parse(message).attributes.get(CONNECTION_ID, b"")
        server = self.peers.server_of(int.from_bytes(connection))
        if server is None and self._servers:
            server = self._servers[0]  # any knows how to refuse
        if server is not None:
            server.handle_request(client, message, now)


class _Plane:
    """A worker's commands, of which one goes another way now and then. Without a call in between for the others."""

    def __init__(self, worker: RelayPlane, data: DataConnections) -> None:
        self.add_allocation = worker.add_allocation
        self.add_relayed = worker.add_relayed
        self.open_relayed = worker.open_relayed
        self.permit = worker.permit
        self.bind_channel = worker.bind_channel
        self.move_allocation = worker.move_allocation
        self.remove_allocation = worker.remove_allocation
        self._reply = worker.reply
        self._data = data

    def reply(self, client: Client, message: bytes) -> None:
        if client.stream < FIRST_STREAM:
            self._reply(client, message)
        else:
            self._data.reply(client, message)
