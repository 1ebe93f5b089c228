"""The pages around a visit against a clinic that answers what the test says: booking, waiting, the doctor's board."""

from collections.abc import AsyncIterator
from typing import cast

import pytest
import pytest_asyncio
from aiohttp import web

from tests.web.conftest import LOOKS, SIZES, Visit, Visitor
from tests.web.fake_clinic import (
    LINK,
    SLUG,
    VISIT,
    FakeClinic,
    appointment,
    care,
    message,
    soon,
    waiting,
)
from tests.web.fake_clinic import (
    visit as visit_view,
)
from tests.web.test_pages import overflows, violations

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]
REMEMBERED = "localStorage.setItem('wadud.session', '1')"


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


async def open_link(visitor: Visitor, language: str = "en") -> None:
    await visitor.page.goto(f"{visitor.address}/j/al-shifa?lang={language}#{LINK}")


async def wait_in_line(visitor: Visitor, language: str = "en") -> None:
    await open_link(visitor, language)
    await visitor.of("enter-visit").click()
    await visitor.see("place")


async def choose_time(visitor: Visitor, language: str = "en") -> None:
    await visitor.page.goto(f"{visitor.address}/doctors/{SLUG}?lang={language}")
    await visitor.of("slot").first.click()


@LOOKS
async def test_every_page_of_a_visit_is_accessible_and_fits(
    visit: Visit, language: str, theme: str, viewport: dict[str, int]
) -> None:
    visitor = await visit(viewport=viewport, color_scheme=theme, reduced_motion="reduce", timezone_id="Asia/Karachi")
    server = clinic(visitor)
    findings: dict[str, list[str]] = {}

    async def judge(screen: str) -> None:
        assert not await overflows(visitor), screen
        findings[screen] = await violations(visitor)

    await visitor.page.goto(f"{visitor.address}/book?lang={language}")
    await visitor.see("doctor-card")
    await judge("search")
    await visitor.of("doctor-card").first.click()
    await visitor.see("slot")
    await judge("doctor")
    taken = {"code": "slot_taken", "alternatives": [soon(200), soon(1500)]}
    server.refusals["/v1/holds"] = (409, taken)
    await visitor.of("slot").first.click()
    await visitor.see("slot-taken")
    await judge("slot taken")
    await visitor.of("alternative").first.click()
    await visitor.see("book-button")
    await judge("details")
    await visitor.of("book-button").click()
    await judge("details, something missing")
    await visitor.of("name-input").fill("Sana Malik")
    await visitor.of("email-input").fill("sana@example.org")
    await visitor.of("book-button").click()
    await visitor.see("code-input")
    await judge("details, code")
    await visitor.of("code-input").fill("123456")
    await visitor.of("book-button").click()
    await visitor.see("booked")
    await judge("booked")
    await visitor.page.goto(f"{visitor.address}/visits?lang={language}")
    await visitor.of("cancel").click()
    await judge("visits, cancelling")
    await visitor.page.goto(f"{visitor.address}/sign-in?lang={language}")
    await visitor.of("email-input").fill("sana@example.org")
    await judge("sign in")
    await visitor.of("submit").click()
    await visitor.see("code-input")
    await judge("code")
    await open_link(visitor, language)
    await visitor.see("enter-visit")
    await judge("link")
    await visitor.of("enter-visit").click()
    await server.show(
        delay_minutes=10, messages=[message(1, "Please wait a little"), message(2, "شکریہ", "patient", own=True)]
    )
    await visitor.see("delay")
    await judge("waiting room")
    await server.show(status="cancelled_by_provider", end="cancelled", payment="refund_due")
    await visitor.see("visit-over")
    await judge("cancelled")
    assert {screen: found for screen, found in findings.items() if found} == {}


@SIZES
async def test_the_doctors_board_is_accessible_and_fits(visit: Visit, language: str, viewport: dict[str, int]) -> None:
    visitor = await visit(before=REMEMBERED, viewport=viewport, reduced_motion="reduce")
    clinic(visitor).roles = ["doctor"]
    clinic(visitor).appointments = [appointment(status="requested"), appointment(id=VISIT[:-1] + "2")]
    await visitor.page.goto(f"{visitor.address}/visits?lang={language}")
    await visitor.see("waiting-entry")
    assert await visitor.of("waiting-entry").count() == 3
    await visitor.of("tell").first.click()
    assert not await overflows(visitor)
    assert await violations(visitor) == []


async def test_the_token_of_a_link_leaves_the_address_bar_and_no_look_spends_it(visit: Visit) -> None:
    visitor = await visit()
    await open_link(visitor)
    await visitor.see("enter-visit")
    assert LINK not in visitor.page.url
    assert [path for method, path, _ in clinic(visitor).asked] == ["/v1/join/look"]
    await visitor.page.reload()
    await visitor.see("enter-visit")
    assert clinic(visitor).to("/v1/join/exchange") == []


async def test_a_cancelled_visit_is_told_to_the_waiting_person_at_once(visit: Visit) -> None:
    visitor = await visit()
    await wait_in_line(visitor)
    await clinic(visitor).show(status="cancelled_by_provider", end="cancelled", payment="refund_due")
    await visitor.see("visit-over")
    assert await visitor.of("visit-over").get_attribute("data-reason") == "cancelled_by_provider"
    assert await visitor.page.locator("#assertive").inner_text() == "The doctor had to cancel this visit"
    assert await visitor.page.evaluate("document.activeElement.id") == "join-title"


async def test_the_waiting_room_survives_a_lost_connection_and_a_reload(visit: Visit) -> None:
    visitor = await visit()
    await wait_in_line(visitor)
    await clinic(visitor).cut_live()
    await visitor.see("reconnecting")
    clinic(visitor).accepting = True
    await visitor.of("reconnecting").wait_for(state="detached")
    await clinic(visitor).show(position=1)
    await visitor.until("document.querySelector('[data-testid=position]')?.textContent === '1'")
    await visitor.page.reload()
    await visitor.see("place")
    assert len(clinic(visitor).to("/v1/join/exchange")) == 1


async def test_messages_are_neither_lost_nor_doubled_over_a_reconnection(visit: Visit) -> None:
    visitor = await visit()
    await wait_in_line(visitor)
    await clinic(visitor).show(messages=[message(1, "First")])
    await clinic(visitor).show(messages=[message(1, "First"), message(2, "Second")])
    await visitor.until("document.querySelectorAll('.message').length === 2")
    await clinic(visitor).cut_live()
    await visitor.see("reconnecting")
    clinic(visitor).accepting = True
    await clinic(visitor).show(messages=[message(2, "Second"), message(3, "Third")])
    await visitor.until("document.querySelectorAll('.message').length === 3")


async def test_a_second_device_is_asked_before_it_takes_over(visit: Visit) -> None:
    visitor = await visit()
    clinic(visitor).check_ins = ["elsewhere"]
    await open_link(visitor)
    await visitor.of("enter-visit").click()
    await visitor.of("switch-device").click()
    await visitor.see("place")
    assert [body["switch"] for body in clinic(visitor).to("/v1/join/exchange")] == [False, True]
    await clinic(visitor).bye("moved")
    await visitor.see("switch-device")


async def test_who_is_early_sees_a_countdown_that_ends_by_itself(visit: Visit) -> None:
    visitor = await visit()
    server = clinic(visitor)
    gesture = server.looked["gesture"]
    server.looked |= {"state": "early", "opens_at": soon(1 / 30), "gesture": None}
    await open_link(visitor)
    await visitor.see("countdown")
    server.looked |= {"state": "open", "gesture": gesture}
    await visitor.see("enter-visit")


async def test_who_leaves_the_call_finds_the_way_back_to_the_visit(visit: Visit) -> None:
    visitor = await visit()
    await wait_in_line(visitor)
    await clinic(visitor).show(state="admitted", position=None)
    await visitor.see("leave")
    await visitor.of("leave").click()
    clinic(visitor).visit = visit_view(state="left")
    await visitor.see("back-to-visit")
    assert len(clinic(visitor).to(f"/v1/visits/{VISIT}/leave")) == 1
    await visitor.of("back-to-visit").click()
    await visitor.see("enter-visit")


async def test_a_hold_survives_a_reload_and_can_be_kept_for_longer(visit: Visit) -> None:
    visitor = await visit()
    await choose_time(visitor)
    await visitor.of("name-input").fill("Sana")
    await visitor.page.reload()
    await visitor.see("hold")
    assert await visitor.of("name-input").input_value() == "Sana"
    await visitor.of("extend").click()
    await visitor.of("extend").wait_for(state="detached")


async def test_a_try_that_got_no_answer_is_repeated_under_the_same_key(visit: Visit) -> None:
    visitor = await visit()
    await choose_time(visitor)
    await visitor.of("name-input").fill("Sana")
    clinic(visitor).refusals["/v1/appointments"] = (503, {"code": "database_unavailable"})
    await visitor.of("book-button").click()
    await visitor.see("problem")
    await visitor.of("book-button").click()
    await visitor.see("booked")
    first, second = clinic(visitor).keys[-2:]
    assert first == second


async def test_back_leads_from_the_doctor_to_the_same_search(visit: Visit) -> None:
    visitor = await visit()
    await visitor.page.goto(f"{visitor.address}/book?q=ayesha")
    await visitor.of("doctor-card").first.click()
    await visitor.see("slot")
    await visitor.page.go_back()
    await visitor.see("doctor-card")
    assert await visitor.of("search-input").input_value() == "ayesha"
    assert await visitor.of("doctor-card").count() == 1


async def test_the_second_factor_is_asked_for_and_a_strange_way_back_is_not_taken(visit: Visit) -> None:
    visitor = await visit()
    await visitor.page.goto(f"{visitor.address}/sign-in?next=https://elsewhere.example/x")
    await visitor.of("with-password").click()
    await visitor.of("email-input").fill("doctor@example.org")
    await visitor.of("password-input").fill("secret secret")
    await visitor.of("submit").click()
    await visitor.of("code-input").fill("123456")
    await visitor.of("submit").click()
    await visitor.see("visit")
    assert visitor.page.url == f"{visitor.address}/visits"
    [factor] = clinic(visitor).to("/v1/auth/mfa/verify")
    assert (factor["ticket"], factor["code"]) == ("factor", "123456")


async def test_somebody_who_arrives_is_announced_to_the_doctor(visit: Visit) -> None:
    visitor = await visit(before=REMEMBERED)
    clinic(visitor).roles = ["doctor"]
    clinic(visitor).line["entries"] = []
    await visitor.page.goto(f"{visitor.address}/visits")
    await visitor.see("board")
    await clinic(visitor).show_line([waiting()])
    await visitor.see("admit")
    assert await visitor.page.locator("#polite").inner_text() == "Sana Malik has arrived"
    assert await visitor.page.title() == "(1) waiting · Wadud"


async def test_who_cancels_hears_the_price_first_and_who_is_too_late_is_not_offered_times(visit: Visit) -> None:
    visitor = await visit(before=REMEMBERED)
    clinic(visitor).roles = ["patient"]
    await visitor.page.goto(f"{visitor.address}/visits")
    await visitor.of("cancel").click()
    await visitor.see("cost")
    assert "750" in await visitor.of("cost").inner_text()
    await visitor.of("confirm").click()
    await visitor.until("document.querySelector('[data-testid=visit]').dataset.status === 'cancelled_by_patient'")
    clinic(visitor).appointments = [appointment()]
    clinic(visitor).terms["may_reschedule"] = False
    await visitor.page.reload()
    await visitor.of("move").click()
    await visitor.see("too-late")
    assert "Choose the new time" not in await visitor.of("visit").inner_text()
    assert await visitor.of("slot").count() == 0


async def test_a_refused_move_keeps_the_visit_and_says_why(visit: Visit) -> None:
    visitor = await visit(before=REMEMBERED)
    clinic(visitor).roles = ["patient"]
    clinic(visitor).refusals[f"/v1/appointments/{VISIT}/reschedule"] = (409, {"code": "slot_taken"})
    await visitor.page.goto(f"{visitor.address}/visits")
    await visitor.of("move").click()
    await visitor.of("slot").first.click()
    await visitor.see("problem")
    assert await visitor.of("problem").count() == 1
    await visitor.of("slot").first.click()
    await visitor.of("move").wait_for()


async def test_who_signs_in_while_booking_comes_back_to_the_same_slot(visit: Visit) -> None:
    visitor = await visit()
    await choose_time(visitor, "ur")
    await visitor.of("reason-input").fill("A rash")
    held = [body["start"] for body in clinic(visitor).to("/v1/holds")]
    await visitor.of("sign-in-first").click()
    await visitor.page.wait_for_url("**/sign-in?*")  # the page that is left has an address field, too
    await visitor.of("email-input").fill("sana@example.org")
    await visitor.of("submit").click()
    await visitor.of("code-input").fill("123456")
    await visitor.of("submit").click()
    await visitor.see("hold")
    assert [body["start"] for body in clinic(visitor).to("/v1/holds")] == held * 2
    assert await visitor.of("reason-input").input_value() == "A rash"
    assert await visitor.of("name-input").count() == 0
    assert await visitor.page.evaluate("document.documentElement.lang") == "ur"


async def test_who_cares_for_somebody_books_for_them(visit: Visit) -> None:
    visitor = await visit(before=REMEMBERED)
    server = clinic(visitor)
    server.roles = ["patient"]
    server.dependants = [care(0), care(1, rights=["join"])]
    await visitor.page.goto(f"{visitor.address}/doctors/{SLUG}")
    await visitor.see("slot")
    choice = visitor.of("patient")
    assert await choice.locator("option").all_inner_texts() == ["For me", "Ali Malik"]
    await choice.select_option(label="Ali Malik")
    await visitor.of("slot").first.click()
    await visitor.see("for-whom")
    assert server.to("/v1/holds")[-1]["patient"] == care(0)["person"]
    await visitor.page.reload()  # what is held stays theirs
    await visitor.see("for-whom")
    assert "Ali Malik" in await visitor.of("for-whom").inner_text()
