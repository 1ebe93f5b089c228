"""Addresses that strangers type in are fetched only from the open internet, and by nobody but `backplane.outgoing`."""

import asyncio
import re
import socket
from collections.abc import AsyncIterator
from ipaddress import ip_address
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer

from backplane import public_addresses
from backplane.outgoing import Outgoing, OutgoingError, checked_url
from backplane.public_addresses import is_public

ASKED: web.AppKey[list[str]] = web.AppKey("asked", list)
LOOPBACK = ip_address("127.0.0.1")


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2001:4860:4860::8888", "2606:4700::1111"])
def test_these_addresses_are_public(address: str) -> None:
    assert is_public(ip_address(address))


FORBIDDEN = [str(network[-1]) for network in (*public_addresses.FORBIDDEN_IPV4, *public_addresses.FORBIDDEN_IPV6)]
FORBIDDEN += [
    *("127.0.0.1", "169.254.169.254", "100.100.100.200", "168.63.129.16", "255.255.255.255", "0.0.0.0", "224.0.0.1"),
    *("::1", "::", "fe80::1", "fe80::1%lo", "fc00::1", "fec0::1", "ff02::1", "ff0e::1", "4000::1", "2001:db8::1"),
    *("64:ff9b::8.8.8.8", "64:ff9b::7f00:1", "64:ff9b:1::8.8.8.8"),  # NAT64, whatever it embeds
    *("2002:808:808::1", "2002:7f00:1::1"),  # 6to4
    *("::ffff:8.8.8.8", "::ffff:127.0.0.1", "::ffff:0:8.8.8.8", "::8.8.8.8"),  # mapped, translated, compatible
    *("2001:0:808:808::1", "2606:4700::5efe:7f00:1", "2606:4700::200:5efe:808:808"),  # Teredo, ISATAP
]


@pytest.mark.parametrize("address", FORBIDDEN)
def test_these_addresses_are_not(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize(
    "url",
    [
        *("ftp://example.org/a", "file:///etc/passwd", "https://user:word@example.org/", "https://example.org:8443/"),
        *("http://example.org:443/", "https:///a", "https://example.org/\r\nX: y", "javascript:alert(1)"),
        *(
            "https://[::1",
            "https://[abc",
            "https://[abc]/",
            "https://a.example\\@evil.example/",
            "https://a.example@b/",
        ),
        *("http://127.1/", "http://2130706433/", "http://0x7f.1/", "http://0177.0.0.1/", "https://exämple.org/"),
        "https://example.org:99999/",
    ],
)
def test_an_odd_address_is_refused(url: str) -> None:
    with pytest.raises(OutgoingError, match="bad_url"):
        checked_url(url)


@pytest_asyncio.fixture
async def inner() -> AsyncIterator[TestServer]:
    """A server on loopback that remembers what it was asked."""

    async def answer(request: web.Request) -> web.Response:
        request.app[ASKED].append(request.path)
        match request.path:
            case "/inside":
                return web.Response(status=302, headers={"Location": "http://10.0.0.1/"})
            case "/odd":
                return web.Response(status=302, headers={"Location": "http://[abc"})
            case "/round":
                return web.Response(status=307, headers={"Location": "/round"})
            case "/large":
                return web.Response(body=b"A" * 2000)
            case "/slow":
                await asyncio.sleep(5)
        return web.Response(body=b"here")

    app = web.Application()
    app[ASKED] = []
    app.router.add_route("*", "/{path:.*}", answer)
    async with TestServer(app, host="127.0.0.1") as server:
        yield server


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/inside", "not_public"),
        ("/odd", "bad_url"),
        ("/round", "too_many_redirects"),
        ("/large", "too_large"),
        ("/slow", "unreachable"),
    ],
)
async def test_a_failure_has_a_code(inner: TestServer, path: str, code: str) -> None:
    outgoing = Outgoing(0.5, allowed=lambda ip: ip == LOOPBACK, port_allowed=lambda *_: True)
    with pytest.raises(OutgoingError, match=code):
        await outgoing.fetch(str(inner.make_url(path)), max_bytes=1000, redirects=2)
    await outgoing.close()


async def test_without_leave_for_redirects_none_is_followed(inner: TestServer) -> None:
    outgoing = Outgoing(5, allowed=lambda ip: ip == LOOPBACK, port_allowed=lambda *_: True)
    answer = await outgoing.fetch(str(inner.make_url("/inside")), max_bytes=1000)
    assert (answer.status, inner.app[ASKED]) == (302, ["/inside"])
    await outgoing.close()


def resolving(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> list[str]:
    """Names resolve to the next of ``answers`` each time; the returned list says which were asked for."""
    asked: list[str] = []

    async def getaddrinfo(host: str, *_: object, **__: object) -> list[object]:
        asked.append(host)
        found = answers[min(len(asked), len(answers)) - 1]
        kinds = {4: socket.AF_INET, 6: socket.AF_INET6}
        return [(kinds[ip_address(each).version], socket.SOCK_STREAM, 6, "", (each, 80)) for each in found]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    return asked


@pytest.mark.parametrize("second", ["127.0.0.1", "64:ff9b::808:808", "2002:808:808::1", "ff0e::1", "fe80::1%lo"])
async def test_a_name_with_one_address_that_is_not_public_is_refused(
    monkeypatch: pytest.MonkeyPatch, second: str
) -> None:
    resolving(monkeypatch, ["8.8.8.8", second])
    outgoing = Outgoing(5)
    with pytest.raises(OutgoingError, match="not_public"):
        await outgoing.fetch("http://rebinding.example/", max_bytes=1000)
    await outgoing.close()


async def test_the_connection_is_made_to_the_address_that_was_looked_at(
    monkeypatch: pytest.MonkeyPatch, inner: TestServer
) -> None:
    """A name that resolves to a good address first and to another one later (DNS rebinding) is resolved once."""
    asked = resolving(monkeypatch, ["127.0.0.1"], ["10.0.0.1"])
    outgoing = Outgoing(5, allowed=lambda ip: ip == LOOPBACK, port_allowed=lambda *_: True)
    answer = await outgoing.fetch(f"http://rebinding.example:{inner.port}/", max_bytes=1000)
    assert (answer.body, asked) == (b"here", ["rebinding.example"])
    with pytest.raises(OutgoingError, match="not_public"):  # and looked at anew by the next fetch
        await outgoing.fetch(f"http://rebinding.example:{inner.port}/", max_bytes=1000)
    await outgoing.close()


def test_nobody_else_goes_out(root: Path) -> None:
    way_out = re.compile(r"\b(?:ClientSession|aiohttp\.request|urlopen|http\.client|import requests|import httpx)\b")
    found = [
        f"{path.relative_to(root)}: {match[0]}"
        for package in ("backplane", "booking", "live", "server", "signalling", "sfu", "turn")
        for path in (root / package).rglob("*.py")
        if path.name != "outgoing.py" and (match := way_out.search(path.read_text()))
    ]
    assert found == []
