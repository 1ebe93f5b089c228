"""Compressed frames: what they hold, and that a small one cannot cost much."""

import json
import time
import tracemalloc
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import WSMsgType
from aiohttp.test_utils import TestClient, TestServer

from backplane.web import Readiness
from server.application import build
from signalling.codes import ErrorCode, SignallingError
from signalling.compression import COMPRESS_FROM_BYTES, COMPRESSED_SUBPROTOCOL, deflate, inflate
from signalling.messages import MAX_FRAME_BYTES, SUBPROTOCOL
from tests.signalling.fakes import World

Client = TestClient[Any, Any]
PING = b'{"type":"ping","id":7}'
LONG_PING = PING[:-1] + b" " * 5000 + b"}"


@pytest.fixture
async def client(world: World, tmp_path: Path) -> AsyncIterator[Client]:
    world.sessions._clock = time.monotonic
    app = build(world.calls, world.metrics, Readiness(lambda: {"takes_calls": True}), tmp_path)
    async with TestClient(TestServer(app)) as client:
        yield client


async def opened(client: Client, *protocols: str) -> aiohttp.ClientWebSocketResponse:
    return await client.ws_connect("/v1/signal", protocols=protocols)


async def test_a_client_that_asks_for_it_joins_in_compressed_frames(client: Client, world: World) -> None:
    ws = await opened(client, COMPRESSED_SUBPROTOCOL, SUBPROTOCOL)
    assert ws.protocol == COMPRESSED_SUBPROTOCOL
    join = {"type": "join", "id": 1, "token": world.token("Amina"), "offer": "v=0\r\n" * 8000, "tracks": []}
    frame = deflate(json.dumps(join).encode())
    assert len(frame) < 1000
    await ws.send_bytes(frame)
    answer = await ws.receive(timeout=5)
    assert answer.type is WSMsgType.BINARY
    assert len(answer.data) < COMPRESS_FROM_BYTES
    joined = json.loads(inflate(answer.data))
    assert (joined["type"], joined["re"]) == ("joined", 1)
    await ws.send_bytes(PING)  # not compressed
    assert (await ws.receive_json(timeout=5))["code"] == "bad_message"
    await ws.send_str(PING.decode())  # both forms may be mixed, and short answers are text
    assert (await ws.receive_json(timeout=5))["type"] == "pong"


async def test_a_client_that_does_not_ask_gets_text_and_may_send_nothing_else(client: Client, world: World) -> None:
    ws = await opened(client, SUBPROTOCOL)
    await ws.send_bytes(deflate(PING))
    assert (await ws.receive_json(timeout=5))["code"] == "bad_message"


@pytest.mark.parametrize("frame", [PING, LONG_PING, b"", bytes(MAX_FRAME_BYTES)])
def test_a_frame_comes_out_as_it_went_in(frame: bytes) -> None:
    assert inflate(deflate(frame)) == frame


@pytest.mark.parametrize(
    "data",
    [b"", b"\xff", PING, deflate(LONG_PING)[:-1], deflate(PING) + b"x", deflate(PING) * 2, zlib.compress(PING)],
    ids=["nothing", "junk", "text", "cut off", "more behind it", "two", "zlib header"],
)
def test_what_is_not_one_stream_is_a_bad_message(data: bytes) -> None:
    with pytest.raises(SignallingError) as refusal:
        inflate(data)
    assert refusal.value.code is ErrorCode.BAD_MESSAGE


def test_a_bomb_is_not_unpacked_beyond_the_limit_of_every_frame() -> None:
    bomb = deflate(bytes(200 * MAX_FRAME_BYTES))
    assert len(bomb) < MAX_FRAME_BYTES
    tracemalloc.start()
    try:
        with pytest.raises(SignallingError) as refusal:
            inflate(bomb)
        assert tracemalloc.get_traced_memory()[1] < 3 * MAX_FRAME_BYTES
    finally:
        tracemalloc.stop()
    assert refusal.value.code is ErrorCode.TOO_LARGE


def test_long_messages_in_small_frames_count_by_what_they_become(world: World) -> None:
    client = world.joined("Amina")
    frame = deflate(PING[:-1] + b" " * (MAX_FRAME_BYTES - len(PING)) + b"}")
    assert len(frame) < 1000
    heard = 0
    while client.link.code is None:
        client.conversation.receive(frame, world.now, compressed=True)
        heard += 1
    assert client.link.last["code"] == "rate_limited"
    assert heard < 15


async def test_an_idle_socket_keeps_nothing_of_compression(client: Client, world: World) -> None:
    """As permessage-deflate would: 40 KiB to unpack, 256 KiB to pack."""

    async def used(sockets: int, *protocols: str) -> float:
        before = tracemalloc.take_snapshot()
        opened_ones = [await opened(client, *protocols) for _ in range(sockets)]
        for ws in opened_ones:
            await (ws.send_bytes(deflate(LONG_PING)) if len(protocols) > 1 else ws.send_str(LONG_PING.decode()))
            await ws.receive(timeout=5)
        after = tracemalloc.take_snapshot()
        for ws in opened_ones:
            await ws.close()
        return sum(difference.size_diff for difference in after.compare_to(before, "filename")) / sockets

    tracemalloc.start()
    try:
        await used(3, SUBPROTOCOL)
        plain = await used(20, SUBPROTOCOL)
        compressed = await used(20, COMPRESSED_SUBPROTOCOL, SUBPROTOCOL)
    finally:
        tracemalloc.stop()
    assert compressed - plain < 4096
