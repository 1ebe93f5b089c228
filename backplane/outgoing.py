"""The one way out to an address that somebody typed in, without becoming their hand inside our network (SSRF).

A name is resolved once; every address that it has must be a plain one of the public internet
(`backplane.public_addresses.is_public`), and the connection is made to one of those: there is no second look-up that
could answer otherwise (DNS rebinding). Each redirect is looked at in the same way. An answer is bounded in size,
counted after decompression, and in time, name resolution included. Proxies of the environment, cookies and netrc are
not used.
"""

import asyncio
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final
from urllib.parse import urljoin, urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from backplane.hosts import Host, parsed_host
from backplane.public_addresses import Ip, is_public

MAX_URL: Final = 2000
PORTS: Final = {"http": 80, "https": 443}
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_CHUNK_BYTES: Final = 64 * 1024
_CONNECTIONS: Final = 20

AllowAddress = Callable[[Ip], bool]
AllowPort = Callable[[str, int], bool]


class OutgoingError(Exception):
    """Nothing was fetched. The text is a stable code: ``bad_url``, ``not_public``, ``unreachable``, ``too_large`` or
    ``too_many_redirects``."""


@dataclass(frozen=True, slots=True)
class Answered:
    """The last answer, after redirects. ``headers`` by any case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def usual_port(scheme: str, port: int) -> bool:
    """Whether ``port`` is the scheme's own."""
    return PORTS.get(scheme) == port


def checked_url(url: str, schemes: tuple[str, ...] = ("https", "http"), port_allowed: AllowPort = usual_port) -> Host:
    """The host of ``url``, when it may be tried: its name is not resolved yet.

    Raises:
        OutgoingError: ``bad_url``.
    """
    if len(url) > MAX_URL or not url.isascii() or any(c <= " " or c in "\\\x7f" for c in url):
        raise OutgoingError("bad_url")
    try:
        parts = urlsplit(url)
        host = parsed_host(parts.netloc)  # which has no place for user and password
    except ValueError:
        raise OutgoingError("bad_url") from None
    if parts.scheme not in schemes or not port_allowed(parts.scheme, host.port or PORTS.get(parts.scheme, 0)):
        raise OutgoingError("bad_url")
    return host


class _Resolver(AbstractResolver):
    """Gives the addresses of a name when all of them may be reached."""

    def __init__(self, allowed: AllowAddress) -> None:
        self._allowed = allowed

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM)
        results: list[ResolveResult] = []
        for kind, _, proto, _, address in found:
            text = str(address[0])
            if not self._allowed(ip_address(text)):
                raise _NotPublicError
            results.append(
                ResolveResult(
                    hostname=host, host=text, port=port, family=kind, proto=proto, flags=socket.AI_NUMERICHOST
                )
            )
        return results

    async def close(self) -> None:
        """Nothing is open."""


class _NotPublicError(OSError):
    """aiohttp hands on what a resolver raises only when it is an OSError."""


class Outgoing:
    """Fetches. ``schemes``: that may be asked for; ``timeout_s``: for all of one fetch. ``allowed`` and
    ``port_allowed`` are for tests, which serve on loopback."""

    def __init__(
        self,
        timeout_s: float,
        schemes: tuple[str, ...] = ("https", "http"),
        allowed: AllowAddress = is_public,
        port_allowed: AllowPort = usual_port,
    ) -> None:
        self._timeout_s = timeout_s
        self._schemes = schemes
        self._allowed = allowed
        self._port_allowed = port_allowed
        self._session: aiohttp.ClientSession | None = None

    def check(self, url: str) -> None:
        """OutgoingError ``bad_url`` or ``not_public``, as far as that can be said without asking for a name."""
        host = checked_url(url, self._schemes, self._port_allowed)
        try:
            literal = ip_address(host.name.strip("[]"))
        except ValueError:
            return  # a name: the resolver looks at its addresses
        if not self._allowed(literal):
            raise OutgoingError("not_public")

    async def fetch(
        self,
        url: str,
        *,
        max_bytes: int,
        headers: Mapping[str, str] | None = None,
        form: Mapping[str, str] | None = None,
        redirects: int = 0,
    ) -> Answered:
        """GET ``url``, or POST ``form`` to it, following at most so many ``redirects``. OutgoingError."""
        sent = {"Accept-Encoding": "identity", "User-Agent": "Wadud", **(headers or {})}
        method = "GET" if form is None else "POST"
        session = self._opened()
        try:
            async with asyncio.timeout(self._timeout_s):
                for _ in range(redirects + 1):
                    self.check(url)
                    async with session.request(method, url, data=form, headers=sent, allow_redirects=False) as response:
                        if redirects and response.status in _REDIRECTS and "Location" in response.headers:
                            url = _joined(url, response.headers["Location"])
                            continue
                        body = await _bounded(response, max_bytes)
                        return Answered(response.status, response.headers, body)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            blocked = isinstance(error, _NotPublicError) or isinstance(error.__cause__, _NotPublicError)
            raise OutgoingError("not_public" if blocked else "unreachable") from None
        raise OutgoingError("too_many_redirects")

    async def close(self) -> None:
        """End connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(
                resolver=_Resolver(self._allowed),
                use_dns_cache=False,
                limit=_CONNECTIONS,
                force_close=True,  # the next fetch looks at its addresses anew
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                timeout=aiohttp.ClientTimeout(total=self._timeout_s),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
            )
        return self._session


def _joined(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError:
        raise OutgoingError("bad_url") from None


async def _bounded(response: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
        body += chunk
        if len(body) > max_bytes:
            raise OutgoingError("too_large")
    return bytes(body)
