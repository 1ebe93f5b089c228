"""aiohttp's server with our border: what cannot be read as a request is answered as everything else is.

aiohttp answers a broken request line, a head that is too long or a body that cannot be framed by itself, before any
middleware of the application runs: with its own name and version, without our headers, and with a piece of what was
sent. Here such an answer is a problem without a word of the request. An exception that leaves the application, which
none should, is answered in the same way and logged as our fault.

Bodies are not unfolded on the way in (``auto_decompress``): `backplane.web.check_head` refuses compressed ones.
"""

from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

from backplane.logs import Log
from backplane.problems import Problem, problem_response
from backplane.web import KEEP_ALIVE_S, METRICS, add_security_headers, check_head

_log = Log(__name__)
Handle = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
_DETAIL: Final = "This is no request of HTTP/1.1 that we could read. Look at it again."


class _Connection(web.RequestHandler):
    """One connection."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if request.writer.output_size > 0:
            raise ConnectionError("an answer has begun already")
        if status >= 500:
            _log.error("request failed outside of the application")
            return _bare(Problem(500, "server_error", "Our fault; it has been logged."))
        return _bare(Problem(status, "bad_request", _DETAIL))


class _Server(web.Server):
    def __call__(self) -> web.RequestHandler:
        return _Connection(self, loop=self._loop, **self._kwargs)


class Runner(web.AppRunner):
    """Serves ``app``; aiohttp's own runner with the border before it."""

    def __init__(self, app: web.Application, *, shutdown_timeout: float) -> None:
        super().__init__(
            app,
            access_log=None,
            auto_decompress=False,
            shutdown_timeout=shutdown_timeout,
            keepalive_timeout=KEEP_ALIVE_S,
            handle_signals=False,
        )

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        bordered = _checked(self.app, made.request_handler)
        server = _Server(bordered, request_factory=made.request_factory, loop=made._loop, **made._kwargs)
        return server


def _checked(app: web.Application, handler: Handle) -> Handle:
    """The application behind a look at the head: aiohttp acts on some headers before it runs middlewares."""

    async def serve(request: web.BaseRequest) -> web.StreamResponse:
        assert isinstance(request, web.Request)
        try:
            check_head(request)
        except Problem as problem:
            app[METRICS].requests.labels("other", str(problem.status)).inc()
            return _bare(problem)
        return await handler(request)

    return serve


def _bare(problem: Problem) -> web.Response:
    """An answer outside of the application; the connection ends with it, as what comes next on it is uncertain."""
    response = problem_response(problem)
    add_security_headers(response.headers, None)
    response.force_close()
    return response
