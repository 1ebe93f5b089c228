"""A real server process for tests, started from the command line as a user would."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.support.namespaces import Namespace

ROOT = Path(__file__).resolve().parents[2]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


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


@asynccontextmanager
async def running_server(
    directory: Path, *options: str, within: Namespace | None = None
) -> AsyncIterator[RunningServer]:
    """Start, wait for the ready line, and at the end stop it by SIGTERM; it must end cleanly."""
    port = free_port()
    log = directory / "server.log"
    command = [sys.executable, "-m", "signalling.main", "--port", str(port), "--data", str(directory / "data")]
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
