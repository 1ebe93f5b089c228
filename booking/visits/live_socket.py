"""One live socket: what it watches, what waits to be written to it, and how long it may show nothing it may see.

A socket that watches nothing is a stranger's. It has `SILENCE_S` to show a ticket, from when it opened or from when its
last watch ended; nothing it sends but a ticket that holds stops this clock.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Final
from uuid import UUID

from aiohttp import WSMsgType

from backplane.websocket import GuardedSocket, Place
from booking.visits.live_messages import CloseCode, Error, LiveTicket, ServerMessage, encode
from booking.visits.live_sources import Shown

SILENCE_S: Final = 10.0
MAX_QUEUED: Final = 64


class Watching:
    """One thing that one socket shows."""

    def __init__(self, socket: "LiveSocket", id: int, ticket: LiveTicket, after: int) -> None:
        self.socket = socket
        self.id = id
        self.ticket = ticket
        self.after = after
        self.shown: Shown | None = None


class LiveSocket:
    """One socket's watches and its bounded queue of what is to be written."""

    def __init__(
        self, socket: GuardedSocket, transport: asyncio.Transport | None, place: Place, count: Callable[[str], None]
    ) -> None:
        self.watches: dict[int, Watching] = {}
        self.holder: UUID | None = None
        self.seq = 0
        self.closing = False
        self.place = place
        self._count = count
        self._socket = socket
        self._transport = transport
        self._queue: asyncio.Queue[bytes | CloseCode] = asyncio.Queue()
        self._deadline: asyncio.TimerHandle | None = None
        self._expect_a_watch()

    def add(self, watch: Watching) -> None:
        self.watches[watch.id] = watch
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def remove(self, watch: Watching) -> None:
        self.watches.pop(watch.id, None)
        if not self.watches and not self.closing:
            self._expect_a_watch()

    def _expect_a_watch(self) -> None:
        if self._deadline is None:
            self._deadline = asyncio.get_running_loop().call_later(SILENCE_S, self.silent)

    def silent(self) -> None:
        """Its time is over, or somebody else needs the place."""
        self.close(CloseCode.PROTOCOL, Error("silent", "Nothing was asked for in time."))

    def flooded(self, code: int) -> None:
        """Say why, before a socket that sent too much is closed."""
        if code == CloseCode.RATE:
            self.close(CloseCode.RATE, Error("rate_limited", "Too many frames."))

    def send(self, message: ServerMessage) -> None:
        if self.closing:
            return
        if self._queue.qsize() >= MAX_QUEUED:  # it does not read, so it would not read a close frame either
            self.closing = True
            if self._transport is not None:
                self._transport.abort()
            return
        self._queue.put_nowait(encode(message))

    def close(self, code: CloseCode, error: Error | None = None) -> None:
        if not self.closing:
            if error is not None:
                self._count(error.code)
                self.send(error)
            self.closing = True
            self._queue.put_nowait(code)

    def lost(self) -> None:
        """The connection is gone: nothing is waited for any more."""
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        self.close(CloseCode.NORMAL)

    async def write(self) -> None:
        """Ends with the socket."""
        with suppress(ConnectionError, RuntimeError):
            while True:
                item = await self._queue.get()
                if isinstance(item, CloseCode):
                    await self._socket.close(code=item)
                    return
                await self._socket.send_frame(item, WSMsgType.TEXT)
