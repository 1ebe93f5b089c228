"""The two ends of a call in tests: a page of Chromium or of Firefox ESR, behind one small interface."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

import aiohttp
from playwright.async_api import Browser, async_playwright

from tests.browser.firefox import Firefox

HARNESS = (Path(__file__).parent / "harness.js").read_text()

CHROMIUM_ARGUMENTS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
    "--auto-select-desktop-capture-source=Entire screen",
]


@asynccontextmanager
async def launched_chromium(
    arguments: list[str] = CHROMIUM_ARGUMENTS, program: str = "/usr/bin/chromium"
) -> AsyncIterator[Browser]:
    """Debian's Chromium with a made-up camera and microphone."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=arguments)
        yield browser
        await browser.close()


class Party(Protocol):
    """One participant's page."""

    async def evaluate(self, expression: str) -> Any: ...


async def new_room(server: str) -> dict[str, Any]:
    async with aiohttp.ClientSession() as http, http.post(f"{server}/v1/rooms", json={}, ssl=False) as answer:
        assert answer.status == 201, await answer.text()
        room: dict[str, Any] = await answer.json()
        return room


async def new_token(server: str, room: str, name: str) -> str:
    async with (
        aiohttp.ClientSession() as http,
        http.post(f"{server}/v1/rooms/{room}/tokens", json={"name": name}, ssl=False) as answer,
    ):
        assert answer.status == 201, await answer.text()
        return str((await answer.json())["token"])


async def join(party: Party, server: str, room: str, name: str, **options: Any) -> str:
    """Join from a page through the real client library; the participant id."""
    token = await new_token(server, room, name)
    wish = json.dumps({"token": token, "name": name, **options})
    return str(await party.evaluate(f"harness.join({wish})"))


async def report(party: Party) -> dict[str, Any]:
    """What the page has received so far; see harness.js."""
    result: dict[str, Any] = await party.evaluate("harness.report()")
    return result


async def until(
    read: Callable[[], Awaitable[Any]], holds: Callable[[Any], bool], what: str, timeout_s: float = 20
) -> Any:
    """Poll until a condition holds; the last value read. AssertionError with that value when it does not."""
    deadline = asyncio.get_running_loop().time() + timeout_s
    while True:
        value = await read()
        if holds(value):
            return value
        assert asyncio.get_running_loop().time() < deadline, f"not reached: {what}; last seen: {value}"
        await asyncio.sleep(0.05)


def hears(value: dict[str, Any]) -> bool:
    """Decoded sound with energy in it arrived."""
    return any(a["energy"] > 0.001 and a["samples"] > 24_000 for a in value["audio"])


def sees(value: dict[str, Any], key: str, pictures: int = 15) -> bool:
    """At least so many different, not black, decoded pictures of ``name/source`` were painted."""
    seen = value["pictures"].get(key)
    return bool(seen) and seen["different"] >= pictures and seen["bright"] > 60


@asynccontextmanager
async def chromium_page(browser: Browser, server: str) -> AsyncIterator[Party]:
    context = await browser.new_context(permissions=["camera", "microphone"], base_url=server)
    page = await context.new_page()
    await page.goto(server + "/")
    await page.evaluate(HARNESS)
    try:
        yield page
    finally:
        await context.close()


@asynccontextmanager
async def firefox_page(profile: Path, server: str) -> AsyncIterator[Party]:
    async with Firefox(profile) as firefox:
        await firefox.goto(server + "/")
        await firefox.evaluate(HARNESS)
        yield firefox
