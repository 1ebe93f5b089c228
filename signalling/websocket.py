"""The thin shell between aiohttp's WebSocket and `Conversation`.

The WebSocket's own compression is off (its memory per socket would be the largest of all; `signalling.compression` has
what we do instead), frames are capped while they are read, a ping every 10 s finds dead peers, and what waits to be
written is bounded: a peer that does not read is cut off and may resume. A thin link is not dead as long as the peer's
kernel acknowledges what we send. Who may open a socket, and how many frames it may send, is told in
`backplane.websocket`.
"""

import asyncio
import time
from collections import deque
from functools import partial
from typing import Final

from aiohttp import WSCloseCode, WSMsgType, web

from backplane.logs import Log
from backplane.metrics import Metrics
from backplane.ratelimit import address_key
from backplane.tcp_progress import progress
from backplane.websocket import CLOSE_TIMEOUT_S, Admission, GuardedSocket, Place, check_handshake
from signalling.calls import Calls
from signalling.codes import CloseCode, ErrorCode, SignallingError
from signalling.compression import COMPRESS_FROM_BYTES, COMPRESSED_SUBPROTOCOL, deflate
from signalling.conversation import Conversation
from signalling.messages import MAX_FRAME_BYTES, SUBPROTOCOL

PARTIAL_BYTES: Final = 512  # of a message that has not come whole yet: more than pongs bring
SWEEP_S: Final = 0.5
MAX_QUEUE_FRAMES: Final = 512
MAX_QUEUE_BYTES: Final = 1024 * 1024
MAX_SOCKETS: Final = 10_000
MAX_WAITING: Final = 4_000
MAX_SOCKETS_PER_ADDRESS: Final = 2_000
MAX_WAITING_PER_ADDRESS: Final = 500
OPENINGS_PER_S: Final = 300.0
OPENINGS_BURST: Final = 600.0
FRAMES_PER_S: Final = 40.0  # of any kind: a message may come in fragments, and `Conversation` counts the messages
FRAMES_BURST: Final = 300.0
_log = Log(__name__)


class Connection:
    """The `Link` of one socket: a bounded queue and the task that empties it."""

    def __init__(self, socket: GuardedSocket, transport: asyncio.Transport | None) -> None:
        self._socket = socket
        self.compresses = socket.ws_protocol == COMPRESSED_SUBPROTOCOL
        self._transport = transport
        self._queue: deque[bytes] = deque()
        self._queued_bytes = 0
        self._wake = asyncio.Event()
        self._code: CloseCode | None = None
        before = progress(transport)
        self._received_bytes = before.received_bytes if before is not None else 0

    def send(self, frame: bytes) -> None:
        if self._code is not None:
            return
        self._queue.append(frame)
        self._queued_bytes += len(frame)
        if len(self._queue) > MAX_QUEUE_FRAMES or self._queued_bytes > MAX_QUEUE_BYTES:
            self._cut()
        self._wake.set()

    def close(self, code: CloseCode) -> None:
        if self._code is None:
            self._code = code
            self._wake.set()

    def brings_more(self) -> bool:
        """Whether a good deal has come in since this was asked last: a long first message on a thin link."""
        now = progress(self._transport)
        if now is None or now.received_bytes < self._received_bytes + PARTIAL_BYTES:
            return False
        self._received_bytes = now.received_bytes
        return True

    @property
    def closing(self) -> bool:
        return self._code is not None

    async def write(self) -> None:
        """Send what is queued, and the close frame after the last of it. Ends with the socket."""
        try:
            while True:
                while self._queue:
                    frame = self._queue.popleft()
                    self._queued_bytes -= len(frame)
                    if self.compresses and len(frame) >= COMPRESS_FROM_BYTES:
                        await self._socket.send_frame(deflate(frame), WSMsgType.BINARY)
                    else:
                        await self._socket.send_frame(frame, WSMsgType.TEXT)
                    del frame  # an answer is long, and the next wait may be too
                if self._code is not None:
                    await self._socket.close(code=self._code)
                    return
                self._wake.clear()
                await self._wake.wait()
        except (ConnectionError, RuntimeError):
            return  # closed under our hands; the reader notices it and tells the session

    def _cut(self) -> None:
        """The peer does not read, so it would not read a close frame either."""
        self._code = CloseCode.SLOW
        self._queue.clear()
        self._queued_bytes = 0
        if self._transport is not None:
            self._transport.abort()


class Signalling:
    """All signalling sockets: the handler of GET /v1/signal and the task that lets time pass."""

    def __init__(self, calls: Calls, metrics: Metrics) -> None:
        self._calls = calls
        self._metrics = metrics
        self._waiting: dict[Conversation, Place] = {}
        self._connections: dict[Connection, asyncio.Task[None]] = {}
        self._admission = Admission(
            total=MAX_SOCKETS,
            waiting=MAX_WAITING,
            per_address=MAX_SOCKETS_PER_ADDRESS,
            waiting_per_address=MAX_WAITING_PER_ADDRESS,
            opened_per_s=OPENINGS_PER_S,
            opened_burst=OPENINGS_BURST,
        )

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Upgrade, then carry one conversation until its socket is gone. Problem 400, 426, 429 or 503."""
        check_handshake(request, SUBPROTOCOL, COMPRESSED_SUBPROTOCOL)
        with self._admission.place(request.remote, time.monotonic()) as place:
            return await self._carry(request, place)

    async def _carry(self, request: web.Request, place: Place) -> web.StreamResponse:
        socket = GuardedSocket(
            SUBPROTOCOL,
            COMPRESSED_SUBPROTOCOL,
            max_frame_bytes=MAX_FRAME_BYTES,
            frames_per_s=FRAMES_PER_S,
            frames_burst=FRAMES_BURST,
        )
        await socket.prepare(request)
        connection = Connection(socket, request.transport)
        conversation = Conversation(
            self._calls, self._metrics, connection, time.monotonic(), address_key(request.remote or "")
        )
        socket.explain = partial(_refuse, conversation)
        place.on_evict(partial(_refuse, conversation, None))
        writer = asyncio.create_task(connection.write())
        self._connections[connection] = writer
        self._waiting[conversation] = place
        self._metrics.sockets.inc()
        try:
            await self._read(socket, connection, conversation)
        finally:
            conversation.lost(time.monotonic())
            place.on_evict(None)
            self._waiting.pop(conversation, None)
            del self._connections[connection]
            self._metrics.sockets.dec()
            connection.close(CloseCode.NORMAL)
            try:
                await asyncio.wait([writer], timeout=CLOSE_TIMEOUT_S)
            finally:
                writer.cancel()
                socket.untie(request)
        return socket

    async def sweep(self) -> None:
        """Let time pass for sessions and for conversations that have not begun. Runs until cancelled."""
        while True:
            await asyncio.sleep(SWEEP_S)
            try:
                self.sweep_once(time.monotonic())
            except Exception:
                _log.error("sweep failed")

    def sweep_once(self, now: float) -> None:
        self._calls.sweep(now)
        for conversation in list(self._waiting):
            try:
                conversation.sweep(now)
            except Exception:  # a fault of ours in one must not keep the others from their end
                _log.error("sweep failed")

    async def close(self, timeout_s: float) -> None:
        """Send what is queued and close every socket; those that are slower than ``timeout_s`` are left behind."""
        for connection in self._connections:
            connection.close(CloseCode.GOING_AWAY)
        if self._connections:
            await asyncio.wait(list(self._connections.values()), timeout=timeout_s)

    async def _read(self, socket: GuardedSocket, connection: Connection, conversation: Conversation) -> None:
        while not connection.closing:
            message = await socket.receive()
            now = time.monotonic()
            if message.type is WSMsgType.TEXT:
                conversation.receive(message.data, now)
            elif message.type is WSMsgType.BINARY and connection.compresses:
                conversation.receive(message.data, now, compressed=True)
            elif message.type is WSMsgType.PING or message.type is WSMsgType.PONG:
                conversation.beat(now)
                if message.type is WSMsgType.PING and not connection.closing:
                    await socket.pong(message.data)
            elif message.type is WSMsgType.BINARY:
                conversation.refuse(SignallingError(ErrorCode.BAD_MESSAGE, "Only text frames are read."), now)
            else:
                return
            del message  # a join and its offer would stay until the next message comes
            if conversation.joined:
                self._no_longer_waiting(conversation)
            # what has come in at once is read without a pause: everybody else has a turn in between
            await asyncio.sleep(0)

    def _no_longer_waiting(self, conversation: Conversation) -> None:
        place = self._waiting.pop(conversation, None)
        if place is not None:
            place.authenticated()


def _refuse(conversation: Conversation, close_code: int | None) -> None:
    """Say why a socket is closed. ``close_code`` None: somebody else needs the place of one that has not joined."""
    if close_code is None:
        code = ErrorCode.NOT_JOINED
    else:
        code = ErrorCode.TOO_LARGE if close_code == WSCloseCode.MESSAGE_TOO_BIG else ErrorCode.RATE_LIMITED
    conversation.refuse(SignallingError(code), time.monotonic())
