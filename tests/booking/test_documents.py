"""Files that people send: what is taken for what, the scanner's protocol, the store, and what is left over."""

import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from backplane.metrics import Metrics
from backplane.postgres import Database
from backplane.problems import Problem, expected
from backplane.refusals import Refusal
from backplane.web import Readiness, application
from booking.documents import (
    AROUND_BYTES,
    MAX_BYTES,
    Documents,
    FileStore,
    admit,
    keep,
    read_upload,
    sniff,
    sweep_strays,
)
from booking.virus import Clamd, NoScanner, ScannerUnavailable, Verdict, scanner_at
from tests.support.clamd import EICAR, fake_clamd
from tests.support.providers import add_clinic, add_person

NOW = datetime(2026, 5, 4, 9, tzinfo=UTC)
PDF = b"%PDF-1.7\n%a licence\n"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)


@pytest.mark.parametrize(
    ("content", "media_type"),
    [
        (PDF, "application/pdf"),
        (PNG, "image/png"),
        (b"\xff\xd8\xff\xe0" + bytes(9), "image/jpeg"),
        (b"RIFF\x10\x00\x00\x00WEBPVP8 ", "image/webp"),
        (b"RIFF\x10\x00\x00\x00WAVEfmt ", None),
        (b"<svg xmlns='http://www.w3.org/2000/svg' onload='x()'>", None),
        (b"<html><script>", None),
        (b" %PDF-1.7", None),
        (b"GIF89a", None),
        (b"MZ\x90", None),
        (b"PK\x03\x04", None),
        (b"\xff\xd8", None),
        (b"", None),
    ],
)
def test_the_first_bytes_say_what_a_file_is(content: bytes, media_type: str | None) -> None:
    assert sniff(content) == media_type


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b"", 422, "empty_document"),
        (b"hello", 415, "unsupported_document"),
        (PDF + bytes(MAX_BYTES), 413, "document_too_large"),
    ],
)
async def test_what_is_not_taken(content: bytes, status: int, code: str, tmp_path: Path) -> None:
    with pytest.raises((Problem, Refusal)) as refused:
        await admit(Documents(FileStore(tmp_path), NoScanner()), content)
    answer = expected(refused.value)
    assert answer is not None
    assert (answer.status, answer.code) == (status, code)


@pytest.mark.parametrize("size", [20, 64 * 1024, 64 * 1024 + 1, 300_000])
async def test_clamd_gets_the_whole_file(size: int) -> None:
    async with fake_clamd() as clamd:
        scanner = Clamd(port=clamd.port)
        assert await scanner.scan(bytes(size)) is Verdict.CLEAN
        assert await scanner.scan(bytes(size) + EICAR) is Verdict.INFECTED
        assert clamd.scanned == [size, size + len(EICAR)]


@pytest.mark.parametrize(
    "answer", [b"", b"INSTREAM size limit exceeded. ERROR\0", b"stream: OK", b"?\0", bytes([65]) * 9000]
)
async def test_an_answer_that_says_nothing_is_no_permission(answer: bytes, tmp_path: Path) -> None:
    async with fake_clamd() as clamd:
        clamd.answer = answer
        with pytest.raises(ScannerUnavailable):
            await Clamd(port=clamd.port).scan(PDF)
        with pytest.raises((Problem, Refusal)) as refused:
            await admit(Documents(FileStore(tmp_path), Clamd(port=clamd.port)), PDF)
    answer = expected(refused.value)
    assert answer is not None
    assert (answer.status, answer.code) == (503, "scanner_unavailable")


async def test_a_scanner_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(ScannerUnavailable):
        await Clamd(path=str(tmp_path / "clamd.ctl")).scan(PDF)


async def test_the_scanner_is_named_by_a_setting() -> None:
    assert isinstance(scanner_at(""), NoScanner)
    assert isinstance(scanner_at("/run/clamav/clamd.ctl"), Clamd)
    async with fake_clamd() as clamd:
        assert await scanner_at(f"127.0.0.1:{clamd.port}").scan(EICAR) is Verdict.INFECTED


@pytest.mark.parametrize("address", ["clamd", "clamd:", ":3310", "clamd:0", "clamd:70000", "clamd:x"])
def test_a_setting_that_names_no_scanner_is_refused(address: str) -> None:
    with pytest.raises(ValueError):
        scanner_at(address)


async def test_an_infected_file_is_refused(tmp_path: Path) -> None:
    async with fake_clamd() as clamd:
        with pytest.raises((Problem, Refusal)) as refused:
            await admit(Documents(FileStore(tmp_path), Clamd(port=clamd.port)), PDF + EICAR)
    assert refused.value.code == "infected_document"
    assert list(tmp_path.rglob("*")) == []


async def test_the_store_gives_back_what_it_was_given_and_only_the_owner_may_look(tmp_path: Path) -> None:
    store = FileStore(tmp_path / "documents")
    name = uuid4()
    await store.put(name, PDF)
    assert await store.get(name) == PDF
    (path,) = (path for path in tmp_path.rglob("*") if path.is_file())
    assert path.stat().st_mode & 0o077 == 0
    assert path.parent.stat().st_mode & 0o077 == 0
    await store.remove(name)
    await store.remove(name)
    with pytest.raises(FileNotFoundError):
        await store.get(name)


async def test_files_without_a_row_go_after_a_day(database: Database, tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    clinic = await add_clinic(database)
    async with database.tenant(clinic.id) as connection, connection.transaction():
        owner = await add_person(connection, "Ayesha", NOW)
        kept = await keep(
            connection, Documents(store), PDF, ("application/pdf", Verdict.CLEAN),
            owner=owner, provider=None, kind="other", now=NOW,
        )  # fmt: skip
        deleted = await keep(
            connection, Documents(store), PNG, ("image/png", Verdict.CLEAN),
            owner=owner, provider=None, kind="other", now=NOW,
        )  # fmt: skip
        await connection.execute("UPDATE document SET deleted_at = $2 WHERE id = $1", deleted.id, NOW)
    stray, fresh = UUID(int=7), UUID(int=8)
    await store.put(stray, PDF)
    await store.put(fresh, PDF)
    old = time.time() - timedelta(hours=25).total_seconds()
    for name in (kept.id, deleted.id, stray):
        os.utime(store._path(name), (old, old))
    assert await sweep_strays(database, store, datetime.now(UTC)) == 2
    assert await store.get(kept.id) == PDF
    assert await store.get(fresh) == PDF
    for name in (deleted.id, stray):
        with pytest.raises(FileNotFoundError):
            await store.get(name)


async def sent(body: bytes, kind: str, limit: int = 1000) -> tuple[int, str]:
    """Status, and code or content, of an upload."""

    async def take(request: web.Request) -> web.Response:
        return web.Response(body=await read_upload(request, limit))

    app = application(Metrics(), Readiness(lambda: {}))
    app.router.add_post("/", take)
    async with TestClient(TestServer(app)) as client:
        answer = await client.post("/", data=body, headers={"Content-Type": kind})
        told = await answer.read()
        return answer.status, msgspec.json.decode(told)["code"] if answer.status >= 400 else told.decode()


FORM = "multipart/form-data; boundary=x"
FILE = b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\nhere\r\n--x--\r\n'
OTHER = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n'


@pytest.mark.parametrize(
    ("body", "kind", "status", "told"),
    [
        (b"here", "application/pdf", 200, "here"),
        (FILE, FORM, 200, "here"),
        (OTHER + b"a\r\n" + FILE, FORM, 200, "here"),
        (b"x" * 1001, "application/pdf", 413, "document_too_large"),
        (FILE.replace(b"here", b"x" * 1001), FORM, 413, "document_too_large"),
        (OTHER + b"a" * (AROUND_BYTES + 2000) + b"\r\n" + FILE, FORM, 413, "document_too_large"),
        (OTHER + b"a\r\n--x--\r\n", FORM, 400, "no_file"),
        (FILE, "multipart/form-data", 400, "no_file"),
        (FILE, "multipart/form-data; boundary=" + "y" * 100, 400, "no_file"),
        (b"--x\r\n" + b"A: b\r\n" * 5000 + b"\r\n", FORM, 400, "bad_body"),  # headers without end
        (b"--x\r\nA: " + b"b" * 100_000 + b"\r\n\r\n", FORM, 400, "bad_body"),
        (b"--x\r\nno colon\r\n\r\nx\r\n--x--", FORM, 400, "bad_body"),
        (b"--x\r\n\xff: \xff\r\n\r\nx\r\n--x--", FORM, 400, "bad_body"),
        (b"--x\r\nContent-Type: multipart/mixed; boundary=z\r\n\r\n--z\r\n\r\n--z--\r\n--x--", FORM, 400, "no_file"),
        (FILE[:-20], FORM, 400, "no_file"),
        (b"", FORM, 400, "no_file"),
        (b"nothing like it", FORM, 400, "no_file"),
    ],
)
async def test_a_form_that_is_none_is_no_fault_of_ours(body: bytes, kind: str, status: int, told: str) -> None:
    assert await sent(body, kind) == (status, told)
