"""People in the small internet: a server of ours in its namespace, and browsers in those of the callers."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from playwright.async_api import Playwright

from tests.browser.firefox import Firefox
from tests.browser.parties import CHROMIUM_ARGUMENTS, HARNESS, Party
from tests.network.internet import SERVER, SERVER_V6, Internet
from tests.support.namespaces import Namespace
from tests.support.server import running_server

STOPWATCH = (Path(__file__).parent / "stopwatch.js").read_text()
NAME = "call.test"  # both families
NAMES = {NAME: (SERVER, SERVER_V6)}
JOIN_PATIENCE_MS = 10_000


@asynccontextmanager
async def service(world: Internet, directory: Path) -> AsyncIterator[str]:
    """Our server on port 443 of both families; the address of its pages."""
    options = ("--host", "::", "--port", "443", "--public-ip", f"{SERVER},{SERVER_V6}", "--self-signed")
    async with running_server(directory, *options, within=world.server):
        yield f"https://{NAME}"


@asynccontextmanager
async def chromium_person(
    playwright: Playwright, namespace: Namespace, directory: Path, url: str, *more: str
) -> AsyncIterator[Party]:
    """A page of a Chromium that has the namespace's network only, started with ``more`` arguments."""
    namespace.knows(NAMES)
    start = directory / f"chromium-{namespace.name}"
    start.write_text("#!/bin/sh\nexec " + " ".join(namespace.argv("/usr/bin/chromium")) + ' "$@"\n')
    start.chmod(0o755)
    # the switch counts for TURN over TLS too; Playwright's own ignore_https_errors counts for pages only
    arguments = [*CHROMIUM_ARGUMENTS, "--ignore-certificate-errors", *more]
    browser = await playwright.chromium.launch(executable_path=start, args=arguments)
    try:
        context = await browser.new_context(permissions=["camera", "microphone"], base_url=url)
        page = await context.new_page()
        await page.goto(url + "/")
        await page.evaluate(HARNESS)
        await page.evaluate(STOPWATCH)
        yield page
    finally:
        await browser.close()


@asynccontextmanager
async def firefox_person(namespace: Namespace, directory: Path, url: str) -> AsyncIterator[Party]:
    """A page of a Firefox that has the namespace's network only."""
    namespace.knows(NAMES)
    profile = directory / f"firefox-{namespace.name}"
    profile.mkdir()
    async with Firefox(profile, within=namespace) as firefox:
        await firefox.goto(url + "/")
        await firefox.evaluate(HARNESS)
        await firefox.evaluate(STOPWATCH)
        yield firefox


async def new_room(party: Party) -> str:
    """A room that the page itself asks for: the test's own process has no way to the server."""
    return str(await party.evaluate(f"({_POST})('/v1/rooms', {{}}).then(({{room}}) => room)"))


async def timed_join(party: Party, room: str, name: str, **options: Any) -> float:
    """Join through the real client library; milliseconds until media can flow. ``options``: see CallOptions."""
    wish = json.dumps({"token": await _new_token(party, room, name), "name": name, **options})
    took = await party.evaluate(f"harness.timedJoin({wish}, {JOIN_PATIENCE_MS})")
    assert took is not None, f"{name} did not connect within {JOIN_PATIENCE_MS} ms"
    return float(took)


async def relays_over_tls(party: Party, room: str) -> list[dict[str, Any]]:
    """What our server gives as ICE servers, but for those that are not reached over TLS (RFC 7065)."""
    token = await _new_token(party, room, "Relayed")
    given = await party.evaluate(f"({_POST})('/v1/ice-servers', {{}}, {json.dumps(token)})")
    found = [
        {**each, "urls": [url for url in each["urls"] if url.startswith("turns:")]} for each in given["ice_servers"]
    ]
    assert any(each["urls"] for each in found), given
    return found


async def _new_token(party: Party, room: str, name: str) -> str:
    given = await party.evaluate(f"({_POST})('/v1/rooms/{room}/tokens', {json.dumps({'name': name})})")
    return str(given["token"])


_POST = """async (path, body, token = '') => {
    const headers = {'Content-Type': 'application/json', ...(token && {Authorization: `Bearer ${token}`})};
    const answer = await fetch(path, {method: 'POST', headers, body: JSON.stringify(body)});
    if (!answer.ok) throw new Error(await answer.text());
    return answer.json();
}"""
