"""A shared port with a small application behind it, for tests that speak to it as clients do."""

import asyncio
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import WSMsgType, web

from backplane.certificates import self_signed
from backplane.first_bytes import COOKIE
from backplane.listeners import bound
from backplane.shared_port import Address, Limits, SharedPort
from backplane.tls import ServerTls

ALLOCATE = b"\x00\x03\x00\x00" + COOKIE + bytes(range(12))
CHECK = b"\x00\x01\x00\x18" + COOKIE + bytes(range(12 + 24))
FRAME = len(CHECK).to_bytes(2) + CHECK
QUICK = Limits(first_bytes_s=0.3, handshake_s=0.3, inside_s=0.3)
PATIENCE_S = 10


@dataclass
class Taken:
    sock: socket.socket
    remote: Address
    local: Address
    first: bytes | None = None

    def read(self, size: int) -> bytes:
        """Blocks until ``size`` bytes or the end have come; for data that is on its way already."""
        self.sock.settimeout(PATIENCE_S)
        got = b""
        while len(got) < size and (more := self.sock.recv(size - len(got))):
            got += more
        return got


@dataclass
class World:
    port: SharedPort
    number: int
    taken: list[Taken] = field(default_factory=list)
    written: int = 0

    def wrote(self, size: int) -> None:
        self.written += size

    async def handed(self) -> Taken:
        await until(lambda: bool(self.taken))
        return self.taken.pop()

    def dropped(self) -> dict[str, int]:
        return {reason: count for reason, count in self.port.dropped.items() if count}

    def kinds(self) -> dict[str, int]:
        return {kind: count for kind, count in self.port.taken.items() if count}


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not holds():  # noqa: ASYNC110 - what happens in the kernel sets no event
            await asyncio.sleep(0.005)


def certificate(folder: Path, name: str = "localhost") -> tuple[Path, Path]:
    made, key = self_signed(time.time(), [name, "localhost", "127.0.0.1"])
    (folder / "certificate.pem").write_bytes(made)
    (folder / "key.pem").write_bytes(key)
    return folder / "certificate.pem", folder / "key.pem"


def client_tls(folder: Path, *alpn: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(folder / "certificate.pem"))
    if alpn:
        context.set_alpn_protocols(list(alpn))
    return context


async def _scheme(request: web.Request) -> web.Response:
    return web.Response(text=f"{request.scheme} {request.remote}")


async def _echo(request: web.Request) -> web.Response:
    return web.Response(body=await request.read())


async def _stream(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    for _ in range(256):
        await response.write(bytes(64 * 1024))
        request.app[WRITTEN](64 * 1024)
    return response


async def _socket(request: web.Request) -> web.WebSocketResponse:
    answer = web.WebSocketResponse(compress=False)
    await answer.prepare(request)
    async for message in answer:
        if message.type is WSMsgType.TEXT:
            await answer.send_str(message.data)
        elif message.type is WSMsgType.BINARY:
            await answer.send_bytes(message.data)
    return answer


WRITTEN: web.AppKey[Callable[[int], None]] = web.AppKey("written")


@asynccontextmanager
async def world(
    folder: Path | None = None, limits: Limits | None = None, host: str = "127.0.0.1"
) -> AsyncIterator[World]:
    """``folder``: where `certificate` has put a pair; None = no TLS."""
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app[WRITTEN] = lambda size: here.wrote(size)
    app.router.add_get("/", _scheme)
    app.router.add_post("/", _echo)
    app.router.add_get("/stream", _stream)
    app.router.add_get("/socket", _socket)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handle_signals=False)
    await runner.setup()
    assert runner.server is not None
    tls = ServerTls(folder / "certificate.pem", folder / "key.pem") if folder else None
    port = SharedPort(runner.server, tls, limits)
    here = World(port, port.listen(bound(host, 0)))
    port.turn = lambda sock, remote, local: here.taken.append(Taken(sock, remote, local))
    port.ice = lambda sock, remote, local, first: here.taken.append(Taken(sock, remote, local, first))
    try:
        yield here
    finally:
        await port.close()
        await runner.cleanup()
        for taken in here.taken:
            taken.sock.close()


@asynccontextmanager
async def plain(number: int, host: str = "127.0.0.1") -> AsyncIterator[socket.socket]:
    """A connected socket that may be read and written through the loop."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as sock:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await loop.sock_connect(sock, (host, number))
        yield sock


async def closed(sock: socket.socket) -> bool:
    """Wait until the other side has ended the connection, without having said anything."""
    async with asyncio.timeout(PATIENCE_S):
        try:
            return await asyncio.get_running_loop().sock_recv(sock, 1) == b""
        except ConnectionError:
            return True


async def ended(reader: asyncio.StreamReader) -> bool:
    """As `closed`, of a TLS connection."""
    async with asyncio.timeout(PATIENCE_S):
        try:
            return await reader.read() == b""
        except ConnectionError:
            return True


@asynccontextmanager
async def secured(
    number: int, folder: Path, *alpn: str
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", number, ssl=client_tls(folder, *alpn), server_hostname="localhost"
    )
    try:
        yield reader, writer
    finally:
        writer.transport.abort()
