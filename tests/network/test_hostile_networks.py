"""Real browsers behind hostile gates call somebody with an open network, through our own server.

What counts is what each side has decoded of the other, how long the join took, and by which path the media came, as
the browser's statistics tell it. ``WADUD_TEST_NETWORK_JOINS`` sets how often each network is joined (with ``-s`` the
figures are seen): from 20 on, 95 in a hundred joins must keep the bound; among fewer, where one hiccup of a busy
machine would be the whole tail, 80.
"""

from __future__ import annotations

import math
import os
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Page, Playwright, async_playwright

from tests.browser.parties import HARNESS, Party, report, until
from tests.network import internet
from tests.network.internet import Gate, Internet
from tests.network.people import chromium_person, firefox_person, new_room, relays_over_tls, service, timed_join
from tests.support import clock
from tests.support.namespaces import Namespace
from tests.support.shaper import Shape

USUAL_JOINS = 5
JOINS = int(os.environ.get("WADUD_TEST_NETWORK_JOINS", USUAL_JOINS))
BOUND_MS = 3000
PERCENT = 95 if JOINS >= 20 else 80
# A crowded cell of 2G, or of anything where it rains.
THIN = Shape(rate_bps=40_000, delay_ms=200, loss=0.1, queue_ms=1000)
THIN_BOUND_S = 30
SECOND_OF_SOUND = 48_000
CAMERA_ON = "document.querySelector('.preview')?.dataset.video === 'on'"

pytestmark = [
    pytest.mark.alone,
    pytest.mark.network,
    pytest.mark.browser,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(120 + 10 * JOINS),
]

DIRECT = {"direct udp"}
OVER_TCP = {"direct tcp", "relay tcp", "relay tls"}


class Scene:
    """The internet with our server in it, and one person with an open network, who stays."""

    def __init__(self, world: Internet, playwright: Playwright, directory: Path, url: str) -> None:
        self.world, self.playwright, self.directory, self.url = world, playwright, directory, url
        self.other: Party

    def person(self, browser: str, namespace: Namespace) -> AbstractAsyncContextManager[Party]:
        if browser == "firefox":
            return firefox_person(namespace, self.directory, self.url)
        return chromium_person(self.playwright, namespace, self.directory, self.url)

    @asynccontextmanager
    async def room(self) -> AsyncIterator[str]:
        """A new room, in which the other person is."""
        room = await new_room(self.other)
        await timed_join(self.other, room, "Outside")
        try:
            yield room
        finally:
            await self.other.evaluate("harness.leave()")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(world: Internet, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    directory = tmp_path_factory.mktemp("hostile")
    async with async_playwright() as playwright, service(world, directory) as url:
        made = Scene(world, playwright, directory, url)
        async with made.person("chromium", world.outside) as made.other:
            yield made


@pytest.mark.parametrize(
    ("gate", "browser", "paths"),
    [
        pytest.param(internet.UDP_BLOCKED, "chromium", OVER_TCP, id="udp_blocked-chromium"),
        pytest.param(internet.ONLY_TCP_443, "chromium", OVER_TCP, id="only_tcp_443-chromium"),
        pytest.param(internet.ONLY_TCP_443, "firefox", OVER_TCP, id="only_tcp_443-firefox"),
        pytest.param(internet.SYMMETRIC_NAT, "chromium", DIRECT, id="symmetric_nat-chromium"),
        pytest.param(internet.IPV6_ONLY, "chromium", DIRECT, id="ipv6_only-chromium"),
        pytest.param(internet.MTU_1280, "chromium", DIRECT, id="mtu_1280-chromium"),
        *(
            pytest.param(gate, "chromium", DIRECT, id=f"{gate.name}-chromium")
            for gate in (internet.OPEN, internet.MTU_1280_SILENT)
            if JOINS > USUAL_JOINS  # what stands above shows the same, a little worse
        ),
    ],
)
async def test_a_call_connects_from_behind(scene: Scene, gate: Gate, browser: str, paths: set[str]) -> None:
    with scene.world.behind(gate) as inside:
        async with scene.person(browser, inside) as me, scene.room() as room:
            took_ms = []
            for number in range(JOINS):
                if number:
                    await me.evaluate("harness.leave()")
                took_ms.append(await timed_join(me, room, "Inside"))
            await both_hear_and_see(me, scene.other)
            found = await until(lambda: me.evaluate("harness.path()"), lambda p: p["said"] is not None, "statistics")
            print(f"\n{gate.name}, {browser}: {found}, joins {summary(took_ms)}")
            assert found["path"] in paths
            kind, _, protocol = found["path"].partition(" ")
            told = {"kind": kind, "protocol": protocol, "family": f"ipv{gate.version}"}
            assert found["said"] == told, "our page says what the browser says"
            assert percentile(took_ms, PERCENT) <= BOUND_MS, summary(took_ms)


@pytest.mark.parametrize("browser", ["chromium", "firefox"])
async def test_the_relay_over_tls_alone_carries_a_call_where_only_tcp_443_is_open(scene: Scene, browser: str) -> None:
    """For gates that read along and pass nothing but TLS, or browsers without ICE-TCP."""
    with scene.world.behind(internet.ONLY_TCP_443) as inside:
        async with scene.person(browser, inside) as me, scene.room() as room:
            relays = await relays_over_tls(me, room)
            took_ms = await timed_join(me, room, "Inside", iceServers=relays, iceTransportPolicy="relay")
            await both_hear_and_see(me, scene.other)
            found = await me.evaluate("harness.path()")
            print(f"\n{browser}: {found}, joined in {took_ms:.0f} ms")
            assert found["path"] == "relay tls"
            assert took_ms <= BOUND_MS


async def test_a_join_gets_through_a_thin_link_with_losses(scene: Scene) -> None:
    """From the open page, whose lobby is shown, to the call in which both hear each other."""
    with scene.world.behind_shaped(internet.OPEN, Shape(delay_ms=5)) as (inside, link):
        async with scene.person("chromium", inside) as me, scene.room() as room:
            assert isinstance(me, Page)
            await me.goto(f"{scene.url}/call/{room}")
            await me.get_by_test_id("name-input").fill("Inside")
            await until(lambda: me.evaluate(CAMERA_ON), bool, "a picture of oneself")
            heard_before = await samples_heard(scene.other)
            began = clock.now()
            link.set(THIN, THIN)
            await me.get_by_test_id("join-button").click()
            await me.get_by_test_id("leave").wait_for(timeout=60_000)
            joined_s = clock.now() - began
            await me.evaluate(HARNESS)
            await me.evaluate("harness.adopt(window.wadud)")
            await until(lambda: samples_heard(me), lambda samples: samples > SECOND_OF_SOUND, "sound of Outside", 60)
            await until(
                lambda: samples_heard(scene.other), lambda now: now > heard_before + SECOND_OF_SOUND, "of Inside", 60
            )
            took_s = clock.now() - began
            print(f"\nthin link: joined after {joined_s:.1f} s, both have heard a second after {took_s:.1f} s")
            assert took_s <= THIN_BOUND_S


async def samples_heard(party: Party) -> int:
    """Samples of sound that was sent, not made up for what was lost."""
    return sum(each["samples"] - each["concealed"] for each in (await report(party))["audio"] if each["energy"] > 0.001)


async def both_hear_and_see(me: Party, other: Party) -> None:
    """From now on; the slots of those who came before are filled again, and their counters go on."""
    for party, name in ((me, "Outside/camera"), (other, "Inside/camera")):
        before = await report(party)
        await until(
            lambda party=party: report(party),  # type: ignore[misc]
            lambda r, before=before, name=name: (
                heard(r) > heard(before) + 0.001 and seen(r, name) > seen(before, name) + 15
            ),  # type: ignore[misc]
            f"{name} is seen and heard",
        )


def heard(value: dict[str, Any]) -> float:
    """Energy of the decoded sound so far."""
    return sum(each["energy"] for each in value["audio"])


def seen(value: dict[str, Any], key: str) -> int:
    """Different decoded pictures so far that are not black."""
    pictures = value["pictures"].get(key, {"different": 0, "bright": 0})
    return int(pictures["different"]) if pictures["bright"] > 60 else 0


def percentile(values: list[float], percent: float) -> float:
    """The nearest rank: for few values the largest."""
    return sorted(values)[math.ceil(len(values) * percent / 100) - 1]


def summary(values: list[float]) -> str:
    return ", ".join(f"p{each} {percentile(values, each):.0f} ms" for each in (50, 95, 100)) + f" of {len(values)}"
