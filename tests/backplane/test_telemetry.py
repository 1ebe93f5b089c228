"""Request ids, times per route, traces."""

import io
import json
import logging
from collections.abc import Sequence

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from backplane import logs
from backplane.metrics import Metrics
from backplane.telemetry import Tracing, span, traceparent
from backplane.web import Problem, Readiness, application

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
said: list[str | None] = []


async def show(request: web.Request) -> web.Response:
    with span("statement", kind="read"):
        said.append(traceparent())
    return web.Response(text="ok")


async def crash(_: web.Request) -> web.Response:
    with span("statement"):
        raise ZeroDivisionError("hemlock")


async def refuse(_: web.Request) -> web.Response:
    raise Problem(409, "taken")


async def ask(tracing: Tracing, paths: Sequence[str], headers: dict[str, str] | None = None) -> tuple[list[str], str]:
    """Request ids of the answers, and the metrics afterwards."""
    metrics = Metrics()
    app = application(metrics, Readiness(lambda: {}), tracing=tracing)
    app.router.add_get("/people/{name}", show)
    app.router.add_get("/crash", crash)
    app.router.add_get("/refuse", refuse)
    said.clear()
    async with TestClient(TestServer(app)) as client:
        answers = [await client.get(path, headers=headers) for path in paths]
        return [answer.headers["X-Request-Id"] for answer in answers], metrics.exposition().decode()


async def test_every_answer_has_an_id_of_its_own() -> None:
    numbers, _ = await ask(Tracing(), ["/people/amina", "/refuse", "/crash", "/nowhere"])
    assert len(set(numbers)) == 4


async def test_the_id_stands_in_the_log_of_an_error() -> None:
    stream = io.StringIO()
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    logs.configure("info", stream)
    try:
        (number,), _ = await ask(Tracing(), ["/crash"])
    finally:
        root.handlers[:] = before
        root.setLevel(level)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    (line,) = (line for line in lines if line["event"] == "request failed")
    assert (line["request"], line["route"]) == (number, "/crash")
    assert "hemlock" not in stream.getvalue()


async def test_times_are_kept_by_route_and_class() -> None:
    _, text = await ask(Tracing(), ["/people/amina", "/people/bilal", "/refuse", "/crash", "/nowhere"])
    for route, status, count in [
        ("/people/{name}", "2xx", 2),
        ("/refuse", "4xx", 1),
        ("/crash", "5xx", 1),
        ("none", "4xx", 1),
    ]:
        assert f'wadud_route_seconds_count{{method="GET",route="{route}",status="{status}"}} {count}.0' in text
    assert "amina" not in text


async def test_a_trace_holds_templates_and_no_people() -> None:
    exporter = InMemorySpanExporter()
    await ask(
        Tracing(SimpleSpanProcessor(exporter), 1.0), ["/people/amina?q=hemlock", "/crash"], {"traceparent": PARENT}
    )
    step, server, failed, crashed = exporter.get_finished_spans()
    assert (server.name, step.name, failed.name) == ("GET /people/{name}", "statement", "statement")
    assert server.attributes == {
        "http.request.method": "GET",
        "http.route": "/people/{name}",
        "http.response.status_code": 200,
    }
    assert server.parent is not None
    assert f"{server.parent.trace_id:032x}" == PARENT.split("-")[1]
    assert step.parent is not None
    assert server.context is not None
    assert step.context is not None
    assert step.parent.span_id == server.context.span_id
    assert said == [f"00-{step.context.trace_id:032x}-{step.context.span_id:016x}-01"]
    assert (failed.attributes or {})["error.type"] == "ZeroDivisionError"
    assert crashed.status.status_code.name == "ERROR"
    assert "hemlock" not in "".join(each.to_json() for each in exporter.get_finished_spans())
    assert "amina" not in "".join(each.to_json() for each in exporter.get_finished_spans())


@pytest.mark.parametrize("ratio", [0.0, 1.0])
async def test_whether_to_sample_is_not_the_callers_to_say(ratio: float) -> None:
    exporter = InMemorySpanExporter()
    await ask(Tracing(SimpleSpanProcessor(exporter), ratio), ["/people/amina"], {"traceparent": PARENT})
    assert bool(exporter.get_finished_spans()) is bool(ratio)
    assert (said == [None]) is (not ratio)
