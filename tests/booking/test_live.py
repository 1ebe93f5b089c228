"""The live socket: hostile pages, bounds, and two server processes over Redis."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import WSMsgType
from aiohttp.client_exceptions import WSServerHandshakeError

from backplane.bus import LocalBus
from backplane.postgres import Database
from backplane.redis_bus import RedisBus
from booking.join import live, live_socket
from booking.join.links import Seat
from booking.join.live_messages import SUBPROTOCOL, CloseCode, Kind, LiveTicket, LiveTickets
from tests.booking.join_world import KEY, START, TENANT, Browser, Clinic, make_clinic, serving
from tests.support.redis import RedisServer

DOCTOR = "doctor"


@pytest_asyncio.fixture
async def clinic(database: Database, tmp_path: Path) -> Clinic:
    return await make_clinic(database, tmp_path)


@pytest_asyncio.fixture
async def browser(clinic: Clinic) -> AsyncIterator[Browser]:
    async with serving(clinic) as browser:
        yield browser


def a_ticket(clinic: Clinic, **change: Any) -> str:
    ticket = LiveTicket(
        Kind.QUEUE, TENANT.id, clinic.provider, clinic.provider, Seat.DOCTOR, clinic.doctor, clinic.doctor
    )
    return LiveTickets({0: KEY}).sign(replace(ticket, **change), START)


async def closed_with(browser: Browser, *frames: object) -> tuple[str, int | None]:
    """The code of the last error, and the close code."""
    async with browser.client.ws_connect("/v1/visits/live", protocols=(SUBPROTOCOL,)) as socket:
        for frame in frames:
            if isinstance(frame, bytes):
                await socket.send_bytes(frame)
            elif isinstance(frame, str):
                await socket.send_str(frame)
            else:
                await socket.send_json(frame)
        code = ""
        async with asyncio.timeout(5):
            while (message := await socket.receive()).type is WSMsgType.TEXT:
                code = message.json().get("code", code)
        return code, socket.close_code


@pytest.mark.parametrize(
    "frame",
    [
        "",
        "{",
        "[]",
        "null",
        '{"type": "hello"}',
        '{"type": "watch"}',
        '{"type": "watch", "id": -1, "ticket": "x"}',
        '{"type": "watch", "id": 1, "ticket": "x", "more": 1}',
        '{"type": "ping", "id": "1"}',
        "[" * 4000,
        b"\x00\xff",
        '{"type": "ping", "id": 99999999999999999999}',
    ],
)
async def test_what_is_not_the_protocol_closes_the_socket(browser: Browser, frame: object) -> None:
    assert await closed_with(browser, frame) == ("bad_message", CloseCode.PROTOCOL)


async def test_frames_that_are_too_large_close_the_socket(browser: Browser) -> None:
    assert (await closed_with(browser, '{"type": "ping", "id": 1' + " " * 5000 + "}"))[1] == 1009


async def test_tickets_that_open_nothing(clinic: Clinic, browser: Browser) -> None:
    good = a_ticket(clinic)
    clinic.now = START + timedelta(minutes=1)
    for ticket in ("", "x", "A" * len(good), good):
        watch = {"type": "watch", "id": 1, "ticket": ticket}
        assert await closed_with(browser, watch) == ("bad_ticket", CloseCode.TICKET)


async def test_a_flood_closes_the_socket(browser: Browser) -> None:
    frames = [{"type": "ping", "id": number} for number in range(40)]
    assert await closed_with(browser, *frames) == ("rate_limited", CloseCode.RATE)


async def test_a_socket_watches_a_few_things(clinic: Clinic, browser: Browser) -> None:
    frames = [{"type": "watch", "id": number, "ticket": a_ticket(clinic)} for number in range(live.MAX_WATCHES + 1)]
    assert await closed_with(browser, *frames) == ("too_many", CloseCode.PROTOCOL)


async def test_who_says_nothing_is_closed(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_socket, "SILENCE_S", 0.05)
    assert await closed_with(browser) == ("silent", CloseCode.PROTOCOL)


async def test_the_oldest_page_of_a_person_makes_room(clinic: Clinic, browser: Browser) -> None:
    sockets = []
    for _ in range(live.MAX_SOCKETS_PER_PERSON + 1):
        socket = await browser.client.ws_connect("/v1/visits/live", protocols=(SUBPROTOCOL,))
        await socket.send_json({"type": "watch", "id": 1, "ticket": a_ticket(clinic)})
        assert (await socket.receive_json(timeout=5))["type"] == "queue"
        sockets.append(socket)
    assert (await sockets[0].receive_json(timeout=5))["code"] == "too_many"
    assert (await sockets[0].receive(timeout=5)).data == CloseCode.REPLACED
    assert not sockets[1].closed
    for socket in sockets:
        await socket.close()


async def test_a_plain_request_and_a_foreign_subprotocol_are_told_so(browser: Browser) -> None:
    assert (await browser.client.get("/v1/visits/live")).status == 426
    with pytest.raises(WSServerHandshakeError) as refused:
        await browser.client.ws_connect("/v1/visits/live", protocols=("other",))
    assert refused.value.status == 400


async def test_lost_notes_are_made_up_for(clinic: Clinic, browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bus that tells nothing costs seconds, not the news."""
    assert isinstance(clinic.bus, LocalBus)
    appointment = await clinic.appointment()
    pass_ = await browser.sit_down(await clinic.link(appointment))
    monkeypatch.setattr(live, "REFRESH_S", 0.05)

    async def deaf(topic: str, message: bytes) -> None: ...

    monkeypatch.setattr(clinic.bus, "publish", deaf)
    async with serving(clinic) as other, other.screen() as screen:
        await screen.watch("/v1/queue/live", {}, by=(clinic.doctor, DOCTOR))
        await other.ask("POST", f"/v1/visits/{appointment}/check-in", {}, pass_=pass_)
        told = await screen.next()
        assert len(told["queue"]["entries"]) == 1


async def test_two_processes_show_each_others_changes(
    database: Database, tmp_path: Path, redis_server: RedisServer
) -> None:
    buses = [RedisBus(redis_server.url) for _ in range(2)]
    clinic = await make_clinic(database, tmp_path, buses[0])
    second = replace(clinic, bus=buses[1])
    appointment = await clinic.appointment()
    async with serving(clinic) as here, serving(second) as there:
        pass_ = await here.sit_down(await clinic.link(appointment))
        async with here.screen() as patients, there.screen() as doctors:
            await doctors.watch("/v1/queue/live", {}, by=(clinic.doctor, DOCTOR))
            await patients.watch(f"/v1/visits/{appointment}/live", pass_=pass_)
            await here.ask("POST", f"/v1/visits/{appointment}/check-in", {}, pass_=pass_)
            told = await doctors.until(lambda message: bool(message["queue"]["entries"]))
            assert told["queue"]["entries"][0]["state"] == "waiting"
            await there.ask("POST", "/v1/queue/next", {}, by=(clinic.doctor, DOCTOR))
            told = await patients.until(lambda message: message["visit"]["state"] == "admitted")
            assert told["visit"]["position"] is None
    for bus in buses:
        await bus.close()
