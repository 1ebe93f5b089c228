"""Where media sockets listen, and which addresses browsers are told.

On one address of the machine both are that address. On a wildcard address the socket takes every interface, and the
candidates are the machine's own addresses of the families that it listens on: ``0.0.0.0`` one, ``::`` both. What is
known of the public addresses (``--public-ip``, or what a STUN server says) takes the place of the machine's own of that
family: private ones reach only browsers in the same network, so the operator is told when nothing else is known. Wrong
candidates behind NAT are the commonest complaint about such servers.

Loopback (the default) says where HTTP listens: for a try-out, or behind a reverse proxy. Media then listen everywhere
all the same, because Firefox never pairs a loopback candidate with its own addresses, and no proxy carries UDP; the
socket answers nobody whose check it has not verified.
"""

import fcntl
import ipaddress
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_SIOCGIFADDR: Final = 0x8915  # netdevice(7)
_IF_INET6: Final = Path("/proc/net/if_inet6")
_FIB_TRIE: Final = Path("/proc/net/fib_trie")
_GLOBAL_SCOPE: Final = "00"
_UNFIT: Final = 0x01 | 0x08 | 0x20 | 0x40  # temporary (RFC 8981), a duplicate, deprecated, not yet probed
_MAX_CANDIDATES: Final = 4  # of one family

Parsed = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class MediaAddresses:
    """``bind`` for the sockets, ``advertised`` for the candidates, best first, ``warnings`` for the operator.

    ``unsure``: no public IPv4 address is known though we listen on IPv4, so a STUN server is worth asking.
    """

    bind: str
    advertised: tuple[str, ...]
    warnings: tuple[str, ...] = ()
    unsure: bool = False


def interface_addresses() -> list[str]:
    """Addresses of this machine's interfaces, IPv4 first; loopback, link-local and passing ones are left out."""
    found: list[str] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            try:
                answer = fcntl.ioctl(probe.fileno(), _SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
            except OSError:
                continue  # an interface without an IPv4 address
            address = ipaddress.IPv4Address(answer[20:24])
            if not (address.is_loopback or address.is_link_local or address.is_unspecified):
                found.append(str(address))
    try:
        table = _IF_INET6.read_text()
    except OSError:  # a kernel without IPv6
        table = ""
    return found + lasting_ipv6(table)


def lasting_ipv6(table: str) -> list[str]:
    """The addresses in a table as /proc/net/if_inet6 has them that a peer elsewhere may be told."""
    found = []
    for line in table.splitlines():
        digits, _, _, scope, flags, _ = line.split()
        if scope == _GLOBAL_SCOPE and not int(flags, 16) & _UNFIT:
            found.append(str(ipaddress.IPv6Address(bytes.fromhex(digits))))
    return found


def every_address() -> frozenset[str]:
    """All addresses by which this machine reaches itself, however passing: what a relay must not lead to. Secondary
    ones and those of local routes are among them, which `interface_addresses` leaves out."""
    found = set(interface_addresses())
    for path, read in ((_FIB_TRIE, local_ipv4), (_IF_INET6, local_ipv6)):
        try:
            found.update(read(path.read_text()))
        except OSError:  # a kernel without it
            continue
    return frozenset(found)


def local_ipv4(table: str) -> list[str]:
    """The addresses in a table as /proc/net/fib_trie has them that the kernel delivers to this machine."""
    found, leaf = [], ""
    for line in table.splitlines():
        words = line.split()
        if words[0] == "|--":
            leaf = words[1]
        elif words == ["/32", "host", "LOCAL"]:
            found.append(leaf)
    return found


def local_ipv6(table: str) -> list[str]:
    """All addresses in a table as /proc/net/if_inet6 has them."""
    return [str(ipaddress.IPv6Address(bytes.fromhex(line.split()[0]))) for line in table.splitlines()]


def media_addresses(host: str, public_ip: Sequence[str], interfaces: Sequence[str]) -> MediaAddresses:
    """Apply the policy to the operator's words and the machine's addresses. ValueError when ``host`` is no address."""
    parsed = ipaddress.ip_address(host)
    bind = ("0.0.0.0" if parsed.version == 4 else "::") if parsed.is_loopback else host
    everywhere = ipaddress.ip_address(bind).is_unspecified
    families = (4, 6) if bind == "::" else (parsed.version,)
    told = [address for text in public_ip if (address := ipaddress.ip_address(text)).version in families]
    own = [ipaddress.ip_address(text) for text in interfaces] if everywhere else [parsed]
    if parsed.is_loopback and not told:
        own.insert(0, parsed)

    def near(address: Parsed) -> bool:
        return address.is_private and not address.is_loopback and address not in told

    advertised: list[Parsed] = []
    for family in families:
        of_family = [address for address in told if address.version == family]
        if not of_family:
            of_family = [address for address in own if address.version == family and not (told and address.is_private)]
        advertised += sorted(of_family, key=near)[:_MAX_CANDIDATES]
    advertised.sort(key=near)
    warnings = [
        f"--public-ip {text} is never used: --host {host} does not listen on its family. Give --host :: for both."
        for text in public_ip
        if ipaddress.ip_address(text) not in told
    ]
    ours = [address for address in advertised if address.version == 4]
    unsure = bool(ours) and all(address.is_private for address in ours)
    names = tuple(str(address) for address in advertised)
    if parsed.is_unspecified and not names:
        names = ("127.0.0.1" if parsed.version == 4 else "::1",)
        warnings.append("No network address was found: only browsers on this machine will reach the media port.")
    elif parsed.is_unspecified and all(address.is_private for address in advertised) and not told:
        warnings.append(
            f"Only private addresses are known ({', '.join(names)}): browsers outside this network will not reach the "
            "media port. Give the address that they can reach with --public-ip, or name a --stun-server to ask."
        )
    return MediaAddresses(bind, names or (host,), tuple(warnings), unsure and not told)
