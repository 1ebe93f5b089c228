"""aiohttp's WebSocket as we serve it: nobody floods its reader, and its heartbeat tells a thin link from a dead one.

A `FrameGuard` stands before the reader, and pings are not answered by themselves: aiohttp would answer any number of
them before anybody else has a turn. On a thin link our ping waits behind what was sent before it, and where packets are
lost it is sent again after seconds. aiohttp gives up after half of the interval between two pings; here that limit
counts from the last byte that the peer's kernel has acknowledged or sent.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from aiohttp import WSCloseCode, web
from aiohttp._websocket.reader import WebSocketDataQueue
from aiohttp.http import WebSocketError, WebSocketReader, WebSocketWriter
from aiohttp.web_request import BaseRequest

from backplane.frames import TOO_MANY_FRAMES, FrameGuard
from backplane.metrics import Metrics
from backplane.ratelimit import TokenBucket
from backplane.tcp_progress import progress
from backplane.web import METRICS

HEARTBEAT_S: Final = 10.0
PONG_LONGEST_S: Final = 60.0  # from the ping: a kernel also acknowledges for a program that hangs
CLOSE_TIMEOUT_S: Final = 1.0


class _GuardedReader:
    """Stands where aiohttp's connection expects its reader, and hands on what the guard lets through."""

    def __init__(
        self,
        reader: WebSocketReader,
        queue: WebSocketDataQueue,
        guard: FrameGuard,
        transport: asyncio.Transport | None,
        metrics: Metrics,
    ) -> None:
        self._reader = reader
        self._queue = queue
        self._guard = guard
        self._transport = transport
        self._metrics = metrics
        self._told = False

    def feed_eof(self) -> None:
        self._reader.feed_eof()

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        count = self._guard.passes(data, time.monotonic())
        answer: tuple[bool, bytes] = False, b""
        if count:
            answer = self._reader.feed_data(data if count == len(data) else data[:count])
        fault = self._guard.fault
        if fault is not None and not self._told:
            self._told = True
            self._metrics.frame_faults.labels(str(fault.code)).inc()
            # raised by `receive` after what came before it
            self._queue.set_exception(WebSocketError(fault.code, fault.why))
            if self._transport is not None and not self._transport.is_closing():
                self._transport.pause_reading()
        return answer


class GuardedSocket(web.WebSocketResponse):
    """A WebSocket whose reader cannot be flooded; text comes as bytes, pings and pongs as messages.

    `frames_per_s` and `frames_burst` are of frames of any kind; one too many closes with `TOO_MANY_FRAMES`.
    `explain` is called with the close code before the socket closes by itself over what the peer sent (too many
    frames, or one too large), so that the shell can say why in its own protocol.
    """

    def __init__(
        self,
        *subprotocols: str,
        max_frame_bytes: int,
        frames_per_s: float,
        frames_burst: float,
        compress: bool = False,
    ) -> None:
        super().__init__(
            protocols=subprotocols,
            heartbeat=HEARTBEAT_S,
            timeout=CLOSE_TIMEOUT_S,
            compress=compress,
            max_msg_size=max_frame_bytes,
            autoping=False,
            decode_text=False,
        )
        self._bucket = TokenBucket(frames_per_s, frames_burst)
        self._waited_s = 0.0
        self.explain: Callable[[int], None] | None = None

    def _pong_not_received(self) -> None:
        moved = progress(self._req.transport if self._req is not None else None)
        self._waited_s += self._pong_heartbeat
        if moved is None or moved.quiet_s >= self._pong_heartbeat or self._waited_s >= PONG_LONGEST_S:
            super()._pong_not_received()
            return
        assert self._loop is not None
        self._pong_response_cb = self._loop.call_later(self._pong_heartbeat, self._pong_not_received)

    def _reset_heartbeat(self) -> None:
        self._waited_s = 0.0
        super()._reset_heartbeat()

    def _post_start(self, request: BaseRequest, protocol: str | None, writer: WebSocketWriter) -> None:
        # What came in with the handshake would go to the reader at once.
        connection = request.protocol
        early, connection._message_tail = connection._message_tail, b""
        super()._post_start(request, protocol, writer)
        assert self._parser is not None
        assert self._reader is not None
        assert isinstance(request, web.Request)
        guard = FrameGuard(self._bucket, compressed=bool(self._compress))
        guarded = _GuardedReader(self._parser, self._reader, guard, request.transport, request.app[METRICS])
        connection._payload_parser = guarded
        if early:
            guarded.feed_data(early)

    async def pong(self, message: bytes = b"") -> None:
        with suppress(ConnectionError):  # gone meanwhile; the next `receive` tells it
            await super().pong(message)

    async def close(self, *, code: int = WSCloseCode.OK, message: bytes = b"", drain: bool = True) -> bool:
        if code in (WSCloseCode.MESSAGE_TOO_BIG, TOO_MANY_FRAMES) and self.explain is not None:
            explain, self.explain = self.explain, None
            explain(code)
            await asyncio.sleep(0)  # lets what was said be written first
        return await super().close(code=code, message=message, drain=drain)

    def untie(self, request: web.Request) -> None:
        """Lets the 40 KiB of a socket that is gone go at once. Circles wait for the garbage collector, which has to
        look at all other sockets to find them: 0.1 s for 2,000, in which nobody is served."""
        self.explain = None
        request.protocol._data_received_cb = None  # a method of the socket, which has the request, which has this
        error: BaseException | None = self.exception()
        while error is not None:  # the socket keeps it, and its frames keep the socket
            error.__traceback__ = None
            error = error.__context__
