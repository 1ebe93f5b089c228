"""Real calls through our own relay, over each of its transports, and over ICE-TCP: one side has that way only.

The other side is directly connected. What counts is what each has decoded, the path that the browser's statistics and
our library tell, and that the relay has opened no port: what it relays to our own media never leaves the process.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from playwright.async_api import Browser

from backplane.addresses import interface_addresses
from tests.browser.firefox import Firefox
from tests.browser.parties import (
    CHROMIUM_ARGUMENTS,
    HARNESS,
    Party,
    chromium_page,
    hears,
    join,
    launched_chromium,
    new_room,
    new_token,
    report,
    sees,
    until,
)
from tests.support.relay import ANYBODY, counters
from tests.support.server import running_server

pytestmark = [
    pytest.mark.browser,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(120),
]

ONLY_TCP = """(() => {
    const { setRemoteDescription } = RTCPeerConnection.prototype;
    RTCPeerConnection.prototype.setRemoteDescription = function ({ type, sdp }) {
        const lines = sdp.split('\\r\\n').filter((line) => !/^a=candidate:\\S+ \\d+ udp /i.test(line));
        return setRemoteDescription.call(this, { type, sdp: lines.join('\\r\\n') });
    };
})()"""
# {path, said}: the selected pair as the browser tells it, "direct|relay udp|tcp|tls", and what our library says
PATH = """harness.call().getStats().then((stats) => {
    const entries = [...stats.values()];
    const chosen = entries.find((s) => s.type === 'transport')?.selectedCandidatePairId;
    const pair = chosen ? stats.get(chosen) : entries.find((s) => s.type === 'candidate-pair' && s.selected);
    const local = stats.get(pair?.localCandidateId);
    const said = harness.call().path;
    return {
        path: local?.candidateType === 'relay' ? `relay ${local.relayProtocol}` : `direct ${local?.protocol}`,
        said: said && `${said.kind} ${said.protocol}`,
    };
})"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """The pages by a name and media by an address of this machine: Firefox speaks TLS to no relay that is named by an
    address, and for ICE-TCP it makes no connection to loopback."""
    address = next((host for host in interface_addresses() if "." in host), "127.0.0.1")
    options = ("--self-signed", "--host", "0.0.0.0", "--public-ip", address)
    async with running_server(tmp_path_factory.mktemp("server"), *options) as running:
        yield running.url.replace("0.0.0.0", "localhost")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chromium() -> AsyncIterator[Browser]:
    # the switch counts for TURN over TLS too; Playwright's own ignore_https_errors counts for pages only
    async with launched_chromium([*CHROMIUM_ARGUMENTS, "--ignore-certificate-errors"]) as browser:
        yield browser


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def firefox(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Firefox]:
    async with Firefox(tmp_path_factory.mktemp("firefox")) as browser:
        yield browser


@asynccontextmanager
async def page(browser: Browser | Firefox, server: str) -> AsyncIterator[Party]:
    if not isinstance(browser, Firefox):
        async with chromium_page(browser, server) as party:
            yield party
        return
    await browser.goto(server + "/")
    await browser.evaluate(HARNESS)
    try:
        yield browser
    finally:
        await browser.goto("about:blank")


async def relay_over(server: str, room: str, transport: str) -> dict[str, Any]:
    """What the server offers as a relay, with one URL. It does not tell of UDP, on which it relays all the same, at the
    media port: whom UDP serves reaches the media without a relay."""
    headers = {"Authorization": f"Bearer {await new_token(server, room, 'Relayed')}"}
    async with (
        aiohttp.ClientSession() as http,
        http.post(f"{server}/v1/ice-servers", headers=headers, ssl=ANYBODY) as answer,
    ):
        assert answer.status == 200, await answer.text()
        [offered] = (await answer.json())["ice_servers"]
    urls = {"tls" if url.startswith("turns:") else url.rpartition("=")[2]: url for url in offered["urls"]}
    urls["udp"] = urls["tcp"].replace("transport=tcp", "transport=udp")
    return {**offered, "urls": [urls[transport]]}


async def both_hear_and_see(party: Party, other: Party) -> None:
    for one, name in ((party, "Direct"), (other, "Odd")):
        await until(
            lambda one=one: report(one),  # type: ignore[misc]
            lambda r, name=name: hears(r) and sees(r, f"{name}/camera"),  # type: ignore[misc]
            f"{name} is heard and seen",
            45,
        )


async def path_of(party: Party) -> dict[str, Any]:
    found: dict[str, Any] = await until(lambda: party.evaluate(PATH), lambda p: p["said"] is not None, "a path")
    return found


@pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])
@pytest.mark.parametrize("kind", ["chromium", "firefox"])
async def test_a_call_through_the_relay(
    server: str, chromium: Browser, firefox: Firefox, kind: str, transport: str
) -> None:
    room = (await new_room(server))["room"]
    before = await counters(server)
    relay = await relay_over(server, room, transport)
    async with (
        page(firefox if kind == "firefox" else chromium, server) as odd,
        chromium_page(chromium, server) as direct,
    ):
        await join(direct, server, room, "Direct", iceServers=[])
        await join(odd, server, room, "Odd", iceServers=[relay], iceTransportPolicy="relay")
        await both_hear_and_see(odd, direct)
        assert await path_of(odd) == {"path": f"relay {transport}", "said": f"relay {transport}"}
        assert await path_of(direct) == {"path": "direct udp", "said": "direct udp"}
        after = await counters(server)
        assert after["relay_handed_over"] > before.get("relay_handed_over", 0)
        assert after.get("relay_relay_ports_opened", 0) == 0
        assert after["relay_allocations"] >= 1


@pytest.mark.parametrize("kind", ["chromium", "firefox"])
async def test_a_call_over_ice_tcp(server: str, chromium: Browser, firefox: Firefox, kind: str) -> None:
    room = (await new_room(server))["room"]
    async with (
        page(firefox if kind == "firefox" else chromium, server) as odd,
        chromium_page(chromium, server) as direct,
    ):
        await odd.evaluate(ONLY_TCP)
        await join(direct, server, room, "Direct", iceServers=[])
        await join(odd, server, room, "Odd", iceServers=[])
        await both_hear_and_see(odd, direct)
        assert await path_of(odd) == {"path": "direct tcp", "said": "direct tcp"}
