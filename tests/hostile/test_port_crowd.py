"""The shared port of a live server with everything on it at once: waiting pages, voice through TURN over TLS, requests.

benchmarks/port.py has the same with ten times as many, and figures.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from pathlib import Path

import pytest

from benchmarks.port_clients import Echo, Flows, IdleSocket, TurnTls, open_relay, open_socket, talk
from benchmarks.port_http import HttpConnection, steadily
from tests.support.server import running_server

pytestmark = pytest.mark.alone

SOCKETS, RELAYS = 200, 20
AT_ONCE = 20  # handshakes
SECONDS = 2.0


async def test_two_hundred_pages_twenty_relays_and_requests_live_on_one_port(tmp_path: Path) -> None:
    async with running_server(tmp_path, "--self-signed", "--relay-allow", "127.0.0.0/8") as server:
        host, _, number = server.url.rpartition("/")[2].rpartition(":")
        port = (host, int(number))
        tls = ssl.create_default_context(cafile=str(tmp_path / "data" / "tls" / "certificate.pem"))
        gate = asyncio.Semaphore(AT_ONCE)
        flows, echo = Flows(), Echo()

        async def page(number: int) -> IdleSocket:
            async with gate:
                return await open_socket(port, tls, f"127.1.0.{number % 20 + 1}")

        async def caller(number: int) -> TurnTls:
            async with gate:
                return await open_relay(port, tls, f"127.1.0.{number + 1}", number, flows, login, echo.address)

        connection = await HttpConnection.open(port, tls, "127.1.0.1")
        room = json.loads(await connection.post("/v1/rooms", b"{}"))
        [given] = json.loads(await connection.post("/v1/ice-servers", b"{}", room["host_token"]))["ice_servers"]
        connection.close()
        login = given["username"], given["credential"]
        pages = await asyncio.gather(*map(page, range(SOCKETS)))
        callers = await asyncio.gather(*map(caller, range(RELAYS)))
        sources = [f"127.1.0.{number + 1}" for number in range(8)]
        answers, _ = await asyncio.gather(steadily(port, tls, sources, SECONDS, 50, 5), talk(callers, SECONDS))
        try:
            assert all(each.up for each in pages)
            assert all(each.up for each in callers)
            assert answers.failed == 0
            assert len(answers.kept_ms) >= 50 * SECONDS
            assert len(answers.fresh_ms) >= 5 * SECONDS
            assert flows.sent >= 500
            assert flows.strange == 0
            # What waits too long in a stream is dropped by design, so a machine that stands still costs a few.
            assert flows.received >= 0.98 * flows.sent
        finally:
            for each in (*pages, *callers):
                each.close()
            echo.close()
