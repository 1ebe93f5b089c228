"""Asks clamd whether a file is a virus, over its INSTREAM command (clamd(8)).

The file goes over the socket in chunks, each with its length in four bytes, and a chunk of no length ends it, so clamd
needs no access to our disk. One connection per file: files are few. What clamd cannot say is our fault or its, never
the file's: the caller refuses the upload for now rather than taking it unseen.
"""

import asyncio
import enum
import struct
from typing import Final, Protocol

TIMEOUT_S: Final = 30.0
_CHUNK_BYTES: Final = 64 * 1024
_MAX_REPLY_BYTES: Final = 4096


class Verdict(enum.Enum):
    """UNSCANNED: no scanner is configured."""

    CLEAN = "clean"
    INFECTED = "infected"
    UNSCANNED = "unscanned"


class ScannerUnavailable(Exception):
    """The scanner could not be asked or did not answer sensibly; the text says what came instead."""


class Scanner(Protocol):
    async def scan(self, content: bytes) -> Verdict:
        """Raises ScannerUnavailable."""


class NoScanner:
    """For installations without one; files are marked as unscanned, which reviewers see."""

    async def scan(self, content: bytes) -> Verdict:
        return Verdict.UNSCANNED


class Clamd:
    """clamd behind a Unix socket, or at a host and port.

    scanner = Clamd(path="/run/clamav/clamd.ctl")
    """

    def __init__(self, *, path: str | None = None, host: str = "127.0.0.1", port: int = 3310) -> None:
        self._path = path
        self._host = host
        self._port = port

    async def scan(self, content: bytes) -> Verdict:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                reply = await self._ask(content)
        except (OSError, TimeoutError, asyncio.LimitOverrunError, asyncio.IncompleteReadError) as error:
            raise ScannerUnavailable(type(error).__name__) from error
        if reply.endswith(b" FOUND"):
            return Verdict.INFECTED
        if reply == b"stream: OK":
            return Verdict.CLEAN
        raise ScannerUnavailable("clamd could not scan the file; see its log and StreamMaxLength")

    async def _ask(self, content: bytes) -> bytes:
        if self._path is not None:
            reader, writer = await asyncio.open_unix_connection(self._path, limit=_MAX_REPLY_BYTES)
        else:
            reader, writer = await asyncio.open_connection(self._host, self._port, limit=_MAX_REPLY_BYTES)
        try:
            writer.write(b"zINSTREAM\0")
            for begin in range(0, len(content), _CHUNK_BYTES):
                chunk = content[begin : begin + _CHUNK_BYTES]
                writer.write(struct.pack(">I", len(chunk)) + chunk)
                await writer.drain()
            writer.write(struct.pack(">I", 0))
            await writer.drain()
            return (await reader.readuntil(b"\0")).rstrip(b"\0")
        finally:
            writer.close()


def scanner_at(address: str) -> Scanner:
    """The scanner of a setting: a path is a Unix socket, ``host:port`` a TCP one, nothing is none.

    Raises:
        ValueError: it is neither.
    """
    if not address:
        return NoScanner()
    if address.startswith("/"):
        return Clamd(path=address)
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ValueError("a virus scanner is given as /path/of/a/socket or host:port")
    return Clamd(host=host.strip("[]"), port=int(port))
