"""Starts one server process: media workers, node, HTTP, and stops them in the opposite order.

The last line of the start is ``Wadud is ready: http://HOST:PORT``. SIGINT and SIGTERM end it, a first start that still
makes the database too: nobody new is taken in, everybody in a call hears ``bye`` (draining), sockets and workers are
closed, and the exit status is 0.
"""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from backplane import logs
from backplane.addresses import MediaAddresses
from backplane.api import utc_now
from backplane.certificates import self_signed
from backplane.config import effective
from backplane.garbage import collect_seldom
from backplane.hosts import PublicUrls
from backplane.http_server import Runner
from backplane.loop_watch import watched
from backplane.metrics import Metrics
from backplane.proxies import TrustedProxies
from backplane.settings import Settings
from backplane.storage import Storage
from backplane.telemetry import Tracing
from backplane.tokens import TokenAuthority
from backplane.web import STORAGE, Readiness, cut_impatient
from booking import demo
from booking.application import at_work
from booking.assembly import Dependencies, assemble
from rtc._dtls import Identity
from rtc._worker import Worker
from server.application import build
from server.doctor_head import doctor_head
from server.inner_relay import InnerRelay
from server.pages import DOCTOR_HEAD
from server.store import Store, StoreError, opened
from server.visit_calls import Visits
from sfu.media_loop import MediaLoop
from sfu.node import Node
from signalling.calls import Calls
from signalling.ice_servers import RelayAccess
from signalling.room_quotas import RoomLimits
from turn.listen import (
    certificate,
    demand_https,
    known_addresses,
    listen,
    renewed,
    reserved,
    shared_port,
    warn,
)
from turn.start import StartError, run, why

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
    return run("Wadud", settings, serve(settings))


async def serve(settings: Settings) -> None:
    """Run the server; returns after SIGINT or SIGTERM. StartError when it cannot start."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    tokens = _open_tokens(settings)
    addresses = await known_addresses(settings)
    tls = certificate(settings, addresses)
    warn(settings, addresses)
    metrics = Metrics()
    async with contextlib.AsyncExitStack() as stack:
        # ports first: a wrong option is told at once, not after the database was made
        workers = [stack.enter_context(_worker(settings, addresses, index)) for index in range(settings.workers)]
        sockets = stack.enter_context(reserved(settings))
        store = await _opened(settings, stack, stop)
        if store is None:
            return
        node = Node(
            workers=workers,
            identity=Identity(*self_signed(time.time())),
            candidates=[[(address, worker.port) for address in addresses.advertised] for worker in workers],
        )
        node.observe_stage = metrics.observe_stage
        node.observe_estimate = metrics.observe_estimate
        limits = RoomLimits(
            rooms=settings.max_rooms,
            rooms_per_address=settings.rooms_per_address,
            people_per_address=settings.people_per_address,
            idle_s=settings.room_idle_s,
        )
        calls = Calls(node, tokens, metrics, limits=limits)
        relay = InnerRelay(settings, addresses, workers, node)
        metrics.watch(
            lambda: [*(worker.counters() for worker in workers), relay.counters()],
            lambda: {
                "rooms": len(node.rooms),
                "rooms_counted": calls.quotas.rooms,
                "participants": node.participants,
                "workers": len(workers),
                **relay.gauges(),
            },
        )
        media_loop = MediaLoop(node)
        media_loop.start()
        stack.callback(media_loop.stop)
        stack.enter_context(relay.running())
        storage = Storage(settings.data)
        readiness = Readiness(lambda: {"takes_calls": not calls.draining, "has_room": storage.has_room()})
        tracing = Tracing.open(settings.otlp_endpoint, settings.trace_ratio)
        stack.callback(tracing.close)
        access = RelayAccess(calls)
        proxies, urls = TrustedProxies(settings.trusted_proxies), PublicUrls(settings.base_url)
        app = build(calls, metrics, readiness, settings.web, proxies, tracing, access, urls, settings.tokens_per_minute)
        app[STORAGE] = storage
        booking = await stack.enter_async_context(assemble(_surroundings(settings, store, tokens, urls)))
        booking.install(app)
        app[DOCTOR_HEAD] = doctor_head(booking.services)
        if settings.demo:
            await demo.furnish(store.database, booking.identity.passwords, utc_now())
            print(demo.WELCOME, flush=True)
        if tls is not None:
            demand_https(app)
            await stack.enter_async_context(renewed(tls))
        visits = asyncio.create_task(Visits(calls, booking.call_events, booking.joining.names, store.bus).run())
        stack.push_async_callback(_cancelled, visits)
        runner = Runner(app, shutdown_timeout=_HTTP_SHUTDOWN_S)
        await runner.setup()
        await stack.enter_async_context(at_work(store.database, store.bus, booking.parts, utc_now))
        impatient = asyncio.create_task(cut_impatient(app, runner))
        port = shared_port(runner, settings, tls, metrics)
        try:
            url = listen(port, settings, sockets)
            relay.open(port, port.number, calls, access)
            urls.listens_at(url)
            _log.info("started", workers=len(workers), media_port=workers[0].port)
            collect_seldom()
            stack.enter_context(watched(metrics))  # before, nobody is served
            print(f"Wadud is ready: {url}", flush=True)
            await stop.wait()
            _log.info("stopping", sessions=len(calls), rooms=len(node.rooms))
        finally:
            port.stop_listening()
            impatient.cancel()
            await runner.cleanup()
            await port.close()


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])


def _surroundings(settings: Settings, store: Store, tokens: TokenAuthority, urls: PublicUrls) -> Dependencies:
    return Dependencies(
        database=store.database,
        bus=store.bus,
        data=settings.data,
        tokens=tokens,
        clock=utc_now,
        urls=urls,
        default=demo.SLUG if settings.demo else None,
        smtp_url=settings.smtp_url,
        mail_from=settings.mail_from,
    )


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


@contextlib.contextmanager
def _worker(settings: Settings, addresses: MediaAddresses, index: int) -> Iterator[Worker]:
    port = settings.first_media_port + index if settings.first_media_port else 0
    try:
        worker = Worker(address=addresses.bind, port=port, index=index)
    except OSError as error:
        raise StartError(
            why(error, f"UDP port {port} for media on {addresses.bind}", "--media-port (0 = any free one)")
        ) from None
    try:
        yield worker
    finally:
        worker.close()


if __name__ == "__main__":
    sys.exit(main())
