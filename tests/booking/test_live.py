"""The live socket: hostile pages, bounds, and two server processes over Redis."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio
from aiohttp import WSMsgType
from aiohttp.client_exceptions import WSServerHandshakeError

from backplane.bus import LocalBus
from backplane.postgres import Database
from backplane.redis_bus import RedisBus
from backplane.web import METRICS
from booking.links.link import Seat
from booking.visits.live_topics import TOPICS, Kind
from live import hub, messages
from live.live_socket import LIMITS
from live.messages import SUBPROTOCOL, CloseCode, Watch
from live.tickets import Ticket, Tickets
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


@pytest_asyncio.fixture
async def impatient(clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Browser]:
    """Of a server that closes a socket that watches nothing after 0.3 s."""
    monkeypatch.setattr(hub, "LIMITS", replace(LIMITS, silence_s=0.3, longest_s=0.3))
    async with serving(clinic) as browser:
        yield browser


def a_ticket(clinic: Clinic, **change: Any) -> str:
    ticket = Ticket(Kind.QUEUE, TENANT.id, clinic.provider, clinic.provider, Seat.DOCTOR, clinic.doctor, clinic.doctor)
    return Tickets({0: KEY}).sign(replace(ticket, **change), START)


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
    frames = [{"type": "watch", "id": number, "ticket": a_ticket(clinic)} for number in range(hub.MAX_WATCHES + 1)]
    assert await closed_with(browser, *frames) == ("too_many", CloseCode.PROTOCOL)


async def test_who_says_nothing_is_closed(impatient: Browser) -> None:
    assert await closed_with(impatient) == ("silent", CloseCode.PROTOCOL)


@pytest.mark.parametrize("frame", [WSMsgType.PING, WSMsgType.PONG, "ping"])
async def test_nothing_but_a_ticket_gives_more_time(impatient: Browser, frame: WSMsgType | str) -> None:
    async with impatient.client.ws_connect("/v1/visits/live", protocols=(SUBPROTOCOL,)) as socket, asyncio.timeout(5):

        async def speak() -> None:
            with suppress(ConnectionError):
                while True:
                    await (
                        socket.send_json({"type": frame}) if isinstance(frame, str) else socket.send_frame(b"", frame)
                    )
                    await asyncio.sleep(0.1)

        speaking = asyncio.create_task(speak())
        while (message := await socket.receive_json())["type"] == "pong":
            pass
        assert message["code"] == "silent"
        speaking.cancel()


async def test_a_socket_whose_watches_have_ended_has_no_longer_than_a_stranger(
    clinic: Clinic, impatient: Browser
) -> None:
    stranger = {"type": "watch", "id": 1, "ticket": a_ticket(clinic, kind=Kind.PLACE)}
    async with impatient.client.ws_connect("/v1/visits/live", protocols=(SUBPROTOCOL,)) as socket:
        await socket.send_json(stranger)
        assert (await socket.receive_json(timeout=5))["reason"] == "gone"
        assert (await socket.receive_json(timeout=5))["code"] == "silent"


@pytest.mark.parametrize("opcode", [WSMsgType.PING, WSMsgType.PONG])
async def test_a_flood_of_control_frames_closes_the_socket(browser: Browser, opcode: WSMsgType) -> None:
    async with browser.client.ws_connect("/v1/visits/live", protocols=(SUBPROTOCOL,)) as socket:
        for _ in range(100):
            await socket.send_frame(b"", opcode)
        assert (await socket.receive_json(timeout=5))["code"] == "rate_limited"
        assert (await socket.receive(timeout=5)).data == CloseCode.RATE
    assert b'wadud_websocket_faults_total{code="4429"} 1.0' in browser.client.app[METRICS].exposition()


async def test_a_watch_that_fails_ends_alone(
    clinic: Clinic, browser: Browser, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The doctor's board stays, whatever a patient's page asks for."""
    appointment = await clinic.appointment()
    pass_ = await browser.sit_down(await clinic.link(appointment))
    poison = 2**31  # more than the number of a message can be: Postgres takes no such argument
    monkeypatch.setattr(messages, "decode", lambda frame: decode_without_bounds(frame))
    async with browser.screen() as board, browser.screen() as patient, browser.screen() as other:
        await board.watch("/v1/queue/live", {}, by=(clinic.doctor, DOCTOR))
        await other.watch(f"/v1/visits/{appointment}/live", pass_=pass_)
        ended = await patient.watch(f"/v1/visits/{appointment}/live", pass_=pass_, after=poison)
        assert (ended["type"], ended["reason"]) == ("bye", "failed")
        assert "live view failed" in caplog.text
        await browser.ask("POST", f"/v1/visits/{appointment}/check-in", {}, pass_=pass_)
        told = await board.until(lambda message: bool(message["queue"]["entries"]))
        assert told["queue"]["entries"][0]["state"] == "waiting"
        assert (await other.until(lambda message: message["visit"]["state"] == "waiting"))["type"] == "visit"


def decode_without_bounds(frame: bytes) -> Watch:
    """As if the protocol had forgotten a limit."""
    message: dict[str, Any] = json.loads(frame)
    return Watch(message["id"], message["ticket"], message["after"])


async def test_a_number_beyond_its_column_is_refused_by_the_protocol(clinic: Clinic, browser: Browser) -> None:
    watch = {"type": "watch", "id": 1, "ticket": a_ticket(clinic), "after": 2**31}
    assert await closed_with(browser, watch) == ("bad_message", CloseCode.PROTOCOL)


async def test_a_subject_that_is_slow_does_not_hold_up_the_others(clinic: Clinic) -> None:
    never, reading = asyncio.Event(), asyncio.Event()

    async def stuck(*arguments: Any) -> Any:
        reading.set()
        await never.wait()

    topics = [replace(topic, read=stuck) if topic.kind == Kind.RINGS else topic for topic in TOPICS]
    async with serving(clinic, topics=topics) as browser, browser.screen() as slow, browser.screen() as board:
        ticket = a_ticket(clinic, kind=Kind.RINGS, subject=UUID(int=1), key=UUID(int=1))
        await slow.socket.send_json({"type": "watch", "id": 1, "ticket": ticket})
        await asyncio.wait_for(reading.wait(), 5)
        await board.watch("/v1/queue/live", {}, by=(clinic.doctor, DOCTOR))


async def test_the_oldest_page_of_a_person_makes_room(clinic: Clinic, browser: Browser) -> None:
    sockets = []
    for _ in range(hub.MAX_SOCKETS_PER_PERSON + 1):
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
    monkeypatch.setattr(hub, "REFRESH_S", 0.05)

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
