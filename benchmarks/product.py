"""The whole product as a process (`python -m server.main`) and participants who join it as browsers do."""

import asyncio
import itertools
import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks import process
from benchmarks.endpoint import Endpoint
from benchmarks.native import ROOT
from rtc._dtls import Identity
from signalling.compression import COMPRESSED_SUBPROTOCOL, deflate, inflate

_TRACKS = [{"mid": "0", "source": "microphone"}, {"mid": "1", "source": "camera"}]
_SOURCES = 200  # loopback addresses that clients come from: limits are per address
SLOTS = (3, 8)


@dataclass(slots=True)
class Participant:
    """Somebody who is in a room: transport, signalling socket, and the task that reads it."""

    endpoint: Endpoint
    socket: aiohttp.ClientWebSocketResponse
    reader: asyncio.Task[None]
    began: float
    """time.perf_counter with the token at hand, before the socket was opened."""
    stages: dict[str, float]
    """Seconds since then: open, answer, ice, dtls."""


class Product:
    """``async with Product(cpu, directory) as product``"""

    def __init__(self, cpu: int, directory: Path, module: str = "server.main") -> None:
        self._cpu, self._directory, self._module = cpu, directory, module
        self._sessions: list[aiohttp.ClientSession] = []
        self._next = itertools.count()
        self._process: subprocess.Popen[bytes] | None = None
        self.url = ""
        self.pid = 0

    async def __aenter__(self) -> "Product":
        command = [sys.executable, "-m", self._module, "--port", "0", "--media-port", "0", "--workers", "1"]
        command += ["--max-rooms", "5000", "--log-level", "warning", "--data", str(self._directory / "data")]
        command += process.UNBOUNDED
        self._process = process.start(command, self._cpu, self._directory / "server.log", ROOT)
        self.pid = self._process.pid
        assert self._process.stdout is not None
        while not self.url:
            line = await asyncio.get_running_loop().run_in_executor(None, self._process.stdout.readline)
            if not line:
                raise ConnectionError(f"the server did not start: {(self._directory / 'server.log').read_text()}")
            if line.startswith(b"Wadud is ready: "):
                self.url = line.split()[-1].decode()
        for number in range(_SOURCES):
            connector = aiohttp.TCPConnector(local_addr=(f"127.0.1.{number + 1}", 0), limit=0)
            self._sessions.append(aiohttp.ClientSession(connector=connector))
        return self

    async def __aexit__(self, *_: object) -> None:
        for session in self._sessions:
            await session.close()
        if self._process is not None:
            process.stop(self._process)

    @property
    def session(self) -> aiohttp.ClientSession:
        """Each time from another address."""
        return self._sessions[next(self._next) % _SOURCES]

    async def make_room(self) -> str:
        async with self.session.post(f"{self.url}/v1/rooms", json={}) as answer:
            answer.raise_for_status()
            return str((await answer.json())["room"])

    async def make_token(self, room: str, name: str = "load") -> str:
        async with self.session.post(f"{self.url}/v1/rooms/{room}/tokens", json={"name": name}) as answer:
            answer.raise_for_status()
            return str((await answer.json())["token"])

    async def join(
        self, room: str, identity: Identity, *, publishes: bool = True, slots: tuple[int, int] = SLOTS
    ) -> Participant:
        """With a token at hand: open the socket, join, connect. The clock starts before the socket is opened."""
        token, session = await self.make_token(room), self.session
        stages: dict[str, float] = {}
        begin = time.perf_counter()
        socket = await session.ws_connect(f"{self.url}/v1/signal", protocols=[COMPRESSED_SUBPROTOCOL], compress=0)
        stages["open"] = time.perf_counter() - begin
        endpoint = Endpoint(identity, publishes=publishes)
        offer = endpoint.offer(audio_slots=slots[0], video_slots=slots[1])
        tracks = _TRACKS if publishes else []
        join = {"type": "join", "id": 1, "token": token, "offer": offer, "tracks": tracks}
        await socket.send_bytes(deflate(json.dumps(join).encode()))  # as our client in a browser
        answer: dict[str, Any] = {}
        while answer.get("re") != 1:
            frame = await socket.receive()
            answer = json.loads(inflate(frame.data) if frame.type is aiohttp.WSMsgType.BINARY else frame.data)
        if answer["type"] != "joined":
            raise ConnectionError(f"the server refused: {answer}")
        stages["answer"] = time.perf_counter() - begin
        await endpoint.connect(endpoint.take_answer(answer["answer"]))
        stages["ice"] = stages["answer"] + endpoint.ice_s
        stages["dtls"] = time.perf_counter() - begin
        return Participant(endpoint, socket, asyncio.create_task(_read(socket)), begin, stages)

    async def leave(self, participant: Participant) -> None:
        await participant.socket.send_json({"type": "leave", "id": 2})
        await participant.reader
        participant.endpoint.close()


async def _read(socket: aiohttp.ClientWebSocketResponse) -> None:
    """Answers pings and takes pushes, until the socket is closed."""
    async for _ in socket:
        continue
