"""Carries what is inside a TLS connection to and from a plain socket, for code that takes descriptors.

The packet plane in C speaks no TLS: it is handed one end of a socket pair and treats it like a TCP connection. Nothing
here is a queue: a direction whose far side does not read stops reading on its near side, so at most one read (256 KiB
from TLS) and the buffers of the two sockets and the transport wait. Those towards the client are kept short, because
media that waits is media too late; the plane drops what finds no room. When one side ends, so does the other.

Of TURN each message leaves in a TLS record of its own, as from other servers. To TLS it makes no difference, but
clients have come to rely on it: coturn's own tools take whatever one record brings for one message. Not so on the data
connections of TCP allocations, which begin with ConnectionBind and go on with what a peer says (RFC 6062 section 4.3).
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import Final

from backplane.nonblocking import received

READ_BYTES: Final = 64 * 1024
WRITE_HIGH_BYTES: Final = 32 * 1024
PAIR_BUFFER_BYTES: Final = 32 * 1024  # from the plane; the kernel counts its own overhead too and doubles it
LINGER_S: Final = 5.0  # for the last bytes to a client that reads slowly
STUCK_S: Final = 30.0  # the client takes nothing: its window can stay shut for ever, and the plane's end is not watched
_STUN_HEADER: Final = 20
_CHANNEL_HEADER: Final = 4
_CONNECTION_BIND: Final = b"\x00\x0b"


def turn_messages(data: bytes) -> tuple[list[bytes], bytes]:
    """The whole messages at the front of what a TURN connection carries (RFC 8656 section 12.5), and the rest."""
    whole, begin, end = [], 0, len(data)
    while end - begin >= _CHANNEL_HEADER:
        header = _CHANNEL_HEADER if data[begin] & 0xC0 else _STUN_HEADER
        size = header + int.from_bytes(data[begin + 2 : begin + 4]) + 3 & ~3
        if size > end - begin:
            break
        whole.append(data[begin : begin + size])
        begin += size
    return whole, data[begin:]


class Bridge(asyncio.Protocol):
    """Takes ``transport`` over at once, ``first`` being what was read of it already. ``far``: the other end, for who
    reads plain bytes; it is theirs to close. ``ended`` is called once, when the client is gone. ``turn``: what comes
    from ``far`` is TURN messages.

    Raises:
        OSError: no more descriptors.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        transport: asyncio.Transport,
        first: bytes,
        ended: Callable[["Bridge"], None],
        *,
        turn: bool = False,
    ) -> None:
        self._loop = loop
        self._transport = transport
        self._ended = ended
        self._turn = turn
        self._opening = b""  # of the client
        self._begun = b""  # from far, a message that is not complete
        self._waiting = bytearray()  # from the client, for want of room in the pair
        self._open = True
        self._stuck: asyncio.TimerHandle | None = None
        self._near, self.far = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self._near.setblocking(False)
        self.far.setblocking(False)
        self.far.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, PAIR_BUFFER_BYTES)
        transport.set_write_buffer_limits(high=WRITE_HIGH_BYTES)
        transport.set_protocol(self)
        loop.add_reader(self._near, self._from_far)
        if first:
            self.data_received(first)

    def abort(self) -> None:
        """End both sides now."""
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        if not self._open:
            return
        if self._turn and len(self._opening) < len(_CONNECTION_BIND):
            self._opening += data[: len(_CONNECTION_BIND)]
            self._turn = not self._opening.startswith(_CONNECTION_BIND)
        if self._waiting:  # decrypted before reading was paused
            self._waiting += data
            return
        sent = self._send(data)
        if sent < len(data) and self._open:
            self._waiting += memoryview(data)[sent:]
            self._transport.pause_reading()
            self._loop.add_writer(self._near, self._room_in_pair)

    def eof_received(self) -> None:
        """The transport closes itself: TLS is not half closed."""

    def connection_lost(self, exc: Exception | None) -> None:
        if self._open and self._waiting:
            self._send(bytes(self._waiting))  # as much as there is room for; nobody is left to wait for the rest
        self._shut()
        self._ended(self)

    def pause_writing(self) -> None:
        if self._open:
            self._loop.remove_reader(self._near)
            self._stuck = self._loop.call_later(STUCK_S, self.abort)

    def resume_writing(self) -> None:
        if self._stuck is not None:
            self._stuck.cancel()
        if self._open:
            self._loop.add_reader(self._near, self._from_far)

    def _from_far(self) -> None:
        data = received(self._near, READ_BYTES)
        if data is None:
            return
        if data and self._turn:
            whole, self._begun = turn_messages(self._begun + data)
            self._transport.writelines(whole)
        elif data:
            self._transport.write(data)
        else:
            self._far_ended()

    def _room_in_pair(self) -> None:
        sent = self._send(bytes(self._waiting))
        del self._waiting[:sent]
        if self._open and not self._waiting:
            self._loop.remove_writer(self._near)
            self._transport.resume_reading()

    def _send(self, data: bytes) -> int:
        try:
            return self._near.send(data)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError:
            self._far_ended()
            return 0

    def _far_ended(self) -> None:
        self._shut()
        self._transport.close()
        self._loop.call_later(LINGER_S, self._transport.abort)

    def _shut(self) -> None:
        if not self._open:
            return
        self._open = False
        if self._stuck is not None:
            self._stuck.cancel()
        self._waiting.clear()
        self._loop.remove_reader(self._near)
        self._loop.remove_writer(self._near)
        with contextlib.suppress(OSError):
            self._near.close()
