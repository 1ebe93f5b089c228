"""A real Chromium behind a link as thin as a crowded cell: it gets into the call, and both hear each other."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from playwright.async_api import async_playwright

from tests.browser.parties import Party, report, until
from tests.network.internet import OPEN, Internet
from tests.network.people import chromium_person, new_room, service, timed_join
from tests.support.shaper import Shape

pytestmark = [
    pytest.mark.alone,
    pytest.mark.network,
    pytest.mark.browser,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(180),
]

THIN = Shape(rate_bps=40_000, delay_ms=200, loss=0.1, queue_ms=1000)
OPEN_LINK = Shape(delay_ms=5)
JOIN_BOUND_S = 30


async def loaded(party: Party) -> None:
    """All modules of the client library are there, as in a page whose lobby is shown."""
    await party.evaluate("import('/static/src/client/index.js').then(() => true)")


async def samples(party: Party) -> int:
    """Decoded samples of sound with energy in it."""
    return sum(a["samples"] - a["concealed"] for a in (await report(party))["audio"] if a["energy"] > 0.001)


async def test_a_join_over_40_kbps_with_10_percent_loss_succeeds_within_30_s(world: Internet, tmp_path: Path) -> None:
    async with async_playwright() as playwright, service(world, tmp_path) as url:
        with world.behind_shaped(OPEN, OPEN_LINK) as (inside, link):
            async with (
                chromium_person(playwright, world.outside, tmp_path, url) as other,
                chromium_person(playwright, inside, tmp_path, url) as me,
            ):
                await loaded(me)
                room = await new_room(other)
                await timed_join(other, room, "Outside")
                clock = asyncio.get_running_loop()
                began = clock.time()
                link.set(THIN, THIN)
                before = link.there, link.back
                took_ms = await timed_join(me, room, "Inside", patience_ms=60_000)
                after = link.there, link.back
                print("connected", took_ms, [a.delivered_bytes - b.delivered_bytes for a, b in zip(after, before)])
                for party in (me, other):
                    await until(lambda party=party: samples(party), lambda heard: heard > 24_000, "sound", 60)  # type: ignore[misc]
                    print("sound", clock.time() - began)
                took_s = clock.time() - began
                for second in range(15):
                    await asyncio.sleep(1)
                    print(second, await samples(me), await samples(other), link.there, link.back)
                assert took_s <= JOIN_BOUND_S
