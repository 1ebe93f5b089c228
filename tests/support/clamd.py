"""A clamd that knows one virus: the EICAR test file. Speaks INSTREAM, and misbehaves when told to."""

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

# In two parts, so that no scanner takes this file for what it tests.
EICAR = b"X5O!P%@AP[4\\PZX54(P^)7CC)7}$EICAR-" + b"STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"


@dataclass(slots=True)
class FakeClamd:
    """``port``: where it listens on 127.0.0.1. ``answer``: given in place of a verdict."""

    port: int = 0
    answer: bytes | None = None
    scanned: list[int] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            assert await reader.readexactly(10) == b"zINSTREAM\0"
            content = bytearray()
            while size := struct.unpack(">I", await reader.readexactly(4))[0]:
                content += await reader.readexactly(size)
            self.scanned.append(len(content))
            verdict = b"stream: Eicar-Test-Signature FOUND" if EICAR in content else b"stream: OK"
            writer.write(self.answer if self.answer is not None else verdict + b"\0")
            await writer.drain()
        finally:
            writer.close()


@asynccontextmanager
async def fake_clamd() -> AsyncIterator[FakeClamd]:
    """Runs while the block does."""
    fake = FakeClamd()
    server = await asyncio.start_server(fake.serve, "127.0.0.1", 0)
    fake.port = server.sockets[0].getsockname()[1]
    async with server:
        yield fake
