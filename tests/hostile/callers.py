"""Two bare peers in a call through a live server, for tests that attack it meanwhile."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import aiohttp

from backplane.certificates import self_signed
from rtc._dtls import Identity
from rtc.peer import Peer, PeerOptions
from rtc.peer_io import PeerSocket
from tests.browser.parties import new_room, new_token

SOURCES = {"audio": "microphone", "video": "camera"}
PACE_S = 0.005  # between packets
SETTLE_S = 0.5  # for what is under way to arrive, repetitions included
VP8_KEYFRAME = bytes([0x10, 0])  # S=1, PID=0; P=0


class Caller:
    """One participant: a signalling socket held open, and media."""

    def __init__(self, ws: aiohttp.ClientWebSocketResponse, peer: Peer, io: PeerSocket) -> None:
        self.ws, self.peer, self.io = ws, peer, io
        self.received = 0
        self.timestamp = 0
        self.slots_filled = asyncio.Event()
        peer.on_packet = self._count

    def _count(self, _: object) -> None:
        self.received += 1

    def watch(self, message: dict[str, Any]) -> None:
        """Note when both a sound and a picture have a slot."""
        filled = {slot["kind"] for slot in message.get("slots", []) if slot["participant"]}
        if filled == {"audio", "video"}:
            self.slots_filled.set()

    async def listen(self) -> None:
        """Read signalling, so that the server's queue to us does not fill."""
        async for message in self.ws:
            self.watch(message.json())

    def send(self, number: int) -> None:
        """Sound and pictures in turn."""
        self.timestamp += 960
        if number % 2:
            self.peer.send("audio", b"\xf8" * 80, self.timestamp, level=0x80 | 30)
        else:
            self.peer.send("video", VP8_KEYFRAME + bytes(600), self.timestamp, marker=True)
        self.io.pump()


class MediaCall:
    """A sender and a receiver in one room."""

    def __init__(self, sender: Caller, receiver: Caller) -> None:
        self.sender, self.receiver = sender, receiver

    @property
    def received(self) -> int:
        """Different packets that have reached the receiver."""
        return self.receiver.received

    async def send(self, count: int) -> None:
        """`count` packets from now on, paced as media are."""
        for number in range(count):
            self.sender.send(number)
            await asyncio.sleep(PACE_S)

    async def settle(self) -> None:
        await asyncio.sleep(SETTLE_S)


@asynccontextmanager
async def caller(server: str, room: str, name: str) -> AsyncIterator[Caller]:
    """Somebody in the room, connected."""
    token = await new_token(server, room, name)
    peer = Peer(Identity(*self_signed(time.time())), random.Random(name), PeerOptions(video_slots=1))
    async with (
        aiohttp.ClientSession() as http,
        http.ws_connect(f"{server}/v1/signal", protocols=["wadud.v1"]) as ws,
    ):
        tracks = [{"mid": mid, "source": SOURCES[kind]} for kind, mid in peer.mids.items()]
        await ws.send_json({"type": "join", "id": 1, "token": token, "offer": peer.offer(), "tracks": tracks})
        joined = await ws.receive_json(timeout=10)
        assert joined["type"] == "joined", joined
        io = await PeerSocket.open(peer)
        someone = Caller(ws, peer, io)
        someone.watch(joined)
        listening = asyncio.create_task(someone.listen())
        try:
            peer.accept(joined["answer"], time.monotonic())
            io.pump()
            await io.until_connected()
            yield someone
        finally:
            listening.cancel()
            io.close()


@asynccontextmanager
async def connected_pair(server: str) -> AsyncIterator[MediaCall]:
    """Two people in a room of their own; the first one's sound and picture stand in slots of the second."""
    room = str((await new_room(server))["room"])
    async with AsyncExitStack() as stack:
        sender = await stack.enter_async_context(caller(server, room, "sender"))
        receiver = await stack.enter_async_context(caller(server, room, "receiver"))
        async with asyncio.timeout(5):
            await receiver.slots_filled.wait()
        yield MediaCall(sender, receiver)
