"""What happens to people on trains: the socket breaks, the address changes, the call goes on."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import aiohttp
import pytest
from playwright.async_api import Browser

from tests.browser.middleboxes import Nat, TcpPath
from tests.browser.parties import chromium_page, firefox_page, hears, join, new_room, report, sees, until
from tests.support.server import free_port, running_server

pytestmark = [
    pytest.mark.browser,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(120),
]


async def test_signalling_cut_for_five_seconds_keeps_participant_and_media(server: str, chromium: Browser) -> None:
    room = (await new_room(server))["room"]
    async with TcpPath(int(server.rsplit(":", 1)[1])) as path:
        through_path = f"http://127.0.0.1:{path.port}"
        async with chromium_page(chromium, through_path) as alice, chromium_page(chromium, server) as bob:
            me = await join(alice, through_path, room, "Alice")
            await join(bob, server, room, "Bob")
            await until(lambda: report(bob), lambda r: hears(r) and sees(r, "Alice/camera"), "the call stands")

            path.cut()
            cut_at = asyncio.get_running_loop().time()
            await until(lambda: report(bob), lambda r: r["people"][0]["connection"] == "reconnecting", "Bob is told", 3)
            before = (await report(bob))["pictures"]["Alice/camera"]["different"]
            energy = max(a["energy"] for a in (await report(bob))["audio"])
            await asyncio.sleep(cut_at + 5 - asyncio.get_running_loop().time())
            during = await report(bob)
            assert during["pictures"]["Alice/camera"]["different"] > before + 20, (
                "the picture went on while the socket was away"
            )
            assert max(a["energy"] for a in during["audio"]) > energy, "the sound went on while the socket was away"
            path.mend()

            await until(
                lambda: report(bob),
                lambda r: r["people"][0]["connection"] == "connected",
                "Bob is told that she is back",
                15,
            )
            after = await report(bob)
            assert [(p["id"], p["name"]) for p in after["people"]] == [(me, "Alice")], "the same participant, once"
            assert await alice.evaluate("harness.call().self.id") == me
            # and the resumed session works
            await alice.evaluate("harness.call().setMuted('microphone', true)")
            await until(
                lambda: report(bob), lambda r: "microphone muted" in r["people"][0]["tracks"], "a later message arrives"
            )


# The page believes that the server's candidates are the translator's addresses.
THROUGH_NAT = """(() => {
    const original = RTCPeerConnection.prototype.setRemoteDescription;
    RTCPeerConnection.prototype.setRemoteDescription = function (answer) {
        const sdp = answer.sdp.replace(/a=candidate:.* tcp .*\\r\\n/g, '')
            .replace(/(a=candidate:.* udp \\d+ \\S+) \\d+/g, '$1 %d');
        return original.call(this, { type: answer.type, sdp });
    };
})()"""


@pytest.mark.parametrize("other_browser", ["chromium", "firefox"])
async def test_a_new_client_address_is_accepted_at_once(chromium: Browser, tmp_path: Path, other_browser: str) -> None:
    media_port = free_port()
    profile = tmp_path / "profile"
    profile.mkdir()
    async with (
        running_server(tmp_path, "--media-port", str(media_port)) as running,
        Nat(("0.0.0.0", 0), ("127.0.0.1", media_port)) as nat,
    ):
        server = running.url
        room = (await new_room(server))["room"]
        page_of_bob = chromium_page(chromium, server) if other_browser == "chromium" else firefox_page(profile, server)
        async with chromium_page(chromium, server) as alice, page_of_bob as bob:
            for party in (alice, bob):
                await party.evaluate(THROUGH_NAT % nat.port)
            await join(alice, server, room, "Alice")
            await join(bob, server, room, "Bob")
            await until(lambda: report(bob), lambda r: hears(r) and sees(r, "Alice/camera"), "the call stands")
            await until(lambda: report(alice), lambda r: hears(r) and sees(r, "Bob/camera"), "the call stands")
            assert nat.mappings > 0

            for _ in range(2):
                nat.rebind()
                for party, other in ((alice, "Bob"), (bob, "Alice")):
                    before = (await report(party))["pictures"][f"{other}/camera"]["different"]
                    await until(
                        lambda party=party: report(party),  # type: ignore[misc]
                        lambda r, other=other, before=before: (
                            r["pictures"][f"{other}/camera"]["different"] > before + 20
                        ),  # type: ignore[misc]
                        f"the picture of {other} goes on after the change",
                        8,
                    )
            async with aiohttp.ClientSession() as http, http.get(f"{server}/metrics") as answer:
                metrics = await answer.text()
            assert "ice_switches" in metrics
            counted = dict(re.findall(r'worker_events_total\{event="(\w+)"\} (\S+)', metrics))
            assert float(counted["checks_out"]) >= 4, "both were asked at each new address"
            assert float(counted["trials_failed"]) == 0, "and answered"
