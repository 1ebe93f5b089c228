"""A whole visit in real browsers against a real server: found, booked, invited by mail, waited for, admitted, talked.

The mail comes through a real SMTP server, and what counts at the end is what each side has decoded of the other.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, BrowserContext, Page, expect

from booking.demo import DOMAIN, PASSWORD
from tests.browser.parties import HARNESS, hears, launched_chromium, report, sees, until
from tests.support.server import running_server
from tests.support.smtp import SmtpServer

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

PATIENT = "sana.guest@example.org"
LINK = re.compile(r"http\S*/j/demo#\S+")
CODE = re.compile(r"\b(\d{6})\b")
PHONE = {"width": 360, "height": 740}


@pytest.fixture
async def chromium() -> AsyncIterator[Browser]:
    """In the loop of the test, where its clinic and mail server are."""
    async with launched_chromium() as browser:
        yield browser


@pytest.fixture
async def clinic(tmp_path: Path, smtp_server: SmtpServer) -> AsyncIterator[str]:
    """The demo clinic, whose mails go to the test."""
    settings = tmp_path / "settings.toml"
    settings.write_text(f'smtp_url = "smtp://127.0.0.1:{smtp_server.port}"\n')
    async with running_server(tmp_path, "--demo", "--config", str(settings)) as running:
        yield running.url


async def window(chromium: Browser, url: str, **options: Any) -> tuple[BrowserContext, Page]:
    context = await chromium.new_context(permissions=["camera", "microphone"], base_url=url, locale="en-GB", **options)
    context.set_default_timeout(20_000)
    return context, await context.new_page()


async def mail(smtp: SmtpServer, wanted: re.Pattern[str], at: int = 0) -> tuple[EmailMessage, str]:
    """The newest mail whose text fits, waited for; with what fits."""

    async def newest() -> tuple[EmailMessage, str] | None:
        for each in reversed(smtp.received[at:]):
            body = each.get_body(("plain",))
            found = wanted.search(body.get_content()) if body is not None else None
            if found is not None:
                return each, found[found.re.groups]
        return None

    found: tuple[EmailMessage, str] = await until(newest, bool, f"a mail with {wanted.pattern}")
    return found


async def booked_by_a_guest(page: Page, smtp: SmtpServer) -> str:
    """From the search to the link in the mail."""
    await page.goto("/book")
    await page.get_by_test_id("search-input").fill("aisha sidiqi")  # with slips
    card = page.get_by_test_id("doctor-card").filter(has_text="Ayesha Siddiqui")
    await card.click()
    await page.get_by_test_id("slot").first.click()
    await expect(page.get_by_test_id("terms")).to_contain_text("nothing goes back", ignore_case=True)
    await page.get_by_test_id("name-input").fill("Sana Guest")
    await page.get_by_test_id("email-input").fill(PATIENT)
    await page.get_by_test_id("book-button").click()
    await page.get_by_test_id("code-input").wait_for()
    _, code = await mail(smtp, CODE)
    await page.get_by_test_id("code-input").fill(code)
    await page.get_by_test_id("book-button").click()
    await expect(page.get_by_test_id("booked")).to_have_attribute("data-status", "confirmed")
    invitation, link = await mail(smtp, LINK)
    assert invitation["To"] == PATIENT
    assert "If you cancel: " in invitation.get_body(("plain",)).get_content()  # type: ignore[union-attr]
    [calendar, *_] = [part for part in invitation.walk() if part.get_content_type() == "text/calendar"]
    entry = calendar.get_content()
    assert "METHOD:REQUEST" in entry
    assert "BEGIN:VTIMEZONE" in entry
    return link


async def waiting_patient(chromium: Browser, clinic: str, link: str) -> Page:
    """Somebody who has nothing but the link, on a phone."""
    _, page = await window(chromium, clinic, viewport=PHONE, timezone_id="Europe/London")
    await page.goto(link)
    await page.get_by_test_id("enter-visit").click()
    await page.get_by_test_id("place").wait_for()
    assert "#" not in page.url
    return page


async def doctor_at_the_board(chromium: Browser, clinic: str) -> Page:
    _, page = await window(chromium, clinic, timezone_id="Asia/Karachi")
    await page.goto("/sign-in?next=/visits")
    await page.get_by_test_id("with-password").click()
    await page.get_by_test_id("email-input").fill(f"ayesha@{DOMAIN}")
    await page.get_by_test_id("password-input").fill(PASSWORD)
    await page.get_by_test_id("submit").click()
    await page.get_by_test_id("board").wait_for()
    return page


async def in_the_call(page: Page, *, looks: bool = False) -> None:
    """Being let in is being in. ``looks``: at camera and microphone first, having waited nowhere and not today."""
    if looks:
        await page.get_by_test_id("enter-call").click()
    await page.get_by_test_id("leave").wait_for()
    assert await page.get_by_test_id("name-input").count() == 0
    await page.evaluate(HARNESS)
    await page.evaluate("harness.adopt(window.wadud)")


async def test_from_the_search_to_a_call_in_which_both_see_and_hear_each_other(
    clinic: str, chromium: Browser, smtp_server: SmtpServer
) -> None:
    _, booking = await window(chromium, clinic, timezone_id="Europe/London")
    link = await booked_by_a_guest(booking, smtp_server)
    patient = await waiting_patient(chromium, clinic, link)
    doctor = await doctor_at_the_board(chromium, clinic)
    entry = doctor.get_by_test_id("waiting-entry")
    await expect(entry).to_contain_text("Sana Guest")
    await patient.get_by_test_id("message-input").fill("I have my results here")
    await patient.keyboard.press("Enter")
    await expect(patient.get_by_test_id("message-input")).to_have_value("")
    await expect(entry.get_by_test_id("said")).to_contain_text("I have my results here")
    await entry.get_by_test_id("tell").click()
    await doctor.get_by_test_id("message-input").fill("One moment please")
    await doctor.keyboard.press("Enter")
    await expect(patient.get_by_test_id("messages")).to_contain_text("One moment please")
    await doctor.get_by_test_id("close-talk").click()
    await expect(patient.locator(".preview")).to_have_attribute("data-video", "on")
    await entry.get_by_test_id("admit").click()
    await asyncio.gather(in_the_call(patient), in_the_call(doctor, looks=True))
    await until(
        lambda: report(doctor), lambda r: hears(r) and sees(r, "Sana Guest/camera"), "the doctor hears and sees"
    )
    await until(
        lambda: report(patient),
        lambda r: hears(r) and any(sees(r, key) for key in r["pictures"] if "Ayesha" in key),
        "the patient hears and sees",
    )
    await patient.reload()  # back into the call, without a question
    await in_the_call(patient)
    await patient.get_by_test_id("leave").click()
    await patient.get_by_test_id("back-to-visit").click()
    await patient.get_by_test_id("enter-visit").click()
    await patient.get_by_test_id("place").wait_for()  # a visit that was not on for a minute begins anew
    await doctor.goto("/visits")
    await doctor.get_by_test_id("admit").click()
    await asyncio.gather(in_the_call(patient), in_the_call(doctor))
    await doctor.get_by_test_id("leave").click()
    await doctor.get_by_test_id("end-visit").click()
    await doctor.get_by_role("heading", name="The visit is over for everybody").wait_for()
    over = patient.get_by_test_id("visit-over")
    await expect(over).to_have_attribute("data-reason", "ended")
    await expect(over).to_contain_text("Ayesha Siddiqui")
    await expect(patient.get_by_test_id("book-again")).to_have_attribute("href", re.compile("/doctors/ayesha"))


async def test_a_waiting_patient_is_told_at_once_that_the_doctor_cancels(
    clinic: str, chromium: Browser, smtp_server: SmtpServer
) -> None:
    _, booking = await window(chromium, clinic, timezone_id="Europe/London")
    link = await booked_by_a_guest(booking, smtp_server)
    patient = await waiting_patient(chromium, clinic, link)
    doctor = await doctor_at_the_board(chromium, clinic)
    visit = doctor.get_by_test_id("visit").first
    await visit.get_by_test_id("cancel").click()
    await visit.get_by_test_id("confirm").click()
    over = patient.get_by_test_id("visit-over")
    await expect(over).to_have_attribute("data-reason", "cancelled_by_provider", timeout=5_000)
    await expect(patient.locator("#assertive")).to_contain_text("had to cancel")
    await patient.goto(link)
    await expect(over).to_have_attribute("data-reason", "cancelled_by_provider")


async def test_a_visitor_asks_for_a_doctor_now_and_the_first_who_answers_sees_them(
    clinic: str, chromium: Browser
) -> None:
    doctor = await doctor_at_the_board(chromium, clinic)
    await doctor.get_by_test_id("take-requests").click()
    await expect(doctor.get_by_test_id("take-requests")).to_have_attribute("aria-pressed", "true")
    _, patient = await window(chromium, clinic, viewport=PHONE, timezone_id="Europe/London")
    await patient.goto("/book")
    await patient.get_by_test_id("doctor-now").click()
    await patient.get_by_test_id("name-input").fill("Sana Now")
    await patient.get_by_test_id("specialty").select_option("general-practice")
    await patient.get_by_test_id("language").select_option("ur")
    await patient.get_by_test_id("reason-input").fill("A fever since this morning")
    await patient.get_by_test_id("ask").click()
    ring = doctor.get_by_test_id("ring")
    await expect(ring).to_contain_text("A fever since this morning")
    await patient.reload()  # nothing is lost
    await expect(patient.get_by_test_id("now")).to_have_attribute("data-phase", "ringing")
    await ring.get_by_test_id("accept-ring").click()
    await asyncio.gather(in_the_call(patient, looks=True), in_the_call(doctor, looks=True))
    await until(lambda: report(doctor), lambda r: hears(r) and sees(r, "Sana Now/camera"), "the doctor hears and sees")
    await until(
        lambda: report(patient),
        lambda r: hears(r) and any(sees(r, key) for key in r["pictures"] if "Ayesha" in key),
        "the patient hears and sees",
    )


async def test_who_waits_for_a_time_is_offered_one_that_is_free_and_takes_it(
    clinic: str, chromium: Browser, smtp_server: SmtpServer
) -> None:
    _, page = await window(chromium, clinic, timezone_id="Asia/Karachi")
    await page.goto("/sign-in?next=/book")
    await page.get_by_test_id("with-password").click()
    await page.get_by_test_id("email-input").fill(f"sana@{DOMAIN}")
    await page.get_by_test_id("password-input").fill(PASSWORD)
    await page.get_by_test_id("submit").click()
    await page.get_by_test_id("doctor-card").filter(has_text="Ayesha Siddiqui").click()
    await page.get_by_test_id("slot").first.wait_for()
    await page.get_by_test_id("waitlist").locator("summary").click()
    await page.get_by_test_id("waitlist-join").click()
    await expect(page.get_by_test_id("waitlist-joined")).to_contain_text("kept for you")
    _, link = await mail(smtp_server, re.compile(r"http\S*/visits\b"))
    await page.goto(link)  # where the mail leads
    offer = page.get_by_test_id("wait")
    await expect(offer).to_have_attribute("data-state", "offered")
    await offer.get_by_test_id("take-offer").click()
    await expect(page.get_by_test_id("wait")).to_have_count(0)
    await expect(page.get_by_test_id("visit").filter(has_text="Ayesha Siddiqui").first).to_be_visible()
