"""A scripted server and a Chromium page for the tests of the pages.

The browser is one for a file, which saves half of the time; each test has a server, a context and pages of its own. It
is Chromium without its window, where that is installed, which saves another third: the same engine, media and WebRTC
included. The calls of tests/browser and tests/network are made in the Chromium that people have.
"""

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page

from backplane.bootstrap import ROOT, pages, set_up
from backplane.setup_steps import Workshop
from tests.browser.parties import CHROMIUM_ARGUMENTS, launched_chromium
from tests.web.fake_server import ROOM, FakeServer

PHONE = {"width": 360, "height": 740}
DESK = {"width": 1280, "height": 800}
# Each width, theme and language is looked at once: what breaks a page is one of them, seldom a pair.
LOOKS = pytest.mark.parametrize(
    "viewport, theme, language", [(PHONE, "light", "ur"), (DESK, "dark", "en")], ids=["phone-light-ur", "desk-dark-en"]
)
SIZES = pytest.mark.parametrize("viewport, language", [(PHONE, "ur"), (DESK, "en")], ids=["phone-ur", "desk-en"])

PREVIEW_ON = "document.querySelector('.preview')?.dataset.video === 'on'"

# The pages must live with the browser's own policy on sound.
PAGE_ARGUMENTS = [argument for argument in CHROMIUM_ARGUMENTS if not argument.startswith("--autoplay")]
PAGE_BROWSER = shutil.which("chromium-headless-shell") or "/usr/bin/chromium"


@dataclass
class Visitor:
    """One browser window with everything that its console complained about."""

    page: Page
    server: FakeServer
    address: str
    complaints: list[str] = field(default_factory=list)

    async def open_home(self, language: str = "en") -> None:
        await self.page.goto(f"{self.address}/?lang={language}")
        await self.see("start-call")

    async def open_check(self, language: str = "en", room: str = ROOM) -> None:
        await self.page.goto(f"{self.address}/call/{room}?lang={language}")
        await self.see("name-input")

    async def open_call(self, language: str = "en", name: str = "Zainab Raza") -> None:
        await self.open_check(language)
        await self.until(PREVIEW_ON)
        await self.of("name-input").fill(name)
        await self.of("join-button").click()
        await self.see("leave")

    async def until(self, expression: str, timeout_s: float = 15) -> None:
        """Polls by evaluation: waiting inside the page would need eval, which the content policy forbids."""
        async with asyncio.timeout(timeout_s):
            while True:
                if await self.page.evaluate(expression):
                    return
                await asyncio.sleep(0.02)

    def of(self, testid: str) -> Any:
        return self.page.get_by_test_id(testid)

    async def see(self, testid: str) -> None:
        await self.of(testid).first.wait_for(state="visible")


Visit = Callable[..., Awaitable[Visitor]]


@pytest.fixture(scope="session", autouse=True)
def built_pages() -> None:
    """The pages as their sources are now, whoever runs the tests."""
    set_up(Workshop(ROOT), [pages(ROOT)], [])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chromium() -> AsyncIterator[Browser]:
    async with launched_chromium(PAGE_ARGUMENTS, PAGE_BROWSER) as browser:
        yield browser


@pytest_asyncio.fixture(loop_scope="module")
async def fake() -> AsyncIterator[tuple[FakeServer, str]]:
    server = FakeServer()
    runner = web.AppRunner(server.app, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    yield server, f"http://127.0.0.1:{port}"
    await runner.cleanup()


@pytest_asyncio.fixture(loop_scope="module")
async def visit(chromium: Browser, fake: tuple[FakeServer, str]) -> AsyncIterator[Visit]:
    """Opens windows: ``visit(viewport=..., permissions=[...])``. A breach of the content policy or an error fails."""
    server, address = fake
    visitors: list[Visitor] = []
    contexts: list[BrowserContext] = []

    async def open_window(before: str = "", **options: Any) -> Visitor:
        context: BrowserContext = await chromium.new_context(
            **{"viewport": DESK, "permissions": ["camera", "microphone"], **options}
        )
        contexts.append(context)
        context.set_default_timeout(15_000)
        page = await context.new_page()
        if before:
            await page.add_init_script(before)
        visitor = Visitor(page, server, address)
        visitors.append(visitor)

        def heard(message: ConsoleMessage) -> None:
            # What the test itself refuses is also reported by the browser.
            refused = "WebSocket" in message.text or "the server responded with a status of" in message.text
            if message.type == "error" and not refused:
                visitor.complaints.append(message.text)

        page.on("console", heard)
        page.on("pageerror", lambda error: visitor.complaints.append(str(error)))
        return visitor

    yield open_window
    complaints = [complaint for visitor in visitors for complaint in visitor.complaints]
    for context in contexts:
        await context.close()
    assert complaints == []
