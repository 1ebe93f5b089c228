"""The HTTP side of one process put together: shell, API, pages, signalling socket.

Given a node (the media side) it knows nothing of workers or ports, so tests run it with the node they like.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

from aiohttp import web

from backplane.hosts import PublicUrls
from backplane.metrics import Metrics
from backplane.proxies import NO_PROXIES, TrustedProxies
from backplane.telemetry import NO_TRACING, Tracing
from backplane.web import Readiness, application
from server.ice_servers import RelayAccess
from server.pages import Pages
from signalling.calls import Calls
from signalling.http import Api
from signalling.room_names import RoomNames
from signalling.websocket import Signalling

CLOSE_TIMEOUT_S = 1.0


def build(
    calls: Calls,
    metrics: Metrics,
    readiness: Readiness,
    pages: Path | None,
    proxies: TrustedProxies = NO_PROXIES,
    tracing: Tracing = NO_TRACING,
    relay_access: RelayAccess | None = None,
    urls: PublicUrls | None = None,
    tokens_per_minute: int = 0,
) -> web.Application:
    """The application; when it shuts down, everybody gets a bye first. ``pages``: the folder of the web pages, None:
    without them; ``relay_access`` None: without a relay; ``urls`` None: no base URL is configured;
    ``tokens_per_minute``: see `Api`."""
    app = application(metrics, readiness, proxies, tracing)
    signalling = Signalling(calls, metrics)
    Api(calls, RoomNames(calls.tokens.key), urls or PublicUrls(), tokens_per_minute).add_routes(app)
    (relay_access or RelayAccess(calls)).add_routes(app)
    if pages is not None:
        Pages(pages).add_routes(app)
    app.router.add_get("/v1/signal", signalling.handle)

    async def sweeping(_: web.Application) -> AsyncIterator[None]:
        task = asyncio.create_task(signalling.sweep())
        yield
        task.cancel()

    async def drain(_: web.Application) -> None:
        calls.drain(time.monotonic())
        await signalling.close(CLOSE_TIMEOUT_S)

    app.cleanup_ctx.append(sweeping)
    app.on_shutdown.append(drain)
    return app
