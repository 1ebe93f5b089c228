"""Starts one server process with all that it does (`roles`), and stops it in the opposite order.

The last line of the start is ``Wadud is ready: http://HOST:PORT``. SIGINT and SIGTERM end it, a first start that still
makes the database too: nobody new is taken in, everybody in a call hears ``bye`` (draining), sockets and workers are
closed, and the exit status is 0.
"""

import asyncio
import contextlib
import dataclasses
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Final

from backplane import logs
from backplane.config import effective
from backplane.hosts import PublicUrls
from backplane.http_server import Runner
from backplane.listening import certificate, known_addresses, reserved, warn
from backplane.metrics import Metrics
from backplane.proxies import TrustedProxies
from backplane.settings import Settings
from backplane.startup import StartError, run
from backplane.storage import Storage
from backplane.telemetry import Tracing
from backplane.tokens import TokenAuthority
from backplane.web import STORAGE, Readiness
from rtc import public_address
from server.application import build
from server.booking_side import booking_side
from server.call_side import call_side
from server.front import front
from server.ice_servers import RelayAccess
from server.roles import SERVER, Process, Role
from server.store import Store, StoreError, opened
from server.workers import media_workers

_HTTP_SHUTDOWN_S: Final = 0.5
_log = logs.Log("server.main")  # its own name even when it is run as __main__


def settings_from(arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> Settings:
    """The settings that a command line means, with the environment and the file behind it.

    Exits as argparse does on a mistake, on --help and on --print-config.
    """
    return effective(arguments, os.environ if environment is None else environment).settings


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until told to stop; returns the exit status."""
    settings = settings_from(sys.argv[1:] if argv is None else argv)
    return run(SERVER.name, settings, serve(settings))


async def serve(settings: Settings, process: Process = SERVER) -> None:
    """Run the roles of ``process``; returns after SIGINT or SIGTERM. StartError when it cannot start."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    settings = dataclasses.replace(settings, relay=settings.relay and process.plays(Role.RELAY))
    tokens = _open_tokens(settings)
    addresses = await known_addresses(settings, public_address.ask)
    tls = certificate(settings, addresses)
    warn(settings, addresses)
    metrics = Metrics()
    async with contextlib.AsyncExitStack() as stack:
        # ports first: a wrong option is told at once, not after the database was made
        workers = stack.enter_context(media_workers(settings, addresses))
        sockets = stack.enter_context(reserved(settings))
        store = await _opened(settings, stack, stop) if process.plays(Role.BOOKING) else None
        if stop.is_set():
            return
        port = int(sockets[0].getsockname()[1])
        side = stack.enter_context(call_side(settings, addresses, workers, port, tokens, metrics))
        calls, relay = side.calls, side.relay
        storage = Storage(settings.data)
        readiness = Readiness(lambda: {"takes_calls": not calls.draining, "has_room": storage.has_room()})
        tracing = Tracing.open(settings.otlp_endpoint, settings.trace_ratio)
        stack.callback(tracing.close)
        proxies, urls = TrustedProxies(settings.trusted_proxies), PublicUrls(settings.base_url)
        app = build(
            calls,
            metrics,
            readiness,
            settings.web if process.plays(Role.PAGES) else None,
            proxies,
            tracing,
            RelayAccess(calls, relay.offered),
            urls,
            settings.tokens_per_minute,
        )
        app[STORAGE] = storage
        if store is not None:
            works = process.plays(Role.WORK)
            await stack.enter_async_context(booking_side(app, settings, store, tokens, urls, side, works=works))
        runner = Runner(app, shutdown_timeout=_HTTP_SHUTDOWN_S)
        listening = front(runner, settings, tls, sockets, metrics, turn=relay.take_turn, ice=relay.take_ice)
        async with listening as url:
            urls.listens_at(url)
            _log.info("started", workers=len(workers), media_port=workers[0].port)
            print(f"{process.name} is ready: {url}", flush=True)
            await stop.wait()
            _log.info("stopping", sessions=len(calls), rooms=len(side.node.rooms))


async def _opened(settings: Settings, stack: contextlib.AsyncExitStack, stop: asyncio.Event) -> Store | None:
    """None: told to stop meanwhile. The first time it takes seconds, on a slow disk a minute."""
    opening = asyncio.create_task(stack.enter_async_context(opened(settings)))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait([opening, stopping], return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if stop.is_set():
        opening.cancel()
    try:
        return await opening
    except asyncio.CancelledError:
        return None
    except StoreError as error:
        raise StartError(str(error)) from None


def _open_tokens(settings: Settings) -> TokenAuthority:
    try:
        settings.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        return TokenAuthority.open(settings.data, time.time())
    except OSError as error:
        raise StartError(
            f"{settings.data} cannot be used ({os.strerror(error.errno or 0)}). Give another directory with --data."
        ) from None
    except ValueError as error:
        raise StartError(str(error)) from None


if __name__ == "__main__":
    sys.exit(main())
