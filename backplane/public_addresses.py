"""Which addresses belong to the public internet, and which IPv4 addresses an IPv6 address can turn into on the way.

The tables hold the special-purpose registries of IANA (RFC 6890) and the services that providers put beside every
machine under addresses that are public by number. `ipaddress` knows the registries of its release, so its opinion is
asked too, but never alone: its `is_global` lets NAT64, 6to4 and multicast through.

The relay (`turn.peers`) and all that fetches an address somebody typed in (`backplane.outgoing`) decide by these.
"""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final, TypeAlias

Ip: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

FORBIDDEN_IPV4: Final = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT, and a provider's metadata service at 100.100.100.200
        "127.0.0.0/8",
        "168.63.129.16/32",  # public by number, yet a provider's wire server beside every machine
        "161.26.0.0/16",  # public by number, yet a provider's services behind every machine, and so is the next
        "166.8.0.0/14",
        "169.254.0.0/16",  # link-local, and the metadata services at 169.254.169.254
        "172.16.0.0/12",
        "192.0.0.0/24",  # IETF protocol assignments
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
    )
)
GLOBAL_UNICAST: Final = IPv6Network(
    "2000::/3"
)  # the rest: loopback, ULA, link-local, site-local, multicast, unassigned
FORBIDDEN_IPV6: Final = tuple(
    IPv6Network(text)
    for text in (
        "2001::/23",  # IETF protocol assignments: Teredo, benchmarks, ORCHID and others
        "2001:db8::/32",  # documentation
        "3fff::/20",
    )
)

MAPPED: Final = IPv6Network("::ffff:0:0/96")
_TRANSLATED: Final = IPv6Network("::ffff:0:0:0/96")  # SIIT, RFC 2765
_NAT64: Final = IPv6Network("64:ff9b::/96")  # RFC 6052
_6TO4: Final = IPv6Network("2002::/16")
_ISATAP_MARKS: Final = (0x00005EFE, 0x02005EFE)  # first half of the interface identifier, RFC 5214 section 6.1


def embedded_ipv4(ip: IPv6Address) -> tuple[list[IPv4Address], bool]:
    """The IPv4 addresses that a packet to ``ip`` could be sent on to, and whether ``ip`` is nothing but one of them in
    disguise."""
    value = int(ip)
    if ip in _TRANSLATED or ip in _NAT64:
        return [IPv4Address(value & 0xFFFFFFFF)], True
    found = []
    if ip in _6TO4:
        found.append(IPv4Address(value >> 80 & 0xFFFFFFFF))
    if value >> 32 & 0xFFFFFFFF in _ISATAP_MARKS:
        found.append(IPv4Address(value & 0xFFFFFFFF))
    return found, False


def public_ipv4(ip: IPv4Address) -> bool:
    """Whether ``ip`` is unicast on the public internet."""
    return ip.is_global and not ip.is_multicast and not any(ip in network for network in FORBIDDEN_IPV4)


def public_ipv6(ip: IPv6Address) -> bool:
    """Whether ``ip`` is unicast on the public internet, without regard to what it embeds: 6to4 (RFC 3056) counts."""
    if ip in _6TO4:
        return True
    return ip in GLOBAL_UNICAST and ip.is_global and not any(ip in network for network in FORBIDDEN_IPV6)


def is_public(ip: Ip) -> bool:
    """Whether ``ip`` is a plain unicast address of the public internet: one that embeds no IPv4 address, because a
    gateway on the way could send the packet on to anywhere."""
    if isinstance(ip, IPv4Address):
        return public_ipv4(ip)
    return ip.scope_id is None and public_ipv6(ip) and not embedded_ipv4(ip)[0]
