"""Whether bytes still move on a TCP connection, as the kernel counts them (TCP_INFO, tcp(7); linux/tcp.h).

A time limit for an answer cannot tell a thin link from a dead one: a long frame needs its time, and whatever is asked
waits behind it. The kernel can, because it knows when the peer's kernel last acknowledged something.
"""

import asyncio
import socket
import struct
from dataclasses import dataclass
from typing import Final

_LAST_RECEIVED: Final = struct.Struct("=52xII")  # tcpi_last_data_recv, tcpi_last_ack_recv, milliseconds ago
_BYTES: Final = struct.Struct("=128xQ")  # tcpi_bytes_received
_SIZE: Final = _BYTES.size


@dataclass(frozen=True, slots=True)
class Progress:
    """``quiet_s``: seconds since data or an acknowledgement came. ``received_bytes``: since the connection was made."""

    quiet_s: float
    received_bytes: int


def progress(transport: asyncio.BaseTransport | None) -> Progress | None:
    """None when the transport is gone or is no TCP connection of a Linux that tells this (4.1)."""
    connection = transport.get_extra_info("socket") if transport is not None else None
    if connection is None:
        return None
    try:
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _SIZE)
    except OSError:
        return None
    if len(info) < _SIZE:
        return None
    data_ms, acknowledged_ms = _LAST_RECEIVED.unpack_from(info)
    (received_bytes,) = _BYTES.unpack_from(info)
    return Progress(min(data_ms, acknowledged_ms) / 1000, received_bytes)
