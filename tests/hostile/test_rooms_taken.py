"""One address without an account takes rooms of a running server as fast as it can, and gets no more than its share."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from backplane.certificates import self_signed
from backplane.settings import Settings
from rtc._dtls import Identity
from rtc.peer import Peer, PeerOptions
from tests.hostile.callers import caller
from tests.support.server import running_server

pytestmark = pytest.mark.alone

ATTACKER, OTHER = "127.0.0.7", "127.0.0.8"
SHARE = Settings().rooms_per_address
TRIES = SHARE + 20
PATIENCE_S = 20.0


class Address:
    """Somebody's: requests and sockets from one address. Nobody here has media."""

    def __init__(self, url: str, http: aiohttp.ClientSession, stack: AsyncExitStack) -> None:
        self.url, self.http, self.stack = url, http, stack
        self.offer = Peer(Identity(*self_signed(time.time())), random.Random(1), PeerOptions()).offer()

    async def new_room(self) -> tuple[int, dict[str, Any]]:
        async with self.http.post(f"{self.url}/v1/rooms") as answer:
            return answer.status, await answer.json()

    async def join(self, token: str) -> tuple[aiohttp.ClientWebSocketResponse, dict[str, Any]]:
        ws = await self.stack.enter_async_context(
            self.http.ws_connect(f"{self.url}/v1/signal", protocols=["wadud.v1"], autoping=True)
        )
        await ws.send_json({"type": "join", "id": 1, "token": token, "offer": self.offer, "tracks": []})
        return ws, await ws.receive_json(timeout=PATIENCE_S)


@asynccontextmanager
async def address(url: str, host: str) -> AsyncIterator[Address]:
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(local_addr=(host, 0), limit=0)) as http,
        AsyncExitStack() as stack,
    ):
        yield Address(url, http, stack)


async def test_one_address_gets_its_share_of_the_rooms_and_others_theirs(tmp_path: Path) -> None:
    async with (
        running_server(tmp_path) as server,
        address(server.url, ATTACKER) as attacker,
        address(server.url, OTHER) as other,
    ):
        made = [(await attacker.new_room())[1]["host_token"] for _ in range(TRIES)]
        answers = [(await attacker.join(token))[1] for token in made]
        outcomes = Counter(each.get("code", each["type"]) for each in answers)
        assert outcomes == {"joined": SHARE, "too_many_rooms": TRIES - SHARE}
        status, problem = await attacker.new_room()
        assert (status, problem["code"]) == (429, "too_many_rooms")
        status, room = await other.new_room()
        assert status == 201
        path = f"{server.url}/v1/rooms/{room['room']}/tokens"
        for _ in range(2 * Settings().tokens_per_minute):
            async with attacker.http.post(path, json={"name": "X"}) as answer:
                status, body = answer.status, await answer.json()
            if status != 201:
                break
        assert (status, body["code"]) == (429, "rate_limited")
        assert (await other.join(room["host_token"]))[1]["type"] == "joined"


async def test_a_room_without_media_is_let_go_and_one_with_media_is_kept(tmp_path: Path) -> None:
    async with running_server(tmp_path, "--room-idle-s", "2") as server, address(server.url, ATTACKER) as attacker:
        _, kept = await attacker.new_room()
        _, idle = await attacker.new_room()
        async with caller(server.url, kept["room"], "somebody") as somebody:
            began = asyncio.get_running_loop().time()
            ws, joined = await attacker.join(idle["host_token"])
            assert joined["type"] == "joined"
            for _ in itertools.count():
                message = await ws.receive_json(timeout=PATIENCE_S)
                if message["type"] == "bye":
                    break
            assert message["reason"] == "connection_lost"
            assert asyncio.get_running_loop().time() - began >= 2
            assert not somebody.ws.closed
            _, entered = await attacker.join(kept["host_token"])
            assert [person["name"] for person in entered["participants"]] == ["somebody"]
