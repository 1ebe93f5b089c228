"""Hostile HTTP heads, the same ones for the same seed: single faults that somebody thought of, and mixtures of them."""

import gzip
import random
from collections.abc import Iterator
from typing import Final

PATHS: Final = (
    *(
        "/healthz",
        "/",
        "/v1/rooms",
        "/v1/auth/login",
        "/v1/auth/otp",
        "/v1/tenant",
        "/v1/providers",
        "/sign-in",
        "/book",
    ),
    *(
        "/v1/appointments",
        "/static/src/client/index.js",
        "/openapi.json",
        "/v1/feeds/x.ics",
        "/doctors/x",
        "/j/x",
        "/invite",
    ),
    *("//evil.example/x", "/.//evil.example", "/%00", "/%ff", "/\xff", "/?" + "a=1&" * 500, "/v1/rooms/%2e%2e/tokens"),
    *("http://evil.example/healthz", "*", "", "evil", "/a b", "/" + "a" * 9000, "/v1/providers?from=%FF", "/docs"),
)
METHODS: Final = (
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "PATCH",
    "DELETE",
    "OPTIONS",
    "TRACE",
    "CONNECT",
    "PROPFIND",
    "get",
    "G\x00T",
    "",
)
VERSIONS: Final = ("HTTP/1.1", "HTTP/1.0", "HTTP/2.0", "HTTP/9.9", "HTTP/1.1 ", "http/1.1", "HTTP/", "")
HOSTS: Final = (
    *("localhost", "a.localhost", "127.0.0.1", "[::1]:80", "LOCALHOST.", "call.example.org:x@evil.example", "\xff", ""),
    *(
        "a" * 300,
        "localhost:99999",
        "localhost:0",
        "u@localhost",
        "[abc]",
        "0x7f.1",
        "a..b",
        "x\x00y",
        "a,b",
        "../..",
        "é",
    ),
)
HEADERS: Final = (
    *("Expect: 100-continue", "Expect: \xff", "Expect: 200-ok", "Expect:", "Content-Encoding: gzip"),
    *("Content-Encoding: br, gzip", "Content-Encoding: \xff", "Content-Encoding: x-unheard-of", "Content-Length: -1"),
    *("Content-Length: 1e3", "Content-Length: 99999999999999999999", "Content-Length: 5\r\nContent-Length: 6"),
    *(
        "Transfer-Encoding: chunked",
        "Transfer-Encoding: \xff",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: x",
    ),
    *("Content-Type: \xff", "Content-Type: multipart/form-data", "Content-Type: application/json; charset=\xff"),
    *("Content-Type: multipart/form-data; boundary=x", "Content-Type: application/json", "Content-Type: text/plain"),
    *("Cookie: a=b; \xff=\xfe; __Host-wadud-refresh=\xff", "Cookie: " + "a=b;" * 1500, "Authorization: Bearer \xff"),
    *("Authorization: \xff", "Authorization: Basic Og==", "Authorization: Bearer " + "a." * 2000, "Origin: \xff"),
    *("Origin: null", "Origin: http://[::1", "Origin: http://localhost", "If-None-Match: \xff", "If-Match: *"),
    *("Range: bytes=\xff", "Range: bytes=0-", "If-Modified-Since: \xff", "Accept: \xff", "Accept-Encoding: \xff"),
    *(
        "Accept-Language: \xff",
        "User-Agent: \xff",
        "Idempotency-Key: \xff",
        "Idempotency-Key: " + "k" * 500,
        "Date: \xff",
    ),
    *("X-Forwarded-Host: evil.example", "X-Forwarded-For: \xff", "Forwarded: for=\xff;host=\xff", "traceparent: \xff"),
    *("Connection: \xff", "Connection: upgrade\r\nUpgrade: websocket", "Connection: upgrade\r\nUpgrade: h2c"),
    *("Upgrade: \xff", "Sec-WebSocket-Key: \xff", "Sec-WebSocket-Version: 99", "Host: second.example", " folded: x"),
    *(
        "no colon",
        ": no name",
        "N\x00me: x",
        "Näme: x",
        "Name: x\x00y",
        "Name: x\ny",
        "X-Long: " + "x" * 9000,
        "\r\x00",
    ),
)
BODIES: Final = (
    *(
        b"",
        b"{}",
        b"{",
        b"\xff\xfe",
        b"null",
        b"[" * 5000,
        b'{"room": 1e999}',
        gzip.compress(b"{}"),
        b"\x1f\x8b broken",
    ),
    *(gzip.compress(b" " * 3_000_000), b"5\r\nhello\r\n0\r\n\r\n", b"zz\r\n", b"-1\r\n\r\n", b"ffffffffffffffff\r\nx"),
    *(
        b"--x\r\n" + b"A: b\r\n" * 2000,
        b"--x\r\n\r\n\r\n--x--\r\n",
        b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\nx',
    ),
)


def head(method: str, path: str, version: str, headers: list[str], body: bytes) -> bytes:
    """One request as it goes over the wire."""
    lines = [f"{method} {path} {version}", *headers]
    text = "\r\n".join(lines) + "\r\n\r\n"
    return text.encode("latin-1", "replace") + body


def with_length(headers: list[str], body: bytes) -> list[str]:
    framed = any(line.lower().startswith(("content-length", "transfer-encoding")) for line in headers)
    return headers if framed or not body else [*headers, f"Content-Length: {len(body)}"]


def single_faults() -> Iterator[bytes]:
    """A good request with one thing wrong."""
    good = "Host: localhost"
    for path in PATHS:
        yield head("GET", path, "HTTP/1.1", [good], b"")
    for method in METHODS:
        yield head(method, "/healthz", "HTTP/1.1", [good], b"")
    for version in VERSIONS:
        yield head("GET", "/healthz", version, [good], b"")
    for host in HOSTS:
        yield head("GET", "/v1/tenant", "HTTP/1.1", [f"Host: {host}"], b"")
    for line in HEADERS:
        yield head("GET", "/v1/tenant", "HTTP/1.1", [good, line], b"")
        yield head("POST", "/v1/auth/login", "HTTP/1.1", with_length([good, line], b"{}"), b"{}")
    for body in BODIES:
        for kind in ("application/json", "multipart/form-data; boundary=x"):
            for coding in ("", "gzip"):
                headers = [good, f"Content-Type: {kind}", *([f"Content-Encoding: {coding}"] if coding else [])]
                yield head("POST", "/v1/auth/otp", "HTTP/1.1", with_length(headers, body), body)
        chunked = [good, "Content-Type: application/json", "Transfer-Encoding: chunked"]
        yield head("POST", "/v1/rooms", "HTTP/1.1", chunked, body)
    yield head("GET", "/healthz", "HTTP/1.1", [], b"")
    yield head("GET", "/healthz", "HTTP/1.0", [], b"")
    yield b"GET\r\n\r\n"
    yield b"GET /healthz HTTP/1.1\nHost: localhost\n\n"


def mixtures(rng: random.Random, count: int) -> Iterator[bytes]:
    """Requests with several things wrong, some with bytes turned over."""
    for _ in range(count):
        headers = [f"Host: {rng.choice(HOSTS)}"] if rng.random() < 0.9 else []
        headers += rng.sample(HEADERS, rng.randint(0, 4))
        body = rng.choice(BODIES)
        method = rng.choice(METHODS[:6]) if rng.random() < 0.8 else rng.choice(METHODS)
        version = "HTTP/1.1" if rng.random() < 0.8 else rng.choice(VERSIONS)
        made = bytearray(head(method, rng.choice(PATHS), version, with_length(headers, body), body))
        if rng.random() < 0.3:
            for _ in range(rng.randint(1, 4)):
                made[rng.randrange(1, len(made))] = rng.randrange(256)
        yield bytes(made)
