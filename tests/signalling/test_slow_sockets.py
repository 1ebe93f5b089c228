"""Sockets on thin links: slow is not dead. What counts is whether bytes move."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import WSMsgType
from aiohttp.test_utils import TestClient, TestServer

from backplane import guarded_websocket
from backplane.web import Readiness
from server.application import build
from signalling import websocket
from signalling.messages import SUBPROTOCOL
from tests.signalling.fakes import World

Client = TestClient[Any, Any]
HEARTBEAT_S = 1.0


@pytest.fixture
async def client(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> AsyncIterator[Client]:
    """With a parameter: of a server that waits so many seconds for a first message."""
    monkeypatch.setattr(guarded_websocket, "HEARTBEAT_S", HEARTBEAT_S)
    silence_s = getattr(request, "param", websocket.LIMITS.silence_s)
    monkeypatch.setattr(websocket, "LIMITS", replace(websocket.LIMITS, silence_s=silence_s))
    world.sessions._clock = asyncio.get_running_loop().time
    app = build(world.calls, world.metrics, Readiness(lambda: {"takes_calls": True}), tmp_path)
    async with TestClient(TestServer(app)) as client:
        yield client


async def opened(client: Client) -> aiohttp.ClientWebSocketResponse:
    """A socket whose pings its owner leaves unanswered, and whose kernel acknowledges all the same."""
    return await client.ws_connect("/v1/signal", protocols=[SUBPROTOCOL], autoping=False)


async def joined(client: Client, world: World, name: str) -> aiohttp.ClientWebSocketResponse:
    ws = await opened(client)
    await ws.send_str(json.dumps({"type": "join", "id": 1, "token": world.token(name), "offer": "v=0", "tracks": []}))
    assert (await ws.receive_json(timeout=5))["type"] == "joined"
    return ws


async def lives_s(ws: aiohttp.ClientWebSocketResponse, longest_s: float) -> float:
    """Seconds until the server closes, at most the longest."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    with suppress(TimeoutError):
        async with asyncio.timeout(longest_s):
            while (await ws.receive()).type in (WSMsgType.TEXT, WSMsgType.PING):
                pass
    return loop.time() - began


@contextmanager
def talking(world: World) -> Iterator[None]:
    """Pushes to everybody in the room, twenty per second."""

    async def talk() -> None:
        while True:
            world.node.room("room").tell({"type": "speakers", "speakers": []})
            await asyncio.sleep(0.05)

    task = asyncio.create_task(talk())
    try:
        yield
    finally:
        task.cancel()


async def test_a_pong_may_be_late_while_what_is_sent_arrives(client: Client, world: World) -> None:
    late = await joined(client, world, "Amina")
    with talking(world):
        assert await lives_s(late, 2.2 * HEARTBEAT_S) >= 2.2 * HEARTBEAT_S
    assert await lives_s(late, 5) < 3 * HEARTBEAT_S


async def test_a_pong_that_never_comes_ends_the_socket_at_last(
    client: Client, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guarded_websocket, "PONG_LONGEST_S", HEARTBEAT_S)
    late = await joined(client, world, "Amina")
    with talking(world):
        assert await lives_s(late, 10) < 5 * HEARTBEAT_S


@pytest.mark.parametrize("client", [0.8], indirect=True)
async def test_a_first_message_may_take_longer_than_the_silence_while_it_comes(client: Client, world: World) -> None:
    ws = await opened(client)
    join = {"type": "join", "id": 1, "token": world.token("Amina"), "offer": "v=0" + " " * 20_000, "tracks": []}
    payload = json.dumps(join).encode()
    mask = os.urandom(4)
    masked = bytes(octet ^ mask[index % 4] for index, octet in enumerate(payload))
    wire = bytes([0x81, 0xFE]) + len(payload).to_bytes(2, "big") + mask + masked
    transport = ws._response.connection.transport  # type: ignore[union-attr]
    for start in range(0, len(wire), 1500):  # 14 pieces in 1.4 s
        transport.write(wire[start : start + 1500])
        await asyncio.sleep(0.1)
    answers = [await ws.receive(timeout=5)]
    while answers[-1].type is WSMsgType.PING:
        answers.append(await ws.receive(timeout=5))
    assert json.loads(answers[-1].data)["type"] == "joined"


@pytest.mark.parametrize("client", [0.3], indirect=True)
async def test_a_first_message_that_stops_on_its_way_is_not_waited_for(client: Client) -> None:
    ws = await opened(client)
    transport = ws._response.connection.transport  # type: ignore[union-attr]
    transport.write(bytes([0x81, 0xFE]) + (20_000).to_bytes(2, "big") + bytes(4 + 1500))
    assert await lives_s(ws, 10) < 4
