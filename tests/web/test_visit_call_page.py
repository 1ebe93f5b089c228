"""Into the call of a visit and in it: with what one is seen, who is alone in it, and the doctor who ends it."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
import pytest_asyncio
from aiohttp import web
from playwright.async_api import Route

from tests.web.conftest import PREVIEW_ON, Visit, Visitor
from tests.web.fake_clinic import LINK, VISIT, FakeClinic
from tests.web.fake_clinic import visit as visit_view

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]
HANDED = f"""sessionStorage.setItem('wadud.visit.visit-room-0123456789', JSON.stringify(
  {{ appointment: '{VISIT}', byPass: true, back: '/j/al-shifa', host: true, seat: 'doctor', name: 'Dr Amina',
     wanted: {{ microphone: true, camera: false }} }}))"""


@pytest_asyncio.fixture(loop_scope="module")
async def fake() -> AsyncIterator[tuple[FakeClinic, str]]:
    server = FakeClinic()
    runner = web.AppRunner(server.app, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield server, f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def waits(visit: Visit) -> Visitor:
    """A patient who sees themselves in the waiting room."""
    visitor = await visit()
    await visitor.page.goto(f"{visitor.address}/j/al-shifa?lang=en#{LINK}")
    await visitor.of("enter-visit").click()
    await visitor.see("place")
    await visitor.until(PREVIEW_ON)
    return visitor


async def admitted(visit: Visit) -> Visitor:
    visitor = await waits(visit)
    await clinic(visitor).show(state="admitted", position=None)
    await visitor.see("leave")
    return visitor


def clinic(visitor: Visitor) -> FakeClinic:
    return cast(FakeClinic, visitor.server)


async def ended_as_host(visit: Visit) -> Visitor:
    visitor = await visit(before=HANDED)
    clinic(visitor).visit = visit_view(seat="doctor", state="left")
    await visitor.page.goto(f"{visitor.address}/call/visit-room-0123456789?lang=en")
    await visitor.see("leave")
    await visitor.of("leave").click()
    await visitor.see("end-visit")
    return visitor


async def test_the_call_of_a_visit_offers_no_link_that_lets_nobody_in(visit: Visit) -> None:
    visitor = await admitted(visit)
    alone = await visitor.page.locator(".waiting").inner_text()
    await visitor.of("people-toggle").click()
    await visitor.see("people-panel")
    assert await visitor.of("room-link").count() + await visitor.of("copy-link").count() == 0
    assert "link" not in alone


async def test_who_is_let_in_first_is_told_that_the_doctor_is_coming(visit: Visit) -> None:
    visitor = await admitted(visit)
    alone = await visitor.page.locator(".waiting").inner_text()
    assert "The doctor is coming" in alone
    assert "first" not in alone


async def test_who_stays_behind_is_not_called_the_first_one(visit: Visit) -> None:
    visitor = await waits(visit)
    doctor = {"id": "p0", "name": "Dr Amina", "role": "host", "connection": "connected", "tracks": []}
    visitor.server.participants = [doctor]
    await clinic(visitor).show(state="admitted", position=None)
    await visitor.see("leave")
    await visitor.server.push("participant_left", participant="p0", reason="connection_lost")
    alone = await visitor.page.locator(".waiting").inner_text()
    assert "Nobody else is here just now" in alone
    assert "first" not in alone


def on(joined: dict[str, Any]) -> list[str]:
    """What a join sends."""
    return [track["source"] for track in joined["tracks"] if not track["muted"]]


async def test_who_is_let_in_is_in_the_call_under_their_name_with_what_they_chose_to_show(visit: Visit) -> None:
    visitor = await waits(visit)
    await visitor.of("toggle-camera").click()
    await visitor.until("document.querySelector('.preview').dataset.video === 'off'")
    await clinic(visitor).show(state="admitted", position=None)
    await visitor.see("leave")
    assert visitor.page.url.endswith("/call/visit-room-0123456789")
    [joined] = clinic(visitor).of_type("join")
    assert (joined["token"], on(joined)) == ("token", ["microphone"])
    await visitor.of("people-toggle").click()
    assert "Sana Malik" in await visitor.of("people-panel").inner_text()
    await visitor.page.reload()  # back into the call, without a question, and still not seen
    await visitor.see("leave")
    assert on(clinic(visitor).of_type("join")[-1]) == ["microphone"]
    assert await visitor.of("name-input").count() == 0


async def test_who_is_let_in_without_waiting_looks_at_the_devices_once_a_day(visit: Visit) -> None:
    visitor = await visit()
    clinic(visitor).visit = visit_view(state="admitted", position=None)
    link = f"{visitor.address}/j/al-shifa?lang=en#{LINK}"
    await visitor.page.goto(link)
    await visitor.of("enter-visit").click()
    await visitor.see("enter-call")
    await visitor.until(PREVIEW_ON)
    assert clinic(visitor).of_type("join") == []
    await visitor.of("enter-call").click()
    await visitor.see("leave")
    await visitor.page.goto(link)  # the same day, the same devices
    await visitor.see("leave")
    assert len(clinic(visitor).of_type("join")) == 2


async def test_a_join_that_fails_can_be_tried_again(visit: Visit) -> None:
    visitor = await waits(visit)
    visitor.server.refusal = {"code": "room_full"}
    await clinic(visitor).show(state="admitted", position=None)
    await visitor.see("join-problem")
    await visitor.see("back-to-visit")
    visitor.server.refusal = None
    await visitor.of("join-button").click()
    await visitor.see("leave")
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
    await visitor.until("document.querySelector('[data-testid=visit-over]').dataset.reason === 'ended'")
    assert await visitor.page.evaluate("document.activeElement.id") == "ended-title"
    assert len(asked) == 1
