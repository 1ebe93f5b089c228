"""Where media sockets listen, and which addresses browsers are told.

On one address of the machine both are that address. On a wildcard address the socket takes every interface, and the
candidates are ``--public-ip`` when given, else the machine's own addresses: private ones reach only browsers in the
same network, so the operator is told. Wrong candidates behind NAT are the commonest complaint about such servers.

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

_SIOCGIFADDR = 0x8915  # netdevice(7)
_MAX_CANDIDATES = 4


@dataclass(frozen=True, slots=True)
class MediaAddresses:
    """``bind`` for the sockets, ``advertised`` for the candidates, best first, ``warnings`` for the operator."""

    bind: str
    advertised: tuple[str, ...]
    warnings: tuple[str, ...] = ()


def interface_addresses() -> list[str]:
    """IPv4 addresses of this machine's interfaces, loopback and link-local ones left out."""
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
    return found


def media_addresses(host: str, public_ip: Sequence[str], interfaces: Sequence[str]) -> MediaAddresses:
    """Apply the policy to the operator's words and the machine's addresses. ValueError when ``host`` is no address."""
    parsed = ipaddress.ip_address(host)
    bind = ("0.0.0.0" if parsed.version == 4 else "::") if parsed.is_loopback else host
    if public_ip:
        return MediaAddresses(bind, tuple(public_ip))
    if parsed.is_loopback:
        return MediaAddresses(bind, (host, *interfaces[: _MAX_CANDIDATES - 1]))
    if not parsed.is_unspecified:
        return MediaAddresses(bind, (host,))
    own = sorted(interfaces, key=lambda text: ipaddress.ip_address(text).is_private)[:_MAX_CANDIDATES]
    warnings: tuple[str, ...] = ()
    if not own:
        own = ["127.0.0.1"]
        warnings = ("No network address was found: only browsers on this machine will reach the media port.",)
    elif all(ipaddress.ip_address(address).is_private for address in own):
        warnings = (
            f"Only private addresses are known ({', '.join(own)}): browsers outside this network will not reach the "
            "media port. Give the address that they can reach with --public-ip.",
        )
    return MediaAddresses(bind, tuple(own), warnings)
