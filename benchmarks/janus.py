"""Debian's Janus with its VideoRoom as a server under measurement.

Janus runs as its package ships it: SRTP profile, NACK, transport-wide feedback, audio levels and event loops are its
defaults. One thing differs from /etc/janus: it is told to be ICE-lite, as we are. It never uses loopback addresses, so
its media goes over another address of this machine, which the kernel routes over the loopback device just the same.
Signalling is its WebSocket API; people who publish and receive have two PeerConnections there, as Janus wants it.
"""

import asyncio
import itertools
import os
import secrets
import shutil
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks import process
from benchmarks.endpoint import Endpoint, Remote
from rtc._dtls import Identity
from rtc.sdp import parse

_KEEPALIVE_S = 25.0
_PATIENCE_S = 30.0
_TRIES = 40
_OTHER_PLUGINS = (
    *("audiobridge", "duktape", "echotest", "lua", "nosip", "recordplay", "sip", "streaming", "textroom"),
    *("videocall", "voicemail"),
)
_OTHER_TRANSPORTS = ("http", "mqtt", "nanomsg", "pfunix", "rabbitmq")

_JANUS = """general: {{
  configs_folder = "{folder}"
  debug_level = 3
  debug_colors = false
  session_timeout = 120
}}
nat: {{
  ice_lite = true
}}
plugins: {{
  disable = "{plugins}"
}}
transports: {{
  disable = "{transports}"
}}
"""
_WEBSOCKETS = """general: {{
  ws = true
  ws_ip = "127.0.0.1"
  ws_port = {port}
}}
"""


def ensure_installed() -> str:
    """The path of the janus program, installed from Debian's package if need be. RuntimeError when it cannot be."""
    if shutil.which("janus") is None:
        print("installing Debian's janus package ...", flush=True)
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for command in (["apt-get", "-qq", "update"], ["apt-get", "-qq", "install", "-y", "janus"]):
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            if done.returncode:
                raise RuntimeError(f"{done.stderr.strip()}\nAs root: apt-get install janus")
    found = shutil.which("janus")
    if found is None:
        raise RuntimeError("Debian's janus package has no janus program")
    return found


def version() -> str:
    """The package's version."""
    query = ["dpkg-query", "-W", "-f", "${Version}", "janus"]
    done = subprocess.run(query, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def _own_address() -> str:
    """An IPv4 address of this machine that is not loopback. RuntimeError when there is none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing, only asks for the route
        except OSError:
            raise RuntimeError("Janus needs a network interface beside loopback") from None
        return str(probe.getsockname()[0])


class JanusError(Exception):
    """Janus refused a request."""


class JanusServer:
    """One Janus process, one session, a handle per PeerConnection."""

    name = "janus"
    crypto = ""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._http: aiohttp.ClientSession | None = None
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._session = 0
        self._answers: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self._rooms: dict[str, int] = {}
        self._publishers: dict[str, int] = {}  # feed by room
        self._numbers = itertools.count(1000)

    async def start(self, cpu: int, directory: Path) -> int:
        program = ensure_installed()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        plugins = ",".join(f"libjanus_{name}.so" for name in _OTHER_PLUGINS)
        transports = ",".join(f"libjanus_{name}.so" for name in _OTHER_TRANSPORTS)
        (directory / "janus.jcfg").write_text(_JANUS.format(folder=directory, plugins=plugins, transports=transports))
        (directory / "janus.transport.websockets.jcfg").write_text(_WEBSOCKETS.format(port=port))
        (directory / "janus.plugin.videoroom.jcfg").write_text("general: {\n}\n")
        command = [program, "-N", "-F", str(directory), "-C", str(directory / "janus.jcfg")]
        command += ["-L", str(directory / "janus.log")]
        self._process = process.start(command, cpu, directory / "janus.errors")
        await self._connect(f"ws://127.0.0.1:{port}/")
        return self._process.pid

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self._socket is not None:
            await self._socket.close()
        if self._http is not None:
            await self._http.close()
        if self._process is not None:
            process.stop(self._process)

    # --- people -----------------------------------------------------------------------------------------------------

    async def join_publisher(self, room: str, identity: Identity) -> list[Endpoint]:
        endpoint, feed = await self._publish(room, identity)
        self._publishers[room] = feed
        return [endpoint]

    async def join_subscriber(self, room: str, identity: Identity) -> list[Endpoint]:
        return [await self._subscribe(room, self._publishers[room], identity)]

    async def join_pair(self, room: str, identity: Identity) -> list[Endpoint]:
        (one, one_feed), (two, two_feed) = [await self._publish(room, identity) for _ in range(2)]
        hears_one, hears_two = [await self._subscribe(room, feed, identity) for feed in (one_feed, two_feed)]
        return [one, two, hears_one, hears_two]

    async def _publish(self, room: str, identity: Identity) -> tuple[Endpoint, int]:
        handle = await self._attach()
        endpoint = Endpoint(identity, publishes=True, local=_own_address())
        join = {"request": "joinandconfigure", "ptype": "publisher", "room": await self._room(room), "display": "load"}
        offer = {"type": "offer", "sdp": endpoint.offer(audio_slots=0, video_slots=0)}
        event = await self._message(handle, join, offer)
        remote = endpoint.take_answer(event["jsep"]["sdp"])
        await endpoint.connect(remote)
        return endpoint, int(event["plugindata"]["data"]["id"])

    async def _subscribe(self, room: str, feed: int, identity: Identity) -> Endpoint:
        handle = await self._attach()
        endpoint = Endpoint(identity, publishes=False, local=_own_address())
        number = await self._room(room)
        join = {"request": "join", "ptype": "subscriber", "room": number, "streams": [{"feed": feed}]}
        offer = (await self._patiently(handle, join))["jsep"]["sdp"]
        answer = {"type": "answer", "sdp": endpoint.answer(offer)}
        await self._message(handle, {"request": "start", "room": number}, answer)
        await endpoint.connect(Remote.of(parse(offer).media[0]))
        return endpoint

    async def _patiently(self, handle: int, body: Mapping[str, object]) -> dict[str, Any]:
        """A publisher who is connected is not at once a feed to Janus."""
        for _ in range(_TRIES):
            try:
                return await self._message(handle, body)
            except JanusError:
                await asyncio.sleep(0.05)
        return await self._message(handle, body)

    async def _room(self, name: str) -> int:
        if name not in self._rooms:
            number = self._rooms[name] = next(self._numbers)
            settings = {"publishers": 3, "videocodec": "vp8", "audiocodec": "opus", "permanent": False}
            await self._message(await self._attach(), {"request": "create", "room": number, **settings})
        return self._rooms[name]

    # --- the WebSocket API ------------------------------------------------------------------------------------------

    async def _connect(self, url: str) -> None:
        self._http = aiohttp.ClientSession()
        async with asyncio.timeout(_PATIENCE_S):
            while self._socket is None:
                assert self._process is not None
                if self._process.poll() is not None:
                    raise ConnectionError("Janus has ended; see janus.log and janus.errors")
                try:
                    self._socket = await self._http.ws_connect(url, protocols=["janus-protocol"], max_msg_size=0)
                except aiohttp.ClientError:
                    await asyncio.sleep(0.05)
        self._tasks.append(asyncio.create_task(self._listen(self._socket)))
        self._session = int((await self._request({"janus": "create"}))["data"]["id"])
        self._tasks.append(asyncio.create_task(self._keep_alive()))

    async def _listen(self, connection: aiohttp.ClientWebSocketResponse) -> None:
        async for message in connection:
            content = message.json()
            waiting = self._answers.get(content.get("transaction", ""))
            if content["janus"] == "ack" or waiting is None or waiting.done():
                continue
            waiting.set_result(content)

    async def _keep_alive(self) -> None:
        while True:
            await asyncio.sleep(_KEEPALIVE_S)
            assert self._socket is not None
            content = {"janus": "keepalive", "session_id": self._session, "transaction": secrets.token_hex(6)}
            await self._socket.send_json(content)

    async def _request(self, content: Mapping[str, object]) -> dict[str, Any]:
        """The final answer to a request (not its ack). JanusError when Janus refuses."""
        assert self._socket is not None
        transaction = secrets.token_hex(6)
        answer = self._answers[transaction] = asyncio.get_running_loop().create_future()
        session = {"session_id": self._session} if self._session else {}
        try:
            await self._socket.send_json({**content, **session, "transaction": transaction})
            async with asyncio.timeout(_PATIENCE_S):
                result: dict[str, Any] = await answer
        finally:
            del self._answers[transaction]
        refusal = result.get("error") or result.get("plugindata", {}).get("data", {}).get("error")
        if refusal:
            raise JanusError(str(refusal))
        return result

    async def _attach(self) -> int:
        answer = await self._request({"janus": "attach", "plugin": "janus.plugin.videoroom"})
        return int(answer["data"]["id"])

    async def _message(
        self, handle: int, body: Mapping[str, object], jsep: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        content: dict[str, object] = {"janus": "message", "handle_id": handle, "body": body}
        if jsep is not None:
            content["jsep"] = jsep
        return await self._request(content)
