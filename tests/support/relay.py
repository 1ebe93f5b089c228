"""A real relay process for tests, started from the command line as a user would."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from tests.support.server import ROOT, free_port

USERS, PASSWORD, REALM = tuple(f"nurse{number}" for number in range(100)), "a long password", "wadud"
SECRET = "the secret that application and relay share"
_START_S, _STOP_S = 30.0, 15.0


@dataclass(frozen=True, slots=True)
class RunningRelay:
    """``port`` is that of UDP, TCP and, where it was asked for, TLS."""

    host: str
    port: int
    log: Path
    tls: bool

    @property
    def client_host(self) -> str:
        """Where its clients of IPv4 find it."""
        return "127.0.0.1" if self.host in ("::", "0.0.0.0") else self.host

    async def counters(self) -> dict[str, float]:
        """See `counters`."""
        return await counters(f"{'https' if self.tls else 'http'}://{self.client_host}:{self.port}")


@asynccontextmanager
async def running_relay(
    directory: Path, *options: str, host: str = "127.0.0.1", workers: int = 1, tls: bool = False
) -> AsyncIterator[RunningRelay]:
    """Start, wait for the ready line, and at the end stop it by SIGINT; it must end cleanly. Peers on loopback are
    allowed; users are `USERS` with `PASSWORD`, and whoever has time-limited credentials of `SECRET`."""
    port = free_port()
    log = directory / "relay.log"
    command = [sys.executable, "-m", "server.relay_main", "--host", host, "--port", str(port)]
    command += [
        "--workers",
        str(workers),
        "--data",
        str(directory / "data"),
        "--relay-allow",
        "127.0.0.0/8,::1/128",
        *options,
    ]
    users = "\n".join(f"{user}:{PASSWORD}" for user in USERS)
    environment = {**os.environ, "WADUD_RELAY_USERS": users, "WADUD_RELAY_SECRET": SECRET}
    process = await asyncio.create_subprocess_exec(
        *command,
        *(["--self-signed"] if tls else []),
        cwd=ROOT,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=log.open("wb"),
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(_START_S):
            while line := await process.stdout.readline():
                if line.startswith(b"Wadud's relay is ready: "):
                    break
            else:
                raise AssertionError(f"the relay did not start: {log.read_text()}")
        yield RunningRelay(host, port, log, tls)
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGINT)
            async with asyncio.timeout(_STOP_S):
                await process.wait()
    assert process.returncode == 0, log.read_text()


async def counters(url: str) -> dict[str, float]:
    """What a server of ours says at /metrics of its workers' events and its gauges, those named without our prefix."""
    async with aiohttp.ClientSession() as http, http.get(f"{url}/metrics", ssl=ANYBODY) as answer:
        assert answer.status == 200, await answer.text()
        text = await answer.text()
    found = re.findall(r'^wadud_worker_events_total\{event="(\w+)"\} (\S+)$', text, re.MULTILINE)
    found += re.findall(r"^wadud_(\w+) (\S+)$", text, re.MULTILINE)
    return {name: float(value) for name, value in found}


def _anybody() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


ANYBODY = _anybody()  # takes any certificate
