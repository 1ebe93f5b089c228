"""The relay inside the server: on the media sockets and the shared port, on unless told otherwise.

Browsers of callers get credentials with their room token (`ice_servers`), and what they send through the relay to our
own media never leaves the process. ICE-TCP needs no relay and is there without one.
"""

import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from ipaddress import ip_address

from backplane.addresses import MediaAddresses
from backplane.settings import Settings
from backplane.shared_port import SharedPort
from rtc._wire import stun_parse
from rtc._worker import STREAM_ICE, Worker
from rtc.ice import worker_of
from sfu.node import Node
from signalling.calls import Calls
from signalling.ice_servers import Relay, RelayAccess, RelayAddresses, subject_of
from turn.assembly import kept_secrets, relay_config
from turn.credentials import issue
from turn.loop import RelayLoop
from turn.node import RelayNode, Streams
from turn.stun import Address

_LENGTH_BYTES = 2  # before each ICE-TCP packet, RFC 4571 section 2


class InnerRelay:
    """Made before the shared port listens; `open` once it does."""

    def __init__(self, settings: Settings, addresses: MediaAddresses, workers: Sequence[Worker], node: Node) -> None:
        """StartError when its secret cannot be kept."""
        self._settings = settings
        self._addresses = addresses
        self._workers = workers
        self._node = node
        self._streams = Streams(workers)
        self.relay: RelayNode | None = None
        if settings.relay:
            media = [(host, worker.port) for worker in workers for host in addresses.advertised]
            self._secrets = kept_secrets(settings)
            config = relay_config(settings, self._secrets, addresses.advertised, media)
            self.relay = RelayNode(workers, config, streams=self._streams)
            node.beyond = self.relay.handle_event
            for worker in workers:
                for other in workers:
                    for host in addresses.advertised:
                        worker.know_media(host, other.port, other)

    @contextmanager
    def running(self) -> Iterator[None]:
        """In the running event loop."""
        if self.relay is None:
            yield
            return
        if self._settings.stun_alternate is not None:
            primary = self._addresses.advertised[0]
            self.relay.discover_from(primary, self._settings.stun_alternate, self._addresses.bind)
        with RelayLoop(self.relay, ()).running():
            yield
        self.relay.close()

    def counters(self) -> Mapping[str, int]:
        return {} if self.relay is None else self.relay.counters()

    def gauges(self) -> Mapping[str, int]:
        if self.relay is None:
            return {}
        return {"relay_allocations": self.relay.allocations, "relay_streams": self.relay.streams}

    def open(self, port: SharedPort, number: int, calls: Calls, access: RelayAccess) -> None:
        """Take connections from the shared port, which listens on that number, and tell clients of them."""
        port.ice = self._adopt_ice
        hosts = self._tcp_hosts()
        self._node.offer_tcp([(host, number) for host in hosts])
        relay = self.relay
        if relay is None:
            return
        port.turn = relay.adopt_turn
        calls.revoked = calls.token_use.unused = lambda jti: relay.revoke(subject_of(jti))
        calls.token_use.wanted = lambda jti: relay.restore(subject_of(jti))
        # No TURN over UDP: it would be the very address that media are received at, and Chromium takes whatever comes
        # from a TURN server's address for TURN, checks of the direct path included. Nor would it help anybody: who
        # reaches that port for TURN reaches it for media.
        reached = RelayAddresses(
            hosts=tuple(hosts),
            tcp_port=number,
            tls_port=number if self._settings.tls else None,
        )
        secret = self._secrets.current
        access.relay = Relay(reached, lambda subject, expires_at: issue(secret, subject, expires_at))

    def _tcp_hosts(self) -> Sequence[str]:
        """Where clients reach the shared port. Loopback is for a try-out, or behind a proxy, that passes on HTTP."""
        host = self._settings.host
        try:
            loopback = ip_address(host).is_loopback
        except ValueError:
            loopback = False
        return [each for each in self._addresses.advertised if not loopback or ip_address(each).is_loopback]

    def _adopt_ice(self, sock: socket.socket, remote: Address, local: Address, frame: bytes) -> None:
        """To the worker that its first check names."""
        try:
            username = stun_parse(frame[_LENGTH_BYTES:])["username"] or b""
            worker = worker_of(username.partition(b":")[0].decode("ascii"))
        except ValueError:
            worker = None
        if worker is None or worker >= len(self._workers):
            sock.close()
        else:
            self._streams.adopt(sock, worker, STREAM_ICE, remote, local)
