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
from backplane.shared_port import TakeTurn
from rtc._wire import stun_parse
from rtc._worker import STREAM_ICE, Worker
from rtc.ice import worker_of
from server.ice_servers import OfferedRelay, RelayAddresses, subject_of
from turn.assembly import kept_secrets, relay_config
from turn.credentials import issue
from turn.node import RelayNode, Streams
from turn.stun import Address

_LENGTH_BYTES = 2  # before each ICE-TCP packet, RFC 4571 section 2


class InnerRelay:
    """Takes connections from the shared port, and is the `signalling.token_use.RelayCredentials` of the calls."""

    def __init__(self, settings: Settings, addresses: MediaAddresses, workers: Sequence[Worker], port: int) -> None:
        """``port``: the number of the shared port.

        Raises:
            StartError: its secret cannot be kept.
        """
        self._settings = settings
        self._addresses = addresses
        self._workers = workers
        self._streams = Streams(workers)
        hosts = _tcp_hosts(settings.host, addresses.advertised)
        self.tcp_candidates = [(host, port) for host in hosts]
        """Where ICE-TCP reaches us, as (host, port)."""
        self.node: RelayNode | None = None
        self.offered: OfferedRelay | None = None
        """What clients are told."""
        if settings.relay:
            media = [(host, worker.port) for worker in workers for host in addresses.advertised]
            secrets = kept_secrets(settings)
            config = relay_config(settings, secrets, addresses.advertised, media)
            self.node = RelayNode(workers, config, streams=self._streams)
            for worker in workers:
                for other in workers:
                    for host in addresses.advertised:
                        worker.know_media(host, other.port, other)
            # No TURN over UDP: it would be the very address that media are received at, and Chromium takes whatever
            # comes from a TURN server's address for TURN, checks of the direct path included. Nor would it help
            # anybody: who reaches that port for TURN reaches it for media.
            reached = RelayAddresses(hosts=tuple(hosts), tcp_port=port, tls_port=port if settings.tls else None)
            secret = secrets.current
            self.offered = OfferedRelay(reached, lambda subject, expires_at: issue(secret, subject, expires_at))

    @contextmanager
    def running(self) -> Iterator[None]:
        """In the running event loop."""
        if self.node is None:
            yield
            return
        if self._settings.stun_alternate is not None:
            primary = self._addresses.advertised[0]
            self.node.discover_from(primary, self._settings.stun_alternate, self._addresses.bind)
        try:
            yield
        finally:
            self.node.close()

    @property
    def take_turn(self) -> TakeTurn | None:
        """Who takes TURN connections, if anybody does."""
        return None if self.node is None else self.node.adopt_turn

    def take_ice(self, sock: socket.socket, remote: Address, local: Address, frame: bytes) -> None:
        """Give an ICE-TCP connection to the worker that its first check names."""
        try:
            username = stun_parse(frame[_LENGTH_BYTES:])["username"] or b""
            worker = worker_of(username.partition(b":")[0].decode("ascii"))
        except ValueError:
            worker = None
        if worker is None or worker >= len(self._workers):
            sock.close()
        else:
            self._streams.adopt(sock, worker, STREAM_ICE, remote, local)

    def serve(self, jti: str) -> None:
        """Take the credentials that were given for that token (again)."""
        if self.node is not None:
            self.node.restore(subject_of(jti))

    def refuse(self, jti: str) -> None:
        """Refuse them from now on, and end what was allocated with them."""
        if self.node is not None:
            self.node.revoke(subject_of(jti))

    def counters(self) -> Mapping[str, int]:
        return {} if self.node is None else self.node.counters()

    def gauges(self) -> Mapping[str, int]:
        if self.node is None:
            return {}
        return {"relay_allocations": self.node.allocations, "relay_streams": self.node.streams}


def _tcp_hosts(host: str, advertised: Sequence[str]) -> Sequence[str]:
    """Where clients reach the shared port. Loopback is for a try-out, or behind a proxy, that passes on HTTP."""
    try:
        loopback = ip_address(host).is_loopback
    except ValueError:
        loopback = False
    return [each for each in advertised if not loopback or ip_address(each).is_loopback]
