"""The HTTP shell: problems, patience."""

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from backplane import web as shell
from backplane.metrics import Metrics
from backplane.web import IMPATIENCE, REQUEST_TIMEOUT_S, Problem, Readiness, application, read_json

Client = TestClient[web.Request, web.Application]


class Body(msgspec.Struct):
    name: str


async def crash(_: web.Request) -> web.Response:
    raise ZeroDivisionError("a secret in a text")


async def refuse(_: web.Request) -> web.Response:
    raise Problem(429, "rate_limited", "Wait.", {"Retry-After": "3"})


async def echo(request: web.Request) -> web.Response:
    return web.Response(text=(await read_json(request, Body)).name)


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    app = application(Metrics(), Readiness(lambda: {"media": False, "data": True}))
    app.router.add_get("/crash", crash)
    app.router.add_get("/refuse", refuse)
    app.router.add_post("/echo", echo)
    async with TestClient(TestServer(app)) as client:
        yield client


async def test_our_own_fault_tells_the_peer_nothing(client: Client) -> None:
    answer = await client.get("/crash")
    assert (answer.status, answer.content_type) == (500, "application/problem+json")
    text = await answer.text()
    assert "secret" not in text
    assert "ZeroDivision" not in text
    assert "default-src" in answer.headers["Content-Security-Policy"]


async def test_a_problem_carries_code_detail_and_headers(client: Client) -> None:
    answer = await client.get("/refuse")
    assert answer.headers["Retry-After"] == "3"
    assert await answer.json() == {
        "type": "about:blank",
        "title": "Too Many Requests",
        "status": 429,
        "code": "rate_limited",
        "detail": "Wait.",
    }


async def test_not_ready_names_what_is_missing(client: Client) -> None:
    answer = await client.get("/readyz")
    assert answer.status == 503
    assert (await answer.json())["checks"] == {"media": False, "data": True}


async def test_answers_are_counted_by_method_and_status(client: Client) -> None:
    await client.get("/refuse")
    await client.request("PROPFIND", "/refuse")
    text = await (await client.get("/metrics")).text()
    assert 'wadud_http_requests_total{method="GET",status="429"} 1.0' in text
    assert 'method="other"' in text
    assert "PROPFIND" not in text


async def raw(client: Client, request: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
    writer.write(request)
    await writer.drain()
    return reader, writer


async def test_a_body_that_never_comes_is_not_waited_for(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shell, "BODY_TIMEOUT_S", 0.05)
    head = b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 20\r\n\r\n{"
    reader, writer = await raw(client, head)
    assert (await asyncio.wait_for(reader.readline(), 5)).startswith(b"HTTP/1.1 408")
    writer.close()


async def test_a_request_that_never_ends_is_cut_and_an_honest_connection_is_not(client: Client) -> None:
    app = client.server.app  # type: ignore[attr-defined]
    reader, writer = await raw(client, b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: ")
    assert (await client.get("/healthz")).status == 200
    connections = client.server.handler.connections  # type: ignore[union-attr]
    async with asyncio.timeout(5):
        while len(connections) < 2:
            await asyncio.sleep(0.01)
            connections = client.server.handler.connections  # type: ignore[union-attr]
    app[IMPATIENCE].sweep(connections, 100.0)
    app[IMPATIENCE].sweep(connections, 100.0 + REQUEST_TIMEOUT_S - 1)
    assert (await client.get("/healthz")).status == 200
    app[IMPATIENCE].sweep(connections, 100.0 + REQUEST_TIMEOUT_S)
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await asyncio.wait_for(reader.readexactly(1), 5)
    assert (await client.get("/healthz")).status == 200
    writer.close()
