"""The WebSocket shell: everything that all our sockets have in common, under the protocol that each kind speaks.

    WebSockets --makes one per socket--> SocketProtocol --speaks through--> Link

The shell checks the handshake, admits (`backplane.admission`), reads guarded frames (`backplane.guarded_websocket`),
writes from a bounded queue, ends who does not say in time who it is, and closes. A protocol hears messages and sends
frames; it never waits for a socket. A peer that does not read what it is sent is cut off: it would not read a close
frame either. A thin link is not dead as long as the peer's kernel acknowledges what we send.

WebSocket compression (RFC 7692) is off, because its memory per socket would be the largest of all; a subprotocol may
have a packed form of its own, in binary frames.
"""

import asyncio
import base64
import binascii
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final, Protocol

from aiohttp import WSCloseCode, WSMsgType, web
from prometheus_client import Gauge

from backplane.admission import Admission, Place
from backplane.frames import TOO_MANY_FRAMES
from backplane.guarded_websocket import CLOSE_TIMEOUT_S, GuardedSocket
from backplane.logs import Log
from backplane.tcp_progress import progress
from backplane.web import Problem

PARTIAL_BYTES: Final = 512  # of a message that has not come whole yet: more than pongs bring
NOTHING_PROVED: Final = 4400
SLOW: Final = 4408
_VERSION: Final = "13"
_log = Log(__name__)

Pack = Callable[[bytes], bytes | None]
"""The binary form of a message, or None where it is sent as text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SocketLimits:
    """Of one socket. `frames_per_s` and `frames_burst`: from the peer, of any kind.

    A peer that has not proved who it is may be silent for `silence_s` and stay for `longest_s`, which nothing
    restarts.
    """

    max_frame_bytes: int
    frames_per_s: float
    frames_burst: float
    queue_frames: int
    queue_bytes: int
    silence_s: float
    longest_s: float


class Refusal(Enum):
    """Why the shell closes a socket, with the close code (RFC 6455 section 7.4)."""

    SILENT = "silent", NOTHING_PROVED
    """The peer did not prove in time who it is."""
    CROWDED = "crowded", NOTHING_PROVED
    """It has not proved who it is, and somebody else needs the place."""
    TOO_LARGE = "too_large", int(WSCloseCode.MESSAGE_TOO_BIG)
    TOO_MANY_FRAMES = "too_many_frames", TOO_MANY_FRAMES
    FAULT = "fault", int(WSCloseCode.INTERNAL_ERROR)
    """A fault of ours while a message was handled."""

    @property
    def close_code(self) -> int:
        return self.value[1]


class SocketProtocol(Protocol):
    """What one socket speaks; made for it when it opens."""

    async def receive(self, data: bytes, *, binary: bool) -> None:
        """A message has come. The next one is read when this has returned."""

    def beat(self) -> None:
        """A ping or a pong has come, which costs a turn like any message."""

    def refused(self, refusal: Refusal) -> None:
        """The shell is about to close the socket: the moment to say why, or to close it with another code."""

    def lost(self) -> None:
        """The socket is gone or closes, for whatever reason. Called once, as the last."""


class PatienceClock:
    """How long a peer may stay that has not proved who it is. Without I/O; times are monotonic seconds."""

    def __init__(self, limits: SocketLimits, now: float) -> None:
        self._limits = limits
        self._began_at = self._heard_at = now

    def heard(self, now: float) -> None:
        self._heard_at = now

    def silent(self, now: float) -> bool:
        return now - self._heard_at >= self._limits.silence_s

    def left_s(self, now: float) -> float:
        """Seconds until it must go, if nothing is heard; 0 when it must go now."""
        end = min(self._heard_at + self._limits.silence_s, self._began_at + self._limits.longest_s)
        return max(0.0, end - now)


class Link:
    """One socket as its protocol sees it. No method waits or raises."""

    def __init__(
        self,
        transport: asyncio.Transport | None,
        place: Place,
        limits: SocketLimits,
        pack: Pack | None,
    ) -> None:
        self._transport = transport
        self._place = place
        self._limits = limits
        self._pack = pack
        self._queue: deque[bytes] = deque()
        self._queued_bytes = 0
        self._wake = asyncio.Event()
        self._code: int | None = None
        self._protocol: SocketProtocol | None = None
        self._patience: PatienceClock | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._received_bytes = 0

    @property
    def packs(self) -> bool:
        """Whether the subprotocol has a binary form of messages."""
        return self._pack is not None

    @property
    def closing(self) -> bool:
        return self._code is not None

    def send(self, frame: bytes) -> None:
        if self._code is not None:
            return
        self._queue.append(frame)
        self._queued_bytes += len(frame)
        if len(self._queue) > self._limits.queue_frames or self._queued_bytes > self._limits.queue_bytes:
            self._cut()
        self._wake.set()

    def close(self, code: int) -> None:
        """Close after everything sent so far."""
        if self._code is None:
            self._code = code
            self._wake.set()

    def trust(self) -> None:
        """The peer has proved who it is: it may be silent, and need not make room."""
        self._place.authenticated()
        self._patience = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def distrust(self) -> None:
        """Nothing that the peer has shown holds any more: it may stay as long as somebody who has just come."""
        if self._patience is None:
            self._received_bytes = self._bytes_received()
            self._patience = PatienceClock(self._limits, time.monotonic())
            self._look()

    def begin(self, protocol: SocketProtocol) -> None:
        """For the shell: the socket is open."""
        self._protocol = protocol
        self._place.on_evict(self._make_room)
        self.distrust()

    def heard(self) -> None:
        """For the shell: a message has come."""
        if self._patience is not None:
            self._patience.heard(time.monotonic())

    def refuse(self, refusal: Refusal) -> None:
        """For the shell: close, after the protocol has said why."""
        if self._code is None and self._protocol is not None:
            self._protocol.refused(refusal)
        self.close(refusal.close_code)

    def end(self) -> None:
        """For the shell: the socket is gone. Circles of references are broken, so that its memory goes at once."""
        self.trust()
        self._place.on_evict(None)
        self._protocol = None
        self.close(WSCloseCode.OK)

    async def write(self, socket: GuardedSocket) -> None:
        """For the shell: send what is queued, and the close frame after the last of it. Ends with the socket, which
        nothing else here holds: whoever keeps a link keeps none of the socket's memory."""
        try:
            while True:
                while self._queue:
                    frame = self._queue.popleft()
                    self._queued_bytes -= len(frame)
                    packed = self._pack(frame) if self._pack is not None else None
                    if packed is not None:
                        await socket.send_frame(packed, WSMsgType.BINARY)
                    else:
                        await socket.send_frame(frame, WSMsgType.TEXT)
                    del frame, packed  # an answer is long, and the next wait may be too
                if self._code is not None:
                    await socket.close(code=self._code)
                    return
                self._wake.clear()
                await self._wake.wait()
        except (ConnectionError, RuntimeError):
            return  # closed under our hands; the reader notices it and tells the protocol

    def _cut(self) -> None:
        """The peer does not read, so it would not read a close frame either."""
        self._code = SLOW
        self._queue.clear()
        self._queued_bytes = 0
        if self._transport is not None:
            self._transport.abort()

    def _make_room(self) -> None:
        self.refuse(Refusal.CROWDED)

    def _look(self) -> None:
        """Whether the peer's time is over, or when to look again."""
        assert self._patience is not None
        now = time.monotonic()
        if self._patience.silent(now) and self._brings_more():
            self._patience.heard(now)
        left_s = self._patience.left_s(now)
        if left_s > 0:
            self._timer = asyncio.get_running_loop().call_later(left_s, self._look)
        else:
            self._timer = None
            self.refuse(Refusal.SILENT)

    def _brings_more(self) -> bool:
        """Whether a good deal has come in since this was asked last: a long first message on a thin link."""
        now = self._bytes_received()
        if now < self._received_bytes + PARTIAL_BYTES:
            return False
        self._received_bytes = now
        return True

    def _bytes_received(self) -> int:
        now = progress(self._transport)
        return 0 if now is None else now.received_bytes


class WebSockets:
    """All sockets of one kind in this process.

    `protocol` makes what a new socket speaks. `subprotocols`: those that a client may ask for, the best known
    first, each with its packed form if it has one. `open_sockets` counts them.
    """

    def __init__(
        self,
        protocol: Callable[[Link, web.Request], SocketProtocol],
        subprotocols: Mapping[str, Pack | None],
        limits: SocketLimits,
        admission: Admission,
        open_sockets: Gauge,
    ) -> None:
        self._protocol = protocol
        self._subprotocols = subprotocols
        self._limits = limits
        self._admission = admission
        self._open_sockets = open_sockets
        self._writers: dict[Link, asyncio.Task[None]] = {}

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Upgrade, then carry one socket until it is gone. Problem 400, 426, 429 or 503."""
        check_handshake(request, *self._subprotocols)
        with self._admission.place(request.remote, time.monotonic()) as place:
            socket = GuardedSocket(
                *self._subprotocols,
                max_frame_bytes=self._limits.max_frame_bytes,
                frames_per_s=self._limits.frames_per_s,
                frames_burst=self._limits.frames_burst,
            )
            await socket.prepare(request)
            pack = self._subprotocols.get(socket.ws_protocol or "")
            await self._carry(request, socket, Link(request.transport, place, self._limits, pack))
            return socket

    async def close(self, timeout_s: float) -> None:
        """Send what is queued and close every socket; those that are slower than `timeout_s` are left behind."""
        for link in self._writers:
            link.close(WSCloseCode.GOING_AWAY)
        if self._writers:
            await asyncio.wait(list(self._writers.values()), timeout=timeout_s)

    async def _carry(self, request: web.Request, socket: GuardedSocket, link: Link) -> None:
        protocol = self._protocol(link, request)
        link.begin(protocol)
        socket.explain = lambda code: link.refuse(_CLOSED_BY_READER[code])
        writer = self._writers[link] = asyncio.create_task(link.write(socket))
        self._open_sockets.inc()
        try:
            await _read(socket, link, protocol)
        except Exception:
            _log.error("socket failed", kind=type(protocol).__name__)
            link.refuse(Refusal.FAULT)
        finally:
            link.end()
            self._open_sockets.dec()
            try:
                protocol.lost()
                await asyncio.wait([writer], timeout=CLOSE_TIMEOUT_S)
            finally:
                writer.cancel()
                del self._writers[link]
                socket.untie(request)


_CLOSED_BY_READER: Final = {refusal.close_code: refusal for refusal in (Refusal.TOO_LARGE, Refusal.TOO_MANY_FRAMES)}


async def _read(socket: GuardedSocket, link: Link, protocol: SocketProtocol) -> None:
    while not link.closing:
        message = await socket.receive()
        if message.type is WSMsgType.TEXT or message.type is WSMsgType.BINARY:
            link.heard()
            await protocol.receive(message.data, binary=message.type is WSMsgType.BINARY)
        elif message.type is WSMsgType.PING or message.type is WSMsgType.PONG:
            protocol.beat()
            if message.type is WSMsgType.PING and not link.closing:
                await socket.pong(message.data)
        else:
            return
        del message  # a long one would stay until the next one comes
        await asyncio.sleep(0)  # what came in at once is read without a pause: others have a turn in between


def check_handshake(request: web.Request, *subprotocols: str) -> None:
    """What a client must ask for (RFC 6455 section 4.2.1), one of the subprotocols included. Problem 400 or 426."""
    headers = request.headers
    upgrade = {word.strip().lower() for word in headers.get("Upgrade", "").split(",")}
    connection = {word.strip().lower() for word in ",".join(headers.getall("Connection", ())).split(",")}
    if "websocket" not in upgrade or "upgrade" not in connection:
        raise _upgrade("upgrade_required", "This is a WebSocket.")
    if headers.getall("Sec-WebSocket-Version", []) != [_VERSION]:  # section 4.4
        raise _upgrade("unsupported_version", f"Speak version {_VERSION} of the WebSocket protocol.")
    keys = headers.getall("Sec-WebSocket-Key", [])
    if request.method != "GET" or request.version < (1, 1) or len(keys) != 1 or not _is_key(keys[0]):
        raise Problem(400, "bad_handshake", "A WebSocket begins with GET, HTTP/1.1 and one key of 16 bytes.")
    offered = ",".join(headers.getall("Sec-WebSocket-Protocol", ()))
    if not {name.strip() for name in offered.split(",")} & {*subprotocols}:
        raise Problem(400, "unsupported_protocol", f"Ask for the subprotocol {subprotocols[0]}.")


def _upgrade(code: str, detail: str) -> Problem:
    headers = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": _VERSION}
    return Problem(426, code, detail, headers)


def _is_key(text: str) -> bool:
    try:
        return len(base64.b64decode(text, validate=True)) == 16
    except (binascii.Error, ValueError):
        return False
