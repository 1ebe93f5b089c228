"""The asyncio shell of `rtc.peer`: one UDP socket, one timer."""

import asyncio
import time
from typing import cast

from rtc.peer import Address, Peer


class PeerSocket(asyncio.DatagramProtocol):
    """Drives a peer on a socket of its own. Call `pump` after anything that makes the peer want to send."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self._timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.DatagramTransport | None = None
        self.changed = asyncio.Event()
        """Set after every datagram received; clear it, then wait for it again."""

    @classmethod
    async def open(cls, peer: Peer, local: str = "127.0.0.1") -> "PeerSocket":
        """Bind a free port of `local`."""
        loop = asyncio.get_running_loop()
        _, protocol = await loop.create_datagram_endpoint(lambda: cls(peer), local_addr=(local, 0))
        return protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: Address) -> None:
        self.peer.receive(data, addr, time.monotonic())
        self.pump()
        self.changed.set()

    def pump(self) -> None:
        """Send what waits and set the timer."""
        now = time.monotonic()
        if self._transport is None or self._transport.is_closing():
            return
        for data, address in self.peer.datagrams_to_send(now):
            self._transport.sendto(data, address)
        if self._timer:
            self._timer.cancel()
            self._timer = None
        due = self.peer.timer()
        if due is not None:
            self._timer = asyncio.get_running_loop().call_later(max(0.0, due - now), self._fire)

    def _fire(self) -> None:
        self._timer = None
        self.peer.handle_timer(time.monotonic())
        self.pump()

    async def until_connected(self, timeout_s: float = 10) -> None:
        """Wait for keys. TimeoutError, or ConnectionError when the handshake failed."""
        async with asyncio.timeout(timeout_s):
            while not self.peer.connected:
                if self.peer.failure:
                    raise ConnectionError(self.peer.failure)
                self.changed.clear()
                await self.changed.wait()

    def close(self) -> None:
        if self._timer:
            self._timer.cancel()
        if self._transport:
            self._transport.close()
