"""Waiting for a time to come free, against a clinic that answers what the test says.

With a real clinic it is in tests/browser/test_visit.py.
"""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import cast

import pytest
import pytest_asyncio
from aiohttp import web
from playwright.async_api import expect

from tests.web.conftest import SIZES, Visit, Visitor
from tests.web.fake_clinic import HOLD, SERVICE, SLUG, TICKET, FakeClinic, soon, wait
from tests.web.test_pages import overflows, violations
from tests.web.test_visit_pages import REMEMBERED

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(loop_scope="module")
async def fake() -> AsyncIterator[tuple[FakeClinic, str]]:
    server = FakeClinic()
    server.roles = ["patient"]
    runner = web.AppRunner(server.app, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield server, f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


def clinic(visitor: Visitor) -> FakeClinic:
    return cast(FakeClinic, visitor.server)


async def open_doctor(visitor: Visitor, language: str = "en") -> None:
    await visitor.page.goto(f"{visitor.address}/doctors/{SLUG}?lang={language}")
    await visitor.see("slot")
    await visitor.of("waitlist").locator("summary").click()


async def open_visits(visitor: Visitor, language: str = "en") -> None:
    await visitor.page.goto(f"{visitor.address}/visits?lang={language}")
    await visitor.see("wait")


def offered() -> dict[str, object]:
    return wait(state="offered", offer=HOLD, offer_start=soon(600), offer_until=soon(15), ahead=0)


@SIZES
async def test_it_is_accessible_and_fits(visit: Visit, language: str, viewport: dict[str, int]) -> None:
    visitor = await visit(before=REMEMBERED, viewport=viewport, reduced_motion="reduce")
    await open_doctor(visitor, language)
    await visitor.see("waitlist-join")
    assert not await overflows(visitor)
    assert await violations(visitor) == []
    clinic(visitor).waits = [wait(), {**offered(), "id": HOLD}]
    await open_visits(visitor, language)
    assert not await overflows(visitor)
    assert await violations(visitor) == []


async def test_who_waits_says_from_which_day_to_which(visit: Visit) -> None:
    visitor = await visit(before=REMEMBERED, timezone_id="Asia/Karachi")
    server = clinic(visitor)
    await open_doctor(visitor)
    day = (datetime.now().date() + timedelta(days=3)).isoformat()
    after = (datetime.now().date() + timedelta(days=5)).isoformat()
    await visitor.of("wait-from").fill(day)
    await visitor.of("wait-to").fill(day)
    server.refusals["/v1/waitlist"] = (409, {"code": "already_waiting"})
    await visitor.of("waitlist-join").click()
    await visitor.see("problem")
    await visitor.of("wait-to").fill(after)
    await visitor.of("waitlist-join").click()
    await expect(visitor.of("waitlist-joined")).to_contain_text("You are waiting")
    asked = server.to("/v1/waitlist")
    assert asked[-1]["service"] == SERVICE
    assert asked[-1]["timezone"] == "Asia/Karachi"
    first, last = (datetime.fromisoformat(asked[-1][end]) for end in ("earliest", "latest"))
    assert (first + timedelta(hours=5)).isoformat()[:16] == f"{day}T00:00"  # whole days of who waits
    assert last - first == timedelta(days=3)
    assert len(set(server.keys)) == len(server.keys) == 2


async def test_a_visitor_signs_in_first(visit: Visit) -> None:
    visitor = await visit()
    await open_doctor(visitor)
    await expect(visitor.of("waitlist-sign-in")).to_have_attribute("href", f"/sign-in?next=%2Fdoctors%2F{SLUG}")
    assert await visitor.of("waitlist-join").count() == 0


async def test_an_offer_is_taken_or_left(visit: Visit) -> None:
    visitor = await visit(before=REMEMBERED)
    server = clinic(visitor)
    server.waits = [wait()]
    await open_visits(visitor)
    await expect(visitor.of("wait")).to_contain_text("Dr. Ayesha Khan")
    await expect(visitor.of("wait")).to_contain_text("2 people wait longer")
    assert await visitor.of("take-offer").count() == 0
    server.waits = [offered()]
    await visitor.page.reload()
    server.refusals[f"/v1/waitlist/{TICKET}/accept"] = (503, {"code": "database_busy"})
    await visitor.of("take-offer").click()
    await visitor.see("problem")
    await visitor.of("take-offer").click()
    await expect(visitor.of("wait")).to_have_count(0)
    await expect(visitor.page.locator(f'[data-testid="visit"][data-id="{HOLD}"]')).to_be_visible()
    assert len(server.keys) == 2
    assert len(set(server.keys)) == 1  # one wish
    server.waits = [offered()]
    await visitor.page.reload()
    await visitor.of("wait-no-more").click()
    await expect(visitor.of("wait")).to_have_count(0)
    assert ("DELETE", f"/v1/waitlist/{TICKET}", None) in server.asked


async def test_visits_are_shown_though_the_waiting_list_is_not_to_be_had(visit: Visit) -> None:
    visitor = await visit(before=REMEMBERED)
    clinic(visitor).refusals["/v1/waitlist"] = (403, {"code": "forbidden"})
    await visitor.page.goto(f"{visitor.address}/visits")
    await visitor.see("visit")
    assert await visitor.of("problem").count() == 0
