"""What who waits and the staff write to each other, on both pages."""

from collections.abc import AsyncIterator
from typing import cast

import pytest
import pytest_asyncio
from aiohttp import web

from tests.web.conftest import PHONE, Visit, Visitor
from tests.web.fake_clinic import LINK, PROVIDER, VISIT, FakeClinic, message, waiting
from tests.web.test_pages import overflows, violations

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]
REMEMBERED = "localStorage.setItem('wadud.session', '1')"
SENT = f"/v1/visits/{VISIT}/messages"
TOLD = f"/v1/visits/{VISIT}/desk-messages"


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


async def waits(visit: Visit, language: str = "en") -> Visitor:
    visitor = await visit(viewport=PHONE)
    await visitor.page.goto(f"{visitor.address}/j/al-shifa?lang={language}#{LINK}")
    await visitor.of("enter-visit").click()
    await visitor.see("place")
    return visitor


async def board(visit: Visit, language: str = "en") -> Visitor:
    visitor = await visit(before=REMEMBERED, viewport=PHONE)
    clinic(visitor).roles = ["doctor"]
    await visitor.page.goto(f"{visitor.address}/visits?lang={language}")
    await visitor.see("waiting-entry")
    return visitor


async def write(visitor: Visitor, text: str) -> None:
    await visitor.of("message-input").fill(text)
    await visitor.of("message-input").press("Enter")


async def test_a_message_leaves_the_field_and_is_not_doubled_by_the_push(visit: Visit) -> None:
    visitor = await waits(visit)
    await write(visitor, "I have brought my results")
    assert await visitor.of("message-input").input_value() == ""
    await visitor.until("document.querySelector('.message')?.dataset.state === 'kept'")
    assert clinic(visitor).to(SENT) == [{"body": "I have brought my results"}]
    said = message(1, "I have brought my results", "patient", own=True)
    await clinic(visitor).show(messages=[said, message(2, "Good, one moment")])
    await visitor.until("document.querySelectorAll('.message').length === 2")
    assert await visitor.page.locator(".message[data-state]").count() == 0
    assert "Good, one moment" in await visitor.page.locator("#polite").inner_text()


async def test_a_message_that_did_not_go_keeps_its_text_and_can_be_sent_again(visit: Visit) -> None:
    visitor = await waits(visit)
    clinic(visitor).refusals[SENT] = (503, {"code": "database_unavailable"})
    await write(visitor, "Can you hear me?")
    await visitor.see("send-again")
    assert "Can you hear me?" in await visitor.of("messages").inner_text()
    assert "not sent" in await visitor.of("messages").inner_text()
    await visitor.of("send-again").click()
    await visitor.until("document.querySelector('.message')?.dataset.state === 'kept'")
    assert len(clinic(visitor).to(SENT)) == 2


async def test_the_board_shows_what_was_written_as_unread_and_answers_that_person_alone(visit: Visit) -> None:
    visitor = await board(visit)
    assert await visitor.of("unread").count() == 0
    clinic(visitor).sent = 1
    question = message(1, "Shall I take off the bandage?", "patient")
    await clinic(visitor).show_line([waiting(0, messages=[question]), waiting(2)])
    await visitor.see("unread")
    assert "Shall I take off the bandage?" in await visitor.of("said").inner_text()
    assert await visitor.page.locator("#polite").inner_text() == "Sana Malik has written to you"
    await visitor.of("tell").first.click()
    assert await visitor.of("unread").count() == 0
    await write(visitor, "Not yet, please")
    assert await visitor.of("message-input").input_value() == ""
    await visitor.until("document.querySelectorAll('.message').length === 2")
    assert clinic(visitor).to(TOLD) == [{"body": "Not yet, please", "patient": PROVIDER}]
    more = [question, message(2, "Not yet, please", own=True), message(3, "Thank you", "patient")]
    await clinic(visitor).show_line([waiting(0, messages=more), waiting(2)])
    await visitor.until("document.querySelectorAll('.message').length === 3")
    await visitor.of("close-talk").click()
    assert await visitor.of("unread").count() == 0  # it was open when the message came
    await visitor.page.reload()
    await visitor.see("waiting-entry")
    assert await visitor.of("unread").count() == 0


@pytest.mark.parametrize("language", ["en", "ur"])
async def test_the_conversation_on_the_board_fits_a_phone_and_is_accessible(visit: Visit, language: str) -> None:
    visitor = await board(visit, language)
    lines = [message(1, "Is it my turn?", "patient"), message(2, "جی، ابھی", own=True), message(3, "شکریہ", "patient")]
    await clinic(visitor).show_line([waiting(0, messages=lines), waiting(1, messages=lines[:1])])
    await visitor.see("said")
    await visitor.of("tell").first.click()
    await visitor.see("talk")
    assert not await overflows(visitor)
    assert await violations(visitor) == []
