"""HTTPS requests at a steady rate and as many as come through, for port.py.

At a steady rate a request's clock starts when it was due, not when a connection was free for it: a server that stands
still for a moment is charged for everybody who would have asked meanwhile.
"""

import asyncio
import math
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from turn.stun import Address

PATHS = ("/healthz", "/healthz", "/healthz", "/")  # one request in four is for a page
_PATIENCE_S = 20.0


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that is not below that share of all; not a number when there are none."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else math.nan


@dataclass(slots=True)
class Answers:
    """Milliseconds of requests on connections that were open, and of those with a handshake before them."""

    kept_ms: list[float] = field(default_factory=list)
    fresh_ms: list[float] = field(default_factory=list)
    failed: int = 0


class HttpConnection:
    """One request after the other on one TLS connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def open(cls, server: Address, tls: ssl.SSLContext, source: str) -> "HttpConnection":
        reader, writer = await asyncio.open_connection(
            *server, ssl=tls, server_hostname="localhost", local_addr=(source, 0)
        )
        return cls(reader, writer)

    async def get(self, path: str) -> bytes:
        """The answer's body. ConnectionError when its status is none of success."""
        return await self._ask(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())

    async def post(self, path: str, body: bytes, bearer: str | None = None) -> bytes:
        """The same, with a body of JSON."""
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        head += f"Content-Length: {len(body)}\r\n"
        if bearer is not None:
            head += f"Authorization: Bearer {bearer}\r\n"
        return await self._ask(head.encode() + b"\r\n" + body)

    async def _ask(self, request: bytes) -> bytes:
        async with asyncio.timeout(_PATIENCE_S):
            self._writer.write(request)
            head = await self._reader.readuntil(b"\r\n\r\n")
            lines = head.lower().split(b"\r\n")
            length = next((int(line[15:]) for line in lines if line.startswith(b"content-length:")), 0)
            body = await self._reader.readexactly(length)
        if not head.startswith(b"HTTP/1.1 2"):
            raise ConnectionError(lines[0].decode(errors="replace"))
        return body

    def close(self) -> None:
        self._writer.transport.abort()


async def steadily(
    server: Address, tls: ssl.SSLContext, sources: Sequence[str], seconds: float, kept_per_s: float, fresh_per_s: float
) -> Answers:
    """Both rates at once, on kept connections (one for each source) and on new ones."""
    answers = Answers()
    kept = [await HttpConnection.open(server, tls, source) for source in sources]
    free: asyncio.Queue[HttpConnection] = asyncio.Queue()
    for connection in kept:
        free.put_nowait(connection)
    begin = time.perf_counter()

    async def ask_kept(due: float, path: str) -> None:
        connection = await free.get()
        try:
            await connection.get(path)
            answers.kept_ms.append(1000 * (time.perf_counter() - due))
        except (OSError, EOFError, TimeoutError):
            answers.failed += 1
        finally:
            free.put_nowait(connection)

    async def ask_fresh(due: float, source: str) -> None:
        try:
            async with asyncio.timeout(_PATIENCE_S):
                connection = await HttpConnection.open(server, tls, source)
            await connection.get("/healthz")
            connection.close()
            answers.fresh_ms.append(1000 * (time.perf_counter() - due))
        except (OSError, EOFError, TimeoutError):
            answers.failed += 1

    async with asyncio.TaskGroup() as group:
        asked = fresh = 0
        while (passed := time.perf_counter() - begin) < seconds:
            while asked <= passed * kept_per_s:
                group.create_task(ask_kept(begin + asked / kept_per_s, PATHS[asked % len(PATHS)]))
                asked += 1
            while fresh <= passed * fresh_per_s:
                group.create_task(ask_fresh(begin + fresh / fresh_per_s, sources[fresh % len(sources)]))
                fresh += 1
            await asyncio.sleep(0.001)
    for connection in kept:
        connection.close()
    return answers


async def at_most(server: Address, tls: ssl.SSLContext, sources: Sequence[str], seconds: float) -> float:
    """Answers to GET /healthz per second when every source asks again as soon as it was answered."""
    until = time.perf_counter() + seconds

    async def ask(source: str) -> int:
        connection = await HttpConnection.open(server, tls, source)
        count = 0
        while time.perf_counter() < until:
            await connection.get("/healthz")
            count += 1
        connection.close()
        return count

    return sum(await asyncio.gather(*map(ask, sources))) / seconds


async def handshakes(server: Address, tls: ssl.SSLContext, source: str, count: int, at_once: int = 8) -> float:
    """Seconds that so many new connections with one request each take, some of them at once."""
    gate = asyncio.Semaphore(at_once)

    async def once() -> None:
        async with gate:
            connection = await HttpConnection.open(server, tls, source)
            await connection.get("/healthz")
            connection.close()

    begin = time.perf_counter()
    await asyncio.gather(*(once() for _ in range(count)))
    return time.perf_counter() - begin
