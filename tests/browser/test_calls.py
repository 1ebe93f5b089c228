"""Real browsers talk through our own forwarding unit; what counts is what the receiver decoded."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser

from tests.browser.parties import Party, chromium_page, firefox_page, hears, join, new_room, report, sees, until

pytestmark = [
    pytest.mark.browser,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(120),
]


async def both_hear_and_see(
    alice: Party, bob: Party, alice_name: str = "Alice", bob_name: str = "Bob"
) -> list[dict[str, Any]]:
    return [
        await until(
            lambda: report(alice), lambda r: hears(r) and sees(r, f"{bob_name}/camera"), "first hears and sees second"
        ),
        await until(
            lambda: report(bob), lambda r: hears(r) and sees(r, f"{alice_name}/camera"), "second hears and sees first"
        ),
    ]


def used_codecs(value: dict[str, Any]) -> set[str]:
    return {v["codec"].lower() for v in value["video"] if v["decoded"] > 0}


@pytest.mark.parametrize("codec", ["VP8", "H264", "VP9", "AV1"])
async def test_two_chromiums_hear_and_see_each_other(server: str, chromium: Browser, codec: str) -> None:
    room = (await new_room(server))["room"]
    async with chromium_page(chromium, server) as alice, chromium_page(chromium, server) as bob:
        await join(alice, server, room, "Alice", videoCodec=codec)
        await join(bob, server, room, "Bob", videoCodec=codec)
        for value in await both_hear_and_see(alice, bob):
            assert used_codecs(value) == {f"video/{codec.lower()}"}


async def test_chromium_and_firefox_hear_and_see_each_other(server: str, chromium: Browser, tmp_path: Path) -> None:
    room = (await new_room(server))["room"]
    profile = tmp_path / "profile"
    profile.mkdir()
    async with chromium_page(chromium, server) as alice, firefox_page(profile, server) as bob:
        await join(alice, server, room, "Alice")
        await join(bob, server, room, "Bob")
        await both_hear_and_see(alice, bob)


async def test_five_chromium_connections_share_a_room(server: str, chromium: Browser) -> None:
    room = (await new_room(server))["room"]
    names = ["Asma", "Bilal", "Chand", "Dua", "Emaan"]
    async with AsyncExitStack() as stack:
        parties = [await stack.enter_async_context(chromium_page(chromium, server)) for _ in names]
        for party, name in zip(parties, names, strict=True):
            await join(party, server, room, name)
        for party, name in zip(parties, names, strict=True):
            others = [other for other in names if other != name]
            value = await until(
                lambda party=party: report(party),  # type: ignore[misc]
                lambda r, others=others: hears(r) and all(sees(r, f"{other}/camera", 5) for other in others),  # type: ignore[misc]
                f"{name} hears the room and sees all four others",
                45,
            )
            assert {p["name"] for p in value["people"]} == set(others)


async def test_a_shared_screen_arrives_and_goes(server: str, chromium: Browser) -> None:
    room = (await new_room(server))["room"]
    async with chromium_page(chromium, server) as alice, chromium_page(chromium, server) as bob:
        await join(alice, server, room, "Alice")
        await join(bob, server, room, "Bob", camera=False)
        drawn = """(() => {
            const canvas = Object.assign(document.createElement('canvas'), {width: 1280, height: 720});
            const paint = canvas.getContext('2d');
            let n = 0;
            setInterval(() => { paint.fillStyle = `hsl(${n++ * 7}, 90%, 60%)`; paint.fillRect(0, 0, 1280, 720); }, 50);
            return canvas.captureStream(20).getVideoTracks()[0];
        })()"""
        await alice.evaluate(f"harness.call().shareScreen({drawn})")
        await until(
            lambda: report(bob),
            lambda r: sees(r, "Alice/screen") and sees(r, "Alice/camera"),
            "screen and camera at once",
        )
        await alice.evaluate("harness.call().stopScreen()")
        await until(
            lambda: report(bob),
            lambda r: r["people"] and "screen" not in r["people"][0]["tracks"],
            "the screen is gone",
        )
        await alice.evaluate(f"harness.call().shareScreen({drawn})")
        before = (await report(bob))["pictures"]["Alice/screen"]["different"]
        await until(
            lambda: report(bob), lambda r: "screen" in r["people"][0]["tracks"], "the second share is announced"
        )
        await until(
            lambda: report(bob),
            lambda r: r["pictures"]["Alice/screen"]["different"] > before + 10,
            "the second share is seen",
        )


async def test_mute_and_camera_off_are_told_and_undone(server: str, chromium: Browser) -> None:
    room = (await new_room(server))["room"]
    async with chromium_page(chromium, server) as alice, chromium_page(chromium, server) as bob:
        await join(alice, server, room, "Alice")
        await join(bob, server, room, "Bob")
        await both_hear_and_see(alice, bob)
        await alice.evaluate(
            "Promise.all([harness.call().setMuted('microphone', true), harness.call().setMuted('camera', true)])"
        )
        await until(
            lambda: report(bob),
            lambda r: set(r["people"][0]["tracks"]) == {"microphone muted", "camera muted"},
            "Bob is told of both",
        )
        await alice.evaluate(
            "Promise.all([harness.call().setMuted('microphone', false), harness.call().setMuted('camera', false)])"
        )
        before = (await report(bob))["pictures"]["Alice/camera"]["different"]
        await until(
            lambda: report(bob),
            lambda r: r["pictures"]["Alice/camera"]["different"] > before + 10,
            "the picture moves again",
        )


async def test_a_late_third_person_sees_at_once_and_leaving_is_told(server: str, chromium: Browser) -> None:
    room = (await new_room(server))["room"]
    async with chromium_page(chromium, server) as alice, chromium_page(chromium, server) as bob:
        await join(alice, server, room, "Alice")
        await join(bob, server, room, "Bob")
        await both_hear_and_see(alice, bob)
        async with chromium_page(chromium, server) as carol:
            await join(carol, server, room, "Carol", camera=False)
            await until(
                lambda: report(carol),
                lambda r: sees(r, "Alice/camera", 3) and sees(r, "Bob/camera", 3),
                "Carol sees both",
                10,
            )
            await carol.evaluate("harness.call().leave()")
        await until(
            lambda: report(alice),
            lambda r: [p["name"] for p in r["people"]] == ["Bob"],
            "Alice is told that Carol left",
        )
        counts = (await report(alice))["pictures"]["Bob/camera"]["different"]
        await until(
            lambda: report(alice), lambda r: r["pictures"]["Bob/camera"]["different"] > counts + 10, "the call goes on"
        )
