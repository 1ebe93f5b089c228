"""The shell around every HTTP answer: problems as JSON, security headers, health, metrics.

An error is an `application/problem+json` (RFC 9457) with a stable ``code`` for programs; what a handler did not foresee
becomes a 500 that tells the peer nothing and the log where. Pages may load scripts, styles and fonts from here only,
may use camera, microphone and screen, and never send their address (it opens the room) to anybody else.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from http import HTTPStatus
from typing import Final, TypeVar

import msgspec
from aiohttp import ClientPayloadError, http_exceptions, web
from aiohttp.typedefs import Handler, Middleware

from backplane.bounds import outside_decoder
from backplane.hosts import asked_host
from backplane.logs import Log
from backplane.metrics import CONTENT_TYPE, Metrics
from backplane.problems import Problem, expected, json_response, problem_response
from backplane.proxies import NO_PROXIES, TrustedProxies
from backplane.storage import Storage, is_full
from backplane.storage import problem_of as full_problem_of
from backplane.telemetry import NO_TRACING, Tracing, observer, route_of

MAX_BODY_BYTES: Final = 16 * 1024
BODY_TIMEOUT_S: Final = 10.0
REQUEST_TIMEOUT_S: Final = 15.0
KEEP_ALIVE_S: Final = 75.0  # longer than proxies keep theirs (nginx: 60 s); each holds 6 KiB, aiohttp's own is an hour
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "OPTIONS", "PUT", "DELETE", "PATCH"})
# What reading a body raises when its chunks, its length or its parts do not add up.
_BROKEN_BODY: Final = (
    ClientPayloadError,
    web.RequestPayloadError,
    web.PayloadAccessError,
    http_exceptions.HttpProcessingError,
)
_log = Log(__name__)

__all__ = ["Problem", "json_response", "problem_response"]
T = TypeVar("T")

_SECURITY_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Permissions-Policy": (
        "camera=(self), microphone=(self), display-capture=(self), speaker-selection=(self), "
        "screen-wake-lock=(self), fullscreen=(self), autoplay=(self), picture-in-picture=(self), "
        "geolocation=(), payment=(), usb=(), serial=(), hid=(), midi=()"
    ),
}


def media_type_of(request: web.Request) -> str:
    """What the body is said to be, in small letters, without parameters; empty when nothing is said.

    Not aiohttp's ``content_type``: it reads the parameters too, by a parser of mails that takes a third of a second for
    a header of 7 KB.
    """
    return request.headers.get("Content-Type", "").partition(";")[0].strip().lower()


async def read_json(request: web.Request, model: type[T]) -> T:
    """The request's body as ``model``. Problem 400, 413, 415 or 422."""
    if media_type_of(request) != "application/json":
        raise Problem(415, "unsupported_media_type", "Send the body as application/json.")
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            body = await request.read()
    except TimeoutError:
        raise Problem(408, "request_timeout", "The body did not arrive in time.", {"Connection": "close"}) from None
    try:
        value: T = outside_decoder(model).decode(body)
        return value
    except msgspec.ValidationError as error:
        raise Problem(422, "bad_request", str(error)[:200]) from None
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        raise Problem(400, "bad_json", "The body is not JSON.") from None


def content_security_policy(host: str | None) -> str:
    """Everything from here and nothing from elsewhere. ``host``: that the request asks for; None: it is not known."""
    # 'self' does not cover ws: in browsers before CSP level 3 (Firefox ESR, Safari 15), so the socket is named.
    sockets = "" if host is None else f" ws://{host} wss://{host}"
    return (
        "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; img-src 'self' data: blob:; "
        f"media-src 'self' blob: mediastream:; connect-src 'self'{sockets}; worker-src 'self'; manifest-src 'self'; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )


_WHAT_TO_DO: Final = {
    404: "There is nothing at this address. Look at the link again, or at /docs for what can be asked.",
    405: "This cannot be done here. The header Allow tells what can.",
    413: "Send less at once.",
}


def _http_problem(error: web.HTTPException) -> Problem:
    headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
    code = HTTPStatus(error.status).phrase.lower().replace(" ", "_").replace("'", "").replace("-", "_")
    return Problem(error.status, code, _WHAT_TO_DO.get(error.status, "Look at /docs for what can be asked."), headers)


def problem_of(error: Exception) -> Problem | None:
    """What the peer is told about an error that a handler did not foresee; None: our own fault, of which it is told
    nothing. Here stands everything that the network, the disk or the peer can do in the middle of any handler."""
    if isinstance(error, web.HTTPException):
        return _http_problem(error)
    if isinstance(error, _BROKEN_BODY):
        return Problem(400, "bad_body", "The body is not what its head says it is.", {"Connection": "close"})
    return full_problem_of(error) or expected(error)


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turns every exception into a problem and counts every answer."""
    request.app[IMPATIENCE].served(request)
    try:
        check_head(request)
        response = await handler(request)
    except Exception as error:
        if isinstance(error, web.HTTPException) and error.status < 400:
            raise
        problem = problem_of(error)
        if is_full(error):
            request.app[STORAGE].refused()
            _log.error("no space left", route=route_of(request))
        if problem is None:
            _log.error("request failed", route=route_of(request))
            problem = Problem(500, "server_error", "Our fault; it has been logged.")
        response = problem_response(problem)
    method = request.method if request.method in _METHODS else "other"
    request.app[METRICS].requests.labels(method, str(response.status)).inc()
    return response


def check_head(request: web.Request) -> None:
    """What every request is asked before anything of it is believed.

    Raises:
        Problem: 400 bad_host; 415 unsupported_coding, because a small body that unfolds into a large one would be
            taken apart before anybody could say how large it may be; 417 unknown_expectation (RFC 9110 section 10.1.1).
    """
    headers = request.headers
    asked_host(request)
    if headers.get("Content-Encoding", "identity").strip().lower() not in ("identity", ""):
        detail = "Send the body as it is, without Content-Encoding."
        raise Problem(415, "unsupported_coding", detail, {"Accept-Encoding": "identity", "Connection": "close"})
    if "Expect" in headers and headers["Expect"].lower() != "100-continue":
        raise Problem(417, "unknown_expectation", "Of expectations only 100-continue is known.")


def add_security_headers(headers: MutableMapping[str, str], host: str | None) -> None:
    """Those of `_SECURITY_HEADERS` and the content policy, unless a handler has said otherwise. Nothing names the
    version of a server: it would tell which of its faults are worth a try."""
    for name, value in _SECURITY_HEADERS.items():
        headers.setdefault(name, value)
    headers.setdefault("Content-Security-Policy", content_security_policy(host))
    headers["Server"] = "Wadud"


async def secure(request: web.Request, response: web.StreamResponse) -> None:
    """Signal handler of ``on_response_prepare``."""
    try:
        host: str | None = str(asked_host(request))
    except Problem:
        host = None
    add_security_headers(response.headers, host)


class Impatience:
    """Cuts connections that never come to the point (slow loris); aiohttp waits for a first request without end."""

    def __init__(self) -> None:
        self._served: set[object] = set()
        self._since: dict[web.RequestHandler, float] = {}

    def served(self, request: web.Request) -> None:
        """A whole request head has arrived on its connection."""
        self._served.add(request.protocol)

    def sweep(self, connections: Iterable[web.RequestHandler], now: float) -> None:
        """Wants to be called about once a second with all open connections; forgets those that are gone."""
        open_now = set(connections)
        self._served &= open_now
        self._since = {connection: self._since.get(connection, now) for connection in open_now - self._served}
        for connection, since in self._since.items():
            if now - since >= REQUEST_TIMEOUT_S and connection.transport is not None:
                connection.transport.abort()


async def cut_impatient(app: web.Application, runner: web.AppRunner) -> None:
    """Sweep the connections of ``runner``, which serves ``app``, until cancelled."""
    while runner.server is not None:
        await asyncio.sleep(1)
        app[IMPATIENCE].sweep(runner.server.connections, time.monotonic())


class Readiness:
    """Named checks that must all hold before this process is given work."""

    def __init__(self, checks: Callable[[], Mapping[str, bool]]) -> None:
        self.checks = checks


METRICS: Final = web.AppKey("metrics", Metrics)
IMPATIENCE: Final = web.AppKey("impatience", Impatience)
STORAGE: Final = web.AppKey("storage", Storage)
READINESS: Final = web.AppKey("readiness", Readiness)


async def _healthz(request: web.Request) -> web.Response:
    return json_response({"status": "ok"})


async def _readyz(request: web.Request) -> web.Response:
    checks = request.app[READINESS].checks()
    ready = all(checks.values())
    return json_response({"status": "ready" if ready else "not_ready", "checks": checks}, 200 if ready else 503)


async def _metrics(request: web.Request) -> web.Response:
    return web.Response(
        body=request.app[METRICS].exposition(), headers={"Content-Type": CONTENT_TYPE, "Cache-Control": "no-store"}
    )


def application(
    metrics: Metrics, readiness: Readiness, proxies: TrustedProxies = NO_PROXIES, tracing: Tracing = NO_TRACING
) -> web.Application:
    """An application with the shell on: /healthz (the process lives), /readyz (it takes work), /metrics."""
    middlewares: list[Middleware] = [observer(metrics, proxies, tracing), problems]
    app = web.Application(middlewares=middlewares, client_max_size=MAX_BODY_BYTES)
    app[METRICS] = metrics
    app[IMPATIENCE] = Impatience()
    app[READINESS] = readiness
    app[STORAGE] = Storage()
    app.on_response_prepare.append(secure)
    app.router.add_get("/healthz", _healthz)
    app.router.add_get("/readyz", _readyz)
    app.router.add_get("/metrics", _metrics)
    return app
