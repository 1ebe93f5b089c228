"""A real server process and real browsers."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from parties import CHROMIUM_ARGUMENTS
from playwright.async_api import Browser, async_playwright

ROOT = Path(__file__).resolve().parents[2]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def running_server(directory: Path, *options: str) -> AsyncIterator[str]:
    """Address of a server of our own, started from the command line as a user would; it must end cleanly."""
    port = free_port()
    log = directory / "server.log"
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "signalling.main", "--port", str(port), "--data", str(directory / "data"), "--workers", "1", *options),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=log.open("wb"),
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(20):
            while line := await process.stdout.readline():
                if line.startswith(b"Wadud is ready"):
                    break
            else:
                pytest.fail(f"the server did not start: {log.read_text()}")
        yield f"http://127.0.0.1:{port}"
    finally:
        if process.returncode is None:
            process.terminate()
            async with asyncio.timeout(10):
                await process.wait()
    assert process.returncode == 0, log.read_text()


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[str]:
    async with running_server(tmp_path) as address:
        yield address


@pytest.fixture
async def chromium() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path="/usr/bin/chromium", args=CHROMIUM_ARGUMENTS)
        yield browser
        await browser.close()
