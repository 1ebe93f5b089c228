"""Who waits stays in line, and who has gone is not called."""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio

from backplane.postgres import Connection, Database
from booking.waiting_room import tickets
from tests.booking.guests import Guest, doctor, guest, queue
from tests.booking.join_world import START, Browser, Clinic, make_clinic, serving


@pytest_asyncio.fixture
async def clinic(database: Database, tmp_path: Path) -> Clinic:
    return await make_clinic(database, tmp_path)


@pytest_asyncio.fixture
async def browser(clinic: Clinic) -> AsyncIterator[Browser]:
    async with serving(clinic) as browser:
        yield browser


async def test_an_older_device_that_goes_takes_no_place_away(clinic: Clinic, browser: Browser) -> None:
    old = await guest(clinic, browser)
    await old.check_in()
    token = await clinic.link(old.appointment)
    new = Guest(browser, old.appointment, await browser.sit_down(token, switch=True))
    await new.check_in()
    await old.ask("POST", "/leave", status=204)
    assert (await new.ask("GET"))["position"] == 1
    called = await doctor(clinic, browser, "/v1/queue/next", {}, 200)
    assert called["appointment"] == str(new.appointment)


async def test_who_was_let_in_and_left_before_the_visit_began_waits_and_is_called(
    clinic: Clinic, browser: Browser
) -> None:
    patient = await guest(clinic, browser)
    await patient.check_in()
    await doctor(clinic, browser, "/v1/queue/next", {}, 200)
    await patient.ask("POST", "/leave", status=204)
    assert await patient.check_in() == {"state": "waiting"}
    assert (await patient.ask("GET"))["position"] == 1
    assert [entry["state"] for entry in await queue(clinic, browser)] == ["waiting"]
    called = await doctor(clinic, browser, "/v1/queue/next", {}, 200)
    assert called["appointment"] == str(patient.appointment)


def meanwhile(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], Awaitable[object]]) -> None:
    """When the bell has seen who is in line, and nobody is called yet."""
    seen = tickets.those_here

    async def those_here(connection: Connection, *rest: Any) -> list[UUID]:
        found = await seen(connection, *rest)
        await happens()
        return found

    monkeypatch.setattr(tickets, "those_here", those_here)


async def test_who_leaves_while_the_bell_rings_is_not_called(
    clinic: Clinic, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = [await guest(clinic, browser, start=START + timedelta(minutes=20 * n)) for n in range(2)]
    for each in (first, second):
        await each.check_in()
    meanwhile(monkeypatch, lambda: first.ask("POST", "/leave", status=204))
    called = await doctor(clinic, browser, "/v1/queue/next", {}, 200)
    assert called["appointment"] == str(second.appointment)


async def test_who_still_waits_when_the_doctor_calls_again_on_another_day_is_in_line(
    clinic: Clinic, browser: Browser
) -> None:
    """The doctor did not come; the page in the waiting room stood open until the morning."""
    patient = await guest(clinic, browser)
    await patient.check_in()
    clinic.now += timedelta(hours=20)
    await doctor(clinic, browser, f"{patient.path}/call-again", status=200)
    assert await patient.check_in() == {"state": "waiting"}
    assert (await patient.ask("GET"))["position"] == 1
    called = await doctor(clinic, browser, "/v1/queue/next", {}, 200)
    assert called["appointment"] == str(patient.appointment)
