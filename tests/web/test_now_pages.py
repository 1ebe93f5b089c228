"""The page for a doctor now, and the requests on the doctor's board, against a clinic that answers what the test says.

Real requests between real browsers are in tests/browser/test_visit.py.
"""

from collections.abc import AsyncIterator
from typing import cast

import pytest
import pytest_asyncio
from aiohttp import web
from playwright.async_api import expect

from tests.web.conftest import LOOKS, SIZES, Visit, Visitor
from tests.web.fake_clinic import DOCTOR, PROVIDER, TICKET, VISIT, FakeClinic, ring
from tests.web.test_pages import overflows, violations
from tests.web.test_visit_pages import REMEMBERED

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

HIDDEN = """Object.defineProperty(document, 'visibilityState', { get: () => window.shown ? 'visible' : 'hidden' });
Object.defineProperty(document, 'hidden', { get: () => !window.shown });"""


@pytest_asyncio.fixture(loop_scope="module")
async def fake() -> AsyncIterator[tuple[FakeClinic, str]]:
    server = FakeClinic()
    runner = web.AppRunner(server.app, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield server, f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


def clinic(visitor: Visitor) -> FakeClinic:
    return cast(FakeClinic, visitor.server)


async def open_page(visitor: Visitor, language: str = "en") -> None:
    await visitor.page.goto(f"{visitor.address}/now?lang={language}")
    await visitor.see("ask")


async def ask(visitor: Visitor, language: str = "en") -> None:
    await open_page(visitor, language)
    await visitor.of("name-input").fill("Sana Malik")
    await visitor.of("ask").click()
    await is_in(visitor, "ringing")


async def is_in(visitor: Visitor, phase: str) -> None:
    await expect(visitor.of("now")).to_have_attribute("data-phase", phase)


async def open_board(visitor: Visitor, language: str = "en") -> None:
    clinic(visitor).roles = ["doctor"]
    await visitor.page.goto(f"{visitor.address}/visits?lang={language}")
    await visitor.see("requests")


@LOOKS
async def test_the_page_is_accessible_and_fits(
    visit: Visit, language: str, theme: str, viewport: dict[str, int]
) -> None:
    visitor = await visit(viewport=viewport, color_scheme=theme, reduced_motion="reduce")
    findings: dict[str, list[str]] = {}

    async def judge(screen: str) -> None:
        assert not await overflows(visitor), screen
        findings[screen] = await violations(visitor)

    await open_page(visitor, language)
    await visitor.of("ask").click()
    await judge("asked, without a name")
    await ask(visitor, language)
    await judge("ringing")
    clinic(visitor).refusals[f"/v1/visits/{VISIT}/check-in"] = (503, {"code": "database_unavailable"})
    await clinic(visitor).show_request(state="accepted", doctor=DOCTOR, appointment=VISIT)
    await is_in(visitor, "accepted")
    await visitor.see("problem")
    await judge("accepted")
    clinic(visitor).request = {**clinic(visitor).request, "state": "unanswered", "doctor": None, "appointment": None}
    await open_page(visitor, language)
    await visitor.of("ask").click()
    await is_in(visitor, "unanswered")
    await judge("unanswered")
    assert {screen: found for screen, found in findings.items() if found} == {}


@SIZES
async def test_requests_on_the_board_are_accessible_and_fit(
    visit: Visit, language: str, viewport: dict[str, int]
) -> None:
    visitor = await visit(before=REMEMBERED, viewport=viewport, reduced_motion="reduce")
    await open_board(visitor, language)
    await clinic(visitor).show_rings(ring(0), ring(1, reason=""))
    await expect(visitor.of("ring")).to_have_count(2)
    assert not await overflows(visitor)
    assert await violations(visitor) == []


async def test_who_asks_goes_in_by_themselves_when_a_doctor_answers(visit: Visit) -> None:
    visitor = await visit()
    server = clinic(visitor)
    await open_page(visitor)
    await visitor.of("ask").click()
    assert await visitor.page.evaluate("document.activeElement.id") == "name"
    assert server.to("/v1/instant-requests") == []
    await visitor.of("name-input").fill("  Sana Malik ")
    await visitor.of("language").select_option("pa")
    await visitor.of("reason-input").fill(" A rash ")
    await visitor.of("ask").click()
    await is_in(visitor, "ringing")
    assert server.to("/v1/me")[-1] == {"name": "Sana Malik"}
    assert server.to("/v1/instant-requests") == [{"specialty": "dermatology", "language": "pa", "reason": "A rash"}]
    await server.show_request(ring=2)
    await expect(visitor.page.locator("#polite")).to_contain_text("other doctors")
    server.visit = {**server.visit, "state": "admitted"}
    await server.show_request(state="accepted", doctor=DOCTOR, appointment=VISIT)
    await visitor.of("enter-call").click()  # behind the look at one's devices
    await visitor.page.wait_for_url("**/call/visit-room-0123456789")
    assert [body["switch"] for body in server.to(f"/v1/visits/{VISIT}/check-in")] == [True]


async def test_a_reload_goes_on_waiting_and_a_lost_answer_finds_its_request(visit: Visit) -> None:
    visitor = await visit()
    server = clinic(visitor)
    await ask(visitor)
    await visitor.page.reload()
    await is_in(visitor, "ringing")
    assert len(server.to("/v1/instant-requests")) == 1
    other = await visit()  # another tab, without the number of the request
    server.refusals["/v1/instant-requests"] = (409, {"code": "already_asking", "request": TICKET})
    await ask(other)
    assert server.asked[-2][:2] == ("GET", f"/v1/instant-requests/{TICKET}")


async def test_a_request_is_taken_back_unless_somebody_has_it(visit: Visit) -> None:
    visitor = await visit()
    server = clinic(visitor)
    await ask(visitor)
    await visitor.of("cancel").click()
    await is_in(visitor, "ask")
    assert await visitor.of("name-input").count() == 0  # known by now
    await visitor.of("ask").click()
    await is_in(visitor, "ringing")
    server.refusals[f"/v1/instant-requests/{TICKET}/cancel"] = (409, {"code": "not_ringing"})
    server.overtaken_by = {"state": "accepted", "doctor": DOCTOR, "appointment": VISIT}
    server.visit = {**server.visit, "state": "admitted"}
    await visitor.of("cancel").click()
    await visitor.of("enter-call").click()
    await visitor.page.wait_for_url("**/call/visit-room-0123456789")


async def test_with_nobody_free_one_can_ask_again_with_what_was_typed(visit: Visit) -> None:
    visitor = await visit()
    server = clinic(visitor)
    await open_page(visitor)
    await visitor.of("name-input").fill("Sana Malik")
    await visitor.of("reason-input").fill("A rash")
    server.request = {**server.request, "state": "unanswered"}
    await visitor.of("ask").click()
    await is_in(visitor, "unanswered")
    assert await visitor.page.evaluate("document.activeElement.id") == "now-title"
    await visitor.of("again").click()
    assert await visitor.of("reason-input").input_value() == "A rash"
    await visitor.page.reload()
    await visitor.see("ask")  # an ended request is not gone on with


async def test_a_server_that_does_not_answer_can_be_asked_again(visit: Visit) -> None:
    visitor = await visit()
    clinic(visitor).refusals["/v1/specialties"] = (503, {"code": "database_unavailable"})
    await visitor.page.goto(f"{visitor.address}/now")
    await visitor.see("problem")
    assert await visitor.of("ask").count() == 0
    await visitor.of("again").click()
    await visitor.see("ask")
    assert await visitor.of("problem").count() == 0


async def test_who_looks_elsewhere_goes_in_when_they_come_back(visit: Visit) -> None:
    visitor = await visit(before=HIDDEN)
    server = clinic(visitor)
    await ask(visitor)
    server.visit = {**server.visit, "state": "admitted"}
    await server.show_request(state="accepted", doctor=DOCTOR, appointment=VISIT)
    await is_in(visitor, "accepted")
    assert server.to(f"/v1/visits/{VISIT}/check-in") == []
    async with visitor.page.expect_request("**/check-in"):
        await visitor.page.evaluate("window.shown = true; document.dispatchEvent(new Event('visibilitychange'))")


async def test_a_doctor_takes_requests_for_an_hour_or_no_more(visit: Visit) -> None:
    visitor = await visit(before=REMEMBERED)
    server = clinic(visitor)
    await open_board(visitor)
    switch = visitor.of("take-requests")
    await expect(switch).to_have_attribute("aria-pressed", "false")
    await switch.click()
    await expect(switch).to_have_attribute("aria-pressed", "true")
    assert server.to(f"/v1/providers/{PROVIDER}/online") == [{"minutes": 60}]
    await visitor.page.reload()
    await expect(switch).to_have_attribute("aria-pressed", "true")
    await switch.click()
    await expect(switch).to_have_attribute("aria-pressed", "false")
    server.refusals[f"/v1/providers/{PROVIDER}/online"] = (409, {"code": "not_listed"})
    await switch.click()
    await visitor.see("problem")
    await expect(switch).to_have_attribute("aria-pressed", "false")


async def test_a_ring_is_heard_taken_or_left_to_others(visit: Visit) -> None:
    visitor = await visit(before=REMEMBERED)
    server = clinic(visitor)
    await open_board(visitor)
    await server.show_rings(ring(0), ring(1))
    await expect(visitor.page.locator("#assertive")).to_contain_text("Somebody asks")
    await visitor.of("decline-ring").first.click()
    await expect(visitor.of("ring")).to_have_count(1)
    assert f"/v1/instant-requests/{TICKET[:-1]}0/decline" in [path for _, path, _ in server.asked]
    server.refusals[f"/v1/instant-requests/{TICKET[:-1]}1/accept"] = (409, {"code": "already_taken"})
    await visitor.of("accept-ring").click()
    await visitor.see("problem")
    await server.show_rings(ring(2))
    await visitor.of("accept-ring").click()
    await visitor.page.wait_for_url(f"**/visits/{VISIT}*")


async def test_a_doctor_whose_answer_was_lost_finds_the_visit(visit: Visit) -> None:
    visitor = await visit(before=REMEMBERED)
    server = clinic(visitor)
    await open_board(visitor)
    await server.show_rings(ring(0))
    server.refusals[f"/v1/instant-requests/{TICKET[:-1]}0/accept"] = (
        409,
        {"code": "already_taken", "appointment": VISIT},
    )
    await visitor.of("accept-ring").click()
    await visitor.page.wait_for_url(f"**/visits/{VISIT}*")


async def test_a_ring_that_is_over_is_not_shown(visit: Visit) -> None:
    visitor = await visit(before=REMEMBERED)
    await open_board(visitor)
    await clinic(visitor).show_rings(ring(0, ring_until="2026-01-01T00:00:00Z"), ring(1))
    await expect(visitor.of("ring")).to_have_count(1)
