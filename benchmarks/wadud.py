"""Our own media node (node_server.py) as a server under measurement."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

from benchmarks import process
from benchmarks.endpoint import Endpoint
from benchmarks.limit import crypto_environment
from benchmarks.native import ROOT
from rtc._dtls import Identity

_TRACKS = [{"mid": "0", "source": "microphone"}, {"mid": "1", "source": "camera"}]
SLOTS = (3, 8)  # audio and video, as the browser library asks for


class WadudServer:
    """Joins go through the process's stdin, media as from the world. ``crypto``: "" for the fastest AES-GCM that this
    machine has, or "openssl"."""

    def __init__(self, crypto: str = "") -> None:
        self.crypto = crypto
        self.name = f"wadud {crypto}".strip()
        self._process: subprocess.Popen[bytes] | None = None
        self._turn = asyncio.Lock()

    async def start(self, cpu: int, directory: Path) -> int:
        command = [sys.executable, "-m", "benchmarks.node_server"]
        self._process = process.start(command, cpu, directory / "wadud.log", ROOT, crypto_environment(self.crypto))
        await self._read()
        return self._process.pid

    async def join_publisher(self, room: str, identity: Identity) -> list[Endpoint]:
        return [await self._join(room, identity, publishes=True, slots=(0, 0))]

    async def join_subscriber(self, room: str, identity: Identity) -> list[Endpoint]:
        return [await self._join(room, identity, publishes=False, slots=SLOTS)]

    async def join_pair(self, room: str, identity: Identity) -> list[Endpoint]:
        return [await self._join(room, identity, publishes=True, slots=SLOTS) for _ in range(2)]

    async def stop(self) -> None:
        if self._process is not None:
            process.stop(self._process)

    async def _join(self, room: str, identity: Identity, *, publishes: bool, slots: tuple[int, int]) -> Endpoint:
        endpoint = Endpoint(identity, publishes=publishes)
        offer = endpoint.offer(audio_slots=slots[0], video_slots=slots[1])
        request: dict[str, object] = {"room": room, "offer": offer, "tracks": _TRACKS if publishes else []}
        async with self._turn:
            answer = await self._ask(request)
        if "answer" not in answer:
            raise ConnectionError(f"the server refused: {answer}")
        await endpoint.connect(endpoint.take_answer(answer["answer"]))
        return endpoint

    async def _ask(self, request: dict[str, object]) -> dict[str, str]:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        self._process.stdin.flush()
        return await self._read()

    async def _read(self) -> dict[str, str]:
        assert self._process is not None
        assert self._process.stdout is not None
        line = await asyncio.get_running_loop().run_in_executor(None, self._process.stdout.readline)
        if not line:
            raise ConnectionError("the server has ended; see wadud.log")
        answer: dict[str, str] = json.loads(line)
        return answer
