"""The border of a live server: whatever a head holds, the answer has our headers, names no version, is no 5xx."""

from __future__ import annotations

import asyncio
import random
import re
from urllib.parse import urlsplit

import pytest

from tests.conftest import SEED
from tests.hostile.heads import head, mixtures, single_faults
from tests.support.server import RunningServer

pytestmark = pytest.mark.asyncio(loop_scope="module")

ALWAYS = (
    "x-content-type-options",
    "referrer-policy",
    "content-security-policy",
    "x-frame-options",
    "permissions-policy",
)
VERSION = re.compile(rb"aiohttp|python|uvloop", re.IGNORECASE)
MIXTURES = 400
AT_ONCE = 32
PATIENCE_S = 1.0
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


async def answers(server: RunningServer, request: bytes) -> bytes:
    """What comes back, to the end of the first final answer's body as far as it came with the head; nothing, when the
    server closed or waits for more."""
    parts = urlsplit(server.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    received = b""
    try:
        writer.write(request)
        async with asyncio.timeout(PATIENCE_S):
            while b"\r\n\r\n" not in received.removeprefix(CONTINUE):
                if not (chunk := await reader.read(65536)):
                    break
                received += chunk
    except (TimeoutError, ConnectionError):
        pass
    finally:
        writer.close()
    return received.removeprefix(CONTINUE)


def first_head(received: bytes) -> tuple[int, dict[str, str]]:
    """Status and headers of the first final answer."""
    lines = received.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
    fields = [line.partition(":") for line in lines[1:]]
    return int(lines[0].split(" ")[1]), {name.lower(): value.strip() for name, _, value in fields}


async def code_of(
    server: RunningServer, *headers: str, path: str = "/v1/tenant", body: bytes = b""
) -> tuple[int, bytes]:
    method = "POST" if body else "GET"
    received = await answers(server, head(method, path, "HTTP/1.1", ["Connection: close", *headers], body))
    return first_head(received)[0], received


@pytest.mark.parametrize("kind", ["single faults", "mixtures"])
async def test_no_head_makes_a_fault_of_ours_or_an_answer_without_our_headers(
    hostile_server: RunningServer, kind: str
) -> None:
    heads = list(single_faults() if kind == "single faults" else mixtures(random.Random(SEED), MIXTURES))
    gate = asyncio.Semaphore(AT_ONCE)
    wrong: list[str] = []

    async def one(request: bytes) -> int:
        async with gate:
            received = await answers(hostile_server, request)
        if not received.startswith(b"HTTP/1."):
            return 0  # closed without a word: no HTTP by its first byte, or a body that never came
        status, headers = first_head(received)
        if status >= 500:
            wrong.append(f"{status} for {request[:200]!r}")
        if missing := [name for name in ALWAYS if name not in headers]:
            wrong.append(f"{missing} missing for {request[:200]!r}")
        if headers.get("server") != "Wadud" or VERSION.search(received.partition(b"\r\n\r\n")[0]):
            wrong.append(f"a version for {request[:200]!r}")
        return status

    statuses = await asyncio.gather(*map(one, heads))
    assert wrong == []
    assert len([status for status in statuses if status]) > len(heads) * 0.6
    assert {200, 400, 404, 405, 415, 417} <= set(statuses) or kind == "mixtures"
    status, _ = await code_of(hostile_server, "Host: localhost", path="/healthz")
    assert status == 200


@pytest.mark.parametrize(
    "host", ["\xff", "call.example.org:x@evil.example", "call.example.org:99999", "u@localhost", "localhost/x"]
)
async def test_a_host_that_is_none_is_refused(hostile_server: RunningServer, host: str) -> None:
    status, received = await code_of(hostile_server, f"Host: {host}")
    assert (status, b'"code":"bad_host"' in received) == (400, True)


async def test_an_expectation_that_is_not_known_is_refused_whatever_its_letters(hostile_server: RunningServer) -> None:
    status, received = await code_of(hostile_server, "Host: localhost", "Expect: \xff")
    assert (status, b"unknown_expectation" in received) == (417, True)


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "x-unheard-of", "\xff"])
async def test_a_body_that_is_compressed_is_refused_before_it_is_unfolded(
    hostile_server: RunningServer, coding: str
) -> None:
    body = b"no such thing"
    framing = ("Content-Type: application/json", f"Content-Length: {len(body)}", f"Content-Encoding: {coding}")
    status, received = await code_of(hostile_server, "Host: localhost", *framing, path="/v1/auth/otp", body=body)
    assert (status, b"unsupported_coding" in received) == (415, True)


@pytest.mark.parametrize(
    "request_text",
    [
        "GET / HTTP/9.9x\r\n\r\n",
        "GET /\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET / HTTP/1.1\r\nX: " + "x" * 9000 + "\r\n\r\n",
    ],
)
async def test_what_is_no_request_gets_a_plain_problem_that_repeats_nothing(
    hostile_server: RunningServer, request_text: str
) -> None:
    received = await answers(hostile_server, request_text.encode("latin-1"))
    status, headers = first_head(received)
    assert (status, headers["content-type"], headers["server"]) == (400, "application/problem+json", "Wadud")
    assert received.partition(b"\r\n\r\n")[2] == (
        b'{"type":"about:blank","title":"Bad Request","status":400,"code":"bad_request",'
        b'"detail":"This is no request of HTTP/1.1 that we could read. Look at it again."}'
    )
