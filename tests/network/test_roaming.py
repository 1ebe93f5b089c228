"""People on the move: real browsers whose network is gone from one moment to the next, while another one is there.

What counts is what each side receives of the other: sound by packets, pictures by those that were decoded. A Chromium
on Linux tells its pages of another network, and looks for addresses in it, 2 s after the change: that is most of the
gap that is seen here.

bin/test switches twice and looks for 20 s afterwards; ``WADUD_TEST_SWITCHES=5`` switches as often as that and looks
for a minute. An even number makes the silent switch the hard one: away from the network that a Chromium prefers.
"""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import AsyncExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import async_playwright

from tests.browser.parties import Party
from tests.network.internet import Internet
from tests.network.people import chromium_person, firefox_person, new_room, service, timed_join
from tests.network.roaming import Phone, roaming
from tests.support.namespaces import Namespace

GAPS = (Path(__file__).parent / "gaps.js").read_text()
USUAL_SWITCHES = 2
SWITCHES = int(os.environ.get("WADUD_TEST_SWITCHES", USUAL_SWITCHES))
BETWEEN_S = 5.0
AFTERWARDS_S = 60.0 if SWITCHES > USUAL_SWITCHES else 20.0
BOUND_MS = 3000
TOLD_MS = 2000  # docs/protocol.md, Sessions
GAP_MS = 1000  # less is what a busy machine does to whoever looks
EDGE_MS = 700  # before the next switch: what is not there yet by then belongs to that
LOOK_MS = 500  # how late a page of a busy machine may hear of something
pytestmark = [
    pytest.mark.alone,
    pytest.mark.network,
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.timeout(240),
]


def recovered_ms(seen: dict[str, Any], at_ms: float, end_ms: float) -> dict[str, int]:
    """By medium, how long after `at_ms` it was there again, and for good until `end_ms`."""
    found = {}
    for name, each in seen["media"].items():
        gaps = [(start, end) for start, end in [*each["gaps"], (each["at_ms"], seen["now_ms"])] if end - start > GAP_MS]
        ends = [min(end, end_ms) for start, end in gaps if end > at_ms and start < end_ms - EDGE_MS]
        found[name] = round(max(ends, default=at_ms) - at_ms)
    return found


def silences_ms(seen: dict[str, Any], from_ms: float) -> dict[str, int]:
    """By medium, the longest time without it that began behind `from_ms`, or lasts."""
    found = {}
    for name, each in seen["media"].items():
        gaps = [*each["gaps"], (each["at_ms"], seen["now_ms"])]
        found[name] = round(max(end - max(start, from_ms) for start, end in gaps if end > from_ms))
    return found


async def switch_all(phones: list[Phone]) -> list[float]:
    """All switches, a silent one and the rest; when each was, and when the rest began (Date.now())."""
    moments_ms = []
    for number in range(SWITCHES + 1):
        silently = number == SWITCHES
        if silently:
            for phone in phones:
                phone.other.enter()
            await asyncio.sleep(2)
        moments_ms.append(time.time() * 1000)
        for phone in phones:
            phone.switch_silently() if silently else phone.switch()
        await asyncio.sleep(BETWEEN_S)
    moments_ms.append(time.time() * 1000)
    await asyncio.sleep(AFTERWARDS_S - BETWEEN_S)
    return moments_ms


async def test_media_follow_who_changes_the_network(world: Internet, tmp_path: Path) -> None:
    """Two patients, one with each browser, change it at the same moments; a doctor stays where he is."""
    async with AsyncExitStack() as stack:
        playwright = await stack.enter_async_context(async_playwright())
        url = await stack.enter_async_context(service(world, tmp_path))
        phones = [stack.enter_context(roaming(world)) for _ in range(2)]

        async def chromium(namespace: Namespace) -> Party:
            return await stack.enter_async_context(chromium_person(playwright, namespace, tmp_path, url))

        everybody: dict[str, Party] = {
            "Doctor": await chromium(world.outside),
            "Chromium": await chromium(phones[0].namespace),
            "Firefox": await stack.enter_async_context(firefox_person(phones[1].namespace, tmp_path, url)),
        }
        room = await new_room(everybody["Doctor"])
        for name, party in everybody.items():
            await timed_join(party, room, name)
        for party in everybody.values():
            await party.evaluate(GAPS)
            await party.evaluate("harness.watchGaps()")
        await asyncio.sleep(4)
        moments_ms = await switch_all(phones)
        seen = {name: await party.evaluate("harness.gaps()") for name, party in everybody.items()}

    said = [(at_ms, name) for at_ms, name, connection in seen["Doctor"]["said"] if connection == "reconnecting"]
    late: list[str] = []
    for number, (at_ms, end_ms) in enumerate(pairwise(moments_ms)):
        for name in everybody:
            took_ms = recovered_ms(seen[name], at_ms, end_ms)
            print(f"\nswitch {number + 1}, {name} has again (ms):", took_ms, end="")
            late += [
                f"switch {number + 1}: {name} has {what} after {ms} ms" for what, ms in took_ms.items() if ms > BOUND_MS
            ]
            assert len(took_ms) == 4, "sound and pictures of two others"
        for name in ("Chromium", "Firefox"):
            lost_ms = recovered_ms(seen["Doctor"], at_ms, end_ms)[f"{name}/microphone"]
            told_ms = [round(each_ms - at_ms) for each_ms, who in said if who == name and at_ms < each_ms < end_ms]
            print(f"\nswitch {number + 1}, {name} reconnects, the doctor is told (ms):", told_ms, end="")
            if lost_ms > TOLD_MS + LOOK_MS and not any(ms <= TOLD_MS + LOOK_MS for ms in told_ms):
                late.append(f"switch {number + 1}: that {name} is gone for {lost_ms} ms is told after {told_ms} ms")
    for name in everybody:
        rest_ms = silences_ms(seen[name], moments_ms[-1])
        print(f"\nafterwards {name} missed at most (ms):", rest_ms, end="")
        late += [f"afterwards {name} missed {what} for {ms} ms" for what, ms in rest_ms.items() if ms > BOUND_MS]
    print()
    assert not late, "\n".join(late)
