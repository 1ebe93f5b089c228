"""Where the pages of a visit once led nowhere: signing in as a visitor, being let in first, a visit that is over."""

from typing import Any, cast

import pytest

from tests.web.conftest import PHONE, Visit
from tests.web.fake_clinic import LINK, PERSON, SLUG, VISIT, FakeClinic, appointment, soon, waiting
from tests.web.test_pages import overflows, violations
from tests.web.test_visit_pages import REMEMBERED, choose_time, fake

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]
__all__ = ["fake"]


async def test_a_visitor_who_signs_in_by_password_shows_who_they_were(visit: Visit) -> None:
    visitor = await visit(before=REMEMBERED, viewport=PHONE)
    await visitor.page.goto(f"{visitor.address}/sign-in?lang=ur")
    await visitor.see("no-sms")
    assert not await overflows(visitor)
    assert await violations(visitor) == []
    await visitor.of("with-password").click()
    await visitor.of("email-input").fill("sana@example.org")
    await visitor.of("password-input").fill("correct horse battery")
    async with visitor.page.expect_request("**/v1/auth/login") as login:
        await visitor.of("submit").click()
    assert (await login.value).headers["authorization"] == "Bearer token"
    async with visitor.page.expect_request("**/v1/auth/mfa/verify") as factor:
        await visitor.of("code-input").fill("123456")
        await visitor.of("submit").click()
    assert (await factor.value).headers["authorization"] == "Bearer token"


async def test_somebody_with_an_account_signs_in_as_another_without_showing_the_first(visit: Visit) -> None:
    visitor = await visit(before=REMEMBERED)
    cast(FakeClinic, visitor.server).roles = ["patient"]
    await visitor.page.goto(f"{visitor.address}/sign-in")
    await visitor.of("with-password").click()
    await visitor.of("email-input").fill("sana@example.org")
    await visitor.of("password-input").fill("correct horse battery")
    async with visitor.page.expect_request("**/v1/auth/login") as login:
        await visitor.of("submit").click()
    assert "authorization" not in (await login.value).headers


async def test_the_home_page_leads_to_ones_visits_and_takes_the_link_of_a_visit(visit: Visit) -> None:
    visitor = await visit(viewport=PHONE)
    await visitor.open_home("ur")
    assert await visitor.of("home-visits").get_attribute("href") == "/visits"
    assert not await overflows(visitor)
    for link, shown in (
        (f"{visitor.address}/j/al-shifa#{LINK}", "enter-visit"),
        (f"{visitor.address}/invite#abc", "invite"),
    ):
        await visitor.open_home("ur")
        await visitor.page.locator("#enter-link").fill(link)
        await visitor.page.keyboard.press("Enter")
        await visitor.see(shown)
    await visitor.open_home()
    await visitor.page.locator("#enter-link").fill("https://elsewhere.example/j/")
    await visitor.page.keyboard.press("Enter")
    await visitor.until("document.getElementById('enter-problem').textContent.includes('a visit')")


async def test_after_a_wrong_code_or_password_one_types_on(visit: Visit) -> None:
    visitor = await visit(viewport=PHONE)
    server = cast(FakeClinic, visitor.server)
    focused = "document.activeElement.id"
    await visitor.page.goto(f"{visitor.address}/sign-in?lang=ur")
    await visitor.of("with-password").click()
    await visitor.of("email-input").fill("sana@example.org")
    await visitor.of("password-input").fill("wrong")
    server.refusals["/v1/auth/login"] = (401, {"code": "wrong_credentials"})
    await visitor.of("submit").click()
    await visitor.see("problem")
    await visitor.until(f"{focused} === 'password'")
    await choose_time(visitor, "ur")
    await visitor.of("name-input").fill("Sana Malik")
    await visitor.of("email-input").fill("sana@example.org")
    await visitor.of("book-button").click()
    await visitor.of("code-input").fill("000000")
    server.refusals["/v1/auth/upgrade"] = (400, {"code": "wrong_code"})
    await visitor.of("book-button").click()
    await visitor.see("problem")
    await visitor.until(f"{focused} === 'code'")


async def test_a_guest_is_led_on_from_an_address_with_two_factors_and_told_that_no_mail_comes(visit: Visit) -> None:
    visitor = await visit(viewport=PHONE)
    server = cast(FakeClinic, visitor.server)
    answers, factor = server._answer_to, {"state": "second_factor", "ticket": "factor"}
    cast(Any, server)._answer_to = lambda m, path, *rest: (
        factor if path == "/v1/auth/upgrade" else answers(m, path, *rest)
    )
    await choose_time(visitor, "ur")
    await visitor.of("name-input").fill("Sana Malik")
    await visitor.of("email-input").fill("sana@example.org")
    await visitor.of("book-button").click()
    await visitor.of("code-input").fill("123456")
    await visitor.of("book-button").click()
    await visitor.see("problem")
    await visitor.see("sign-in-first")
    await visitor.of("email-input").fill("")
    await visitor.of("book-button").click()
    await visitor.see("no-mail")
    assert not await overflows(visitor)
    assert await violations(visitor) == []


@pytest.mark.parametrize("language", ["en", "ur"])
async def test_the_doctor_sees_who_was_asked_in_and_lets_them_in(visit: Visit, language: str) -> None:
    visitor = await visit(before=REMEMBERED, viewport=PHONE)
    server = cast(FakeClinic, visitor.server)
    server.roles = ["doctor"]
    interpreter = {"holder": PERSON, "name": "Imran Ali", "state": "waiting", "here": True}
    server.line = {**server.line, "entries": [waiting(companions=[interpreter])]}
    await visitor.page.goto(f"{visitor.address}/visits?lang={language}")
    await visitor.see("companion")
    assert not await overflows(visitor)
    assert await violations(visitor) == []
    await visitor.of("admit-companion").click()
    await server.show_line([waiting(companions=[{**interpreter, "state": "admitted"}])])
    await visitor.of("admit-companion").wait_for(state="detached")
    assert server.to(f"/v1/visits/{VISIT}/admit") == [{"seat": "third", "holder": PERSON}]


async def test_a_day_full_of_times_scrolls_in_its_box_and_not_the_page(visit: Visit) -> None:
    visitor = await visit(viewport=PHONE, timezone_id="Europe/London")
    free = [{"start": soon(1500 + 10 * i), "end": soon(1510 + 10 * i)} for i in range(60)]
    cast(Any, visitor.server)._slots = lambda start, end: free
    await visitor.page.goto(f"{visitor.address}/doctors/{SLUG}?lang=ur")
    await visitor.see("slot")
    assert await visitor.page.evaluate(
        "(({ scrollHeight, clientHeight }) => scrollHeight > clientHeight)(document.querySelector('.time-box'))"
    )
    assert not await overflows(visitor)


@pytest.mark.parametrize("language", ["en", "ur"])
async def test_every_visit_that_is_over_leads_on(visit: Visit, language: str) -> None:
    visitor = await visit(before=REMEMBERED, viewport=PHONE)
    server = cast(FakeClinic, visitor.server)
    past = {"starts_at": soon(-3000), "ends_at": soon(-2980)}
    states = ["completed", "no_show_patient", "cancelled_by_provider"]
    server.appointments = [appointment(**past, id=f"{VISIT[:-1]}{i}", status=each) for i, each in enumerate(states)]
    await visitor.page.goto(f"{visitor.address}/visits?lang={language}")
    await visitor.of("book-again").nth(2).wait_for()
    hrefs = await visitor.page.eval_on_selector_all("[data-testid=book-again]", "links => links.map((a) => a.pathname)")
    assert hrefs == [f"/doctors/{SLUG}"] * 3
    assert not await overflows(visitor)
    server.roles = ["doctor"]
    await visitor.page.reload()
    await visitor.of("call-again").click()
    await visitor.page.wait_for_url(f"**/visits/{VISIT[:-1]}0#enter")
    assert len(server.to(f"/v1/visits/{VISIT[:-1]}0/call-again")) == 1
