"""Both WebSockets of a live server against clients that break RFC 6455, open too many or flood."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest

from live import hub
from tests.support.frames import PING, PONG, TEXT, RawSocket, close, frame
from tests.support.server import RunningServer

SOCKETS = {
    "/v1/signal": ("wadud.v1", b'{"type":"ping","id":1}'),
    "/v1/visits/live": ("wadud.visits.v1", b'{"type":"ping"}'),
}
both = pytest.mark.parametrize("path", SOCKETS)


def address(server: RunningServer) -> tuple[str, int]:
    parts = urlsplit(server.url)
    assert parts.hostname is not None
    assert parts.port is not None
    return parts.hostname, parts.port


@asynccontextmanager
async def opened(server: RunningServer, path: str, early: bytes = b"") -> AsyncIterator[RawSocket]:
    socket = await RawSocket.connect(*address(server), path, SOCKETS[path][0], early)
    try:
        yield socket
    finally:
        socket.end()


BAD = {
    "no mask": (frame(TEXT, b"{}", mask=False), 1002),
    "no mask on a pong": (frame(PONG, mask=False), 1002),
    "RSV1 without an extension": (frame(TEXT, b"{}", rsv=4), 1002),
    "RSV3": (frame(PING, rsv=1), 1002),
    "reserved opcode": (frame(0x3, b"{}"), 1002),
    "reserved control opcode": (frame(0xF), 1002),
    "fragmented ping": (frame(PING, fin=False), 1002),
    "ping of 126 bytes": (frame(PING, b"x" * 126), 1002),
    "continuation of nothing": (frame(0x0, b"{}"), 1002),
    "message within a message": (frame(TEXT, fin=False) + frame(TEXT, b"{}"), 1002),
    "close of one byte": (frame(0x8, b"\x03"), 1002),
    "close reason that is no UTF-8": (close(1000, b"\xff"), 1007),
    **{f"close {code}": (close(code), 1002) for code in (0, 999, 1004, 1005, 1006, 1015, 2000, 5000, 65535)},
}


@both
@pytest.mark.parametrize("name", BAD)
async def test_frames_that_break_the_protocol_close_the_socket(
    hostile_server: RunningServer, path: str, name: str
) -> None:
    bad, code = BAD[name]
    async with opened(hostile_server, path) as socket:
        socket.send(bad)
        assert await socket.closed_with() == code


@both
async def test_frames_in_one_piece_with_the_handshake_are_checked_too(hostile_server: RunningServer, path: str) -> None:
    async with opened(hostile_server, path, frame(TEXT, b"{}", mask=False)) as socket:
        assert await socket.closed_with() == 1002
    async with opened(hostile_server, path, frame(PING) * 1000) as socket:
        assert await socket.closed_with() == 4429


@both
@pytest.mark.parametrize("code", [1000, 1001, 3000, 4999, None])
async def test_a_good_close_is_answered(hostile_server: RunningServer, path: str, code: int | None) -> None:
    async with opened(hostile_server, path) as socket:
        socket.send(frame(TEXT, SOCKETS[path][1]), close(code))
        assert (await socket.receive())[0] == TEXT
        assert await socket.closed_with() == 1000


@both
@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"Sec_WebSocket_Version": "8"}, 426),
        ({"Sec_WebSocket_Version": "14"}, 426),
        ({"Sec_WebSocket_Version": "13, 8"}, 426),
        ({"Sec_WebSocket_Version": None}, 426),
        ({"Upgrade": "h2c"}, 426),
        ({"Connection": "close"}, 426),
        ({"Sec_WebSocket_Key": None}, 400),
        ({"Sec_WebSocket_Key": "AAAA"}, 400),
        ({"Sec_WebSocket_Key": "!" * 24}, 400),
        ({"Sec_WebSocket_Protocol": "other"}, 400),
        ({"Sec_WebSocket_Protocol": None}, 400),
    ],
)
async def test_handshakes_that_are_none(
    hostile_server: RunningServer, path: str, changes: dict[str, str | None], status: int
) -> None:
    socket, head = await RawSocket.ask(*address(hostile_server), path, SOCKETS[path][0], **changes)
    socket.end()
    assert head.split()[1] == str(status).encode(), head
    if status == 426:
        assert b"\r\nsec-websocket-version: 13\r\n" in head.lower()  # section 4.4


FLOODS = {
    "pings": frame(PING) * 20_000,
    "pongs": frame(PONG) * 20_000,
    "empty messages": frame(TEXT) * 20_000,
    "fragments": frame(TEXT, fin=False) + frame(0x0, fin=False) * 20_000,
}


@both
@pytest.mark.parametrize("name", FLOODS)
async def test_a_flood_of_any_frames_ends_its_socket(hostile_server: RunningServer, path: str, name: str) -> None:
    async with opened(hostile_server, path) as socket:
        socket.send(FLOODS[name])
        # the connection may be gone before the close frame is read: our bytes were still coming
        assert await socket.closed_with() in (4400, 4429, None)


async def answer_times(server: RunningServer, count: int) -> list[float]:
    """Milliseconds until a ping of the protocol is answered, of a socket that behaves."""
    times = []
    async with opened(server, "/v1/signal") as socket:
        for _ in range(count):
            begin = time.perf_counter()
            socket.send(frame(TEXT, SOCKETS["/v1/signal"][1]))
            assert (await socket.receive())[0] == TEXT
            times.append((time.perf_counter() - begin) * 1000)
            await asyncio.sleep(0.02)
    return times


@pytest.mark.alone
@both
async def test_a_flood_does_not_slow_the_answers_to_others(hostile_server: RunningServer, path: str) -> None:
    async def flood() -> None:
        """Without a pause, on a new connection whenever one is closed."""
        while True:
            try:
                async with opened(hostile_server, path) as socket:
                    while not socket.reader.at_eof():
                        socket.send(frame(PING) * 2000)
                        await socket.writer.drain()
                        await asyncio.sleep(0.001)
            except (OSError, AssertionError, EOFError):
                await asyncio.sleep(0.01)

    calm = await answer_times(hostile_server, 50)
    floods = [asyncio.create_task(flood()) for _ in range(3)]
    try:
        hit = await answer_times(hostile_server, 100)
    finally:
        for task in floods:
            task.cancel()
        await asyncio.gather(*floods, return_exceptions=True)
    p99 = statistics.quantiles(hit, n=100)[98]
    assert p99 < max(calm) + 40, f"p99 {p99:.1f} ms, without the flood at most {max(calm):.1f} ms"


async def test_one_address_cannot_take_all_the_live_sockets(hostile_server: RunningServer) -> None:
    host, port = address(hostile_server)
    sockets: list[RawSocket] = []
    refused = 0
    try:
        for _ in range(hub.MAX_WAITING_PER_ADDRESS + 20):
            socket, head = await RawSocket.ask(host, port, "/v1/visits/live", "wadud.visits.v1")
            sockets.append(socket)
            refused += b" 429 " in head.partition(b"\r\n")[0]
        assert refused >= 20
    finally:
        for socket in sockets:
            socket.end()
