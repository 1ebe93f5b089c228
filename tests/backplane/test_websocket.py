"""The WebSocket shell: how long a stranger may stay, what a fault costs, and turns for everybody."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import Mock

import aiohttp
import pytest
from aiohttp import WSMsgType, web
from aiohttp.test_utils import TestClient, TestServer

from backplane import websocket
from backplane.admission import Admission
from backplane.metrics import Metrics
from backplane.web import Readiness, application
from backplane.websocket import Link, PatienceClock, Refusal, SocketLimits, WebSockets

LIMITS = SocketLimits(
    max_frame_bytes=1024,
    frames_per_s=100,
    frames_burst=200,
    queue_frames=10,
    queue_bytes=10_000,
    silence_s=15,
    longest_s=120,
)
Client = TestClient[Any, Any]


class Echo:
    """Answers with what came; "trust", "distrust" and "fail" do what they say."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.refusals: list[Refusal] = []
        self.ended = asyncio.Event()

    async def receive(self, data: bytes, *, binary: bool) -> None:
        if data == b"fail":
            raise ZeroDivisionError
        if data in (b"trust", b"distrust"):
            getattr(self.link, data.decode())()
        self.link.send(data)

    def beat(self) -> None: ...

    def refused(self, refusal: Refusal) -> None:
        self.refusals.append(refusal)
        self.link.send(refusal.value[0].encode())

    def lost(self) -> None:
        assert not self.ended.is_set()
        self.ended.set()


class Served:
    """The server's side of all sockets that were opened."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.protocols: list[Echo] = []

    async def open(self, *subprotocols: str) -> aiohttp.ClientWebSocketResponse:
        return await self.client.ws_connect("/", protocols=subprotocols or ("echo",))


@asynccontextmanager
async def serving(limits: SocketLimits = LIMITS, *, waiting: int = 100) -> AsyncIterator[Served]:
    metrics = Metrics()
    admission = Admission(
        total=100, waiting=waiting, per_address=100, waiting_per_address=100, opened_per_s=100, opened_burst=100
    )

    def opened(link: Link, request: web.Request) -> Echo:
        served.protocols.append(Echo(link))
        return served.protocols[-1]

    subprotocols = {"echo": None, "echo.packed": lambda frame: frame[::-1] if len(frame) > 3 else None}
    sockets = WebSockets(opened, subprotocols, limits, admission, metrics.live_sockets)
    app = application(metrics, Readiness(dict))
    app.router.add_get("/", sockets.handle)

    async def close(_: web.Application) -> None:
        await sockets.close(1)

    app.on_shutdown.append(close)
    async with TestClient(TestServer(app)) as client:
        served = Served(client)
        yield served
    assert metrics.registry.get_sample_value("wadud_live_sockets") == 0


async def rest(ws: aiohttp.ClientWebSocketResponse) -> tuple[list[object], int | None]:
    """What still comes, and the close code."""
    texts = []
    while (message := await ws.receive(timeout=5)).type is WSMsgType.TEXT:
        texts.append(message.data)
    return texts, ws.close_code


def test_a_stranger_may_be_silent_for_a_while() -> None:
    clock = PatienceClock(LIMITS, 100)
    assert clock.left_s(100) == 15
    assert clock.left_s(114.5) == 0.5
    assert not clock.silent(114.5)
    assert clock.left_s(115) == 0
    assert clock.silent(115)


def test_messages_keep_a_stranger_but_not_for_ever() -> None:
    clock = PatienceClock(LIMITS, 0)
    for now in range(10, 120, 10):
        assert clock.left_s(now) > 0
        clock.heard(now)
    assert clock.left_s(119) == 1
    clock.heard(119)
    assert clock.left_s(120) == 0


def test_where_both_limits_are_the_same_nothing_gives_more_time() -> None:
    clock = PatienceClock(replace(LIMITS, longest_s=15), 0)
    clock.heard(14)
    assert clock.left_s(15) == 0


async def test_who_is_trusted_stays_and_who_is_no_longer_has_the_time_of_a_stranger() -> None:
    async with serving(replace(LIMITS, silence_s=0.1, longest_s=0.2)) as served:
        ws = await served.open()
        await ws.send_str("trust")
        assert await ws.receive_str(timeout=5) == "trust"
        with pytest.raises(TimeoutError):
            await ws.receive(timeout=0.4)
        ws = await served.open()
        await ws.send_str("trust")
        await ws.send_str("distrust")
        assert await rest(ws) == (["trust", "distrust", "silent"], 4400)


async def test_a_stranger_makes_room_and_is_told_so() -> None:
    async with serving(waiting=1) as served:
        first, second = await served.open(), await served.open()
        assert await rest(first) == (["crowded"], 4400)
        await second.send_str("x")
        assert await second.receive_str(timeout=5) == "x"


async def test_a_fault_ends_the_socket_that_it_happened_on_and_no_other(caplog: pytest.LogCaptureFixture) -> None:
    async with serving() as served:
        other, ws = await served.open(), await served.open()
        await ws.send_str("fail")
        assert await rest(ws) == (["fault"], 1011)
        assert "socket failed" in caplog.text
        await asyncio.wait_for(served.protocols[1].ended.wait(), 5)
        await other.send_str("x")
        assert await other.receive_str(timeout=5) == "x"


@pytest.mark.parametrize(
    ("break_it", "refusal"),
    [
        (lambda ws: ws.send_str("x" * 2000), Refusal.TOO_LARGE),
        (lambda ws: asyncio.gather(*(ws.ping() for _ in range(300))), Refusal.TOO_MANY_FRAMES),
    ],
)
async def test_what_the_reader_refuses_is_told_to_the_protocol(
    break_it: Callable[[aiohttp.ClientWebSocketResponse], Any], refusal: Refusal
) -> None:
    async with serving() as served:
        ws = await served.open()
        await break_it(ws)
        assert await rest(ws) == ([refusal.value[0]], refusal.close_code)
        assert served.protocols[0].refusals == [refusal]


@pytest.mark.parametrize("frames", [[b"x"] * 11, [b"x" * 10_001]], ids=["too many", "too long"])
async def test_who_does_not_read_is_cut_off_and_nothing_stays_queued(frames: list[bytes]) -> None:
    async with serving() as served:
        await served.open()
        protocol = served.protocols[0]
        for frame in frames:
            protocol.link.send(frame)
        assert protocol.link.closing
        await asyncio.wait_for(protocol.ended.wait(), 5)


async def test_a_subprotocol_may_have_a_packed_form() -> None:
    async with serving() as served:
        ws = await served.open("echo.packed")
        await ws.send_str("long")
        assert await ws.receive_bytes(timeout=5) == b"gnol"
        await ws.send_str("x")
        assert await ws.receive_str(timeout=5) == "x"


async def test_a_server_that_goes_away_sends_what_is_queued_and_says_so() -> None:
    async with serving() as served:
        ws = await served.open()
        closing = asyncio.create_task(served.client.server.close())
        assert await rest(ws) == ([], 1001)
        await closing


class Piece:
    """A socket whose frames have all come in already."""

    def __init__(self, *frames: str) -> None:
        self._frames = [aiohttp.WSMessage(WSMsgType.TEXT, frame, None) for frame in frames]

    async def receive(self) -> aiohttp.WSMessage:
        return self._frames.pop(0) if self._frames else aiohttp.WSMessage(WSMsgType.CLOSED, None, None)


async def test_what_came_in_at_once_is_not_read_without_a_turn_for_everybody_else() -> None:
    """An offer takes tens of milliseconds, and twenty of them may come in one piece."""
    read = list[str]()

    async def receive(data: str, *, binary: bool) -> None:
        read.append(data)

    pieces = Piece(*["busy"] * 20), Piece("calm")
    link, protocol = Mock(closing=False), Mock(receive=receive)
    await asyncio.gather(*(websocket._read(piece, link, protocol) for piece in pieces))  # type: ignore[arg-type]
    assert len(read) == 21
    assert read.index("calm") == 1
