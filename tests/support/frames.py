"""Frames of a WebSocket client made by hand (RFC 6455 section 5.2), so that they can be wrong."""

import asyncio
import base64
from typing import Final

TEXT: Final = 0x1
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA
_MASK: Final = b"\x11\x22\x33\x44"


def frame(
    opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0, mask: bool = True, length_bytes: int = 0
) -> bytes:
    """``length_bytes``: 2 or 8 for a length in a longer form than it needs."""
    size = len(payload)
    short = length_bytes == 0 and size < 126
    wide = length_bytes == 8 or (length_bytes == 0 and size > 0xFFFF)
    flag = size if short else 127 if wide else 126
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode, (0x80 if mask else 0) | flag])
    head += b"" if short else size.to_bytes(8 if wide else 2)
    if not mask:
        return head + payload
    return head + _MASK + bytes(byte ^ _MASK[index % 4] for index, byte in enumerate(payload))


def close(code: int | None, reason: bytes = b"") -> bytes:
    return frame(CLOSE, b"" if code is None else code.to_bytes(2) + reason)


def handshake(path: str, subprotocol: str, **changes: str | None) -> bytes:
    """``changes``: headers by name with _ for -; None leaves one out."""
    headers: dict[str, str | None] = {
        "Host": "localhost",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": base64.b64encode(bytes(16)).decode(),
        "Sec-WebSocket-Protocol": subprotocol,
    }
    headers |= {name.replace("_", "-"): value for name, value in changes.items()}
    lines = [f"{name}: {value}" for name, value in headers.items() if value is not None]
    return "\r\n".join([f"GET {path} HTTP/1.1", *lines, "", ""]).encode()


class RawSocket:
    """A WebSocket client that sends bytes as they are."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(
        cls, host: str, port: int, path: str, subprotocol: str, early: bytes = b"", **changes: str | None
    ) -> "RawSocket":
        """Shake hands. ``early``: frames in the same piece. AssertionError when the server refuses."""
        socket, head = await cls.ask(host, port, path, subprotocol, early, **changes)
        assert head.startswith(b"HTTP/1.1 101"), head
        return socket

    @classmethod
    async def ask(
        cls, host: str, port: int, path: str, subprotocol: str, early: bytes = b"", **changes: str | None
    ) -> "tuple[RawSocket, bytes]":
        """The socket, and the head of the answer."""
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(handshake(path, subprotocol, **changes) + early)
        async with asyncio.timeout(5):
            return cls(reader, writer), await reader.readuntil(b"\r\n\r\n")

    def send(self, *frames: bytes) -> None:
        self.writer.write(b"".join(frames))

    async def receive(self) -> tuple[int, bytes]:
        """Opcode and payload of the next frame. EOFError at the end of the connection."""
        async with asyncio.timeout(5):
            first, second = await self.reader.readexactly(2)
            size = second & 0x7F
            if size > 125:
                size = int.from_bytes(await self.reader.readexactly(2 if size == 126 else 8))
            return first & 0xF, await self.reader.readexactly(size)

    async def closed_with(self) -> int | None:
        """The code of the server's close frame; None when the connection ends without one."""
        try:
            while (got := await self.receive())[0] != CLOSE:
                pass
        except (EOFError, ConnectionError):
            return None
        return int.from_bytes(got[1][:2]) if got[1] else 0

    def end(self) -> None:
        self.writer.transport.abort()
