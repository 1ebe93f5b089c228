"""Who really asks when proxies stand before us, and whether a page of ours sent it.

X-Forwarded-* is anybody's word. It is believed only when the TCP peer is one of the operator's ``trusted_proxies``:
then the rightmost address of X-Forwarded-For that is no trusted proxy itself is the client (what stands left of it the
client may have written), and X-Forwarded-Proto and -Host are the scheme and host of links and of Origin checks. The
request is then replaced by a copy that says so, and nobody below needs to know.
"""

import ipaddress
from collections.abc import Sequence
from typing import Final

from aiohttp import web

from backplane.hosts import asked_host, parsed_host, say_forwarded_host

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_MAX_HOPS: Final = 20


def plain_address(text: str) -> Address | None:
    """The address in ``text``, without zone and port; an IPv4 address inside of IPv6 as itself. None: there is none."""
    text = text.partition("%")[0]
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


class TrustedProxies:
    """Addresses and networks (``10.0.0.7``, ``10.0.0.0/8``, ``fd00::/8``) whose X-Forwarded-* are believed.

    Raises:
        ValueError: one of them is neither.
    """

    def __init__(self, proxies: Sequence[str] = ()) -> None:
        self._networks: tuple[Network, ...] = tuple(ipaddress.ip_network(proxy) for proxy in proxies)

    def __bool__(self) -> bool:
        return bool(self._networks)

    def trusts(self, address: str | None) -> bool:
        parsed = plain_address(address or "")
        return parsed is not None and any(parsed in network for network in self._networks)

    def seen_through(self, request: web.Request) -> web.Request:
        """The request as it reached the first trusted proxy; ``request`` itself when its peer is none."""
        if not self._networks or not self.trusts(request.remote):
            return request
        headers = request.headers
        remote = self._client(",".join(headers.getall("X-Forwarded-For", ())), request.remote or "")
        scheme = headers.get("X-Forwarded-Proto", "").rpartition(",")[2].strip().lower()
        host = headers.get("X-Forwarded-Host", "").rpartition(",")[2].strip()
        seen = request.clone(remote=remote, scheme=scheme if scheme in ("http", "https") else request.scheme)
        if host:
            say_forwarded_host(seen, host)
        return seen

    def _client(self, forwarded_for: str, peer: str) -> str:
        client = peer
        for hop in [hop.strip() for hop in forwarded_for.split(",")][::-1][:_MAX_HOPS]:
            parsed = plain_address(hop)
            if parsed is None:
                break  # not an address: what stands left of it cannot be trusted more
            client = str(parsed)
            if not self.trusts(client):
                break
        return client


NO_PROXIES: Final = TrustedProxies()


def same_origin(request: web.Request) -> bool:
    """Whether a page of ours sent this: its Origin is the host asked. False when there is no Origin.

    A TLS proxy that is not trusted makes ``request.scheme`` http, so an https page of the same host counts as ours too;
    the other way round an http page may have been written by anybody on the way.
    """
    origin = request.headers.get("Origin", "")
    scheme, separator, host = origin.partition("://")
    try:
        return bool(separator) and scheme in ("https", request.scheme) and parsed_host(host) == asked_host(request)
    except ValueError:
        return False
