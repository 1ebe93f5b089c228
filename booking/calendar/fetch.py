"""Fetching an address that somebody typed in, without becoming their hand inside our network (SSRF).

Only http and https on their own ports. A name is resolved here, every address that it has must be public, and the
connection is made to those addresses and no others: there is no second look-up that could answer differently. Each
redirect is looked at in the same way. Proxies of the environment are not used. The answer is read up to a limit,
counted after decompression.
"""

import asyncio
import socket
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Final
from urllib.parse import urljoin, urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from msgspec import Struct

MAX_REDIRECTS: Final = 3
TIMEOUT_S: Final = 15.0
MAX_URL: Final = 2000
_PORTS: Final = {"http": 80, "https": 443}
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_NAT64: Final = IPv6Network("64:ff9b::/96")
Address = IPv4Address | IPv6Address


class FetchError(Exception):
    """The address cannot be fetched; the text is a stable code."""


class Fetched(Struct, frozen=True):
    """``content`` None: it has not changed since ``etag``."""

    content: bytes | None
    etag: str | None


def is_public(address: Address) -> bool:
    """Whether anybody on the internet could reach ``address``; ones that hold an IPv4 address are judged by it too."""
    if isinstance(address, IPv6Address):
        inner = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
        if address in _NAT64:
            inner.append(IPv4Address(int(address) & 0xFFFFFFFF))
        if any(each is not None and not is_public(each) for each in inner):
            return False
        if address.ipv4_mapped is not None:
            return True
    return address.is_global and not address.is_multicast and not address.is_reserved


def checked_url(url: str, ports: Callable[[str, int], bool] | None = None) -> str:
    """``url`` when it may be tried, webcal taken as https. Raises FetchError ``bad_url``."""
    if url[:9].lower() == "webcal://":
        url = "https://" + url[9:]
    if len(url) > MAX_URL or not url.isascii() or any(c.isspace() or ord(c) < 32 for c in url):
        raise FetchError("bad_url")
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS.get(parts.scheme, 0)
    except ValueError:
        raise FetchError("bad_url") from None
    allowed = ports or (lambda scheme, number: _PORTS[scheme] == number)
    if (
        parts.scheme not in _PORTS
        or not parts.hostname
        or parts.username is not None
        or parts.password is not None
        or not allowed(parts.scheme, port)
    ):
        raise FetchError("bad_url")
    return url


class _PublicOnly(AbstractResolver):
    """Gives the addresses of a name when all of them may be reached."""

    def __init__(self, allowed: Callable[[Address], bool]) -> None:
        self._allowed = allowed

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM)
        results: list[ResolveResult] = []
        for kind, _, proto, _, address in found:
            text = str(address[0]).partition("%")[0]
            if not self._allowed(ip_address(text)):
                raise FetchError("not_public")
            results.append(
                ResolveResult(
                    hostname=host, host=text, port=port, family=kind, proto=proto, flags=socket.AI_NUMERICHOST
                )
            )
        return results

    async def close(self) -> None:
        pass


class Fetcher:
    """``allowed`` and ``ports`` are for tests, which serve on loopback."""

    def __init__(
        self,
        allowed: Callable[[Address], bool] = is_public,
        ports: Callable[[str, int], bool] | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._allowed = allowed
        self._ports = ports
        self._timeout_s = timeout_s

    async def get(self, url: str, max_bytes: int, etag: str | None = None) -> Fetched:
        """Fetch ``url``.

        Raises:
            FetchError: ``bad_url``, ``not_public``, ``unreachable``, ``refused``, ``too_large`` or
                ``too_many_redirects``.
        """
        connector = aiohttp.TCPConnector(resolver=_PublicOnly(self._allowed), use_dns_cache=False, limit=2)
        timeout = aiohttp.ClientTimeout(total=self._timeout_s)
        headers = {"Accept": "text/calendar, */*;q=0.1", "Accept-Encoding": "identity", "User-Agent": "Wadud calendar"}
        if etag:
            headers["If-None-Match"] = etag
        try:
            async with (
                asyncio.timeout(self._timeout_s),
                aiohttp.ClientSession(
                    connector=connector, timeout=timeout, trust_env=False, cookie_jar=aiohttp.DummyCookieJar()
                ) as session,
            ):
                for _ in range(MAX_REDIRECTS + 1):
                    url = self._checked(url)
                    async with session.get(url, headers=headers, allow_redirects=False) as response:
                        if response.status in _REDIRECTS and "Location" in response.headers:
                            url = urljoin(url, response.headers["Location"])
                            continue
                        return await _content(response, max_bytes, etag)
        except FetchError:
            raise
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            # aiohttp wraps what a resolver raises only when it is an OSError
            if isinstance(error.__cause__, FetchError):
                raise error.__cause__ from None
            raise FetchError("unreachable") from None
        raise FetchError("too_many_redirects")

    def _checked(self, url: str) -> str:
        url = checked_url(url, self._ports)
        host = (urlsplit(url).hostname or "").partition("%")[0]
        try:
            literal = ip_address(host)
        except ValueError:
            return url  # a name: the resolver looks at its addresses
        if not self._allowed(literal):
            raise FetchError("not_public")
        return url


async def _content(response: aiohttp.ClientResponse, max_bytes: int, etag: str | None) -> Fetched:
    if response.status == 304:
        return Fetched(None, etag)
    if response.status != 200:
        raise FetchError("refused")
    content = bytearray()
    async for chunk in response.content.iter_chunked(64 * 1024):
        content += chunk
        if len(content) > max_bytes:
            raise FetchError("too_large")
    return Fetched(bytes(content), response.headers.get("ETag", "")[:200] or None)
