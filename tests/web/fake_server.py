"""A server for page tests: the real files under the real content policy, and a signalling script instead of a room.

It answers an offer so that a browser accepts it, but no media ever flow: what the page shows is steered by the pushes
of the test. Calls between real servers and real browsers stand in tests/browser.
"""

import asyncio
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aiohttp import WSMsgType, web

from backplane.web import secure
from server.pages import Pages

WEB = Path(__file__).resolve().parents[2] / "web"
PAGES = Pages(WEB)  # of all servers: what was read and packed once need not be again
ROOM = "test-room-0123456789abcdef"
FINGERPRINT = ":".join(["A1"] * 32)
NOT_COPIED = re.compile(
    r"a=(sendrecv|sendonly|recvonly|inactive|ssrc|msid|candidate|end-of-cand|ice-|fingerprint|setup|rtcp:)"
)


def answer_to(offer: str) -> str:
    """An ICE-lite answer that accepts every m-line and leads to a port where nobody is."""
    session, *sections = re.split(r"(?m)^(?=m=)", offer)
    group = next(line for line in session.splitlines() if line.startswith("a=group:BUNDLE"))
    lines = ["v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=-", "t=0 0", "a=ice-lite", group, "a=msid-semantic: WMS *"]
    for section in sections:
        mid = re.search(r"(?m)^a=mid:(\S+)", section)
        assert mid is not None
        first, *rest = section.splitlines()
        slot = "a=recvonly" in rest
        lines += [re.sub(r"^(m=\w+) \d+", r"\1 9", first), "c=IN IP4 127.0.0.1"]
        lines += [line for line in rest if line.startswith("a=") and not NOT_COPIED.match(line)]
        lines += [
            "a=ice-ufrag:fake",
            "a=ice-pwd:" + "f" * 24,
            f"a=fingerprint:sha-256 {FINGERPRINT}",
            "a=setup:passive",
        ]
        lines += ["a=candidate:1 1 udp 2130706431 127.0.0.1 9 typ host", "a=end-of-candidates"]
        lines += [f"a=msid:slot-{mid[1]} slot-{mid[1]}", "a=sendonly"] if slot else ["a=recvonly"]
    return "\r\n".join(lines) + "\r\n"


def person(identity: str, name: str, **changes: Any) -> dict[str, Any]:
    """A participant as the protocol describes one, with microphone and camera."""
    muted = {"microphone": False, "camera": False, **changes.pop("muted", {})}
    tracks = [
        {
            "id": f"{identity}-{source}",
            "source": source,
            "kind": "audio" if source == "microphone" else "video",
            "muted": value,
        }
        for source, value in muted.items()
    ]
    return {"id": identity, "name": name, "role": "guest", "connection": "connected", "tracks": tracks, **changes}


class FakeServer:
    """Web application and script in one. ``requests`` holds every message of the page, in order."""

    def __init__(self) -> None:
        self.participants: list[dict[str, Any]] = []
        self.rights = ["publish", "subscribe", "share_screen", "moderate"]
        self.refusal: dict[str, Any] | None = None
        self.rooms_refused: tuple[int, str] | None = None  # status and code
        self.ice_servers: list[dict[str, Any]] = []
        self.relay_asked_with: list[str] = []
        self.requests: list[dict[str, Any]] = []
        self.connections = 0
        self.accepting = True
        self._socket: web.WebSocketResponse | None = None
        self._seq = 0
        self._news = asyncio.Condition()
        self.app = web.Application()
        self.app.on_response_prepare.append(secure)
        PAGES.add_routes(self.app)
        self.app.router.add_post("/v1/rooms", self._make_room)
        self.app.router.add_post("/v1/rooms/{room}/tokens", self._make_token)
        self.app.router.add_post("/v1/ice-servers", self._give_ice_servers)
        self.app.router.add_get("/v1/signal", self._signal)

    async def push(self, kind: str, **fields: Any) -> None:
        self._seq += 1
        assert self._socket is not None
        await self._socket.send_json({"type": kind, "seq": self._seq, **fields})

    async def cut(self) -> None:
        """The socket breaks and none is accepted until ``accepting`` is set again."""
        self.accepting = False
        assert self._socket is not None
        await self._socket.close(code=1011)

    def of_type(self, kind: str) -> list[dict[str, Any]]:
        return [message for message in self.requests if message["type"] == kind]

    async def heard(self, kind: str) -> list[dict[str, Any]]:
        """`of_type`, when there is at least one: the page shows what it does before it has told."""
        async with asyncio.timeout(10), self._news:
            await self._news.wait_for(lambda: self.of_type(kind))
        return self.of_type(kind)

    async def _make_room(self, request: web.Request) -> web.Response:
        if self.rooms_refused is not None:
            status, code = self.rooms_refused
            problem = {"status": status, "title": "", "code": code, "detail": "In English."}
            return web.json_response(problem, status=status, content_type="application/problem+json")
        link = f"{request.scheme}://{request.host}/call/{ROOM}"
        return web.json_response({"room": ROOM, "link": link, "host_token": "host"}, status=201)

    async def _make_token(self, request: web.Request) -> web.Response:
        if request.match_info["room"] != ROOM:
            problem = {"status": 404, "title": "Not Found", "code": "unknown_room"}
            return web.json_response(problem, status=404, content_type="application/problem+json")
        return web.json_response({"token": "token", "room": ROOM}, status=201)

    async def _give_ice_servers(self, request: web.Request) -> web.Response:
        self.relay_asked_with.append(request.headers["Authorization"])
        return web.json_response({"ice_servers": self.ice_servers, "expires_at": 0, "lifetime_s": 3600})

    async def _signal(self, request: web.Request) -> web.WebSocketResponse:
        if not self.accepting:
            raise web.HTTPServiceUnavailable
        socket = web.WebSocketResponse(protocols=("wadud.v1",))
        await socket.prepare(request)
        self.connections += 1
        async for frame in socket:
            if frame.type is not WSMsgType.TEXT:
                continue
            message = json.loads(frame.data)
            async with self._news:
                self.requests.append(message)
                self._news.notify_all()
            if message["type"] in ("join", "resume"):
                self._socket = socket
            await socket.send_json({"re": message["id"], **self._answer(message)})
            if message["type"] == "leave":
                await socket.close()
        return socket

    def _answer(self, message: Mapping[str, Any]) -> dict[str, Any]:
        match message["type"]:
            case "join" if self.refusal is not None:
                return {"type": "error", "message": "", "fatal": True, **self.refusal}
            case "join":
                self._seq = 0
                return {
                    "type": "joined", "session": "s", "secret": "x", "participant": "me", "room": ROOM, "slots": [],
                    "answer": answer_to(message["offer"]), "participants": self.participants, "rights": self.rights,
                    "resume_window_s": 30,
                }  # fmt: skip
            case "resume":
                return {"type": "resumed", "participants": self.participants, "slots": [], "generation": 2}
            case "offer":
                return {"type": "answer", "sdp": answer_to(message["sdp"]), "slots": []}
            case "ping":
                return {"type": "pong", "time_ms": 0}
            case _:
                return {"type": "done"}
