"""How soon many viewers who join one room within a second see somebody who is there already, in Chromium.

`benchmarks/join.py --viewers N`. Viewers are bare clients, so that they cost little: real signalling, ICE, DTLS and
SRTP, and no decoding. A picture is there with the last packet of the first frame, which is a keyframe. All are ready at
different moments, and for each a keyframe has to begin behind its own.
"""

import asyncio
import time

from playwright.async_api import async_playwright

from backplane.certificates import self_signed
from benchmarks.chromium import CHROMIUM, CHROMIUM_ARGUMENTS, open_page
from benchmarks.product import Participant, Product
from rtc._dtls import Identity

STAGES = ("answer", "dtls", "picture", "behind dtls")
_WARM_S = 5.0  # until the encoder has found its rate
_VIEWER_SLOTS = (1, 1)


async def newcomers(product: Product, count: int, within_s: float = 1.0) -> list[dict[str, float]]:
    """Milliseconds by stage of each viewer, from before its socket was opened; "behind dtls": since it was ready."""
    identity = Identity(*self_signed(time.time()))
    room = await product.make_room()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_ARGUMENTS)
        page = await open_page(browser, product)
        given = [product.url.replace("http", "ws", 1) + "/v1/signal", await product.make_token(room)]
        await page.evaluate("([url, token]) => bench.publish(url, token)", given)
        first, _ = await _view(product, room, identity, 0)  # warms the server up
        await asyncio.sleep(_WARM_S)
        views = (_view(product, room, identity, within_s * number / count) for number in range(count))
        found = await asyncio.gather(*views)
        for person in (first, *(person for person, _ in found)):
            await product.leave(person)
        await browser.close()
    return [stages for _, stages in found]


async def _view(
    product: Product, room: str, identity: Identity, delay_s: float
) -> tuple[Participant, dict[str, float]]:
    await asyncio.sleep(delay_s)
    person = await product.join(room, identity, publishes=False, slots=_VIEWER_SLOTS)
    picture = max(await person.endpoint.first_picture() - person.began, person.stages["dtls"])
    stages = person.stages | {"picture": picture, "behind dtls": picture - person.stages["dtls"]}
    return person, {stage: 1000 * value for stage, value in stages.items()}
