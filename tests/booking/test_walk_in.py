"""Walk-ins among people with an appointment."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio

from backplane.postgres import Connection, Database
from booking.links.link import Seat
from booking.visits.live_topics import Kind
from booking.waiting_room import tickets
from live.hub import Hub
from live.tickets import Ticket, Tickets
from tests.booking.guests import doctor, guest, queue
from tests.booking.join_world import KEY, START, TENANT, Browser, Clinic, make_clinic, serving

MINUTE = timedelta(minutes=1)


@pytest_asyncio.fixture
async def clinic(database: Database, tmp_path: Path) -> Clinic:
    clinic = await make_clinic(database, tmp_path)
    async with clinic.db.tenant(TENANT.id) as connection:
        await connection.execute("UPDATE provider SET online_until = $1", START + timedelta(days=3))
    return clinic


@pytest_asyncio.fixture
async def browser(clinic: Clinic) -> AsyncIterator[Browser]:
    async with serving(clinic) as browser:
        yield browser


async def walk_in(clinic: Clinic, browser: Browser) -> tuple[tuple[UUID, str], str]:
    """Who they are, and their ticket."""
    who = (await clinic.person("Walk-in"), "patient")
    given = await browser.ask("POST", f"/v1/queues/{clinic.provider}/tickets", by=who, status=201)
    return who, given["ticket"]


async def test_a_walk_in_for_whom_there_is_no_time_does_not_hold_up_the_line(clinic: Clinic, browser: Browser) -> None:
    clinic.now = START - MINUTE
    who, ticket = await walk_in(clinic, browser)
    booked = await guest(clinic, browser)
    clinic.now = START + MINUTE / 4
    await booked.check_in()
    await browser.ask("GET", f"/v1/queue-tickets/{ticket}", by=who)
    assert [entry["kind"] for entry in await queue(clinic, browser)] == ["walk_in", "booked"]
    called = await doctor(clinic, browser, "/v1/queue/next", {}, 200)  # it is this patient who has the doctor's time
    assert called["appointment"] == str(booked.appointment)
    assert (await doctor(clinic, browser, "/v1/queue/next", {}, 409))["code"] == "time_taken"
    assert (await browser.ask("GET", f"/v1/queue-tickets/{ticket}", by=who))["position"] == 1


async def test_a_walk_in_who_gives_up_while_the_bell_rings_has_no_visit(
    clinic: Clinic, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    who, ticket = await walk_in(clinic, browser)
    seen = tickets.those_here

    async def those_here(connection: Connection, *rest: Any) -> list[UUID]:
        found = await seen(connection, *rest)
        await browser.ask("DELETE", f"/v1/queue-tickets/{ticket}", by=who, status=204)
        return found

    monkeypatch.setattr(tickets, "those_here", those_here)
    assert (await doctor(clinic, browser, "/v1/queue/next", {}, 404))["code"] == "nobody_waits"
    assert await clinic.scalar("SELECT count(*) FROM appointment") == 0


async def test_a_walk_in_with_two_devices_is_there_until_both_are_gone(
    clinic: Clinic, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    who, ticket = await walk_in(clinic, browser)
    leave, told = Hub._leave, asyncio.Event()

    async def closed(*page: Any) -> None:
        await leave(*page)
        told.set()

    monkeypatch.setattr(Hub, "_leave", closed)
    phone = Ticket(Kind.PLACE, TENANT.id, clinic.provider, UUID(ticket), Seat.PATIENT, who[0], UUID(int=7))
    async with browser.screen() as laptop:
        await laptop.watch(f"/v1/queue-tickets/{ticket}/live", by=who)
        async with browser.screen() as other:
            signed = Tickets({0: KEY}).sign(phone, clinic.now)
            await other.socket.send_json({"type": "watch", "id": 1, "ticket": signed})
            assert (await other.next())["place"]["position"] == 1
        await told.wait()
        called = await doctor(clinic, browser, "/v1/queue/next", {}, 200)
        assert called["ticket"] == ticket
