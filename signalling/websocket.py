"""`Conversation` on the WebSocket shell: subprotocols, limits, and what a refusal of the shell is called in wadud.v1.

The packed form of a message is in `signalling.compression`.
"""

import asyncio
import time
from collections.abc import Mapping
from typing import Final

from aiohttp import web

from backplane.admission import Admission
from backplane.logs import Log
from backplane.metrics import Metrics
from backplane.ratelimit import address_key
from backplane.websocket import Link, Refusal, SocketLimits, WebSockets
from signalling.calls import Calls
from signalling.codes import ErrorCode, SignallingError
from signalling.compression import COMPRESS_FROM_BYTES, COMPRESSED_SUBPROTOCOL, deflate
from signalling.conversation import Conversation
from signalling.messages import MAX_FRAME_BYTES, SUBPROTOCOL

SWEEP_S: Final = 0.5
MAX_SOCKETS: Final = 10_000
MAX_WAITING: Final = 4_000
MAX_SOCKETS_PER_ADDRESS: Final = 2_000
MAX_WAITING_PER_ADDRESS: Final = 500
OPENINGS_PER_S: Final = 300.0
OPENINGS_BURST: Final = 600.0
LIMITS: Final = SocketLimits(
    max_frame_bytes=MAX_FRAME_BYTES,
    frames_per_s=40.0,  # a message may come in fragments, and `Conversation` counts the messages
    frames_burst=300.0,
    queue_frames=512,
    queue_bytes=1024 * 1024,
    silence_s=15.0,
    longest_s=120.0,  # a page that takes longer opens a new socket
)
_REFUSALS: Final[Mapping[Refusal, ErrorCode]] = {
    Refusal.SILENT: ErrorCode.NOT_JOINED,
    Refusal.CROWDED: ErrorCode.NOT_JOINED,
    Refusal.TOO_LARGE: ErrorCode.TOO_LARGE,
    Refusal.TOO_MANY_FRAMES: ErrorCode.RATE_LIMITED,
    Refusal.FAULT: ErrorCode.SERVER_ERROR,
}
_log = Log(__name__)


class Signalling:
    """All signalling sockets: the handler of GET /v1/signal and the task that lets time pass."""

    def __init__(self, calls: Calls, metrics: Metrics) -> None:
        self._calls = calls
        self._metrics = metrics
        admission = Admission(
            total=MAX_SOCKETS,
            waiting=MAX_WAITING,
            per_address=MAX_SOCKETS_PER_ADDRESS,
            waiting_per_address=MAX_WAITING_PER_ADDRESS,
            opened_per_s=OPENINGS_PER_S,
            opened_burst=OPENINGS_BURST,
        )
        subprotocols = {SUBPROTOCOL: None, COMPRESSED_SUBPROTOCOL: _pack}
        self._sockets = WebSockets(self._opened, subprotocols, LIMITS, admission, metrics.sockets)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Carry one socket. Problem 400, 426, 429 or 503."""
        return await self._sockets.handle(request)

    async def close(self, timeout_s: float) -> None:
        """The process goes away. Sockets that take longer than ``timeout_s`` are left behind."""
        await self._sockets.close(timeout_s)

    async def sweep(self) -> None:
        """Let time pass for sessions. Runs until cancelled."""
        while True:
            await asyncio.sleep(SWEEP_S)
            try:
                self._calls.sweep(time.monotonic())
            except Exception:
                _log.error("sweep failed")

    def _opened(self, link: Link, request: web.Request) -> "_SignallingSocket":
        address = address_key(request.remote or "")
        return _SignallingSocket(link, Conversation(self._calls, self._metrics, link, address))


class _SignallingSocket:
    """One conversation, with the clock."""

    def __init__(self, link: Link, conversation: Conversation) -> None:
        self._link = link
        self._conversation = conversation

    async def receive(self, data: bytes, *, binary: bool) -> None:
        now = time.monotonic()
        if binary and not self._link.packs:
            self._conversation.refuse(SignallingError(ErrorCode.BAD_MESSAGE, "Only text frames are read."), now)
            return
        self._conversation.receive(data, now, compressed=binary)
        if self._conversation.joined:
            self._link.trust()

    def beat(self) -> None:
        self._conversation.beat(time.monotonic())

    def refused(self, refusal: Refusal) -> None:
        self._conversation.refuse(SignallingError(_REFUSALS[refusal]), time.monotonic())

    def lost(self) -> None:
        self._conversation.lost(time.monotonic())


def _pack(frame: bytes) -> bytes | None:
    return deflate(frame) if len(frame) >= COMPRESS_FROM_BYTES else None
