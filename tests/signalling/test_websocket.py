"""The socket shell with real sockets: frames, closes, limits, resuming. The node behind it is a fake."""

import asyncio
import gc
import json
import socket
import tracemalloc
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import WSMsgType
from aiohttp.test_utils import TestClient, TestServer

from backplane.guarded_websocket import GuardedSocket
from backplane.web import Readiness
from server.application import build
from sfu.events import ParticipantInfo, ParticipantUpdated
from sfu.protocol import ConnectionState
from signalling import websocket
from signalling.messages import SUBPROTOCOL
from tests.signalling.fakes import World

Client = TestClient[Any, Any]


@pytest.fixture
async def client(world: World, tmp_path: Path) -> AsyncIterator[Client]:
    async with served(world, tmp_path) as client:
        yield client


@asynccontextmanager
async def served(world: World, tmp_path: Path) -> AsyncIterator[Client]:
    world.sessions._clock = asyncio.get_running_loop().time
    app = build(world.calls, world.metrics, Readiness(lambda: {"takes_calls": not world.calls.draining}), tmp_path)
    async with TestClient(TestServer(app)) as client:
        yield client


async def open_socket(client: Client) -> aiohttp.ClientWebSocketResponse:
    return await client.ws_connect("/v1/signal", protocols=[SUBPROTOCOL])


async def say(ws: aiohttp.ClientWebSocketResponse, type: str, **fields: Any) -> dict[str, Any]:
    await ws.send_str(json.dumps({"type": type, "id": 1, **fields}))
    answer: dict[str, Any] = await ws.receive_json(timeout=5)
    return answer


async def join(client: Client, world: World, name: str) -> tuple[aiohttp.ClientWebSocketResponse, dict[str, Any]]:
    ws = await open_socket(client)
    answer = await say(ws, "join", token=world.token(name), offer="v=0", tracks=[])
    assert answer["type"] == "joined"
    return ws, answer


async def close_code(ws: aiohttp.ClientWebSocketResponse) -> int | None:
    """Read until the server closes."""
    while (message := await ws.receive(timeout=5)).type is WSMsgType.TEXT:
        pass
    assert message.type in (WSMsgType.CLOSE, WSMsgType.CLOSED, WSMsgType.CLOSING)
    return ws.close_code


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what another task of the server does in its own time."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - the server offers no event for it
            await asyncio.sleep(0.01)


async def test_two_people_meet_and_one_leaves(client: Client, world: World) -> None:
    first, _ = await join(client, world, "Amina")
    second, answer = await join(client, world, "Bilal")
    assert (await first.receive_json(timeout=5))["type"] == "participant_joined"
    assert (await say(second, "leave"))["type"] == "done"
    assert await close_code(second) == 1000
    left = await first.receive_json(timeout=5)
    assert (left["participant"], left["reason"]) == (answer["participant"], "left")


async def test_the_subprotocol_is_agreed_and_frames_are_not_compressed(client: Client) -> None:
    ws = await client.ws_connect("/v1/signal", protocols=["other", SUBPROTOCOL], compress=15)
    assert ws.protocol == SUBPROTOCOL
    assert not ws.compress


async def test_a_socket_without_the_subprotocol_is_refused(client: Client) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
        await client.ws_connect("/v1/signal", protocols=["wadud.v9"])
    assert refusal.value.status == 400


async def test_a_plain_request_is_told_to_upgrade(client: Client) -> None:
    answer = await client.get("/v1/signal")
    assert answer.status == 426
    assert (await answer.json())["code"] == "upgrade_required"


async def test_a_cut_socket_is_resumed_by_another(client: Client, world: World) -> None:
    first, _ = await join(client, world, "Amina")
    second, answer = await join(client, world, "Bilal")
    assert (await first.receive_json(timeout=5))["type"] == "participant_joined"
    transport = second._response.connection.transport  # type: ignore[union-attr]
    transport.abort()
    updated = await first.receive_json(timeout=2)
    assert updated["participant"]["connection"] == "reconnecting"
    again = await open_socket(client)
    resumed = await say(again, "resume", session=answer["session"], secret=answer["secret"], seen=0)
    assert (resumed["type"], resumed["generation"]) == ("resumed", 2)
    assert (await first.receive_json(timeout=5))["participant"]["connection"] == "connected"


async def test_a_second_socket_replaces_the_first(client: Client, world: World) -> None:
    first, answer = await join(client, world, "Amina")
    second = await open_socket(client)
    await say(second, "resume", session=answer["session"], secret=answer["secret"], seen=0)
    assert (await first.receive_json(timeout=5))["reason"] == "replaced"
    assert await close_code(first) == 4409
    await asyncio.sleep(0)
    assert (await say(second, "mute", mid="0", muted=True))["type"] == "done"


async def test_a_frame_too_large_is_named_and_closes_only_its_socket(client: Client, world: World) -> None:
    other, _ = await join(client, world, "Amina")
    ws, answer = await join(client, world, "Bilal")
    await ws.send_str("x" * (256 * 1024 + 1))
    error = await ws.receive_json(timeout=5)
    assert (error["code"], error["fatal"]) == ("too_large", True)
    assert await close_code(ws) == 1009
    again = await open_socket(client)
    assert (await say(again, "resume", session=answer["session"], secret=answer["secret"], seen=0))["type"] == "resumed"
    assert (await other.receive_json(timeout=5))["type"] == "participant_joined"


async def test_a_frame_that_claims_to_be_huge_is_refused_before_it_is_read(client: Client, world: World) -> None:
    ws = await open_socket(client)
    transport = ws._response.connection.transport  # type: ignore[union-attr]
    transport.write(bytes([0x81, 0xFF]) + (2**40).to_bytes(8, "big") + b"mask" + b"x" * 100)
    assert (await ws.receive_json(timeout=5))["code"] == "too_large"
    assert await close_code(ws) == 1009


async def test_binary_frames_are_refused(client: Client, world: World) -> None:
    ws, _ = await join(client, world, "Amina")
    await ws.send_bytes(b'{"type":"ping","id":1}')
    assert (await ws.receive_json(timeout=5))["code"] == "bad_message"
    assert (await say(ws, "ping"))["type"] == "pong"


async def test_text_that_is_no_utf8_is_bad_json(client: Client, world: World) -> None:
    ws, _ = await join(client, world, "Amina")
    await ws.send_frame(b'"\xff\xfe"', WSMsgType.TEXT)
    assert (await ws.receive_json(timeout=5))["code"] in ("bad_json", "bad_message")
    assert (await say(ws, "ping"))["type"] == "pong"


async def test_a_fatal_error_closes_with_its_code(client: Client) -> None:
    ws = await open_socket(client)
    answer = await say(ws, "join", token="nonsense", offer="v=0", tracks=[])
    assert (answer["code"], answer["fatal"]) == ("bad_token", True)
    assert await close_code(ws) == 4401


async def test_a_flood_costs_its_sender_the_socket_and_nobody_else_anything(client: Client, world: World) -> None:
    other, _ = await join(client, world, "Amina")
    ws, _ = await join(client, world, "Bilal")
    for _ in range(400):
        await ws.send_str('{"type":"ping","id":1}')
    assert await close_code(ws) == 4429
    assert (await other.receive_json(timeout=5))["type"] == "participant_joined"
    assert (await say(other, "ping"))["type"] in ("pong", "participant_updated")


@pytest.mark.parametrize("opcode", [WSMsgType.PING, WSMsgType.PONG])
async def test_a_flood_of_websocket_pings_is_cut_off_like_any_other(
    client: Client, world: World, opcode: WSMsgType
) -> None:
    ws, answer = await join(client, world, "Amina")
    for _ in range(400):
        await ws.send_frame(b"", opcode)
    assert (await ws.receive_json(timeout=5))["code"] == "rate_limited"
    assert await close_code(ws) == 4429
    assert world.node.all_rooms["room"].people[answer["participant"]]["lost"]


async def test_a_websocket_ping_is_answered_with_what_it_carried(client: Client, world: World) -> None:
    ws = await client.ws_connect("/v1/signal", protocols=[SUBPROTOCOL], autoping=False)
    await ws.ping(b"still there?")
    answer = await ws.receive(timeout=5)
    assert (answer.type, answer.data) == (WSMsgType.PONG, b"still there?")


async def test_a_peer_that_does_not_read_is_cut_off(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(websocket, "LIMITS", replace(websocket.LIMITS, queue_frames=50))
    async with served(world, tmp_path) as client:
        await does_not_read(client, world)


async def does_not_read(client: Client, world: World) -> None:
    ws, answer = await join(client, world, "Amina")
    transport = ws._response.connection.transport  # type: ignore[union-attr]
    transport.pause_reading()
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    room = world.node.all_rooms["room"]
    for _ in range(200):
        name = "n" * 100_000
        entry = ParticipantInfo("p9", name, "guest", ConnectionState.CONNECTED, [])
        world.node.notify([answer["participant"]], ParticipantUpdated(entry))
        await asyncio.sleep(0)
    await until(lambda: bool(room.people[answer["participant"]]["lost"]))
    transport.abort()
    again = await open_socket(client)
    assert (await say(again, "resume", session=answer["session"], secret=answer["secret"], seen=0))["type"] == "resumed"


async def test_waiting_sockets_of_one_address_are_bounded(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(websocket, "MAX_WAITING_PER_ADDRESS", 3)
    async with served(world, tmp_path) as client:
        joined = [await join(client, world, name) for name in "abcd"]
        assert len(joined) == 4, "those that have joined do not count"
        waiting = [await open_socket(client) for _ in range(3)]
        with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
            await open_socket(client)
        assert refusal.value.status == 429
        await waiting[0].close()
        await open_socket(client)


async def test_when_too_many_have_not_joined_the_oldest_makes_room(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(websocket, "MAX_WAITING", 2)
    async with served(world, tmp_path) as client:
        oldest, newer, newest = [await open_socket(client) for _ in range(3)]
        assert (await oldest.receive_json(timeout=5))["code"] == "not_joined"
        assert await close_code(oldest) == 4400
        assert [(await say(ws, "ping"))["type"] for ws in (newer, newest)] == ["pong", "pong"]


async def test_draining_says_goodbye_on_every_socket(client: Client, world: World) -> None:
    ws, _ = await join(client, world, "Amina")
    waiting = await open_socket(client)
    closing = asyncio.create_task(client.server.close())
    assert (await ws.receive_json(timeout=5))["reason"] == "draining"
    assert await asyncio.gather(close_code(ws), close_code(waiting)) == [4410, 1001]
    await closing


async def test_sockets_leave_nothing_behind(client: Client, world: World) -> None:
    for _ in range(20):
        sockets = [await open_socket(client) for _ in range(5)]
        for ws in sockets:
            await ws.close()
    ws, _ = await join(client, world, "Amina")
    await say(ws, "leave")
    assert await close_code(ws) == 1000
    await until(lambda: b"wadud_signalling_sockets 0.0" in world.metrics.exposition())


async def test_what_was_said_does_not_stay_in_memory(client: Client, world: World) -> None:
    """Offers and answers are the longest messages, and after them a socket may be silent for an hour."""
    length = 100_000
    ws, _ = await join(client, world, "ann")
    tracemalloc.start()
    try:
        await say(ws, "offer", sdp="v=0" + " " * length, tracks=[])
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] < length / 2
    finally:
        tracemalloc.stop()
    await ws.close()


async def test_a_socket_that_is_gone_waits_for_no_garbage_collector(client: Client, world: World) -> None:
    """Looking for circles among thousands of sockets stops everybody's voice, so it is done seldom."""
    gc.collect()
    gc.disable()
    try:
        polite, cut, _ = [await open_socket(client) for _ in range(3)]
        joined, _ = await join(client, world, "Amina")
        await polite.close()
        for ws in (cut, joined):
            transport = ws.get_extra_info("socket")
            transport.shutdown(2)
        await until(lambda: b"wadud_signalling_sockets 1.0" in world.metrics.exposition())
        await until(lambda: sum(isinstance(each, GuardedSocket) for each in gc.get_objects()) == 1)
    finally:
        gc.enable()
