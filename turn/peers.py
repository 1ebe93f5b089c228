"""Which peers the relay may reach. A relay that reaches what lies behind it is the classical hole in a firewall, and
one that reaches the whole internet for whoever asks is an open proxy.

So it leads to media: to those of this server, which never pass a socket, and to those of other nodes, which are named
with their ports. An operator may open more: the public internet for clients that are not ours (``public``), or networks
(``allow``). There, too, only ports are reached where a peer of a call may be (`turn.peer_ports`), whatever was opened.

A permission is for an address (RFC 8656 section 9), so `decide` speaks of addresses. What names a port (ChannelBind,
Connect) asks `reaches`, and the packet plane checks the port of every datagram.

An address is public only if it is unicast on the public internet, and if every IPv4 address that it could turn into on
the way is so too: the mapped, translated and tunnelled forms of RFC 4291, 6052, 2765, 3056 and 5214. Transition
ranges whose embedded address cannot be read with certainty (Teredo, the local-use NAT64 prefix, IPv4-compatible
addresses) are refused as a whole. The operator's allow list goes before everything, and counts in disguise as well;
but who opens a network that this machine is in does not mean the services of this machine, so its own addresses are
opened only by an entry that names one alone, or loopback alone.
Our own addresses are refused, or packets could come back to the server as if from inside. The relayed addresses of
other clients are among them: people who are relayed meet in our rooms, not through two allocations. The ports where
our own media are received may be reached, by that address in plain form, because those packets never pass a socket.
What is public, and what embeds what, `backplane.public_addresses` knows.
"""

import enum
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final

from backplane.public_addresses import MAPPED, Ip, Network, embedded_ipv4, public_ipv4, public_ipv6
from turn.peer_ports import is_open, may_be_ours

MAX_REMEMBERED: Final = 4096
MAX_NODE_PORTS: Final = 1024  # in all; the packet plane knows them one by one


class Verdict(enum.Enum):
    ALLOWED = enum.auto()  # at open ports
    MEDIA_ONLY = enum.auto()  # one of our own addresses: only the ports where media are received, by hand-over
    MEDIA_ELSEWHERE = enum.auto()  # another node: only the ports where it receives media, by a socket
    FORBIDDEN = enum.auto()


class PeerPolicy:
    """Decides for peers' addresses. Answers are remembered, at most MAX_REMEMBERED of them."""

    def __init__(
        self,
        allow: Iterable[str] = (),
        own_addresses: Iterable[str] = (),
        media: Iterable[tuple[str, int]] = (),
        nodes: Iterable[tuple[str, int]] = (),
        *,
        public: bool = False,
    ) -> None:
        """``allow``: networks that the operator opens. ``own_addresses``: all addresses of this machine, public ones
        that are translated to it included. ``media``: where our own media are received, ``nodes``: where other nodes
        receive theirs. ``public``: whether the public internet is open.

        Raises:
            ValueError: something is no address or network; also as `learn_nodes`.
        """
        self._public = public
        self._allow: tuple[Network, ...] = tuple(ip_network(network) for network in allow)
        self._own: frozenset[Ip] = frozenset()
        self._media: frozenset[tuple[str, int]] = frozenset()
        self._media_hosts: frozenset[Ip] = frozenset()
        self._nodes: frozenset[tuple[str, int]] = frozenset()
        self._node_hosts: frozenset[Ip] = frozenset()
        self._remembered: dict[str, Verdict] = {}
        self.learn(own_addresses, media)
        self.learn_nodes(nodes)

    @property
    def only_media(self) -> bool:
        """Whether nobody is reached but media. They are received over UDP, so then nobody is reached over TCP."""
        return not self._public and not self._allow

    @property
    def nowhere(self) -> bool:
        """Whether nobody is reached at all."""
        return self.only_media and not self._media and not self._nodes

    @property
    def nodes(self) -> frozenset[tuple[str, int]]:
        """Where other nodes receive media."""
        return self._nodes

    def learn(self, own_addresses: Iterable[str], media: Iterable[tuple[str, int]]) -> None:
        """Replace what is known of ourselves, when addresses came or went. ValueError as above."""
        receiving = [(ip_address(host), port) for host, port in media]
        self._own = frozenset(ip_address(host) for host in own_addresses)
        self._media = frozenset((str(ip), port) for ip, port in receiving)
        self._media_hosts = frozenset(ip for ip, _ in receiving)
        self._remembered.clear()

    def learn_nodes(self, nodes: Iterable[tuple[str, int]]) -> None:
        """Replace what is known of other nodes; what is our own media stays that.

        Raises:
            ValueError: something is no address, a port is not one for media, or they are more than MAX_NODE_PORTS.
        """
        found = {(ip_address(host), port) for host, port in nodes}
        if closed := sorted(port for _, port in found if not may_be_ours(port)):
            raise ValueError(f"port {closed[0]} is one that is never relayed to")
        if len(found) > MAX_NODE_PORTS:
            raise ValueError(f"they have {len(found)} ports, and {MAX_NODE_PORTS} are possible")
        others = [(ip, port) for ip, port in found if (str(ip), port) not in self._media]
        self._nodes = frozenset((str(ip), port) for ip, port in others)
        self._node_hosts = frozenset(ip for ip, _ in others)
        self._remembered.clear()

    def decide(self, host: str) -> Verdict:
        """For an address in its canonical text form, as `turn.stun` decodes it; what is none is FORBIDDEN."""
        verdict = self._remembered.get(host)
        if verdict is None:
            verdict = self._decided(host)
            if len(self._remembered) >= MAX_REMEMBERED:
                self._remembered.clear()
            self._remembered[host] = verdict
        return verdict

    def reaches(self, host: str, port: int, *, tcp: bool = False) -> bool:
        """Whether a peer with that address and port may be talked to. ``tcp``: over a connection (RFC 6062)."""
        verdict = self.decide(host)
        if verdict is Verdict.FORBIDDEN:
            return False
        if not tcp and ((host, port) in self._media or (host, port) in self._nodes):
            return True
        return verdict is Verdict.ALLOWED and is_open(port, tcp=tcp)

    def _decided(self, host: str) -> Verdict:
        try:
            ip = ip_address(host)
        except ValueError:
            return Verdict.FORBIDDEN
        if isinstance(ip, IPv6Address) and ip.scope_id is not None:
            return Verdict.FORBIDDEN
        if ip in MAPPED:  # the packet plane and the kernel send that by IPv4
            plain = self._decided(str(IPv4Address(int(ip) & 0xFFFFFFFF)))
            return plain if plain is Verdict.ALLOWED else Verdict.FORBIDDEN
        verdict = self._without_nodes(ip)
        return Verdict.MEDIA_ELSEWHERE if verdict is not Verdict.ALLOWED and ip in self._node_hosts else verdict

    def _without_nodes(self, ip: Ip) -> Verdict:
        embedded, disguise = embedded_ipv4(ip) if isinstance(ip, IPv6Address) else ([], False)
        if (self._opened(ip) and not any(map(self._ours, embedded))) or (disguise and all(map(self._opened, embedded))):
            return Verdict.ALLOWED
        if ip in self._media_hosts:
            return Verdict.MEDIA_ONLY
        if ip in self._own or any(each in self._own or each in self._media_hosts for each in embedded):
            return Verdict.FORBIDDEN
        if not all(public_ipv4(each) or self._opened(each) for each in embedded):
            return Verdict.FORBIDDEN
        public = disguise or (public_ipv4(ip) if isinstance(ip, IPv4Address) else public_ipv6(ip))
        return Verdict.ALLOWED if public and self._public else Verdict.FORBIDDEN

    def _opened(self, ip: Ip) -> bool:
        ours = self._ours(ip)
        return any(ip in network and (not ours or _names(network)) for network in self._allow)

    def _ours(self, ip: Ip) -> bool:
        """Whether a packet to ``ip`` would come to this machine; one to no address does."""
        return ip.is_loopback or ip.is_unspecified or ip in self._own or ip in self._media_hosts


def _names(network: Network) -> bool:
    """Whether who wrote that can only have meant a machine's own address."""
    return network.num_addresses == 1 or network.is_loopback
