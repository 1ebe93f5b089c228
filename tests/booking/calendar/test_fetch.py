"""Addresses that strangers type in are fetched only from the open internet."""

import asyncio
import socket
from collections.abc import AsyncIterator
from ipaddress import ip_address

import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer

from booking.calendar import fetch
from booking.calendar.fetch import Fetcher, FetchError


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.org/a", "file:///etc/passwd", "https://user:word@example.org/", "https://example.org:8443/",
        "http://example.org:443/", "https:///a", "https://example.org/\r\nX: y", "javascript:alert(1)", "https://[::1",
    ],
)  # fmt: skip
def test_an_odd_address_is_refused(url: str) -> None:
    with pytest.raises(FetchError, match="bad_url"):
        fetch.checked_url(url)


def test_webcal_means_https() -> None:
    assert fetch.checked_url("webcal://example.org/a.ics") == "https://example.org/a.ics"


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "[::1]", "127.1", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]", "169.254.169.254"],
)
async def test_a_host_inside_is_not_asked(host: str, calendar_server: TestServer) -> None:
    fetcher = Fetcher(ports=lambda *_: True)
    with pytest.raises(FetchError, match=r"not_public|unreachable|bad_url"):
        await fetcher.get(f"http://{host}:{calendar_server.port}/a.ics", 1000)
    assert calendar_server.app[ASKED] == []


ASKED = web.AppKey("asked", list[str])


@pytest_asyncio.fixture
async def calendar_server() -> AsyncIterator[TestServer]:
    async def answer(request: web.Request) -> web.StreamResponse:
        request.app[ASKED].append(request.path)
        match request.path:
            case "/a.ics" if request.headers.get("If-None-Match") == '"1"':
                return web.Response(status=304)
            case "/a.ics":
                return web.Response(body=b"BEGIN:VCALENDAR", headers={"ETag": '"1"'})
            case "/away":
                return web.Response(status=302, headers={"Location": "/a.ics"})
            case "/inside":
                return web.Response(status=302, headers={"Location": "http://10.0.0.1/"})
            case "/round":
                return web.Response(status=302, headers={"Location": "/round"})
            case "/large":
                return web.Response(body=b"A" * 2000)
        return web.Response(status=404)

    app = web.Application()
    app[ASKED] = []
    app.router.add_get("/{path:.*}", answer)
    async with TestServer(app, host="127.0.0.1") as server:
        yield server


@pytest.fixture
def fetcher() -> Fetcher:
    loopback = ip_address("127.0.0.1")
    return Fetcher(allowed=lambda address: address == loopback, ports=lambda *_: True, timeout_s=5)


async def test_a_file_is_fetched_and_known_again(calendar_server: TestServer, fetcher: Fetcher) -> None:
    got = await fetcher.get(str(calendar_server.make_url("/away")), 1000)
    assert got == fetch.Fetched(b"BEGIN:VCALENDAR", '"1"')
    assert (await fetcher.get(str(calendar_server.make_url("/a.ics")), 1000, got.etag)).content is None


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/inside", "not_public"),
        ("/round", "too_many_redirects"),
        ("/large", "too_large"),
        ("/none", "refused"),
    ],
)
async def test_a_failure_has_a_code(calendar_server: TestServer, fetcher: Fetcher, path: str, code: str) -> None:
    with pytest.raises(FetchError, match=code):
        await fetcher.get(str(calendar_server.make_url(path)), 1000)


async def test_a_name_with_one_address_inside_is_refused(
    monkeypatch: pytest.MonkeyPatch, calendar_server: TestServer
) -> None:
    """A name that an attacker made resolve to a public and an inner address."""

    async def both(*_: object, **__: object) -> list[object]:
        kind = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
        return [(*kind, ("8.8.8.8", 80)), (*kind, ("127.0.0.1", 80))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", both)
    with pytest.raises(FetchError, match="not_public"):
        await Fetcher().get("http://rebinding.example/a.ics", 1000)
    assert calendar_server.app[ASKED] == []
