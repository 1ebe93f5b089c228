"""What the server gives under /static/: hashed files for a year, others anew, nothing else of the checkout."""

import gzip
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from backplane.metrics import Metrics
from backplane.web import Readiness, application
from server.static_files import StaticFiles

SOURCE = b"export const answer = 42;\n" * 100
Client = TestClient[web.Request, web.Application]


@pytest.fixture
def dist(tmp_path: Path) -> Path:
    root = tmp_path / "web" / "dist"
    for folder in ("build", "src/client"):
        (root / folder).mkdir(parents=True)
    (root / "build" / "page-ABCDEFGH.js").write_bytes(SOURCE)
    (root / "build" / "page-ABCDEFGH.js.gz").write_bytes(gzip.compress(SOURCE, mtime=0))
    (root / "build" / "page-ABCDEFGH.js.br").write_bytes(b"brotli")
    (root / "build" / "font-ABCDEFGH.woff2").write_bytes(b"font")
    (root / "build" / ".secret.js").write_text("no")
    (root / "src" / "client" / "index.js").write_bytes(SOURCE)
    (root / "manifest.json").write_text("{}")
    (root.parent / "outside.js").write_text("no")
    (root / "build" / "link.js").symlink_to(root.parent / "outside.js")
    return root


@pytest.fixture
async def client(dist: Path) -> AsyncIterator[Client]:
    app = application(Metrics(), Readiness(dict))
    app.router.add_get("/static/{path:.+}", StaticFiles(dist).serve)
    async with TestClient(TestServer(app), auto_decompress=False) as client:
        yield client


@pytest.mark.parametrize(
    ("accepted", "coding", "body"),
    [
        ("gzip, deflate, br, zstd", "br", b"brotli"),
        ("gzip", "gzip", gzip.compress(SOURCE, mtime=0)),
        ("br;q=0, gzip;q=0.5", "gzip", gzip.compress(SOURCE, mtime=0)),
        ("identity", None, SOURCE),
    ],
)
async def test_a_hashed_file_is_kept_for_a_year_and_comes_as_it_was_packed(
    client: Client, accepted: str, coding: str | None, body: bytes
) -> None:
    answer = await client.get("/static/build/page-ABCDEFGH.js", headers={"Accept-Encoding": accepted})
    assert (answer.content_type, answer.headers["Vary"]) == ("text/javascript", "Accept-Encoding")
    assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert answer.headers.get("Content-Encoding") == coding
    assert len(await answer.read()) == len(body)


async def test_a_font_is_not_packed_again(client: Client) -> None:
    answer = await client.get("/static/build/font-ABCDEFGH.woff2", headers={"Accept-Encoding": "gzip, br"})
    assert (answer.content_type, await answer.read()) == ("font/woff2", b"font")
    assert "immutable" in answer.headers["Cache-Control"]


async def test_a_lasting_address_is_asked_every_time_and_shows_a_new_build(client: Client, dist: Path) -> None:
    first = await client.get("/static/src/client/index.js", headers={"Accept-Encoding": "gzip"})
    assert (first.headers["Cache-Control"], first.headers["Content-Encoding"]) == ("no-cache", "gzip")
    etag = {"If-None-Match": first.headers["ETag"]}
    again = await client.get("/static/src/client/index.js", headers=etag)
    assert (again.status, await again.read()) == (304, b"")
    (dist / "src" / "client" / "index.js").write_text("export const answer = 43;")
    changed = await client.get("/static/src/client/index.js", headers=etag)
    assert (changed.status, await changed.read()) == (200, b"export const answer = 43;")


@pytest.mark.parametrize(
    "path",
    [
        "build/nothing.js",
        "build/.secret.js",
        "build/link.js",
        "build/page-ABCDEFGH.js.br",
        "build",
        "build/",
        "manifest.json",
        "src",
        "src/client/index.py",
        "build/%2e%2e/%2e%2e/outside.js",
        "build/..%2f..%2foutside.js",
        "build/%00",
        "/etc/passwd",
        "build/" * 20 + "page-ABCDEFGH.js",
    ],
)
async def test_nothing_else_has_an_address(client: Client, path: str) -> None:
    answer = await client.get(f"/static/{path}")
    assert (answer.status, answer.content_type) == (404, "application/problem+json")
