"""How long a patient on a bad phone waits for a page: the call page's lobby and the first doctor of /book, in Chromium.

    python benchmarks/pages.py [--rounds N] [--against CHECKOUT] [--language TAG] [--json FILE]

Chromium gets 400 kbit/s each way, 400 ms for each request and a fourth of the processor (Chrome DevTools Protocol), and
a phone's window. Cold: an empty cache. Warm: the same page once more, in a new tab. The clock is the page's own and
starts with the navigation; it stops in the frame in which the thing can be used. Requests and bytes (heads included, as
they came over the wire) are counted until then, and once more when the page has come to rest. ``--against`` measures
another checkout, set up like this one, in turns with it.
"""

import argparse
import asyncio
import contextlib
import json
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import aiohttp
from playwright.async_api import Browser, BrowserContext, ViewportSize, async_playwright

from benchmarks import process
from benchmarks.bars import Verdict, progress, show_verdicts
from benchmarks.chromium import CHROMIUM, CHROMIUM_ARGUMENTS
from benchmarks.native import ROOT
from benchmarks.rounds import SERVER_CPU

KBIT_PER_S: Final = 400
LATENCY_MS: Final = 400
SLOWER: Final = 4
PHONE: Final[ViewportSize] = {"width": 360, "height": 740}
PATIENCE_MS: Final = 60_000
REST_S: Final = 1.0
COLD_MS, WARM_MS, COLD_REQUESTS, WARM_REQUESTS, COLD_BYTES = 6000, 2500, 12, 2, 150_000
PAGES: Final = {"call": '[data-testid="join-button"]', "book": '[data-testid="doctor-card"]'}
"""What is there and enabled when the page can be used."""

WATCH: Final = """(() => {
  const look = () => {
    const found = document.querySelector(%s);
    if (found && found.getClientRects().length && !found.disabled) window.usableAt_ms = performance.now();
    else requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
})()"""

PAINTED: Final = """new Promise((resolve) => {
  const seen = (list) => list.getEntriesByName('first-contentful-paint').map(({ startTime }) => resolve(startTime));
  new PerformanceObserver(seen).observe({ type: 'paint', buffered: true });
})"""


@dataclass(frozen=True, slots=True)
class Load:
    """One load of one page. ``requests`` and ``bytes`` until it could be used, ``all_*`` until it was at rest."""

    usable_ms: float
    painted_ms: float
    requests: int
    bytes: int
    all_requests: int
    all_bytes: int


@contextlib.asynccontextmanager
async def server(checkout: Path) -> AsyncIterator[str]:
    """The address of that checkout's server, with the demo clinic."""
    with tempfile.TemporaryDirectory(prefix="wadud-pages-") as directory:
        log = Path(directory) / "log"
        command = [str(checkout / ".venv/bin/python"), "-m", "server.main", "--port", "0", "--media-port", "0"]
        command += ["--workers", "1", "--demo", "--log-level", "warning", "--data", f"{directory}/data"]
        running = process.start([*command, *process.UNBOUNDED], SERVER_CPU, log, checkout)
        try:
            assert running.stdout is not None
            while line := await asyncio.to_thread(running.stdout.readline):
                if line.startswith(b"Wadud is ready: "):
                    yield line.split()[-1].decode()
                    return
            raise ConnectionError(f"the server did not start: {log.read_text()}")
        finally:
            process.stop(running)


async def load(context: BrowserContext, address: str, thing: str) -> Load:
    """Opens the address in a new tab and waits until ``thing``, a CSS selector, can be used."""
    page = await context.new_page()
    session = await context.new_cdp_session(page)
    sizes: dict[str, int] = {}
    cached: set[str] = set()
    awaited: set[str] = set()

    def answered(event: dict[str, Any]) -> None:
        if event["response"].get("fromDiskCache") or event["response"]["url"].startswith(("data:", "blob:")):
            cached.add(event["requestId"])

    def asked(event: dict[str, Any]) -> None:
        sizes.setdefault(event["requestId"], 0)
        awaited.add(event["requestId"])

    def finished(event: dict[str, Any]) -> None:
        sizes[event["requestId"]] = event.get("encodedDataLength", 0)
        awaited.discard(event["requestId"])

    session.on("Network.requestWillBeSent", asked)
    session.on("Network.requestServedFromCache", lambda event: cached.add(event["requestId"]))
    session.on("Network.responseReceived", answered)
    session.on("Network.loadingFinished", finished)
    session.on("Network.loadingFailed", finished)

    def counted() -> tuple[int, int]:
        sent = {name: size for name, size in sizes.items() if name not in cached}
        return len(sent), int(sum(sent.values()))

    bytes_per_s = KBIT_PER_S * 1000 / 8
    conditions = {"offline": False, "latency": LATENCY_MS, "downloadThroughput": bytes_per_s}
    await session.send("Network.enable")
    await session.send("Network.emulateNetworkConditions", {**conditions, "uploadThroughput": bytes_per_s})
    await session.send("Emulation.setCPUThrottlingRate", {"rate": SLOWER})
    await page.add_init_script(WATCH % json.dumps(thing))
    await page.goto(address, wait_until="commit", timeout=PATIENCE_MS)
    async with asyncio.timeout(PATIENCE_MS / 1000):
        while (usable_ms := await page.evaluate("window.usableAt_ms")) is None:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    requests, size = counted()
    painted_ms = await page.evaluate(PAINTED)
    await asyncio.sleep(REST_S)  # fonts are asked for behind the first picture
    async with asyncio.timeout(PATIENCE_MS / 1000):
        while awaited:  # noqa: ASYNC110
            await asyncio.sleep(REST_S)
    everything = counted()
    await page.close()
    return Load(usable_ms, painted_ms, requests, size, *everything)


async def cold_and_warm(browser: Browser, address: str, thing: str, language: str) -> tuple[Load, Load]:
    context = await browser.new_context(permissions=["camera", "microphone"], viewport=PHONE, locale=language)
    try:
        return await load(context, address, thing), await load(context, address, thing)
    finally:
        await context.close()


async def new_room(url: str) -> str:
    async with aiohttp.ClientSession() as session, session.post(f"{url}/v1/rooms", json={}) as answer:
        return f"{url}/call/{(await answer.json())['room']}"


Loads = dict[tuple[str, str, str], list[Load]]  # checkout, page, cold or warm


async def measure(checkouts: dict[str, Path], rounds: int, language: str) -> Loads:
    found: Loads = {}
    async with contextlib.AsyncExitStack() as stack:
        urls = {name: await stack.enter_async_context(server(path)) for name, path in checkouts.items()}
        playwright = await stack.enter_async_context(async_playwright())
        for number in range(rounds):
            for page, thing in PAGES.items():
                for name, url in urls.items():
                    progress(f"round {number + 1} of {rounds}: {page}, {name}")
                    address = await new_room(url) if page == "call" else f"{url}/book"
                    browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_ARGUMENTS)
                    loads = await cold_and_warm(browser, address, thing, language)
                    await browser.close()
                    for state, one in zip(("cold", "warm"), loads, strict=True):
                        found.setdefault((name, page, state), []).append(one)
    progress("")
    return found


def median(loads: Sequence[Load]) -> Load:
    """Each figure's own median."""
    columns = zip(*(asdict(each).values() for each in loads), strict=True)
    return Load(*(statistics.median(column) for column in columns))


def show(found: Loads) -> None:
    print(f"{'':<22}{'usable':>10}{'painted':>10}{'requests':>10}{'KB':>8}{'in all':>10}{'KB':>8}")
    for (name, page, state), loads in sorted(found.items(), key=lambda item: item[0][1:]):
        one = median(loads)
        print(
            f"{page + ', ' + state + ', ' + name:<22}{one.usable_ms / 1000:>8.2f} s{one.painted_ms / 1000:>8.2f} s"
            f"{one.requests:>10}{one.bytes / 1000:>8.1f}{one.all_requests:>10}{one.all_bytes / 1000:>8.1f}"
        )


def judge(found: Loads) -> list[Verdict]:
    verdicts = []
    for page in PAGES:
        cold, warm = (median(found["here", page, state]) for state in ("cold", "warm"))
        for text, value, bar in (
            (f"{page}, cold: ms until usable", cold.usable_ms, COLD_MS),
            (f"{page}, warm: ms until usable", warm.usable_ms, WARM_MS),
            (f"{page}, cold: requests", cold.requests, COLD_REQUESTS),
            (f"{page}, warm: requests", warm.requests, WARM_REQUESTS),
            (f"{page}, cold: bytes", cold.bytes, COLD_BYTES),
        ):
            verdicts.append(Verdict(f"{text} {value:,.0f}, at most {bar:,}", value <= bar))
    return verdicts


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--against", type=Path, metavar="CHECKOUT", help="another checkout, measured in turns")
    parser.add_argument("--language", default="en")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    process.end_as_by_ctrl_c()
    checkouts = ({"there": options.against.resolve()} if options.against else {}) | {"here": ROOT}
    found = asyncio.run(measure(checkouts, options.rounds, options.language))
    show(found)
    if options.json:
        rows = [
            {"checkout": name, "page": page, "state": state, "loads": [asdict(each) for each in loads]}
            for (name, page, state), loads in found.items()
        ]
        options.json.write_text(json.dumps(rows, indent=1))
    return 0 if show_verdicts(judge(found)) else 1


if __name__ == "__main__":
    sys.exit(main())
