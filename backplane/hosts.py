"""Which host a request asks for, and what the public addresses of this installation are.

The Host header is anybody's word, so it is read in one place, strictly (`asked_host`): a registered name of letters,
digits, hyphens and underscores, an IPv4 address in its usual form, or an IPv6 address in brackets, then perhaps a port
(RFC 9110 section 7.2, RFC 3986 section 3.2). Userinfo, percent signs, a second header and everything else is refused
with 400, as is HTTP/1.1 without the header (RFC 9112 section 3.2). Nobody else reads ``request.host``, and a test of
the house looks.

Links that outlive the request (mails, calendars, redirects, pages for search engines) never repeat the header. They
lead to the configured base URL, or to a host name of the clinic's own, which an administrator has set (`PublicUrls`).
"""

import ipaddress
import re
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web

from backplane.problems import Problem

LONGEST_NAME: Final = 253  # RFC 1035 section 2.3.4, without the dot at its end
_LABEL: Final = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST: Final = re.compile(
    rf"(?:(?P<name>{_LABEL}(?:\.{_LABEL})*)\.?|\[(?P<ip>[0-9A-Fa-f:.]{{2,45}})\])(?::(?P<port>[0-9]{{0,5}}))?"
)
_PCHAR: Final = r"[A-Za-z0-9._~!$&'()*+,;=:@%-]"  # RFC 3986 section 3.3
_OWN_PATH: Final = re.compile(rf"(?:/(?!/){_PCHAR}*)+(?:\?(?:{_PCHAR}|[/?])*)?")
_NUMERIC_LABEL: Final = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")


@dataclass(frozen=True, slots=True)
class Host:
    """``name`` is in lower case, without a dot at its end, an IPv6 address in brackets. ``port`` None: the scheme's."""

    name: str
    port: int | None = None

    def __str__(self) -> str:
        return self.name if self.port is None else f"{self.name}:{self.port}"

    @property
    def loopback(self) -> bool:
        """Whether browsers take it for this machine (Secure Contexts section 3.1)."""
        if self.name == "localhost" or self.name.endswith(".localhost"):
            return True
        return _is_address(self.name) and ip_address(self.name.strip("[]")).is_loopback


def parsed_host(text: str) -> Host:
    """``text`` as host and port.

    Raises:
        ValueError: it is none that can stand in a link of ours.
    """
    match = _HOST.fullmatch(text) if text.isascii() else None
    if match is None:
        raise ValueError("not a host")
    number = int(match["port"]) if match["port"] else None
    if number is not None and not 0 < number < 65536:
        raise ValueError("not a port")
    if match["ip"] is not None:
        return Host(f"[{ipaddress.IPv6Address(match['ip'])}]", number)
    name = match["name"].lower()
    if len(name) > LONGEST_NAME:
        raise ValueError("too long for a host name")
    if _NUMERIC_LABEL.fullmatch(name.rpartition(".")[2]):
        # Browsers read every name that ends in a number as an IPv4 address, of one to four parts (URL standard, 3.5).
        name = str(ipaddress.IPv4Address(name))
    return Host(name, number)


_ASKED: Final = web.RequestKey("asked_host", Host)
_FORWARDED: Final = web.RequestKey("forwarded_host", str)  # what a trusted proxy says, not looked at yet


def asked_host(request: web.Request) -> Host:
    """The host that ``request`` asks for, as the outermost trusted proxy saw it.

    Raises:
        Problem: 400 bad_host.
    """
    known: Host | None = request.get(_ASKED)
    if known is not None:
        return known
    given = request.headers.getall("Host", ())
    if len(given) > 1 or (not given and request.version >= (1, 1)):
        raise bad_host()
    try:
        # HTTP/1.0 may leave the header out: then it is the address that was reached.
        host = parsed_host(given[0]) if given else _reached(request)
        # In the absolute form of RFC 9112 section 3.2.2 the target names a host too, and it must be the same.
        if given and request.host != given[0] and parsed_host(request.host).name != host.name:
            raise bad_host()
        if (forwarded := request.get(_FORWARDED)) is not None:
            host = parsed_host(forwarded)
    except ValueError:
        raise bad_host() from None
    request[_ASKED] = host
    return host


def say_forwarded_host(request: web.Request, text: str) -> None:
    """A trusted proxy has said that ``request`` asked it for the host ``text``."""
    request[_FORWARDED] = text
    request.pop(_ASKED, None)  # a copy of a request knows what the original was asked for


def bad_host() -> Problem:
    return Problem(400, "bad_host", "The header Host is not a host name with a port. Look at the address again.")


def asked_origin(request: web.Request) -> str:
    """Scheme and host of the page that asks, for answers to itself. Problem 400 as `asked_host`."""
    return f"{request.scheme}://{asked_host(request)}"


def _reached(request: web.Request) -> Host:
    transport = request.transport
    local = None if transport is None else transport.get_extra_info("sockname")
    if not isinstance(local, tuple):
        return Host("localhost")
    address = ip_address(str(local[0]).partition("%")[0])
    name = f"[{address}]" if address.version == 6 else str(address)
    return Host(name, int(local[1]))


class PublicUrls:
    """Where links lead. ``base``: scheme and host under which the server is reached from outside, without a slash at
    its end, as the operator has set it; None: not said, then `listens_at` says it as well as the server itself can."""

    def __init__(self, base: str | None = None) -> None:
        self.configured = base is not None
        self.base = base or "http://localhost"

    def listens_at(self, url: str) -> None:
        """The server's own address, now that it is known; a configured one goes before it."""
        if not self.configured:
            self.base = url

    @property
    def host(self) -> str:
        """The name in the base, without port."""
        return urlsplit(self.base).hostname or "localhost"

    @property
    def is_address(self) -> bool:
        """Whether the base is a bare address, as in a try-out: then clinics have no names of their own."""
        return _is_address(self.host)

    def of_clinic(self, slug: str, hosts: tuple[str, ...] = ()) -> str:
        """Scheme and host of a clinic's pages: the first of its own host names, else its label before the base's host.
        Where the base is a bare address, all clinics share it, except on this machine, which has names for all."""
        parts = urlsplit(self.base)
        port = "" if parts.port is None else f":{parts.port}"
        if hosts:
            return f"{parts.scheme}://{hosts[0]}{port}"
        if not self.is_address:
            return f"{parts.scheme}://{slug}.{parts.netloc}"
        return f"{parts.scheme}://{slug}.localhost{port}" if ip_address(self.host).is_loopback else self.base

    def of_page(self, request: web.Request, slug: str, hosts: tuple[str, ...] = ()) -> str:
        """Scheme and host to which the browser that asks has to come back (its cookies are there): the one that it
        asks for, if that is ours, else `of_clinic`. Without a configured base every name may be ours."""
        asked = asked_host(request)
        base = urlsplit(self.base)
        ours = {self.host, f"{slug}.{self.host}", *hosts}
        if not self.configured or asked.loopback:
            return asked_origin(request)
        if asked.name.strip("[]") in ours and asked.port == base.port:
            return f"{base.scheme}://{asked}"  # a TLS proxy that is not trusted leaves our own scheme at http
        return self.of_clinic(slug, hosts)


def is_own_path(text: str) -> bool:
    """Whether a browser stays with us by following ``text`` from any page of ours: a path, perhaps with a query, in
    which no segment is empty. After dot segments are taken out (RFC 3986 section 5.2.4) an empty first segment would
    name another host."""
    return _OWN_PATH.fullmatch(text) is not None


def _is_address(name: str) -> bool:
    try:
        ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True
