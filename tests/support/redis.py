"""A real Redis for tests: one server per run on a Unix socket, emptied for each test; it may be killed."""

import asyncio
import contextlib
import shutil
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from backplane.redis_bus import RedisBus

START_TIMEOUT_S = 10.0


class RedisServer:
    """A server without a memory on disk, as one that is lost for good."""

    def __init__(self, binary: str, directory: Path) -> None:
        self._binary = binary
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        self.socket = directory / "redis.sock"
        self.url = f"unix://{self.socket}"

    def start(self) -> None:
        """Returns when the server takes connections."""
        self.socket.unlink(missing_ok=True)
        options = {"--port": "0", "--unixsocket": str(self.socket), "--save": "", "--appendonly": "no"}
        self._process = subprocess.Popen(
            [self._binary, *(part for option in options.items() for part in option)],
            cwd=self._directory,
            stdout=subprocess.DEVNULL,
        )
        for _ in range(int(START_TIMEOUT_S / 0.02)):
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
                probe.connect(str(self.socket))
                return
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(0.02)
                raise RuntimeError("redis-server did not start")
        raise RuntimeError("redis-server did not answer in time")

    def kill(self) -> None:
        """As the machine's power cord would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def restart(self) -> None:
        self.kill()
        self.start()


@pytest.fixture(scope="session")
def redis_process() -> Iterator[RedisServer]:
    binary = shutil.which("redis-server") or shutil.which("valkey-server")
    if binary is None:
        pytest.skip("no Redis on this machine")
    directory = Path(tempfile.mkdtemp(prefix="wadud-redis-"))
    server = RedisServer(binary, directory)
    server.start()
    yield server
    server.kill()
    shutil.rmtree(directory, ignore_errors=True)


@pytest_asyncio.fixture
async def redis_server(redis_process: RedisServer) -> AsyncIterator[RedisServer]:
    """The server, empty and running at the start of the test."""
    client = Redis.from_url(redis_process.url)
    try:
        await client.flushall()
    except OSError:
        await asyncio.to_thread(redis_process.restart)
    finally:
        await client.aclose()
    yield redis_process
    if redis_process._process is None:
        await asyncio.to_thread(redis_process.start)


@pytest_asyncio.fixture
async def redis_bus(redis_server: RedisServer) -> AsyncIterator[RedisBus]:
    bus = RedisBus(redis_server.url)
    yield bus
    await bus.close()
