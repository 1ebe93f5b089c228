"""The call page of a visit: who is alone in it, whose seat is gone, and the doctor who ends it."""

import asyncio
from collections.abc import AsyncIterator
from typing import cast

import pytest
import pytest_asyncio
from aiohttp import web
from playwright.async_api import Route

from tests.web.conftest import Visit, Visitor
from tests.web.fake_clinic import LINK, VISIT, FakeClinic

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]
HANDED = f"""sessionStorage.setItem('wadud.visit.visit-room-0123456789', JSON.stringify(
  {{ appointment: '{VISIT}', byPass: true, back: '/j/al-shifa', host: true, name: 'Dr Amina' }}))"""


@pytest_asyncio.fixture(loop_scope="module")
async def fake() -> AsyncIterator[tuple[FakeClinic, str]]:
    server = FakeClinic()
    runner = web.AppRunner(server.app, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield server, f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def admitted(visit: Visit) -> Visitor:
    """A patient in the lobby of the call, by the waiting room."""
    visitor = await visit()
    await visitor.page.goto(f"{visitor.address}/j/al-shifa?lang=en#{LINK}")
    await visitor.of("enter-visit").click()
    await visitor.see("place")
    await cast(FakeClinic, visitor.server).show(state="admitted", position=None)
    await visitor.see("name-input")
    await visitor.of("name-input").fill("Sana")
    return visitor


async def ended_as_host(visit: Visit) -> Visitor:
    visitor = await visit(before=HANDED)
    await visitor.page.goto(f"{visitor.address}/call/visit-room-0123456789?lang=en")
    await visitor.see("name-input")
    await visitor.of("join-button").click()
    await visitor.see("leave")
    await visitor.of("leave").click()
    await visitor.see("end-visit")
    return visitor


async def test_the_call_of_a_visit_offers_no_link_that_lets_nobody_in(visit: Visit) -> None:
    visitor = await admitted(visit)
    await visitor.of("join-button").click()
    await visitor.see("leave")
    alone = await visitor.page.locator(".waiting").inner_text()
    await visitor.of("people-toggle").click()
    await visitor.see("people-panel")
    assert await visitor.of("room-link").count() + await visitor.of("copy-link").count() == 0
    assert "link" not in alone


async def test_who_stays_behind_is_not_called_the_first_one(visit: Visit) -> None:
    visitor = await admitted(visit)
    doctor = {"id": "p0", "name": "Dr Amina", "role": "host", "connection": "connected", "tracks": []}
    visitor.server.participants = [doctor]
    await visitor.of("join-button").click()
    await visitor.see("leave")
    await visitor.server.push("participant_left", participant="p0", reason="connection_lost")
    alone = await visitor.page.locator(".waiting").inner_text()
    assert "Nobody else is here just now" in alone
    assert "first" not in alone


@pytest.mark.parametrize(("status", "code"), [(409, "not_open"), (409, "device_moved"), (410, "visit_cancelled")])
async def test_who_looks_at_the_lobby_of_a_visit_that_is_over_is_told_so_and_led_back(
    visit: Visit, status: int, code: str
) -> None:
    visitor = await admitted(visit)

    async def refuse(route: Route) -> None:
        problem = {"type": "about:blank", "title": "Conflict", "status": status, "code": code, "detail": "It is over."}
        await route.fulfill(status=status, content_type="application/problem+json", json=problem)

    await visitor.page.route("**/v1/visits/*/token", refuse)
    await visitor.of("join-button").click()
    await visitor.see("join-problem")
    assert "did not work" not in await visitor.of("join-problem").inner_text()
    assert "/j/" in (await visitor.of("back-to-visit").get_attribute("href") or "")
    visitor.complaints.clear()


async def test_a_doctor_sees_that_the_visit_could_not_be_ended(visit: Visit) -> None:
    visitor = await ended_as_host(visit)

    async def refuse(route: Route) -> None:
        problem = {"type": "about:blank", "title": "x", "status": 503, "code": "database_unavailable"}
        await route.fulfill(status=503, content_type="application/problem+json", json=problem)

    await visitor.page.route("**/v1/visits/*/end", refuse)
    await visitor.of("end-visit").click()
    await visitor.see("problem")
    await visitor.see("end-visit")
    visitor.complaints.clear()


async def test_a_doctor_who_ends_the_visit_twice_asks_once_and_keeps_the_focus(visit: Visit) -> None:
    visitor = await ended_as_host(visit)
    asked, may_answer = list[str](), asyncio.Event()

    async def slow(route: Route) -> None:
        asked.append(route.request.url)
        await may_answer.wait()
        await route.fulfill(status=204)

    await visitor.page.route("**/v1/visits/*/end", slow)
    await visitor.of("end-visit").focus()
    await visitor.page.keyboard.press("Enter")
    await visitor.page.keyboard.press("Enter")
    may_answer.set()
    await visitor.until("document.activeElement.id === 'visit-ended'")
    assert len(asked) == 1
