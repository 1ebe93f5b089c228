"""A relay by itself, as `bin/turn` runs it: TURN and STUN on one UDP port and one TCP port, nothing else.

Every worker has a socket of its own on the UDP port and the kernel spreads clients over them. On TCP the port takes
TURN, TURN over TLS, and HTTP for health and metrics. SIGINT ends it. SIGTERM drains: no new allocations, `/readyz` says
so, and the end comes with the last allocation, after ``DRAIN_S``, or with a second signal.
"""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from aiohttp import web

from backplane import logs
from backplane.addresses import MediaAddresses
from backplane.arguments import TURN
from backplane.config import effective
from backplane.garbage import collect_seldom
from backplane.loop_watch import watched
from backplane.metrics import Metrics
from backplane.settings import Settings, bracketed
from backplane.web import KEEP_ALIVE_S, Readiness, application, cut_impatient
from rtc._worker import Worker
from turn.assembly import kept_secrets, reaches_nobody, relay_config
from turn.listen import certificate, demand_https, known_addresses, listen, renewed, reserved, shared_port, warn
from turn.loop import RelayLoop
from turn.node import RelayNode
from turn.start import StartError, run, why

DRAIN_S: Final = 60.0
NOBODY_WARNING: Final = (
    "Nobody can be reached through this relay. Name the servers whose media it is for with --relay-nodes, as "
    "203.0.113.7:443-446, or open the public internet to everybody with credentials by --relay-peers public."
)
_PROGRESS_S: Final = 5.0
_log = logs.Log("turn.main")


def main(argv: Sequence[str] | None = None, environment: Mapping[str, str] | None = None) -> int:
    """Relay until told to stop; returns the exit status."""
    arguments = sys.argv[1:] if argv is None else argv
    settings = effective(arguments, os.environ if environment is None else environment, TURN).settings
    return run("Wadud's relay", settings, relay(settings))


class _Wishes:
    """Of the operator: signals."""

    def __init__(self) -> None:
        self.drain = asyncio.Event()
        self.stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGINT, self._stop)
        loop.add_signal_handler(signal.SIGTERM, self._drain_or_stop)

    def _stop(self) -> None:
        self.drain.set()
        self.stop.set()

    def _drain_or_stop(self) -> None:
        (self.stop if self.drain.is_set() else self.drain).set()


async def relay(settings: Settings) -> None:
    """Run the relay; returns after the signals. StartError when it cannot start."""
    wishes = _Wishes()
    secrets = kept_secrets(settings)
    addresses = await known_addresses(settings)
    tls = certificate(settings, addresses)
    warn(settings, addresses)
    if reaches_nobody(settings):
        print(f"Warning: {NOBODY_WARNING}", flush=True)
        _log.warning("the relay reaches nobody")
    metrics = Metrics()
    async with contextlib.AsyncExitStack() as stack:
        workers = stack.enter_context(_workers(settings, addresses))
        sockets = stack.enter_context(reserved(settings, workers[0].port))
        node = RelayNode(workers, relay_config(settings, secrets, addresses.advertised))
        stack.callback(node.close)
        if settings.stun_alternate is not None:
            node.discover_from(addresses.advertised[0], settings.stun_alternate, addresses.bind)
        stack.enter_context(RelayLoop(node, workers).running())
        metrics.watch(
            lambda: [*(worker.counters() for worker in workers), dict(node.counters())],
            lambda: {"relay_allocations": node.allocations, "relay_streams": node.streams, "workers": len(workers)},
        )
        app = application(metrics, Readiness(lambda: {"takes_allocations": not wishes.drain.is_set()}))
        if tls is not None:
            demand_https(app)
            await stack.enter_async_context(renewed(tls))
        runner = web.AppRunner(app, access_log=None, keepalive_timeout=KEEP_ALIVE_S, handle_signals=False)
        await runner.setup()
        stack.callback(asyncio.create_task(cut_impatient(app, runner)).cancel)
        port = shared_port(runner, settings, tls, metrics)
        port.turn = node.adopt_turn
        try:
            listen(port, settings, sockets)
            shown = f"{bracketed(settings.host)}:{workers[0].port}"
            _log.info("started", workers=len(workers), media_port=workers[0].port)
            collect_seldom()
            stack.enter_context(watched(metrics))  # before, nobody is served
            print(f"Wadud's relay is ready: turn:{shown}", flush=True)
            await wishes.drain.wait()
            node.drain()
            await _drained(node, wishes)
        finally:
            port.stop_listening()
            await runner.cleanup()
            await port.close()


async def _drained(node: RelayNode, wishes: _Wishes) -> None:
    """Until no allocation is left, with word of it now and then."""
    deadline = time.monotonic() + DRAIN_S
    told = 0.0
    while not wishes.stop.is_set() and not node.drained and (now := time.monotonic()) < deadline:
        if now - told >= _PROGRESS_S:
            _log.info("draining", count=node.allocations)
            told = now
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(wishes.stop.wait(), 0.25)
    _log.info("stopping", count=node.allocations)


@contextlib.contextmanager
def _workers(settings: Settings, addresses: MediaAddresses) -> Iterator[list[Worker]]:
    """As many as asked for, all on one UDP port."""
    with contextlib.ExitStack() as stack:
        port = settings.first_media_port
        workers: list[Worker] = []
        for index in range(settings.workers):
            try:
                worker = Worker(address=addresses.bind, port=port, index=index, shared_port=settings.workers > 1)
            except OSError as error:
                what = f"UDP port {port} on {addresses.bind}"
                raise StartError(why(error, what, "--port (0 = any free one)")) from None
            stack.callback(worker.close)
            workers.append(worker)
            port = worker.port
        yield workers


if __name__ == "__main__":
    sys.exit(main())
