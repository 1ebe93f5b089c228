"""A bare aiohttp handler on uvloop: what a request costs before any of our code. Prints its port, then serves.

It answers with as many bytes of JSON as the first argument says.
"""

import asyncio
import signal
import sys

import uvloop
from aiohttp import web


async def _serve(size: int) -> None:
    body = b'"' + b"x" * max(0, size - 2) + b'"'

    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=body, headers={"Content-Type": "application/json"})

    app = web.Application()
    app.router.add_get("/", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
    print(runner.addresses[0][1], flush=True)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    await runner.cleanup()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
        loop.run(_serve(int(sys.argv[1])))
