"""Sends plain HTTP on to https:// where the port speaks TLS.

A middleware, because what is decided needs the request: the host and path to send on to, and the scheme as the
outermost proxy saw it (a trusted one may speak plain HTTP with us for a caller who came by https). 308 keeps method and
body (RFC 9110 section 15.4.9). Probes and scrapes of this machine itself go on in the plain.
"""

import ipaddress
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler

from backplane.hosts import asked_host
from backplane.proxies import plain_address

PLAIN_ON_LOOPBACK: Final = frozenset({"/healthz", "/readyz", "/metrics"})


@web.middleware
async def https_only(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Serves what came by https, and redirects the rest."""
    if request.scheme == "https" or (request.path in PLAIN_ON_LOOPBACK and _from_here(request)):
        return await handler(request)
    return web.Response(
        status=308,
        headers={
            "Location": f"https://{asked_host(request)}/{request.path_qs.lstrip('/')}",
            "Connection": "close",
            "Cache-Control": "no-store",
        },
    )


def _from_here(request: web.Request) -> bool:
    address = plain_address(request.remote or "")
    return isinstance(address, ipaddress.IPv4Address | ipaddress.IPv6Address) and address.is_loopback
