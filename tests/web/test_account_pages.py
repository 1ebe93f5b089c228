"""The pages of one's account and of an invitation, against a clinic that answers what the test says.

With a real server, real mail and a browser's passkeys they are in tests/browser/test_account.py.
"""

from collections.abc import AsyncIterator
from typing import cast

import pytest
import pytest_asyncio
from aiohttp import web
from playwright.async_api import expect

from tests.web.conftest import DESK, LOOKS, PHONE, Visit, Visitor
from tests.web.fake_account import EMAIL, HERE, PASSKEY, RECOVERY, SECRET, THERE, FakeAccount
from tests.web.fake_clinic import LINK, PROVIDER
from tests.web.test_pages import overflows, violations
from tests.web.test_visit_pages import REMEMBERED

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(loop_scope="module")
async def fake() -> AsyncIterator[tuple[FakeAccount, str]]:
    server = FakeAccount()
    runner = web.AppRunner(server.app, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield server, f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


def clinic(visitor: Visitor) -> FakeAccount:
    return cast(FakeAccount, visitor.server)


async def open_account(visitor: Visitor, query: str = "", language: str = "en") -> None:
    await visitor.page.goto(f"{visitor.address}/account?lang={language}{query}")
    await visitor.see("section-devices")


async def open_invitation(visitor: Visitor, language: str = "en") -> None:
    await visitor.page.goto(f"{visitor.address}/invite?lang={language}#{LINK}")


async def enter_code(visitor: Visitor) -> None:
    await visitor.of("submit").click()
    await visitor.of("code-input").fill("123456")
    await visitor.of("submit").click()


async def focused(visitor: Visitor) -> str:
    found: str = await visitor.page.evaluate("document.activeElement.id")
    return found


@LOOKS
async def test_both_pages_are_accessible_and_fit(
    visit: Visit, language: str, theme: str, viewport: dict[str, int]
) -> None:
    visitor = await visit(viewport=viewport, color_scheme=theme, reduced_motion="reduce", timezone_id="Asia/Karachi")
    findings: dict[str, list[str]] = {}

    async def judge(screen: str) -> None:
        assert not await overflows(visitor), screen
        findings[screen] = await violations(visitor)

    await open_invitation(visitor, language)
    await visitor.see("submit")
    await judge("invitation")
    clinic(visitor).factor_due = True
    await enter_code(visitor)
    await visitor.see("accept")
    await judge("invitation, signed in")
    await visitor.of("accept").click()
    await visitor.see("go-on")
    await judge("invitation, accepted")
    await visitor.of("go-on").click()
    await visitor.see("factor-due")
    await judge("account")
    await visitor.of("add-person").locator("summary").click()
    await judge("account, adding somebody")
    await visitor.of("set-up-factor").click()
    await visitor.see("secret")
    await judge("account, authenticator")
    await visitor.of("factor-code").fill("123456")
    await visitor.of("submit-factor").click()
    await visitor.see("recovery-codes")
    await judge("account, recovery codes")
    await visitor.of("codes-kept").click()
    await visitor.of("ask-remove-factor").click()
    await judge("account, asked for a code")
    await visitor.of("ask-passkey").click()
    await judge("account, asked about a passkey")
    clinic(visitor).refusals["/v1/me/password"] = (403, {"code": "sign_in_again"})
    await visitor.of("new-password").fill("a long enough one")
    await visitor.of("submit-password").click()
    await visitor.see("proof")
    await judge("account, to sign in again")
    assert {screen: found for screen, found in findings.items() if found} == {}


async def test_an_authenticator_is_set_up_and_its_recovery_codes_are_shown_once(visit: Visit) -> None:
    visitor = await visit(before=REMEMBERED)
    await open_account(visitor, "&next=/visits")
    await visitor.of("set-up-factor").click()
    assert (await visitor.of("secret").inner_text()).replace(" ", "") == SECRET
    assert await focused(visitor) == "factor-code"
    server = clinic(visitor)
    server.refusals["/v1/auth/mfa/totp/confirm"] = (400, {"code": "wrong_code"})
    await visitor.of("factor-code").fill("000000")
    await visitor.of("submit-factor").click()
    await visitor.see("problem")
    await visitor.see("secret")  # the same key: the app has it already
    await visitor.of("factor-code").fill(" 123456 ")
    await visitor.of("submit-factor").click()
    await visitor.see("recovery-codes")
    assert server.to("/v1/auth/mfa/totp/confirm") == [{"code": "000000"}, {"code": "123456"}]
    assert await focused(visitor) == "recovery-title"
    assert await visitor.page.locator(".codes code").all_inner_texts() == RECOVERY
    assert await visitor.of("go-on").count() == 0  # not before they are kept
    await visitor.of("codes-kept").click()
    await visitor.see("go-on")
    assert await visitor.page.locator(".codes").count() == 0
    await visitor.page.reload()
    await visitor.see("ask-remove-factor")
    assert await visitor.page.locator(".codes").count() == 0


async def test_new_recovery_codes_and_switching_off_want_a_code(visit: Visit) -> None:
    visitor = await visit(before=REMEMBERED)
    server = clinic(visitor)
    server.me["has_totp"] = True
    await open_account(visitor)
    await visitor.of("ask-new-codes").click()
    assert await focused(visitor) == "factor-code"
    await visitor.of("factor-code").fill("123456")
    await visitor.of("submit-factor").click()
    await visitor.see("recovery-codes")
    await visitor.of("codes-kept").click()
    await visitor.of("ask-remove-factor").click()
    server.refusals["/v1/auth/mfa/totp/remove"] = (400, {"code": "wrong_code"})
    await visitor.of("factor-code").fill("000000")
    await visitor.of("submit-factor").click()
    await visitor.see("problem")
    assert await visitor.of("factor-code").input_value() == "000000"
    await visitor.of("factor-code").fill("654321")
    await visitor.of("submit-factor").click()
    await visitor.see("set-up-factor")
    assert server.to("/v1/auth/mfa/totp/remove") == [{"code": "000000"}, {"code": "654321"}]


async def test_what_wants_a_fresh_sign_in_goes_on_behind_it_and_the_old_session_ends(visit: Visit) -> None:
    visitor = await visit(before=REMEMBERED)
    server = clinic(visitor)
    server.refusals["/v1/auth/mfa/totp"] = (403, {"code": "sign_in_again"})
    await open_account(visitor)
    await visitor.of("set-up-factor").click()
    await visitor.see("proof")
    assert await visitor.of("email-input").input_value() == EMAIL
    assert await visitor.of("email-input").get_attribute("readonly") is not None
    await enter_code(visitor)
    await visitor.see("secret")
    assert server.to("/v1/auth/otp") == [{"email": EMAIL, "locale": "en"}]
    assert ("DELETE", f"/v1/me/sessions/{HERE}", None) in server.asked
    assert len(server.to("/v1/auth/mfa/totp")) == 2


async def test_who_signs_in_as_somebody_else_does_not_act_for_the_first(visit: Visit) -> None:
    visitor = await visit(before=REMEMBERED)
    server = clinic(visitor)
    server.refusals["/v1/auth/mfa/totp"] = (403, {"code": "sign_in_again"})
    await open_account(visitor)
    await visitor.of("set-up-factor").click()
    await visitor.see("proof")
    server.me = {**server.me, "id": PROVIDER, "name": "Somebody Else"}
    server.person = PROVIDER
    async with visitor.page.expect_navigation():
        await enter_code(visitor)
    await visitor.see("section-devices")
    assert await visitor.of("own-name").input_value() == "Somebody Else"
    assert len(server.to("/v1/auth/mfa/totp")) == 1


async def test_passkeys_and_devices_are_removed_and_the_rest_stays(visit: Visit) -> None:
    visitor = await visit(before=REMEMBERED)
    server = clinic(visitor)
    await open_account(visitor)
    await visitor.of("ask-passkey").click()
    await visitor.page.get_by_role("button", name="Not now").click()
    assert await visitor.page.evaluate("document.activeElement.dataset.asks") == f"passkey {PASSKEY}"
    await visitor.of("ask-passkey").click()
    await visitor.of("confirmed").click()
    await expect(visitor.of("passkey")).to_have_count(0)
    assert await visitor.of("end-device").count() == 1  # not of this one
    await visitor.of("end-device").click()
    await expect(visitor.of("device")).to_have_count(1)
    deleted = [path for method, path, _ in server.asked if method == "DELETE"]
    assert deleted == [f"/v1/me/passkeys/{PASSKEY}", f"/v1/me/sessions/{THERE}"]
    await visitor.of("ask-end-all").click()
    await visitor.of("confirmed").click()
    await visitor.page.wait_for_url("**/sign-in")
    assert server.to("/v1/auth/logout-all") == [None]


async def test_people_are_added_asked_and_ended(visit: Visit) -> None:
    visitor = await visit(before=REMEMBERED)
    server = clinic(visitor)
    await open_account(visitor)
    await visitor.of("add-person").locator("summary").click()
    await visitor.of("person-name").fill(" Ali Malik ")
    await visitor.of("person-year").fill("2018")
    await visitor.of("submit-people").click()
    await expect(visitor.of("care")).to_have_count(2)
    assert server.to("/v1/me/dependants")[1] == {"name": "Ali Malik", "relation": "child", "birth_year": 2018}
    assert await visitor.of("person-name").input_value() == ""
    await visitor.of("carer-email").fill("uncle@example.org")
    await visitor.of("carer-relation").select_option("sibling")
    await visitor.of("name-carer").click()
    await expect(visitor.page.locator("#polite")).to_contain_text("asked them")
    assert server.to("/v1/me/caregivers")[-2:] == [{"email": "uncle@example.org", "relation": "sibling"}, None]
    await visitor.of("ask-care").last.click()
    await visitor.of("confirmed").click()
    await expect(visitor.of("care")).to_have_count(1)
    assert server.caregivers == []


async def test_a_password_is_changed_and_a_name(visit: Visit) -> None:
    visitor = await visit(before=REMEMBERED)
    server = clinic(visitor)
    await open_account(visitor)
    await visitor.of("own-name").fill("  عمر فاروق ")
    await visitor.of("submit-name").click()
    await expect(visitor.page.locator("#polite")).to_contain_text("Saved")
    assert server.to("/v1/me")[-2:] == [{"name": "عمر فاروق"}, None]
    server.refusals["/v1/me/password"] = (422, {"code": "weak_password"})
    await visitor.of("current-password").fill("old one ")
    await visitor.of("new-password").fill("password")
    await visitor.of("submit-password").click()
    await visitor.see("problem")
    await visitor.of("new-password").fill(" a better one")
    await visitor.of("submit-password").click()
    await expect(visitor.page.locator("#polite")).to_contain_text("The password is set")
    assert server.to("/v1/me/password")[-1] == {"password": " a better one", "current": "old one "}
    assert await visitor.of("new-password").input_value() == ""


@pytest.mark.parametrize("language", ["en", "ur"])
async def test_who_is_nobody_here_signs_in_first(visit: Visit, language: str) -> None:
    visitor = await visit()
    await visitor.page.goto(f"{visitor.address}/account?lang={language}")
    await visitor.see("sign-in")
    assert "next=%2Faccount" in visitor.page.url


async def test_an_invitation_is_kept_out_of_sight_and_accepted_by_a_press_only(visit: Visit) -> None:
    visitor = await visit()
    server = clinic(visitor)
    await open_invitation(visitor)
    await visitor.see("submit")
    assert "#" not in visitor.page.url
    await visitor.page.reload()  # it stays in this tab
    await visitor.see("submit")
    assert await visitor.of("email-input").input_value() == EMAIL
    await enter_code(visitor)
    await visitor.see("accept")
    assert server.to("/v1/invites/accept") == []
    await visitor.of("accept").click()
    await visitor.see("go-on")
    assert server.to("/v1/invites/accept") == [{"token": LINK}]
    assert [path for _, path, _ in server.asked][-1] == "/v1/auth/refresh"  # the role counts from the next token on
    assert await visitor.page.evaluate("sessionStorage.getItem('wadud.invite')") is None
    await visitor.of("go-on").click()
    await visitor.page.wait_for_url("**/visits")


async def test_who_is_signed_in_as_somebody_else_is_told_and_can_change(visit: Visit) -> None:
    visitor = await visit(before=f"if (!sessionStorage.seen) {{ {REMEMBERED}; sessionStorage.seen = '1'; }}")
    server = clinic(visitor)
    server.invitation["email"] = "another@example.org"
    await open_invitation(visitor)
    await visitor.see("wrong-account")
    assert await visitor.of("accept").count() == 0
    await visitor.of("sign-in-right").click()
    await visitor.see("submit")
    assert await visitor.of("email-input").input_value() == "another@example.org"
    assert server.to("/v1/auth/logout") == [None]


@pytest.mark.parametrize(
    "refused, phase", [({"code": "bad_invite"}, "bad"), ({"code": "invite_over"}, "over")], ids=["bad", "over"]
)
async def test_an_invitation_that_is_of_no_use_says_so(visit: Visit, refused: dict[str, str], phase: str) -> None:
    visitor = await visit(before=REMEMBERED)
    server = clinic(visitor)
    await open_invitation(visitor)
    await visitor.see("accept")
    server.refusals["/v1/invites/accept"] = (409, refused)
    await visitor.of("accept").click()
    await expect(visitor.of("invite")).to_have_attribute("data-phase", phase)
    await visitor.page.reload()
    await expect(visitor.of("invite")).to_have_attribute("data-phase", "bad")  # it is kept no longer


async def test_a_server_that_does_not_answer_can_be_asked_again(visit: Visit) -> None:
    visitor = await visit(viewport=PHONE)
    server = clinic(visitor)
    server.refusals["/v1/invites/look"] = (503, {"code": "database_unavailable"})
    await open_invitation(visitor)
    await visitor.of("again").click()
    await visitor.see("submit")
    visitor = await visit(viewport=DESK, before=REMEMBERED)
    server.refusals["/v1/me"] = (503, {"code": "database_unavailable"})
    await visitor.page.goto(f"{visitor.address}/account")
    await visitor.of("again").click()
    await visitor.see("section-devices")
