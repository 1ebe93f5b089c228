"""A real server process for tests, started from the command line as a user would."""

from __future__ import annotations

import asyncio
import itertools
import os
import secrets
import shutil
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from backplane import embedded_postgres
from backplane.migrations import all_series, migrate
from tests.support.namespaces import Namespace
from tests.support.postgres import memory

ROOT = Path(__file__).resolve().parents[2]


def free_port() -> int:
    """One that nobody has, in either family, over TCP or UDP, and below those that the kernel gives to clients."""
    while True:
        port = 10_000 + secrets.randbelow(20_000)
        with ExitStack() as probes, suppress(OSError):
            for family, kind in itertools.product(
                (socket.AF_INET, socket.AF_INET6) if socket.has_ipv6 else (socket.AF_INET,),
                (socket.SOCK_STREAM, socket.SOCK_DGRAM),
            ):
                probe = probes.enter_context(socket.socket(family, kind))
                if family == socket.AF_INET6:
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                probe.bind(("", port))
            return port


@dataclass(frozen=True, slots=True)
class RunningServer:
    url: str
    pid: int
    log: Path

    def resident_kib(self) -> int:
        """Resident memory of the process in KiB."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
        raise ValueError("no VmRSS")


class DataTemplate:
    """A data directory in which Postgres is as a first start leaves it, made once in each process of the tests.

    Making it takes longer than the rest of a start, and has tests of its own: bin/test_serve.py and
    backplane/test_embedded_postgres.py.
    """

    def __init__(self) -> None:
        self._directory: tempfile.TemporaryDirectory[str] | None = None
        self._lock = threading.Lock()

    def copy(self, data: Path) -> None:
        with self._lock:
            if self._directory is None:
                self._directory = tempfile.TemporaryDirectory(prefix="wadud-data-", dir=memory())
                with embedded_postgres.running(Path(self._directory.name, "postgres"), durable=False) as cluster:
                    asyncio.run(migrate(cluster.url(), all_series(ROOT)))
        shutil.copytree(self._directory.name, data, ignore=shutil.ignore_patterns("run", "lock", "*.log"))

    def forget(self) -> None:
        if self._directory is not None:
            self._directory.cleanup()
            self._directory = None


DATA: Final = DataTemplate()


@asynccontextmanager
async def running_server(
    directory: Path, *options: str, within: Namespace | None = None
) -> AsyncIterator[RunningServer]:
    """Start, wait for the ready line, and at the end stop it by SIGTERM; it must end cleanly."""
    data = directory / "data"
    if not data.exists():
        await asyncio.to_thread(DATA.copy, data)
    port = free_port()
    log = directory / "server.log"
    command = [sys.executable, "-m", "server.main", "--port", str(port), "--data", str(data)]
    command += ["--workers", "1", *options]
    process = await asyncio.create_subprocess_exec(
        *(command if within is None else within.argv(*command)),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=log.open("wb"),
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(20):
            while line := await process.stdout.readline():
                if line.startswith(b"Wadud is ready: "):
                    url = line.partition(b": ")[2].strip().decode()
                    break
            else:
                raise AssertionError(f"the server did not start: {log.read_text()}")
        yield RunningServer(url, process.pid, log)
    finally:
        if process.returncode is None:
            # not process.terminate(): it would reap who has just ended, and asyncio then knows no exit status
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGTERM)
            async with asyncio.timeout(10):
                await process.wait()
    assert process.returncode == 0, log.read_text()
