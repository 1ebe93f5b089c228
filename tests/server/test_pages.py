"""The pages as the server gives them: addresses, languages, heads, the files of each; reading changes nothing."""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from backplane.metrics import Metrics
from backplane.web import Readiness, application
from server.pages import DOCTOR_HEAD, Manifest, Page, Pages, Words

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


@pytest.mark.parametrize(
    "path",
    [
        *("/visits/everything", "/j/Not_A_Clinic", "/doctors/A", "/doctors/nobody"),
        *("/call/a%20b", "/call/" + "a" * 200),
    ],
)
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
    assert "<title>Book a visit" in await (await client.get("/doctors/nobody")).text()


async def test_an_unchanged_page_is_not_sent_again(client: Client) -> None:
    for path in ("/", "/doctors/ayesha"):
        first = await client.get(path)
        assert (first.headers["Cache-Control"], first.headers["Content-Encoding"]) == ("no-cache", "gzip")
        again = await client.get(path, headers={"If-None-Match": first.headers["ETag"]})
        assert (again.status, await again.read()) == (304, b"")


@pytest.mark.parametrize(
    ("query", "cookie", "accepted", "language"),
    [
        ("", None, "", "en"),
        ("", None, "fr, ur-PK;q=0.8, en;q=0.5", "ur"),
        ("", None, "ur;q=0.2, en", "en"),
        ("", None, "ur;q=x", "en"),
        ("", "ur", "en", "ur"),
        ("?lang=en", "ur", "ur", "en"),
        ("?lang=../en", "xx", "ur", "ur"),
    ],
)
async def test_a_page_comes_in_the_language_that_was_asked_for_or_chosen_or_wished(
    client: Client, query: str, cookie: str | None, accepted: str, language: str
) -> None:
    headers = {"Accept-Language": accepted} | ({"Cookie": f"wadud_language={cookie}"} if cookie else {})
    answer = await client.get(f"/book{query}", headers=headers)
    page = await answer.text()
    assert f'<html lang="{language}" dir="{"rtl" if language == "ur" else "ltr"}">' in page
    assert f'rel="modulepreload" href="/static/build/book.{language}-' in page
    assert {"Accept-Language", "Cookie"} <= set(answer.headers["Vary"].split(", "))


@pytest.mark.parametrize("path", ["/", "/call/k4xq2m7zt5bwc3rdhn6yfa", "/book", "/now", "/visits", "/j/x", "/account"])
async def test_a_page_names_all_its_files_which_are_there_for_a_year(client: Client, path: str) -> None:
    page = await (await client.get(path)).text()
    assert re.findall(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=", page) == []
    files = re.findall(r"""\s(?:src|href)=["']([^"']*)["']""", page)
    own = [file for file in files if not file.startswith("data:image/svg+xml,")]
    assert len(own) > 4
    for file in own:
        assert file.startswith("/static/build/")
        answer = await client.get(file)
        assert (answer.status, answer.headers["Cache-Control"]) == (200, "public, max-age=31536000, immutable")
    script = next(file for file in own if f'type="module" src="{file}"' in page)
    preloaded = set(re.findall(r'rel="modulepreload" href="([^"]+)"', page))
    waiting, imported = [script], set[str]()
    while waiting:
        source = await (await client.get(waiting.pop())).text()
        found = {f"/static/build/{name}" for name in re.findall(r'(?:from|import)"\./([^"]+)"', source)}
        waiting += found - imported
        imported |= found
    assert imported | {file for file in preloaded if re.search(r"\.(en|ur)-", file)} == preloaded


async def test_a_new_build_is_seen_at_the_next_request_and_before_the_first_there_is_no_page(tmp_path: Path) -> None:
    app = application(Metrics(), Readiness(dict))
    Pages(tmp_path).add_routes(app)
    (tmp_path / "dist").mkdir()
    async with TestClient(TestServer(app)) as client:
        assert (await client.get("/")).status == 404
        for name in ("build/home-OLD.js", "build/home-NEW.js"):
            home = Page(name, "build/home.css", (), {"en": Words("build/home.en.js", "Home", "", "")})
            manifest = msgspec.json.encode(Manifest({"home": home}, {"en": "ltr"}, "data:,", "$links"))
            (tmp_path / "dist" / "new").write_bytes(manifest)
            (tmp_path / "dist" / "new").replace(tmp_path / "dist" / "manifest.json")
            assert f'src="/static/{name}"' in await (await client.get("/")).text()
