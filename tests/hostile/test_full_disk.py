"""A disk that fills up under a live server: 503 with a reason, never 500, and all is well once there is room again."""

from __future__ import annotations

import asyncio
import itertools
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from backplane.storage import RESERVE_BYTES
from tests.support.server import RunningServer, running_server

SIZE_MIB = 256
MOST_WRITES = 1000
ADDRESSES = itertools.count()


@contextmanager
def small_disk(directory: Path) -> Iterator[Path]:
    """A file system of its own. Skips where none may be mounted."""
    directory.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MIB}m,mode=0755", "tmpfs", str(directory)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("no file system may be mounted here")
    try:
        yield directory
    finally:
        subprocess.run(["umount", "-l", str(directory)], check=True)


def fill(directory: Path, leave: int = 0) -> Path:
    """Take all room but ``leave`` bytes."""
    path = directory / "ballast"
    with path.open("wb") as file:
        free = os.statvfs(directory)
        left = free.f_bavail * free.f_frsize - leave
        try:
            while left > 0:
                left -= file.write(bytes(min(left, 1 << 20)))
                file.flush()
        except OSError:
            pass
    return path


@pytest_asyncio.fixture
async def crowded(tmp_path: Path) -> AsyncIterator[tuple[RunningServer, Path]]:
    with small_disk(tmp_path / "disk") as disk:
        async with running_server(disk, "--trusted-proxies", "127.0.0.1") as server:
            yield server, disk


async def ask(server: RunningServer, method: str, path: str, body: object = None) -> tuple[int, Any]:
    host = f"platform.localhost:{server.url.rpartition(':')[2]}"
    address = f"198.51.100.{next(ADDRESSES) % 250 + 1}"  # so that nobody is too fast
    headers = {"Host": host, "X-Forwarded-For": address}
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, server.url + path, json=body, headers=headers) as answer,
    ):
        return answer.status, await answer.json(content_type=None)


async def test_a_full_disk_is_said_and_survived(crowded: tuple[RunningServer, Path]) -> None:
    server, disk = crowded
    wish = {"email": "amina@example.com"}
    assert (await ask(server, "GET", "/readyz"))[0] == 200
    assert (await ask(server, "POST", "/v1/auth/otp", wish))[0] == 202
    ballast = await asyncio.to_thread(fill, disk, RESERVE_BYTES // 2)
    status, told = await ask(server, "GET", "/readyz")
    assert (status, told["checks"]["has_room"]) == (503, False)
    assert (await ask(server, "POST", "/v1/auth/anonymous"))[0] == 201  # there is still some
    ballast.unlink()
    ballast = await asyncio.to_thread(fill, disk)
    for _ in range(MOST_WRITES):  # the database has some room inside of its files
        status, told = await ask(server, "POST", "/v1/auth/anonymous")
        if status != 201:
            break
    assert (status, told["code"]) in ((503, "storage_full"), (503, "database_unavailable"))
    assert (await ask(server, "GET", "/healthz"))[0] == 200
    ballast.unlink()
    async with asyncio.timeout(30):  # a database that stopped comes back by itself
        while (await ask(server, "POST", "/v1/auth/anonymous"))[0] != 201:  # noqa: ASYNC110
            await asyncio.sleep(0.2)
