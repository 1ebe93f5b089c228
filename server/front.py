"""What a process has towards the network on its TCP port: HTTP, with TLS or without, and what goes beside it."""

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from aiohttp import web

from backplane.garbage import collect_seldom
from backplane.listening import demand_https, listen, renewed, shared_port
from backplane.loop_watch import watched
from backplane.metrics import Metrics
from backplane.settings import Settings
from backplane.shared_port import TakeIce, TakeTurn
from backplane.tls import ServerTls
from backplane.web import cut_impatient


@asynccontextmanager
async def front(
    runner: web.AppRunner,
    settings: Settings,
    tls: ServerTls | None,
    sockets: Sequence[socket.socket],
    metrics: Metrics,
    *,
    turn: TakeTurn | None = None,
    ice: TakeIce | None = None,
) -> AsyncIterator[str]:
    """Listen on the `reserved` ``sockets`` while the block runs; gives the address of the pages. ``runner`` is not set
    up yet, and cleaned up at the end; ``turn``, ``ice``: who takes these connections.

    Raises:
        StartError: the port cannot be had.
    """
    app = runner.app
    if tls is not None:
        demand_https(app)
    async with renewed(tls):
        await runner.setup()
        impatient = asyncio.create_task(cut_impatient(app, runner))
        port = shared_port(runner, settings, tls, metrics, turn=turn, ice=ice)
        try:
            url = listen(port, settings, sockets)
            collect_seldom()
            with watched(metrics):  # before, nobody is served
                yield url
        finally:
            port.stop_listening()
            impatient.cancel()
            await runner.cleanup()
            await port.close()
