"""An account in a real browser against a real server: invited by mail, given a second factor, and a passkey.

The authenticator is Chromium's own virtual one, the app a real library's, the mail a real SMTP server's.
"""

import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pyotp
import pytest
from aiohttp import ClientSession
from playwright.async_api import Browser, Page, expect

from booking.demo import DOMAIN, PASSWORD
from tests.browser.parties import launched_chromium
from tests.browser.test_visit import CODE, mail, window
from tests.support.server import running_server
from tests.support.smtp import SmtpServer

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

DOCTOR = "new.doctor@example.org"
INVITE = re.compile(r"http\S*/invite#\S+")


@pytest.fixture
async def chromium() -> AsyncIterator[Browser]:
    async with launched_chromium() as browser:
        yield browser


@pytest.fixture
async def clinic(tmp_path: Path, smtp_server: SmtpServer) -> AsyncIterator[str]:
    """The demo clinic by a name: passkeys belong to names, not to addresses."""
    settings = tmp_path / "settings.toml"
    settings.write_text(f'smtp_url = "smtp://127.0.0.1:{smtp_server.port}"\n')
    async with running_server(tmp_path, "--demo", "--config", str(settings)) as running:
        yield running.url.replace("127.0.0.1", "localhost")


async def invite_a_doctor(clinic: str) -> None:
    """By an admin whose clinic wants a second factor of doctors."""
    async with ClientSession(clinic) as session:

        async def ask(method: str, path: str, body: dict[str, Any]) -> Any:
            async with session.request(method, path, json=body) as answer:
                assert answer.status < 300, await answer.text()
                return await answer.json()

        signed_in = await ask("POST", "/v1/auth/login", {"email": f"admin@{DOMAIN}", "password": PASSWORD})
        session.headers["Authorization"] = f"Bearer {signed_in['access_token']}"
        await ask("PATCH", "/v1/clinic", {"policy": {"second_factor": ["doctor"]}})
        await ask("POST", "/v1/invites", {"email": DOCTOR, "role": "doctor"})


async def enter_mailed_code(page: Page, smtp: SmtpServer, ask: Callable[[], Any]) -> None:
    before = len(smtp.received)
    await ask()
    await page.get_by_test_id("code-input").wait_for()
    _, code = await mail(smtp, CODE, before)
    await page.get_by_test_id("code-input").fill(code)
    await page.get_by_test_id("submit").click()


async def sign_out(page: Page) -> None:
    await page.get_by_test_id("sign-out").click()
    await page.get_by_test_id("start-call").wait_for()


async def test_from_an_invitation_to_a_second_factor_and_a_passkey(
    clinic: str, chromium: Browser, smtp_server: SmtpServer
) -> None:
    await invite_a_doctor(clinic)
    context, page = await window(chromium, clinic)
    authenticator = await context.new_cdp_session(page)
    await authenticator.send("WebAuthn.enable")
    traits = {"protocol": "ctap2", "transport": "internal", "hasResidentKey": True}
    verified = {"hasUserVerification": True, "isUserVerified": True, "automaticPresenceSimulation": True}
    await authenticator.send("WebAuthn.addVirtualAuthenticator", {"options": {**traits, **verified}})
    of = page.get_by_test_id

    _, link = await mail(smtp_server, INVITE)
    await page.goto(link)
    await expect(of("email-input")).to_have_value(DOCTOR)
    await enter_mailed_code(page, smtp_server, of("submit").click)
    await of("accept").click()
    await expect(of("invite")).to_contain_text("Doctor")
    await of("go-on").click()

    await of("factor-due").wait_for()
    await of("set-up-factor").click()
    secret = (await of("secret").inner_text()).replace(" ", "")
    await of("factor-code").fill(pyotp.TOTP(secret).now())
    await of("submit-factor").click()
    await of("recovery-codes").wait_for()
    recovery = await page.locator(".codes code").all_inner_texts()
    assert len(set(recovery)) == 10
    await of("codes-kept").click()
    await expect(of("factor-due")).to_have_count(0)
    await of("go-on").click()
    await expect(page.locator("#visits-title")).to_have_text("My day")  # a doctor's, at last

    await sign_out(page)
    await page.goto("/sign-in?next=/account")
    await of("email-input").fill(DOCTOR)
    await enter_mailed_code(page, smtp_server, of("submit").click)
    await page.locator('[data-step="factor"]').first.wait_for()
    await of("code-input").fill(recovery[0])
    await of("submit").click()
    await of("passkey-label").fill("Test phone")
    await of("submit-passkeys").click()
    await expect(of("passkey")).to_contain_text("Test phone")

    await sign_out(page)
    await page.goto("/sign-in?next=/account")
    await of("with-passkey").click()
    await expect(of("passkey")).to_contain_text("Last used")
    await expect(of("factor-due")).to_have_count(0)
    await of("ask-remove-factor").click()
    await of("factor-code").fill(recovery[1])
    await of("submit-factor").click()
    await of("set-up-factor").wait_for()
    await of("ask-passkey").click()
    await of("confirmed").click()
    await expect(of("passkey")).to_have_count(0)
    await context.close()


async def test_a_mother_adds_her_child_and_books_for_it(clinic: str, chromium: Browser) -> None:
    context, page = await window(chromium, clinic, timezone_id="Asia/Karachi")
    of = page.get_by_test_id
    await page.goto("/sign-in?next=/account")
    await of("with-password").click()
    await of("email-input").fill(f"sana@{DOMAIN}")
    await of("password-input").fill(PASSWORD)
    await of("submit").click()
    await of("add-person").locator("summary").click()
    await of("person-name").fill("Ali Malik")
    await of("person-year").fill("2018")
    await of("submit-people").click()
    await expect(of("care")).to_contain_text("Ali Malik")
    await page.goto("/book")
    await of("doctor-card").filter(has_text="Ayesha Siddiqui").click()
    await of("patient").select_option(label="Ali Malik")
    await of("slot").first.click()
    await expect(of("for-whom")).to_contain_text("Ali Malik")
    await of("book-button").click()
    await expect(of("booked")).to_have_attribute("data-status", "confirmed")
    async with page.expect_response(lambda answer: "/v1/appointments?" in answer.url) as listed:
        await page.goto("/visits")
    visits = await (await listed.value).json()
    assert [visit["patient_name"] for visit in visits["items"]] == ["Ali Malik"]
    await context.close()
