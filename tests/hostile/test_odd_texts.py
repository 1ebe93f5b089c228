"""Bytes that are no text, in places where a server takes text: refused or ignored, never a fault of ours."""

from __future__ import annotations

import asyncio
import json
from urllib.parse import urlsplit
from uuid import UUID

import pytest

from tests.support.server import RunningServer

NOBODY = UUID(int=7)
REQUESTS = [
    ("GET", f"/v1/visits/{NOBODY}", None),
    ("POST", f"/v1/visits/{NOBODY}/check-in", {}),
    ("GET", "/v1/visits/live", None),
    ("GET", "/v1/signal", None),
    ("GET", "/v1/providers", None),
    ("POST", "/v1/join/look", {"token": "x"}),
    ("POST", "/v1/auth/refresh", {}),
    ("POST", "/v1/rooms", {}),
    ("GET", "/", None),
    ("GET", "/v1/auth/oidc/callback?code=x&state=y", None),
]
VALUES = [b"\xff\xfe", b"\xed\xa0\x80", b"Bearer \xff.\xff.\xff"]
HEADERS = [
    "Authorization",
    "Cookie",
    "Visit-Pass",
    "Idempotency-Key",
    "Origin",
    "If-None-Match",
    "User-Agent",
    "Accept-Language",
    "Accept-Encoding",
    "Content-Type",
    "traceparent",
    "X-Forwarded-For",
    "X-Forwarded-Host",
    "Sec-WebSocket-Protocol",
    "Sec-WebSocket-Key",
    "Upgrade",
]


async def status(server: RunningServer, method: str, target: bytes, headers: dict[str, bytes], body: bytes) -> int:
    """The answer's status; 0 when the connection was closed without one."""
    parts = urlsplit(server.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    head = b"".join(name.encode() + b": " + value + b"\r\n" for name, value in headers.items())
    writer.write(method.encode() + b" " + target + b" HTTP/1.1\r\n" + head + b"\r\n" + body)
    try:
        async with asyncio.timeout(10):
            line = await reader.readline()
    finally:
        writer.transport.abort()
    return int(line.split()[1]) if line else 0


async def failures(server: RunningServer, asked: list[tuple[str, bytes, object, dict[str, bytes]]]) -> list[object]:
    """What was answered as our fault, of requests that come together."""

    async def one(method: str, target: bytes, body: object, more: dict[str, bytes]) -> object:
        content = b"" if body is None else json.dumps(body).encode()
        given = {
            "Host": b"localhost",
            "Connection": b"close",
            "Content-Length": str(len(content)).encode(),
            "Content-Type": b"application/json",
            "Origin": server.url.encode(),
            "Idempotency-Key": b"k" * 20,
            **more,
        }
        answered = await status(server, method, target, given, content)
        return (method, target, more, answered) if answered >= 500 else None

    found = await asyncio.gather(*(one(*each) for each in asked))
    return [each for each in found if each is not None]


@pytest.mark.parametrize("name", HEADERS)
async def test_no_bytes_in_a_header_are_our_fault(hostile_server: RunningServer, name: str) -> None:
    def header(value: bytes) -> bytes:
        if name != "Cookie":
            return value
        return b"wadud_session=%b; visit-%b=%b; oidc_state=%b" % (value, NOBODY.hex[-16:].encode(), value, value)

    asked = [
        (method, target.encode(), body, {name: header(value)}) for value in VALUES for method, target, body in REQUESTS
    ]
    assert await failures(hostile_server, asked) == []


@pytest.mark.parametrize("part", [b"\xff", b"%FF", b"%ED%A0%80", b"%00", b"\xed\xa0\x80"])
async def test_no_bytes_in_an_address_are_our_fault(hostile_server: RunningServer, part: bytes) -> None:
    asked: list[tuple[str, bytes, object, dict[str, bytes]]] = []
    for method, path, body in REQUESTS:
        asked.append((method, path.encode() + b"/" + part, body, {}))
        asked.append((method, path.encode() + b"?specialty=" + part + b"&place=" + part, body, {}))
    assert await failures(hostile_server, asked) == []
