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
from collections.abc import Mapping, Sequence
from typing import Final

from aiohttp import web

from backplane import logs
from backplane.arguments import TURN
from backplane.config import effective
from backplane.listening import certificate, known_addresses, reserved, warn
from backplane.metrics import Metrics
from backplane.settings import Settings, bracketed
from backplane.startup import run
from backplane.web import KEEP_ALIVE_S, Readiness, application
from rtc import public_address
from rtc.worker_events import WorkerEvents
from server.front import front
from server.roles import RELAY
from server.workers import relay_workers
from turn.assembly import kept_secrets, reaches_nobody, relay_config
from turn.node import RelayNode

DRAIN_S: Final = 60.0
NOBODY_WARNING: Final = (
    "Nobody can be reached through this relay. Name the servers whose media it is for with --relay-nodes, as "
    "203.0.113.7:443-446, or open the public internet to everybody with credentials by --relay-peers public."
)
_PROGRESS_S: Final = 5.0
_log = logs.Log("server.relay_main")


def main(argv: Sequence[str] | None = None, environment: Mapping[str, str] | None = None) -> int:
    """Relay until told to stop; returns the exit status."""
    arguments = sys.argv[1:] if argv is None else argv
    settings = effective(arguments, os.environ if environment is None else environment, TURN).settings
    return run(RELAY.name, settings, relay(settings))


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
    addresses = await known_addresses(settings, public_address.ask)
    tls = certificate(settings, addresses)
    warn(settings, addresses)
    if reaches_nobody(settings):
        print(f"Warning: {NOBODY_WARNING}", flush=True)
        _log.warning("the relay reaches nobody")
    metrics = Metrics()
    async with contextlib.AsyncExitStack() as stack:
        workers = stack.enter_context(relay_workers(settings, addresses))
        sockets = stack.enter_context(reserved(settings, workers[0].port))
        node = RelayNode(workers, relay_config(settings, secrets, addresses.advertised))
        stack.callback(node.close)
        if settings.stun_alternate is not None:
            node.discover_from(addresses.advertised[0], settings.stun_alternate, addresses.bind)
        stack.enter_context(WorkerEvents(workers, [node]).running())
        metrics.watch(
            lambda: [*(worker.counters() for worker in workers), dict(node.counters())],
            lambda: {"relay_allocations": node.allocations, "relay_streams": node.streams, "workers": len(workers)},
        )
        app = application(metrics, Readiness(lambda: {"takes_allocations": not wishes.drain.is_set()}))
        runner = web.AppRunner(app, access_log=None, keepalive_timeout=KEEP_ALIVE_S, handle_signals=False)
        async with front(runner, settings, tls, sockets, metrics, turn=node.adopt_turn):
            shown = f"{bracketed(settings.host)}:{workers[0].port}"
            _log.info("started", workers=len(workers), media_port=workers[0].port)
            print(f"{RELAY.name} is ready: turn:{shown}", flush=True)
            await wishes.drain.wait()
            node.drain()
            await _drained(node, wishes)


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


if __name__ == "__main__":
    sys.exit(main())
