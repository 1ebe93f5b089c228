"""Processes as sets of roles."""

import asyncio
import os
import signal
from pathlib import Path

import aiohttp
import pytest

from backplane.settings import Settings
from server.main import serve
from server.roles import NEEDS, RELAY, SERVER, Process, Role
from tests.support.server import free_port


def test_every_role_is_played_by_a_process_that_has_what_it_needs() -> None:
    assert SERVER.roles | RELAY.roles == set(Role)
    with pytest.raises(ValueError, match="calls needs media"):
        Process("half", frozenset({Role.CALLS}))
    assert all(NEEDS[role] <= SERVER.roles for role in NEEDS)


async def test_a_process_of_calls_alone_needs_no_database(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    port = free_port()
    settings = Settings(port=port, media_port=0, data=tmp_path, postgres_url="postgresql://nobody.invalid/none")
    serving = asyncio.create_task(serve(settings, Process("calls", frozenset({Role.MEDIA, Role.CALLS}))))
    async with asyncio.timeout(30), aiohttp.ClientSession(f"http://127.0.0.1:{port}") as http:
        while "calls is ready" not in capsys.readouterr().out:  # noqa: ASYNC110 - it tells the operator only
            await asyncio.sleep(0.02)
        async with http.post("/v1/rooms", json={}) as answer:
            room = await answer.json()
        async with http.post("/v1/ice-servers", headers={"Authorization": f"Bearer {room['host_token']}"}) as answer:
            assert (await answer.json())["ice_servers"] == [], "no relay"
        for path in ("/", "/openapi.json"):
            async with http.get(path) as answer:
                assert answer.status == 404, "neither pages nor booking"
        os.kill(os.getpid(), signal.SIGTERM)
        await serving
