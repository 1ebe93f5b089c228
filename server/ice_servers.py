"""Relay credentials for the browser of somebody who may be in a call: POST /v1/ice-servers (docs/protocol.md, "HTTP").

The relay and this module share a secret and no memory: credentials are a user name that says until when and for which
token, and an HMAC over it ("A REST API for access to TURN services", draft-uberti-behave-turn-rest). They are given for
a room token that would open the room now, name it by its ``jti`` so that the relay can drop what a revoked token had,
and end with it. Our own relay takes them no longer than the call lasts (`signalling.token_use`). No STUN server is
among them: our media server is ICE-lite and tells its addresses, so a client learns nothing from its own.
"""

import hashlib
import re
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from aiohttp import web
from msgspec import Struct

from backplane.hosts import asked_host, parsed_host
from backplane.ratelimit import KeyedBuckets
from backplane.settings import bracketed
from backplane.tokens import Claims
from backplane.web import Problem, json_response
from signalling.calls import Calls
from signalling.codes import SignallingError
from signalling.http import REQUESTS_BURST, REQUESTS_PER_S, admit, bearer_token

# Nothing in a browser can give new credentials to an allocation that it has: renewal is an ICE restart. So they live
# longer than nearly every call, and still no longer than a working day when the token, a host's, lives for a week.
MAX_LIFETIME_S: Final = 6 * 3600
_URL_SAFE: Final = re.compile(r"[A-Za-z0-9_-]+\Z")

Issue = Callable[[str, int], tuple[str, str]]
"""``issue(subject, expires_at)`` -> (username, credential)."""


class IceServer(Struct, frozen=True):
    """An RTCIceServer of the browser (W3C WebRTC, section 4.2.5)."""

    urls: list[str]
    username: str
    credential: str


class IceServers(Struct, frozen=True):
    ice_servers: list[IceServer]
    expires_at: int
    lifetime_s: int


@dataclass(frozen=True, slots=True)
class RelayAddresses:
    """Where clients reach our relay.

    ``hosts``: addresses that we advertise, the best first. ``udp_ports``: one per media worker; a client is told one of
    them. ``tcp_port``, ``tls_port``: None = not offered.
    """

    hosts: tuple[str, ...]
    udp_ports: tuple[int, ...] = ()
    tcp_port: int | None = None
    tls_port: int | None = None

    def urls(self, subject: str, asked: str) -> list[str]:
        """TURN URIs (RFC 7065), the cheapest way first. ``asked``: host, and port perhaps, that the request names."""
        found: list[str] = []
        name = server_name(asked)
        hosts = self._one_per_family(name)
        if self.udp_ports:
            # The same token comes to the same worker, different ones spread over all.
            port = self.udp_ports[zlib.crc32(subject.encode()) % len(self.udp_ports)]
            found += [f"turn:{bracketed(host)}:{port}?transport=udp" for host in hosts]
        if self.tcp_port is not None:
            found += [f"turn:{bracketed(host)}:{self.tcp_port}?transport=tcp" for host in hosts]
        if self.tls_port is not None and name is not None:
            found.append(f"turns:{bracketed(name)}:{self.tls_port}?transport=tcp")
        return found

    def _one_per_family(self, asked: str | None) -> list[str]:
        """A browser makes an allocation for each URL on each of its interfaces, so a server with many addresses tells
        the one that was reached just now, or the best, and one of the other family."""
        ordered = [asked, *self.hosts] if asked in self.hosts else list(self.hosts)
        chosen: dict[bool, str] = {}
        for host in ordered:
            if host is not None:
                chosen.setdefault(":" in host, host)
        return list(chosen.values())


@dataclass(frozen=True, slots=True)
class OfferedRelay:
    """A relay that clients are told of, and how its credentials are made."""

    addresses: RelayAddresses
    issue: Issue


def server_name(asked: str) -> str | None:
    """The name that our certificate has as far as this client is concerned: the one by which it reached the page.

    The page and TURN over TLS share port and certificate, so whoever got the page by a name will find the certificate
    good for it, and we need not be told which of its names are in use. The Host header is the client's word, but it is
    told to nobody except that client (the answer is not stored), no page can make a browser send another one, and it
    decides nothing here: who lies sends his own relay traffic elsewhere, where it ends at a certificate that does not
    fit, with credentials that are his already and a password that TURN never sends.
    """
    try:
        name = parsed_host(asked).name.strip("[]")
    except ValueError:
        return None
    return None if "_" in name else name  # no letter of a label in a URI (RFC 1123 section 2.1)


def subject_of(jti: str) -> str:
    """How a token is named in the user name of its credentials, and so to the relay when it is revoked.

    Ours are url-safe and stay as they are. Those of an application that signs its own may hold a colon, which separates
    the parts of the user name, or letters that SASLprep would change (RFC 8489 section 14.3).
    """
    return jti if _URL_SAFE.match(jti) else hashlib.sha256(jti.encode()).hexdigest()


class RelayAccess:
    """The handler. ``relay`` None: there is none, which is said."""

    def __init__(self, calls: Calls, relay: OfferedRelay | None = None) -> None:
        self._relay = relay
        self._calls = calls
        self._buckets = KeyedBuckets(REQUESTS_PER_S, REQUESTS_BURST)

    def add_routes(self, app: web.Application) -> None:
        app.router.add_post("/v1/ice-servers", self.give)

    async def give(self, request: web.Request) -> web.Response:
        admit(request, self._calls, self._buckets, time.monotonic())
        claims = self._claims(request)
        now = int(self._calls.wall_clock())
        expires_at = min(claims.exp, now + MAX_LIFETIME_S)
        self._calls.token_use.expect(claims.jti, time.monotonic())
        servers = (
            [] if self._relay is None else self._servers(self._relay, claims, expires_at, str(asked_host(request)))
        )
        return json_response(IceServers(servers, expires_at, expires_at - now))

    def _servers(self, relay: OfferedRelay, claims: Claims, expires_at: int, asked: str) -> list[IceServer]:
        subject = subject_of(claims.jti)
        urls = relay.addresses.urls(subject, asked)
        if not urls:
            return []
        username, credential = relay.issue(subject, expires_at)
        return [IceServer(urls, username, credential)]

    def _claims(self, request: web.Request) -> Claims:
        token = bearer_token(request)
        if token is None:
            raise Problem(401, "token_required", "Say who asks: Authorization: Bearer TOKEN.")
        try:
            return self._calls.verify(token)
        except SignallingError as error:
            raise Problem(401, error.code.code) from None
