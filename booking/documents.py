"""Files that people send us: what is taken, where it lies, who may read it.

A file is taken when its first bytes say that it is a picture or a PDF (what the browser says does not count), it is
not too large, and the scanner found nothing. Its bytes go into a store under the id of its row in `document`. A file
without a row is what a crash between the two leaves; `sweep_strays` removes it. Nobody but the owner and the reviewers
of the application reads a file, and it goes out as an attachment that no browser renders in our origin.
"""

import asyncio
import hashlib
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, Literal, Protocol, get_args
from uuid import UUID

from aiohttp import BodyPartReader, web
from msgspec import Struct

from backplane.ids import uuid7
from backplane.postgres import Connection, Database, Row
from backplane.web import Problem, media_type_of
from booking.refusals import Conflict, Failed, Invalid, TooLarge, Unavailable, Unsupported
from booking.virus import NoScanner, Scanner, ScannerUnavailable, Verdict

MAX_BYTES: Final = 10 * 1024 * 1024
MAX_PER_OWNER: Final = 40
UPLOAD_TIMEOUT_S: Final = 120.0
AROUND_BYTES: Final = 64 * 1024
STRAY_AFTER: Final = timedelta(hours=24)

Kind = Literal["licence", "identity", "degree", "insurance", "other"]
KINDS: Final = frozenset(get_args(Kind))
EXTENSIONS: Final = {"image/jpeg": "jpg", "image/png": "png", "image/webp": "webp", "application/pdf": "pdf"}


def sniff(content: bytes) -> str | None:
    """The media type that the first bytes tell, None when it is none that we take."""
    if content.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "image/webp"
    if content.startswith(b"%PDF-"):
        return "application/pdf"
    return None


class Store(Protocol):
    """Bytes by id. Implementations are called from the event loop and do not block it."""

    async def put(self, document: UUID, content: bytes) -> None: ...

    async def get(self, document: UUID) -> bytes:
        """Raises FileNotFoundError."""

    async def remove(self, document: UUID) -> None: ...


class FileStore:
    """A directory that only its owner may read. ``root`` is made when missing."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def _path(self, document: UUID) -> Path:
        return self._root / document.hex[-2:] / document.hex  # the end is random, the beginning is the time

    async def put(self, document: UUID, content: bytes) -> None:
        await asyncio.to_thread(self._write, self._path(document), content)

    async def get(self, document: UUID) -> bytes:
        return await asyncio.to_thread(self._path(document).read_bytes)

    async def remove(self, document: UUID) -> None:
        await asyncio.to_thread(self._path(document).unlink, missing_ok=True)

    def older_than(self, age_s: float, now_s: float) -> Iterator[UUID]:
        """Ids of files that were written so long ago; blocks."""
        for path in self._root.glob("??/*"):
            if len(path.name) == 32 and path.stat().st_mtime < now_s - age_s:
                yield UUID(path.name)

    @staticmethod
    def _write(path: Path, content: bytes) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        beside = path.with_name(f".{secrets.token_hex(8)}")
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise


@dataclass(frozen=True, slots=True)
class Documents:
    """What handlers need to take and give files."""

    store: Store
    scanner: Scanner = field(default_factory=NoScanner)


DOCUMENTS: Final = web.AppKey("documents", Documents)


class Document(Struct, frozen=True):
    """A file that we hold. ``scan`` unscanned: no virus scanner is installed."""

    id: UUID
    kind: str
    media_type: str
    bytes: int
    sha256: str
    scan: str
    created_at: datetime


def document_of(row: Row) -> Document:
    return Document(
        row["id"], row["kind"], row["media_type"], row["bytes"], row["sha256"].hex(), row["scan"], row["created_at"]
    )


async def admit(documents: Documents, content: bytes) -> tuple[str, Verdict]:
    """Media type and verdict of a file that may be kept. Unsupported, Invalid, Unavailable. Needs no database."""
    if not content:
        raise Invalid("empty_document", "The file is empty. Choose another.")
    if len(content) > MAX_BYTES:
        raise TooLarge("document_too_large", "A file may have 10 MB. Send a smaller picture or fewer pages.")
    media_type = sniff(content)
    if media_type is None:
        raise Unsupported("unsupported_document", "Send a JPEG, PNG or WebP picture or a PDF.")
    try:
        verdict = await documents.scanner.scan(content)
    except ScannerUnavailable:
        detail = "Files cannot be checked for viruses just now. Try again in a few minutes."
        raise Unavailable("scanner_unavailable", detail, retry_after_s=60) from None
    if verdict is Verdict.INFECTED:
        raise Invalid("infected_document", "A virus was found in this file. Nothing was kept.")
    return media_type, verdict


async def keep(
    connection: Connection,
    documents: Documents,
    content: bytes,
    admitted: tuple[str, Verdict],
    *,
    owner: UUID,
    provider: UUID | None,
    kind: str,
    now: datetime,
) -> Document:
    """Stores what `admit` let in, in the caller's transaction. Conflict: the owner has too many."""
    held = await connection.fetchval("SELECT count(*) FROM document WHERE owner_id = $1 AND deleted_at IS NULL", owner)
    if held >= MAX_PER_OWNER:
        raise Conflict("too_many_documents", f"{MAX_PER_OWNER} files are kept at most. Delete one first.")
    media_type, verdict = admitted
    document = uuid7(now)
    await documents.store.put(document, content)
    digest = await _digest(content)
    row = await connection.fetchrow(
        """
        INSERT INTO document (id, owner_id, provider_id, kind, media_type, bytes, sha256, scan, created_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) RETURNING *""",
        document,
        owner,
        provider,
        kind,
        media_type,
        len(content),
        digest,
        verdict.value,
        now,
    )
    assert row is not None
    return document_of(row)


async def _digest(content: bytes) -> bytes:
    """SHA-256 of a file, in a thread: of 10 MB it takes 30 ms where the processor has no instruction for it."""
    return await asyncio.to_thread(lambda: hashlib.sha256(content).digest())


async def give(documents: Documents, row: Row) -> web.Response:
    """The file as an attachment. Failed when the store lost it or it is no longer what was sent."""
    try:
        content = await documents.store.get(row["id"])
    except FileNotFoundError:
        raise Failed("document_lost", "The file is not in the store. It has been logged.") from None
    if await _digest(content) != row["sha256"]:
        raise Failed("document_damaged", "The file is not what was sent. It has been logged.")
    name = f"{row['kind']}.{EXTENSIONS[row['media_type']]}"
    return web.Response(
        body=content,
        content_type=row["media_type"],
        headers={
            "Content-Disposition": f'attachment; filename="{name}"',
            "Content-Security-Policy": "sandbox; default-src 'none'",
            "Cache-Control": "no-store",
        },
    )


async def read_upload(request: web.Request, limit: int = MAX_BYTES) -> bytes:
    """The file of a request: the part named ``file`` of multipart/form-data, or the raw body. Problem 400, 408, 413.

    What stands around the file may have `AROUND_BYTES`, other parts included.
    """
    content = bytearray()
    try:
        async with asyncio.timeout(UPLOAD_TIMEOUT_S):
            read = request.content.readany
            if media_type_of(request) == "multipart/form-data":
                read = (await _part_named_file(request, limit)).read_chunk
            while chunk := await read():
                content += chunk
                if len(content) > limit:
                    raise _too_large()
    except TimeoutError:
        raise Problem(408, "request_timeout", "The file did not arrive in time.", {"Connection": "close"}) from None
    return bytes(content)


async def _part_named_file(request: web.Request, limit: int) -> BodyPartReader:
    try:
        reader = await request.multipart()
        while isinstance(part := await reader.next(), BodyPartReader):
            if part.name == "file":
                return part
            while await part.read_chunk():
                if request.content.total_bytes > limit + AROUND_BYTES:
                    raise _too_large()
    except ValueError:
        pass  # no boundary, or parts that do not end
    raise Problem(400, "no_file", "Send the file as the part named file, or as the raw body.", {"Connection": "close"})


def _too_large() -> Problem:
    detail = "A file may have 10 MB. Send a smaller picture or fewer pages."
    return Problem(413, "document_too_large", detail, {"Connection": "close"})


async def sweep_strays(database: Database, store: FileStore, now: datetime) -> int:
    """Removes files that have no row a day after they were written, and those whose row says deleted; how many."""
    found = await asyncio.to_thread(lambda: list(store.older_than(STRAY_AFTER.total_seconds(), now.timestamp())))
    async with database.platform() as connection:
        rows = await connection.fetch("SELECT id FROM document WHERE id = ANY($1) AND deleted_at IS NULL", found)
    kept = {row["id"] for row in rows}
    strays = [document for document in found if document not in kept]
    for document in strays:
        await store.remove(document)
    return len(strays)
