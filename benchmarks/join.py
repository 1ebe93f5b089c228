"""How long a join takes: in Chromium by stage, and with a bare client; and how many joins a core can take.

    python benchmarks/join.py [--joins N] [--bare-joins N] [--no-browser] [--json FILE]
    python benchmarks/join.py --viewers 50      only this: so many join within a second (benchmarks/newcomers.py)

The server is the whole product on core 0; browsers and clients have core 1 and what is left of core 0. In Chromium the
clock starts at "join" (page loaded, devices open, token at hand) and stops at the first audible samples and at the
first decoded picture of somebody who is in the room already. The bare client's clock starts before it opens its socket
and stops at the first authentic media packet.
"""

import argparse
import asyncio
import contextlib
import json
import math
import os
import random
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict
from pathlib import Path

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from playwright.async_api import async_playwright

from backplane.certificates import self_signed
from benchmarks import process
from benchmarks.bars import Verdict, progress, show_verdicts
from benchmarks.chromium import CHROMIUM, CHROMIUM_ARGUMENTS, open_page
from benchmarks.generator import Generator
from benchmarks.newcomers import STAGES as NEWCOMER_STAGES
from benchmarks.newcomers import newcomers
from benchmarks.product import Product
from benchmarks.rounds import LOAD_CPU, SERVER_CPU
from rtc._dtls import Identity

STAGES = ("websocket", "offer", "answer", "ice", "dtls", "packet", "audio", "video")
BARE_STAGES = ("open", "answer", "ice", "dtls", "media")
AUDIO_BAR_MS, VIDEO_BAR_MS, MEDIA_BAR_MS = 500, 700, 45
JOINS_BAR = 100
PICTURE_BAR_MS = 350
PATIENCE_MS = 15_000
AT_ONCE = 8
PAUSE_S = 0.25  # between two joins, so that the last leave is not part of the next


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that is not below that share of all; not a number when there are none."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else math.nan


def table(title: str, stages: Sequence[str], joins: Sequence[dict[str, float]]) -> None:
    print(f"\n{title}\n{'':<12}" + "".join(f"{stage:>11}" for stage in stages))
    for name, share in (("p50", 0.5), ("p95", 0.95)):
        cells = [[join[stage] for join in joins if stage in join] for stage in stages]
        print(f"{name + ', ms':<12}" + "".join(f"{quantile(cell, share):>11.1f}" for cell in cells))


# --- bare clients ---------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def talking(product: Product, room: str, identity: Identity) -> AsyncIterator[None]:
    """Somebody who publishes in the room meanwhile."""
    person = await product.join(room, identity)
    endpoint = person.endpoint
    assert endpoint.keys is not None
    generator = Generator(spin=False)
    generator.add(endpoint.socket.fileno(), endpoint.keys, endpoint.sender, endpoint.check, endpoint.password)
    ended = False

    async def talk() -> None:
        while not ended:
            await generator.run_beside(0.2)

    task = asyncio.create_task(talk())
    try:
        yield
    finally:
        ended = True
        await task
        generator.close()
        await product.leave(person)


async def bare_joins(product: Product, count: int) -> list[dict[str, float]]:
    """Milliseconds by stage of joins that come one after the other."""
    identity = Identity(*self_signed(time.time()))
    room = await product.make_room()
    result = []
    async with talking(product, room, identity):
        for number in range(count + 1):
            person = await product.join(room, identity)
            arrived = await person.endpoint.first_media() - person.began
            person.stages["media"] = max(arrived, person.stages["dtls"])  # before that it could not have been read
            stages = {stage: 1000 * value for stage, value in person.stages.items()}
            if number:  # the first warms the server up
                result.append(stages)
            await product.leave(person)
            progress(f"bare join {number} of {count}")
            await asyncio.sleep(random.uniform(0.02, 0.06))  # or all would meet the same moment of the audio packets
    return result


async def joins_per_cpu_s(product: Product, count: int) -> tuple[float, float]:
    """Joins per CPU second of the server, and per second of time, when many come at once."""
    identity = Identity(*self_signed(time.time()))
    rooms = [await product.make_room() for _ in range(count // 2)]
    tokens = asyncio.Semaphore(AT_ONCE)

    async def pair(room: str) -> None:
        async with tokens:
            for person in [await product.join(room, identity) for _ in range(2)]:
                people.append(person)

    people: list[object] = []
    spent, begin = process.cpu_s(product.pid), time.perf_counter()
    await asyncio.gather(*map(pair, rooms))
    spent, took = process.cpu_s(product.pid) - spent, time.perf_counter() - begin
    return len(people) / spent, len(people) / took


# --- Chromium -------------------------------------------------------------------------------------------------------


async def browser_joins(product: Product, count: int) -> list[dict[str, float]]:
    """Milliseconds by stage, each join from a fresh page; somebody publishes from a browser of his own."""
    socket = product.url.replace("http", "ws", 1) + "/v1/signal"
    room = await product.make_room()
    result: list[dict[str, float]] = []
    async with async_playwright() as playwright:
        browsers = [
            await playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_ARGUMENTS) for _ in range(2)
        ]
        publisher = await open_page(browsers[0], product)
        given: list[object] = [socket, await product.make_token(room)]
        await publisher.evaluate("([url, token]) => bench.publish(url, token)", given)
        for number in range(count + 1):
            page = await open_page(browsers[1], product)
            await asyncio.sleep(PAUSE_S)
            given = [socket, await product.make_token(room), PATIENCE_MS]
            stages: dict[str, float] = await page.evaluate("([url, token, ms]) => bench.join(url, token, ms)", given)
            if number:  # the first warms browser and server up
                result.append(stages)
            await page.evaluate("bench.leave()")
            await page.context.close()
            progress(f"Chromium join {number} of {count}")
        for browser in browsers:
            await browser.close()
    return result


# --- together -------------------------------------------------------------------------------------------------------


async def run_newcomers(count: int) -> tuple[dict[str, object], list[Verdict]]:
    os.sched_setaffinity(0, range(os.cpu_count() or 1))
    with tempfile.TemporaryDirectory(prefix="wadud-join-") as directory:
        async with Product(SERVER_CPU, Path(directory), "benchmarks.large_rooms") as product:
            joins = await newcomers(product, count)
    table(f"{count} viewers within a second", NEWCOMER_STAGES, joins)
    p95 = quantile([join["picture"] for join in joins], 0.95)
    text = f"{count} viewers within a second: first picture p95 {p95:.0f} ms (bar {PICTURE_BAR_MS})"
    return {"newcomers": joins}, [Verdict(text, p95 <= PICTURE_BAR_MS)]


async def run(options: argparse.Namespace) -> tuple[dict[str, object], list[Verdict]]:
    if options.viewers:
        return await run_newcomers(options.viewers)
    figures: dict[str, object] = {}
    verdicts: list[Verdict] = []
    with tempfile.TemporaryDirectory(prefix="wadud-join-") as directory:
        async with Product(SERVER_CPU, Path(directory)) as product:
            bare = await bare_joins(product, options.bare_joins)
            per_cpu_s, per_s = await joins_per_cpu_s(product, options.burst)
        progress("")
        figures |= {"bare": bare, "joins_per_cpu_s": per_cpu_s, "joins_per_s": per_s}
        table(f"Bare client, {len(bare)} joins", BARE_STAGES, bare)
        p95 = quantile([join["media"] for join in bare], 0.95)
        verdicts.append(Verdict(f"bare client: first media p95 {p95:.1f} ms (bar {MEDIA_BAR_MS})", p95 <= MEDIA_BAR_MS))
        text = f"{per_cpu_s:.0f} joins per second and core (bar {JOINS_BAR})"
        verdicts.append(Verdict(text, per_cpu_s >= JOINS_BAR))
    if not options.no_browser:
        os.sched_setaffinity(0, range(os.cpu_count() or 1))
        with tempfile.TemporaryDirectory(prefix="wadud-join-") as directory:
            async with Product(SERVER_CPU, Path(directory)) as product:
                joins = await browser_joins(product, options.joins)
        progress("")
        figures["chromium"] = joins
        table(f"Chromium, {len(joins)} joins", STAGES, joins)
        for stage, bar in (("audio", AUDIO_BAR_MS), ("video", VIDEO_BAR_MS)):
            p95 = quantile([join.get(stage, PATIENCE_MS) for join in joins], 0.95)
            verdicts.append(Verdict(f"Chromium: first remote {stage} p95 {p95:.0f} ms (bar {bar})", p95 <= bar))
    return figures, verdicts


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--joins", type=int, default=20, help="in Chromium (default: %(default)s)")
    parser.add_argument("--bare-joins", type=int, default=100, help="one after the other (default: %(default)s)")
    parser.add_argument("--burst", type=int, default=300, help="bare joins for joins per core (default: %(default)s)")
    parser.add_argument("--viewers", type=int, metavar="N", help="only: N bare clients join within a second")
    parser.add_argument("--no-browser", action="store_true", help="only the bare client")
    parser.add_argument("--share", action="store_true", help="do not wait for the end of another benchmark")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """0 when every bar that was measured is met, 1 when one is missed."""
    options = arguments(argv)
    process.end_as_by_ctrl_c()
    if (os.cpu_count() or 1) > 1:
        os.sched_setaffinity(0, {LOAD_CPU})
    with contextlib.nullcontext() if options.share else process.alone():
        figures, verdicts = asyncio.run(run(options))
    met = show_verdicts(verdicts)
    if options.json:
        options.json.write_text(json.dumps({**figures, "bars": [asdict(verdict) for verdict in verdicts]}, indent=2))
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
