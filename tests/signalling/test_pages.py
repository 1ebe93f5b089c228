"""The pages as the server gives them: addresses, heads of doctors' pages, and that reading them changes nothing."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from backplane.metrics import Metrics
from backplane.web import Readiness, application
from server.pages import DOCTOR_HEAD, Pages

WEB = Path(__file__).resolve().parents[2] / "web"
VISIT = "0190d0c0-0000-7000-8000-0000000000c1"
Client = TestClient[web.Request, web.Application]


@dataclass(frozen=True)
class Said:
    title: str = 'Dr "Ayesha" <Khan>'
    description: str = "Skin & hair"
    canonical: str = "https://clinic.example/doctors/ayesha"
    json_ld: str = '{"name":"\\u003c"}'


async def find(request: web.Request, slug: str) -> Said | None:
    return Said() if slug == "ayesha" else None


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    app = application(Metrics(), Readiness(dict))
    Pages(WEB).add_routes(app)
    app[DOCTOR_HEAD] = find
    async with TestClient(TestServer(app)) as client:
        yield client


@pytest.mark.parametrize(
    "path", ["/", "/book", "/visits", f"/visits/{VISIT}", "/j/al-shifa", "/sign-in", "/doctors/ayesha"]
)
async def test_every_page_has_an_address_that_may_be_asked_for_without_a_body(client: Client, path: str) -> None:
    full, head = await client.get(path), await client.head(path)
    assert (full.status, head.status) == (200, 200)
    assert full.headers["Content-Type"] == head.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "Set-Cookie" not in full.headers
    assert await head.read() == b""


@pytest.mark.parametrize("path", ["/visits/everything", "/j/Not_A_Clinic", "/doctors/A", "/doctors/nobody"])
async def test_what_nobody_is_called_is_not_found(client: Client, path: str) -> None:
    assert (await client.get(path)).status == 404


async def test_the_head_of_a_doctors_page_is_the_doctors(client: Client) -> None:
    page = await (await client.get("/doctors/ayesha")).text()
    assert page.count("<title>") == page.count('name="description"') == 1
    assert "<title>Dr &quot;Ayesha&quot; &lt;Khan&gt;</title>" in page
    assert '<meta name="description" content="Skin &amp; hair">' in page
    assert '<link rel="canonical" href="https://clinic.example/doctors/ayesha">' in page
    assert '<script type="application/ld+json">{"name":"\\u003c"}</script>' in page


async def test_a_page_for_nobody_still_lets_the_visitor_search(client: Client) -> None:
    answer = await client.get("/doctors/nobody")
    assert "/static/src/app/book/main.js" in await answer.text()
