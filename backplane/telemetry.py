"""What happens to every request before its handler: who really asks, its id, its time, and now and then a trace.

The stock instrumentation of aiohttp makes a span for every request and asks afterwards whether anybody wants it, which
costs most of the throughput. Here the dice fall first: a request that is not sampled costs one random number. A sampled
one is one server span, named by the route's template; attributes hold method, template and status, never a path, a
query, an address or a person. The trace goes on from a caller's W3C traceparent, but whether to sample is ours to say:
else strangers could fill the collector.

OpenTelemetry is imported only when there is an endpoint to export to.
"""

import random
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from backplane.logs import REQUEST_ID
from backplane.metrics import Metrics
from backplane.proxies import TrustedProxies

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor
    from opentelemetry.trace import Span, Tracer

REQUEST_ID_HEADER: Final = "X-Request-Id"
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "OPTIONS", "PUT", "DELETE", "PATCH"})
_current: Final[ContextVar["tuple[Tracer, Span] | None"]] = ContextVar("span", default=None)


def route_of(request: web.Request) -> str:
    """The template of the route that answers, ``none`` when there is none."""
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else "none"


class Tracing:
    """Spans of the part ``ratio`` of requests. Without a tracer it makes none."""

    def __init__(self, processor: "SpanProcessor | None" = None, ratio: float = 0.0) -> None:
        self.ratio = ratio if processor is not None else 0.0
        self._tracer: Tracer | None = None
        self._stop: Callable[[], None] = lambda: None
        if processor is not None:
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.sampling import ALWAYS_ON

            provider = TracerProvider(
                sampler=ALWAYS_ON, resource=Resource({"service.name": "wadud"}), shutdown_on_exit=False
            )
            provider.add_span_processor(processor)
            self._tracer = provider.get_tracer("wadud")
            self._stop = provider.shutdown

    @classmethod
    def open(cls, endpoint: str | None, ratio: float) -> "Tracing":
        """Export by OTLP over HTTP to ``endpoint`` (such as http://collector:4318/v1/traces), None: no traces."""
        if endpoint is None:
            return cls()
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        return cls(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)), ratio)

    def close(self) -> None:
        """Send what is left."""
        self._stop()

    async def served(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer ``request`` inside a server span."""
        from opentelemetry.trace import SpanKind, StatusCode
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        assert self._tracer is not None
        given = {"traceparent": request.headers.get("traceparent", "")}
        parent = TraceContextTextMapPropagator().extract(given)
        method = request.method if request.method in _METHODS else "_OTHER"
        route = route_of(request)
        attributes = {"http.request.method": method, "http.route": route}
        span = self._tracer.start_span(f"{method} {route}", parent, SpanKind.SERVER, attributes)
        token = _current.set((self._tracer, span))
        try:
            response = await handler(request)
            span.set_attribute("http.response.status_code", response.status)
            if response.status >= 500:
                span.set_status(StatusCode.ERROR)
            return response
        finally:
            _current.reset(token)
            span.end()


NO_TRACING: Final = Tracing()


@contextmanager
def span(name: str, **attributes: str | int | float | bool) -> Iterator[None]:
    """A child span for a step such as a statement or a gateway's answer; nothing when the request is not traced.

    ``name`` and ``attributes`` are of closed sets, as labels of metrics are.
    """
    current = _current.get()
    if current is None:
        yield
        return
    from opentelemetry.trace import StatusCode, set_span_in_context

    tracer, parent = current
    child = tracer.start_span(name, set_span_in_context(parent), attributes=attributes)
    token = _current.set((tracer, child))
    try:
        yield
    except BaseException as error:
        child.set_attribute("error.type", type(error).__name__)  # the text may quote input
        child.set_status(StatusCode.ERROR)
        raise
    finally:
        _current.reset(token)
        child.end()


def traceparent() -> str | None:
    """The W3C traceparent of what is going on, for rows of the outbox; None when it is not traced."""
    current = _current.get()
    if current is None:
        return None
    context = current[1].get_span_context()
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-01"


def observer(metrics: Metrics, proxies: TrustedProxies, tracing: Tracing) -> Middleware:
    """The outermost middleware."""
    ratio = tracing.ratio
    observe = metrics.observe_route

    @web.middleware
    async def observed(request: web.Request, handler: Handler) -> web.StreamResponse:
        if proxies:
            request = proxies.seen_through(request)
        number = secrets.token_hex(8)
        REQUEST_ID.set(number)
        started = time.perf_counter()
        if ratio and random.random() < ratio:
            response = await tracing.served(request, handler)
        else:
            response = await handler(request)
        if not response.prepared:  # a socket's or a stream's head is out, and its time is how long it lasted
            response.headers[REQUEST_ID_HEADER] = number
            method = request.method if request.method in _METHODS else "other"
            observe(method, route_of(request), response.status, time.perf_counter() - started)
        return response

    return observed
