"""Pages of the product in a headless Chromium, with the functions of `join_page.js` and devices of its own making."""

from pathlib import Path

from playwright.async_api import Browser, Page

from benchmarks.product import Product

PAGE = Path(__file__).with_name("join_page.js")
CHROMIUM = "/usr/bin/chromium"
CHROMIUM_ARGUMENTS = [
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"),
    "--autoplay-policy=no-user-gesture-required",
]


async def open_page(browser: Browser, product: Product) -> Page:
    context = await browser.new_context(permissions=["camera", "microphone"], base_url=product.url)
    page = await context.new_page()
    await page.goto(product.url + "/")
    await page.evaluate(PAGE.read_text())
    await page.evaluate("bench.prepare()")
    return page
