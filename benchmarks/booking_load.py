"""The load generator for HTTP: many connections that each ask, wait for the answer, and ask the next.

It must cost less than what it measures, so it speaks as much of HTTP/1.1 as our servers answer with (a length, no
chunks) and nothing else: requests are bytes made beforehand, answers are looked at for status and length only.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import cast

_HEAD_END = b"\r\n\r\n"
_LENGTH = b"content-length:"
_MOST_KEPT = 5


@dataclass(slots=True)
class Load:
    """What came back. ``times_ms``: of every answer, from the first byte sent to the last received."""

    wall_s: float = 0.0
    times_ms: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    odd: list[bytes] = field(default_factory=list)
    """The first few answers that are not of the 200s or 300s."""
    largest: int = 0
    """Bytes of the longest body."""

    @property
    def good(self) -> int:
        return sum(count for status, count in self.statuses.items() if status < 400)

    @property
    def per_s(self) -> float:
        return self.good / self.wall_s if self.wall_s else 0.0


def request(method: str, target: str, host: str, token: str = "", body: bytes = b"", *headers: str) -> bytes:
    """A request as it goes over the wire."""
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", *headers]
    if token:
        lines.append(f"Authorization: Bearer {token}")
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


def answer_end(data: bytes | bytearray) -> tuple[int, int, int] | None:
    """Status, where the body begins and where it ends; None: it has not arrived wholly. ValueError: not for us."""
    head = data.find(_HEAD_END)
    if head < 0:
        return None
    status = int(data[9:12])
    start = head + len(_HEAD_END)
    if status in (204, 304):
        return status, start, start
    lowered = bytes(data[:head]).lower()
    at = lowered.find(_LENGTH)
    if at < 0:
        raise ValueError("an answer without a length")
    length = int(lowered[at + len(_LENGTH) :].split(b"\r\n", 1)[0])
    return None if len(data) < start + length else (status, start, start + length)


class _Asker(asyncio.Protocol):
    def __init__(self, requests: Iterator[bytes], load: Load, until: float) -> None:
        self._requests = requests
        self._load = load
        self._until = until
        self._buffer = bytearray()
        self._asked_at = 0.0
        self._transport: asyncio.Transport | None = None
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is not a subclass

    def ask(self) -> None:
        assert self._transport is not None
        asked = next(self._requests, None) if time.perf_counter() < self._until else None
        if asked is None:
            self._transport.close()
            if not self.done.done():
                self.done.set_result(None)
            return
        self._asked_at = time.perf_counter()
        self._transport.write(asked)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = answer_end(self._buffer)
        if end is None:
            return
        load, (status, start, over) = self._load, end
        load.times_ms.append((time.perf_counter() - self._asked_at) * 1000)
        load.statuses[status] += 1
        load.largest = max(load.largest, over - start)
        if status >= 400 and len(load.odd) < _MOST_KEPT:
            load.odd.append(bytes(self._buffer[start:over]))
        self._buffer.clear()
        self.ask()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(error or ConnectionError("the server closed the connection"))


async def drive(
    ports: Sequence[int], requests: Iterator[bytes], connections: int, seconds: float = float("inf")
) -> Load:
    """Asks until ``requests`` or the time is over. ConnectionError when a server goes away.

    ``ports``: of 127.0.0.1, taken in turns.
    """
    loop = asyncio.get_running_loop()
    load = Load()
    until = time.perf_counter() + seconds
    askers = []
    for number in range(connections):
        _, asker = await loop.create_connection(
            lambda: _Asker(requests, load, until), "127.0.0.1", ports[number % len(ports)]
        )
        askers.append(asker)
    began = time.perf_counter()
    for asker in askers:
        asker.ask()
    await asyncio.gather(*(asker.done for asker in askers))
    load.wall_s = time.perf_counter() - began
    return load
