"""A patient's live socket against a doctor's board in the same server process: hostile watches reach nobody else.

Whoever watches a visit is read in one transaction with everybody else who watches its doctor's line, so a number that
Postgres refuses in one watch (``after: 2147483648``) would silence the board.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import WSMsgType

from booking.demo import DOMAIN, PASSWORD
from tests.support.server import running_server

NUMBERS = [2**31, 2**32, 2**53, 2**63, 2**64, 10**400, -1, -(2**31) - 1, 1.5, 1e400, -0.0, True, None, "1", [], {}]
TEXTS = ["after", "\x00", "\ud800", "1; DROP TABLE waiting_message"]


class Page:
    """One person's page in a browser: signed in, with live sockets."""

    def __init__(self, session: aiohttp.ClientSession, token: str) -> None:
        self.session = session
        self.headers = {"Authorization": f"Bearer {token}"}

    @classmethod
    async def of(cls, session: aiohttp.ClientSession, mailbox: str) -> Page:
        body = {"email": f"{mailbox}@{DOMAIN}", "password": PASSWORD}
        async with session.post("/v1/auth/login", json=body) as answer:
            assert answer.status == 200, await answer.text()
            return cls(session, (await answer.json())["access_token"])

    async def ask(self, method: str, path: str, body: object = None, **params: str) -> Any:
        headers = {**self.headers, "Idempotency-Key": uuid4().hex}
        async with self.session.request(method, path, json=body, headers=headers, params=params) as answer:
            text = await answer.text()
            assert answer.status < 300, (path, answer.status, text)
            return json.loads(text) if text else None

    async def open(self) -> aiohttp.ClientWebSocketResponse:
        return await self.session.ws_connect("/v1/visits/live", protocols=("wadud.visits.v1",))

    async def appointment(self) -> str:
        """The first free time of the demo's Dr Ayesha, booked."""
        doctor = await self.ask("GET", "/v1/providers/ayesha")
        service = doctor["services"][0]["id"]
        today = datetime.now(UTC)
        days = {"from": today.date().isoformat(), "to": (today + timedelta(days=3)).date().isoformat()}
        free = await self.ask("GET", f"/v1/providers/{doctor['card']['id']}/slots", service=service, **days)
        body = {"service": service, "start": free["slots"][-1]["start"]}
        return str((await self.ask("POST", "/v1/appointments", body))["id"])


@pytest_asyncio.fixture
async def session(tmp_path: Path) -> AsyncIterator[aiohttp.ClientSession]:
    """At a server process with the demo clinic."""
    async with running_server(tmp_path, "--demo") as server, aiohttp.ClientSession(server.url) as session:
        yield session
        assert "live view failed" not in server.log.read_text()


async def answered(socket: aiohttp.ClientWebSocketResponse) -> list[Any]:
    """All that comes until the server closes, or until it has shown the visit."""
    said = []
    while (message := await socket.receive(timeout=10)).type is WSMsgType.TEXT:
        said.append(message.json())
        if said[-1]["type"] == "visit":
            break
    return said


@pytest.mark.timeout(60)
async def test_no_watch_of_a_patient_silences_the_board_of_the_doctor(session: aiohttp.ClientSession) -> None:
    patient, doctor = await Page.of(session, "sana"), await Page.of(session, "ayesha")
    path = f"/v1/visits/{await patient.appointment()}/live"
    board = await doctor.open()
    await board.send_json(
        {"type": "watch", "id": 1, "ticket": (await doctor.ask("POST", "/v1/queue/live", {}))["ticket"]}
    )
    assert (await board.receive_json(timeout=10))["type"] == "queue"

    hostile = [{"after": each} for each in [*NUMBERS, *TEXTS]] + [{"id": each} for each in [*NUMBERS, *TEXTS]]
    hostile += [{"version": each} for each in [*NUMBERS[:-3], "x" * 33, [], {}]]
    for number, change in enumerate(hostile):
        socket = await patient.open()
        ticket = (await patient.ask("POST", path))["ticket"]
        await socket.send_str(json.dumps({"type": "watch", "id": 1, "ticket": ticket, "after": 0, **change}))
        said = await answered(socket)
        assert [each.get("code") for each in said] == ["bad_message"], change
        await socket.close()
        # whoever watches too, and what is pushed to the board
        await doctor.ask("POST", "/v1/queue/delay", {"minutes": number % 60 + 1})
        pushed = await board.receive_json(timeout=10)
        assert (pushed["type"], pushed["queue"]["delay_minutes"]) == ("queue", number % 60 + 1), change

    socket = await patient.open()
    ticket = (await patient.ask("POST", path))["ticket"]
    await socket.send_json({"type": "watch", "id": 2**31 - 1, "ticket": ticket, "after": 2**31 - 1})
    assert [each["type"] for each in await answered(socket)] == ["visit"], "the greatest number there is hurts nobody"
    await doctor.ask("POST", "/v1/queue/delay", {"minutes": 90})
    assert (await board.receive_json(timeout=10))["queue"]["delay_minutes"] == 90
