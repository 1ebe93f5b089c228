"""The sockets of NAT behaviour discovery (RFC 5780): those of the four places that are not the packet plane's own.

The plane's socket is the primary place, and with a wildcard bound also the alternate host's at the same port. What asks
there comes as an event and goes back by a command; an answer from another place leaves by a socket of ours, and the
other way round. The plane holds what it passes on to its budget of bytes per address; here it is answers that are
counted, for each address and for all together, unless a request came to the plane and asks for nothing special.
"""

import asyncio
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from backplane.ratelimit import KeyedBuckets, TokenBucket, address_key
from turn.attributes import BINDING, FAMILY_IPV6
from turn.discovery import Answer, Places, answer, is_steered
from turn.plane import Client
from turn.stun import MAX_BYTES, Address, Message, StunError, family_of, parse

BATCH: Final = 32  # datagrams of one socket, before others have their turn
PER_S: Final = 20.0  # answers to one address prefix; a discovery takes some ten in as many seconds
BURST: Final = 60.0
EVERYBODY_PER_S: Final = 1000.0
EVERYBODY_BURST: Final = 2000.0
_BINDING: Final = BINDING.to_bytes(2, "big")  # the message type of its request


@dataclass(slots=True)
class DiscoveryCounters:
    answered: int = 0
    steered: int = 0  # of them: from elsewhere, to elsewhere or padded
    limited: int = 0  # not answered: too many
    malformed: int = 0
    unsent: int = 0  # no room in a socket, or no way


class DiscoverySockets:
    """Answers every Binding request. ``places`` of None: there is but one address, and none of this is known here.

    ``reply`` is a plane's command; where several share the primary place, any one's. ``bound`` names the address of
    this machine that stands behind a place's host, ``wildcard`` tells that the plane's socket is bound to all of them.
    ``clock``: monotonic seconds.
    """

    def __init__(
        self,
        places: Places | None,
        reply: Callable[[Client, bytes], None],
        *,
        wildcard: bool = False,
        bound: Callable[[str], str] = lambda host: host,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.counters: Final = DiscoveryCounters()
        self._places = places
        self._reply = reply
        self._wildcard = wildcard
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._bound = {} if places is None else {place: (bound(place[0]), place[1]) for place in places.all}
        self._sockets: dict[Address, socket.socket] = {}
        self._buckets = KeyedBuckets(PER_S, BURST)
        self._everybody = TokenBucket(EVERYBODY_PER_S, EVERYBODY_BURST)

    def open(self) -> None:
        """Open the sockets. OSError when one cannot be had; then none is open."""
        if self._places is None:
            return
        for place in self._places.all:
            if place == self._places.primary or (self._wildcard and place[1] == self._places.primary[1]):
                continue
            try:
                sock = _opened(self._bound[place])
            except OSError:
                self.close()
                raise
            self._sockets[place] = sock
            self._loop.add_reader(sock, self._readable, place, sock)

    def close(self) -> None:
        for sock in self._sockets.values():
            self._loop.remove_reader(sock)
            sock.close()
        self._sockets.clear()

    def handle(self, client: Client, message: bytes, reply: Callable[[Client, bytes], None] | None = None) -> bool:
        """Answer what came to a packet plane, by its ``reply`` if that is another one's; False when it is no Binding
        request, so not ours."""
        if message[:2] != _BINDING:
            return False
        request = self._parsed(message)
        if request is None:
            return True
        place = self._place_of(client)
        source = client.host, client.port
        if is_steered(request) and not self._may_answer(client.host):
            return True
        self._send(request, answer(request, source, place, self._places), client, reply)
        return True

    def _place_of(self, client: Client) -> Address | None:
        if self._places is None or client.stream:
            return None
        if not client.local_host:
            return self._places.primary
        port = self._places.primary[1]
        for place, (host, _) in self._bound.items():
            if place[1] == port and host == client.local_host:
                return place
        return None  # yet another address of this machine

    def _readable(self, place: Address, sock: socket.socket) -> None:
        for _ in range(BATCH):
            try:
                data, source = sock.recvfrom(MAX_BYTES)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                continue  # an ICMP error for an earlier answer
            request = self._parsed(data) if data[:2] == _BINDING else None
            if request is not None and self._may_answer(source[0]):
                self._send(request, answer(request, source[:2], place, self._places), None)

    def _parsed(self, data: bytes) -> Message | None:
        try:
            return parse(data)
        except StunError:
            self.counters.malformed += 1
            return None

    def _may_answer(self, host: str) -> bool:
        now = self._clock()
        if self._buckets.allow(address_key(host), now) and self._everybody.allow(now):
            return True
        self.counters.limited += 1
        return False

    def _send(
        self,
        request: Message,
        reply: Answer,
        client: Client | None,
        command: Callable[[Client, bytes], None] | None = None,
    ) -> None:
        """``client``: who asked, if the packet plane was asked."""
        self.counters.answered += 1
        self.counters.steered += is_steered(request)
        sock = None if reply.origin is None else self._sockets.get(reply.origin)
        if sock is not None:
            try:
                sock.sendto(reply.message, reply.destination)
            except OSError:
                self.counters.unsent += 1
            return
        if client is None or self._place_of(client) != reply.origin:
            assert reply.origin is not None, "only the plane is asked elsewhere"
            client = Client(0, *reply.destination, self._bound[reply.origin][0] if self._wildcard else "")
        (command or self._reply)(client._replace(port=reply.destination[1]), reply.message)


def _opened(address: Address) -> socket.socket:
    family = socket.AF_INET6 if family_of(address[0]) == FAMILY_IPV6 else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        sock.bind(address)
    except OSError:
        sock.close()
        raise
    return sock
