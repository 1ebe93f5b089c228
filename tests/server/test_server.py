"""A whole server process with real media: start, calls, the cut socket, restart, logs, stop."""

import asyncio
import fcntl
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from backplane.certificates import self_signed
from rtc._dtls import Identity
from rtc.peer import Peer, PeerOptions
from rtc.peer_io import PeerSocket
from signalling.messages import SUBPROTOCOL
from tests.support import clock
from tests.support.server import ROOT, RunningServer, free_port, running_server

FRAME_S = 0.02


class Caller:
    """A person with a signalling socket and real media: sends sound, counts what arrives."""

    def __init__(self, http: aiohttp.ClientSession, server: RunningServer, token: str, seed: int) -> None:
        self.http, self.server, self.token = http, server, token
        options = PeerOptions(video=False, video_slots=1)
        self.peer = Peer(Identity(*self_signed(time.time())), random.Random(seed), options)
        self.received = 0
        self.peer.on_packet = self._count
        self.pushes: list[dict[str, Any]] = []
        self.joined: dict[str, Any] = {}
        self._arrived = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def _count(self, _: object) -> None:
        self.received += 1

    async def join(self) -> None:
        offer = self.peer.offer()
        await self.open()
        tracks = [{"mid": self.peer.mids["audio"], "source": "microphone"}]
        self.joined = await self.ask("join", token=self.token, offer=offer, tracks=tracks)
        assert self.joined["type"] == "joined", self.joined
        self.io = await PeerSocket.open(self.peer)
        self.peer.accept(self.joined["answer"], time.monotonic())
        self.io.pump()
        self.listen()
        await self.io.until_connected()
        self._tasks.append(asyncio.create_task(self._speak()))

    async def open(self) -> None:
        self.ws = await self.http.ws_connect(f"{self.server.url}/v1/signal", protocols=[SUBPROTOCOL])

    async def ask(self, type: str, **fields: Any) -> dict[str, Any]:
        await self.ws.send_json({"type": type, "id": 1, **fields})
        answer: dict[str, Any] = await self.ws.receive_json(timeout=5)
        return answer

    def listen(self) -> None:
        self._tasks.append(asyncio.create_task(self._listen(self.ws)))

    async def _listen(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        async for message in ws:
            self.pushes.append(message.json())
            self._arrived.set()

    async def _speak(self) -> None:
        timestamp = 0
        while True:
            self.peer.send("audio", b"\xf8" * 80, timestamp, level=20 | 0x80)
            self.io.pump()
            timestamp += 960
            await asyncio.sleep(FRAME_S)

    async def hears(self, condition: Callable[[dict[str, Any]], bool], within_s: float) -> dict[str, Any]:
        """The first push, old or new, for which ``condition`` holds."""
        async with asyncio.timeout(within_s):
            while True:
                for push in self.pushes:
                    if condition(push):
                        return push
                self._arrived.clear()
                await self._arrived.wait()

    async def hears_sound(self) -> None:
        """Media arrive from now on."""
        before = self.received
        async with asyncio.timeout(5):
            while self.received < before + 10:
                self.io.changed.clear()
                await self.io.changed.wait()

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        self.io.close()
        await self.ws.close()


def connection(name: str, state: str) -> Callable[[dict[str, Any]], bool]:
    def holds(push: dict[str, Any]) -> bool:
        person = push.get("participant")
        return isinstance(person, dict) and (person["name"], person["connection"]) == (name, state)

    return holds


@asynccontextmanager
async def call_of(server: RunningServer, *names: str) -> AsyncIterator[list[Caller]]:
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(aiohttp.ClientSession())
        room = (await (await http.post(f"{server.url}/v1/rooms")).json())["room"]
        callers = []
        for seed, name in enumerate(names):
            answer = await http.post(f"{server.url}/v1/rooms/{room}/tokens", json={"name": name})
            callers.append(Caller(http, server, (await answer.json())["token"], seed))
            await callers[-1].join()
            stack.push_async_callback(callers[-1].close)
        yield callers


async def test_two_people_hear_each_other_and_are_counted(tmp_path: Path) -> None:
    async with running_server(tmp_path) as server, call_of(server, "Amina", "Bilal") as (first, second):
        await first.hears(connection("Bilal", "connected"), 5)
        await asyncio.gather(first.hears_sound(), second.hears_sound())
        metrics = await (await first.http.get(f"{server.url}/metrics")).text()
        value = {
            name: float(number) for name, number in re.findall(r"^(\w+(?:\{[^}]*\})?) (\S+)$", metrics, re.MULTILINE)
        }
        assert value["wadud_participants"] == 2
        assert value["wadud_rooms"] == 1
        assert value['wadud_joins_total{outcome="ok"}'] == 2
        assert value["wadud_packets_forwarded_total"] >= 20
        for stage in ("answer", "ice", "dtls", "first_in", "first_out"):
            assert value[f'wadud_join_stage_seconds_count{{stage="{stage}"}}'] == 2


async def test_a_cut_socket_is_seen_within_two_seconds_while_sound_goes_on(tmp_path: Path) -> None:
    async with running_server(tmp_path) as server, call_of(server, "Amina", "Bilal") as (first, second):
        await asyncio.gather(first.hears_sound(), second.hears_sound())
        transport = second.ws._response.connection.transport  # type: ignore[union-attr]
        transport.abort()
        await first.hears(connection("Bilal", "reconnecting"), 2)
        await asyncio.gather(first.hears_sound(), second.hears_sound())
        first.pushes.clear()
        await second.open()
        answer = await second.ask("resume", session=second.joined["session"], secret=second.joined["secret"], seen=0)
        assert (answer["type"], answer["generation"]) == ("resumed", 2)
        assert [person["name"] for person in answer["participants"]] == ["Amina"]
        second.listen()
        await first.hears(connection("Bilal", "connected"), 2)
        await asyncio.gather(first.hears_sound(), second.hears_sound())
        assert not [push for push in first.pushes if push["type"] in ("participant_joined", "participant_left")]


async def test_stopping_says_goodbye_and_takes_less_than_three_seconds(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(running_server(tmp_path))
        callers = await stack.enter_async_context(call_of(server, "Amina", "Bilal"))
        began = clock.now()
        subprocess.run(["kill", f"-{signal.SIGINT.value}", str(server.pid)], check=True)
        for caller in callers:
            assert (await caller.hears(lambda push: push["type"] == "bye", 2))["reason"] == "draining"
        async with asyncio.timeout(3):
            while Path(f"/proc/{server.pid}/task").exists() and "Z" not in state_of(server.pid):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        assert clock.now() - began < 3


def state_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return "Z"


async def test_what_was_revoked_stays_revoked_and_links_stay_good_over_a_restart(tmp_path: Path) -> None:
    async with aiohttp.ClientSession() as http:
        async with running_server(tmp_path) as server:
            room = await (await http.post(f"{server.url}/v1/rooms")).json()
            guest = await (await http.post(f"{server.url}/v1/rooms/{room['room']}/tokens", json={"name": "B"})).json()
            bearer = {"Authorization": f"Bearer {room['host_token']}"}
            answer = await http.post(f"{server.url}/v1/tokens/revoke", json={"jti": guest["jti"]}, headers=bearer)
            assert answer.status == 200
        async with running_server(tmp_path) as server:
            answer = await http.post(f"{server.url}/v1/rooms/{room['room']}/tokens", json={"name": "B"}, headers=bearer)
            assert answer.status == 201
            ws = await http.ws_connect(f"{server.url}/v1/signal", protocols=[SUBPROTOCOL])
            await ws.send_json({"type": "join", "id": 1, "token": guest["token"], "offer": "v=0", "tracks": []})
            assert (await ws.receive_json(timeout=5))["code"] == "token_revoked"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_start_that_waits_for_its_database_can_be_stopped(tmp_path: Path, number: signal.Signals) -> None:
    home = tmp_path / "postgres"
    home.mkdir()
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # as long as another server has it
        command = [sys.executable, "-m", "server.main", "--port", "0", "--data", str(tmp_path), "--workers", "1"]
        with subprocess.Popen(
            [*command, "--media-port", "0"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as starting:
            while not Path(f"/proc/{starting.pid}/task/{starting.pid}/children").read_text():  # who makes the database
                assert starting.poll() is None
            starting.send_signal(number)
            said, _ = clock.communicate(starting, 15)
    assert (starting.returncode, said) == (0, "")


async def test_logs_and_metrics_hold_nothing_personal(tmp_path: Path) -> None:
    async with running_server(tmp_path, "--log-level", "debug") as server:
        async with call_of(server, "Zubaida Q", "Yaqub Z") as (first, second):
            await first.hears_sound()
            await second.ws.send_str('{"type":"mute","id":2,"mid":"Yaqub Z","muted":true}')
            await second.ws.send_str('{"type":"Zubaida Q","id":3}')
            await second.http.get(f"{server.url}/call/{first.joined['room']}?name=Zubaida")
            second.peer.remote = None
            written = await (await first.http.get(f"{server.url}/metrics")).text()
            secrets = [first.token, first.joined["secret"], first.joined["room"], first.joined["participant"]]
            ports = str(first.io._transport.get_extra_info("sockname")[1])  # type: ignore[union-attr]
        written += server.log.read_text()
    written += server.log.read_text()
    assert "joined" in written
    for word in ("Zubaida", "Yaqub", "127.0.0.1", ports, *secrets):
        assert word not in written


def start(*options: str) -> subprocess.CompletedProcess[str]:
    """Start a server that is expected to refuse."""
    with subprocess.Popen(
        [sys.executable, "-m", "server.main", *options],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as starting:
        printed = clock.communicate(starting, 20)
    return subprocess.CompletedProcess(starting.args, starting.returncode, *printed)


def test_a_taken_port_is_named_with_advice(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        refused = start("--port", str(port), "--media-port", "0", "--data", str(tmp_path), "--workers", "1")
    assert refused.returncode == 1
    assert f"port {port} on 127.0.0.1 is taken by another program" in refused.stderr
    assert "--port" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not (tmp_path / "postgres").exists(), "told before the long part of a start"


def test_a_taken_media_port_is_named_with_advice(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        refused = start("--port", "0", "--media-port", str(port), "--data", str(tmp_path), "--workers", "1")
    assert refused.returncode == 1
    assert re.search(rf"UDP port {port} for media on \S+ is taken by another program", refused.stderr)
    assert "--media-port" in refused.stderr
    assert not (tmp_path / "postgres").exists()


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "token.key").write_bytes(b"k" * 32)
    (tmp_path / "token.key").chmod(0o644)
    refused = start("--port", str(free_port()), "--data", str(tmp_path), "--workers", "1")
    assert refused.returncode == 1
    assert "chmod 600" in refused.stderr


def test_a_data_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    refused = start("--port", str(free_port()), "--data", str(tmp_path / "file"), "--workers", "1")
    assert refused.returncode == 1
    assert "--data" in refused.stderr


def test_an_address_of_another_machine_is_named(tmp_path: Path) -> None:
    refused = start("--host", "203.0.113.77", "--port", "0", "--data", str(tmp_path), "--workers", "1")
    assert refused.returncode == 1
    assert "no such address" in refused.stderr
    assert not (tmp_path / "postgres").exists()
