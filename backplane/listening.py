"""Where this server listens and what it calls itself: media addresses, certificate, the shared TCP port."""

import asyncio
import dataclasses
import ipaddress
import signal
import socket
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from typing import Final, Protocol

from aiohttp import web

from backplane.addresses import MediaAddresses, interface_addresses, media_addresses
from backplane.https_only import https_only
from backplane.listeners import bound
from backplane.metrics import Metrics
from backplane.proxies import TrustedProxies, plain_address
from backplane.settings import Settings
from backplane.shared_port import SharedPort, TakeIce, TakeTurn
from backplane.startup import StartError, why
from backplane.tls import ServerTls, TlsError, try_out_certificate

SELF_SIGNED_WARNING: Final = (
    "The certificate is of our own making, for a try-out: browsers warn of it, and refuse TURN over TLS with it. Give "
    "one that they know with --certificate."
)


class SeenAddress(Protocol):
    """``host`` and ``port`` of a UDP socket of ours as a STUN server saw them, ``local_port`` as we sent from it."""

    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def local_port(self) -> int: ...


class AskStun(Protocol):
    """`rtc.public_address.ask`."""

    async def __call__(self, server: str, bind: str, port: int, /) -> SeenAddress | None: ...


async def known_addresses(settings: Settings, ask: AskStun) -> MediaAddresses:
    """Where media sockets bind and what browsers are told. Asks the STUN server when there is one and need to.

    Raises:
        StartError: a host has no address here, or the media port is another program's.
    """
    host = await _resolved(settings.host)
    interfaces = interface_addresses()
    known = media_addresses(host, settings.public_ip, interfaces)
    if settings.stun_server is None or not known.unsure:
        return known
    bind = "0.0.0.0" if known.bind == "::" else known.bind
    port = settings.first_media_port
    try:
        seen = await ask(settings.stun_server, bind, port)
    except OSError as error:
        raise StartError(
            why(error, f"UDP port {port} for media on {bind}", "--media-port (0 = any free one)")
        ) from None
    if seen is None or ipaddress.ip_address(seen.host).is_private:
        failure = "did not answer" if seen is None else "is in our own network"
        warning = f"The STUN server {settings.stun_server} {failure}, so our public address is not known."
        return dataclasses.replace(known, warnings=(warning, *known.warnings))
    found = media_addresses(host, (*settings.public_ip, seen.host), interfaces)
    if seen.port == seen.local_port:
        return found
    warning = (
        f"Our public address is {seen.host}, but the network before us translates ports (UDP {seen.local_port} leaves "
        f"it as {seen.port}): browsers reach media only if it passes UDP port {port or 'of --media-port'} on to us."
    )
    return dataclasses.replace(found, warnings=(warning, *found.warnings))


def warn(settings: Settings, addresses: MediaAddresses) -> None:
    """Tell the operator what callers will trip over."""
    for warning in (*addresses.warnings, *([SELF_SIGNED_WARNING] if settings.self_signed else [])):
        print(f"Warning: {warning}", flush=True)


async def _resolved(host: str) -> str:
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_DGRAM)
    except OSError:
        raise StartError(f"--host {host}: no such address on this machine.") from None
    return str(found[0][4][0])


def certificate(settings: Settings, addresses: MediaAddresses) -> ServerTls | None:
    """What to speak TLS with; None = plain HTTP. StartError when the files cannot be used."""
    try:
        if settings.self_signed:
            names = [settings.host, *addresses.advertised, *settings.public_ip]
            return ServerTls(*try_out_certificate(settings.data, names, time.time()))
        if settings.certificate is not None:
            return ServerTls(settings.certificate, settings.certificate_key)
    except TlsError as error:
        raise StartError(str(error)) from None
    except OSError as error:
        raise StartError(why(error, f"the certificate in {settings.data}", "--data")) from None
    return None


def demand_https(app: web.Application) -> None:
    """Plain HTTP is sent on from now on; before the application starts."""
    app.middlewares.append(https_only)


@asynccontextmanager
async def renewed(tls: ServerTls | None) -> AsyncIterator[None]:
    """Reads the certificate again when its files change, and on SIGHUP."""
    if tls is None:
        yield
        return
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, tls.reload)
    watching = asyncio.create_task(tls.watch())
    try:
        yield
    finally:
        watching.cancel()
        loop.remove_signal_handler(signal.SIGHUP)


def shared_port(
    runner: web.AppRunner,
    settings: Settings,
    tls: ServerTls | None,
    metrics: Metrics,
    *,
    turn: TakeTurn | None = None,
    ice: TakeIce | None = None,
) -> SharedPort:
    """The port before a runner that is set up; it does not listen yet. ``turn``, ``ice``: see `SharedPort`."""
    assert runner.server is not None
    proxies = TrustedProxies(settings.trusted_proxies)

    def many_behind(host: str) -> bool:
        address = plain_address(host)
        return proxies.trusts(host) or (address is not None and address.is_loopback)

    port = SharedPort(runner.server, tls, crowded=many_behind, turn=turn, ice=ice)
    metrics.watch_port(
        lambda: port.taken,
        lambda: port.dropped,
        lambda: {"accept_pauses": port.pauses, **_prefixed(tls)},
        lambda: {"connections_undecided": port.undecided},
    )
    return port


@contextmanager
def reserved(settings: Settings, like: int = 0) -> Iterator[Sequence[socket.socket]]:
    """The TCP port, where any will do that with the number ``like``. Nobody is listened to yet, but that it cannot be
    had is known before the long part of a start. StartError then."""
    with _port_to_blame(settings):
        sockets = bound(settings.host, settings.port or like)
    with ExitStack() as stack:
        for one in sockets:
            stack.enter_context(one)
        yield sockets


def listen(port: SharedPort, settings: Settings, sockets: Sequence[socket.socket]) -> str:
    """Open the TCP port that was `reserved`; returns the address of the pages."""
    with _port_to_blame(settings):
        return dataclasses.replace(settings, port=port.listen(sockets)).url


@contextmanager
def _port_to_blame(settings: Settings) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StartError(why(error, f"port {settings.port} on {settings.host}", "--port (0 = any free one)")) from None


def _prefixed(tls: ServerTls | None) -> Mapping[str, int]:
    return {} if tls is None else {f"certificate_{event}": count for event, count in tls.counters.items()}
