"""Two stream sockets made one: what comes from either goes to the other, untouched (RFC 6062 sections 5.4 and 5.5).

A direction reads only when nothing of it waits to be written, so at most one read is kept per direction and the rest
waits in the kernel, whose windows slow the sender down. An end of stream is passed on once everything before it was
written, and the other direction goes on: closed is the pair when both have ended. A reset ends both at once, as a
reset. Whoever keeps one direction open for ever without a word is ended by its owner: see `idle_since`.

`Allowance` holds an allocation to its bandwidth: a direction that has read more than there was stops reading until the
debt is paid.
"""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable
from typing import Final

READ_BYTES: Final = 64 * 1024
BURST_S: Final = 0.5  # of an allowance that was not used
_RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER


class Allowance:
    """What the connections of one allocation may carry, both ways together; ``bandwidth_bps`` of 0 = anything."""

    def __init__(self, bandwidth_bps: int) -> None:
        self._rate = bandwidth_bps / 8
        self._most = max(self._rate * BURST_S, READ_BYTES)
        self._level = self._most
        self._filled_at: float | None = None

    def spend(self, size: int, now: float) -> float:
        """Book ``size`` bytes; returns for how many seconds to carry no more."""
        if not self._rate:
            return 0.0
        if self._filled_at is not None:
            self._level = min(self._most, self._level + (now - self._filled_at) * self._rate)
        self._filled_at = now
        self._level -= size
        return max(0.0, -self._level / self._rate)


class Splice:
    """Carries bytes between two sockets (non-blocking) and owns them. ``ended`` is called once, when both are closed,
    unless `close` did it. ``moved_at`` is when a byte was last carried."""

    def __init__(
        self,
        client: socket.socket,
        peer: socket.socket,
        allowance: Allowance,
        clock: Callable[[], float],
        ended: Callable[[], None],
    ) -> None:
        self.loop: Final = asyncio.get_running_loop()
        self.allowance: Final = allowance
        self.clock: Final = clock
        self.moved_at = clock()
        self._ended = ended
        self._open = True
        self._sockets = (client, peer)
        self._to_peer = _Flow(self, client, peer)
        self._to_client = _Flow(self, peer, client)
        self._to_peer.resume()
        self._to_client.resume()

    @property
    def bytes_to_peer(self) -> int:
        return self._to_peer.bytes

    @property
    def bytes_to_client(self) -> int:
        return self._to_client.bytes

    @property
    def idle_since(self) -> float | None:
        """Since when nothing has moved, if one direction has ended; else None."""
        return self.moved_at if self._to_peer.ended or self._to_client.ended else None

    def close(self) -> None:
        """End both sides now; what the kernel has taken is still delivered."""
        if not self._open:
            return
        self._open = False
        self._to_peer.stop()
        self._to_client.stop()
        for sock in self._sockets:
            sock.close()

    def reset(self) -> None:
        """One side is gone without an end; the other learns it the same way."""
        for sock in self._sockets:
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.close()
        self._ended()

    def flow_ended(self) -> None:
        if self._to_peer.passed_end and self._to_client.passed_end:
            self.close()
            self._ended()


class _Flow:
    """One direction."""

    __slots__ = ("_delay", "_reading", "_sink", "_source", "_splice", "_waiting", "bytes", "ended", "passed_end")

    def __init__(self, splice: Splice, source: socket.socket, sink: socket.socket) -> None:
        self.bytes = 0
        self.ended = False  # the source has said all
        self.passed_end = False  # and the sink knows
        self._splice = splice
        self._source = source
        self._sink = sink
        self._waiting = memoryview(b"")
        self._reading = False
        self._delay: asyncio.TimerHandle | None = None

    def resume(self) -> None:
        """Read on, unless something speaks against it."""
        self._delay = None
        if not (self._reading or self.ended or self._waiting):
            self._reading = True
            self._splice.loop.add_reader(self._source, self._readable)

    def stop(self) -> None:
        self._pause()
        if self._waiting:
            self._waiting = memoryview(b"")
            self._splice.loop.remove_writer(self._sink)
        if self._delay is not None:
            self._delay.cancel()
            self._delay = None

    def _pause(self) -> None:
        if self._reading:
            self._reading = False
            self._splice.loop.remove_reader(self._source)

    def _readable(self) -> None:
        try:
            data = self._source.recv(READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._splice.reset()
            return
        if not data:
            self._pause()
            self.ended = True
            self._pass_end()
            return
        now = self._splice.clock()
        self._splice.moved_at = now
        self.bytes += len(data)
        wait_s = self._splice.allowance.spend(len(data), now)
        if wait_s:
            self._pause()
            self._delay = self._splice.loop.call_later(wait_s, self.resume)
        sent = self._send(data)
        if 0 <= sent < len(data):
            self._pause()
            self._waiting = memoryview(data)[sent:]
            self._splice.loop.add_writer(self._sink, self._writable)

    def _writable(self) -> None:
        sent = self._send(self._waiting)
        if sent < 0:
            return
        self._waiting = self._waiting[sent:]
        if not self._waiting:
            self._splice.loop.remove_writer(self._sink)
            self._splice.moved_at = self._splice.clock()
            if self._delay is None:
                self.resume()

    def _send(self, data: bytes | memoryview) -> int:
        """How much was taken; negative when the sink is gone, and all is over."""
        try:
            return self._sink.send(data)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError:
            self._splice.reset()
            return -1

    def _pass_end(self) -> None:
        """Nothing waits: an end is read only when all before it was written."""
        with contextlib.suppress(OSError):  # the sink has ended too, and nobody is left to be told
            self._sink.shutdown(socket.SHUT_WR)
        self.passed_end = True
        self._splice.flow_ended()
