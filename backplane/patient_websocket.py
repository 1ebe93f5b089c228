"""A WebSocket whose heartbeat tells a thin link from a dead one.

On a thin link a ping waits behind what was sent before it, and where packets are lost it is sent again after seconds.
aiohttp gives up after half of the interval between two pings. Here that limit counts from the last byte that the peer's
kernel has acknowledged or sent.
"""

from typing import Final

from aiohttp import web

from backplane.tcp_progress import progress

PONG_LONGEST_S: Final = 60.0  # from the ping: a kernel also acknowledges for a program that hangs


class PatientWebSocket(web.WebSocketResponse):
    """As its base, for sockets with a ``heartbeat``."""

    _waited_s: float = 0.0

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
