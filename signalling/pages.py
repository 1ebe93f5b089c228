"""The pages and what they load, from web/.

Only the sub-folders of `FOLDERS` are served, and only names without a leading dot, so nothing else of the checkout has
an address. Each file is kept in memory with its digest as ETag and, when it is text, compressed once; a change on disk
is seen at the next request. Code is revalidated every time (its names carry no version), fonts and pictures once a day.
"""

import gzip
import hashlib
import re
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aiohttp import web

from backplane.web import Problem

FOLDERS: Final = frozenset({"src", "styles", "assets", "locales", "vendor"})
_SEGMENT = re.compile(r"[A-Za-z0-9_@][A-Za-z0-9_@.\-]{0,127}")
_ROOM = re.compile(r"[A-Za-z0-9_\-]{1,128}")
_MAX_DEPTH: Final = 8
_MAX_KEPT_BYTES: Final = 64 * 1024 * 1024
_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".webmanifest": "application/manifest+json",
    ".svg": "image/svg+xml",
    ".ts": "text/plain; charset=utf-8",
    ".md": "text/plain; charset=utf-8",
    ".map": "application/json",
    ".txt": "text/plain; charset=utf-8",
    ".ico": "image/x-icon",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".webp": "image/webp",
    ".avif": "image/avif",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
    ".mp3": "audio/mpeg",
    ".ogg": "audio/ogg",
    ".wav": "audio/wav",
    ".wasm": "application/wasm",
}
_LASTING: Final = frozenset({".ico", ".png", ".jpg", ".webp", ".avif", ".woff", ".woff2", ".mp3", ".ogg", ".wav"})


@dataclass(frozen=True, slots=True)
class _File:
    stamp: tuple[int, int]  # modification time in ns, size
    body: bytes
    packed: bytes | None
    etag: str


class Pages:
    """Handlers of /, /call/{room} and /static/. ``root``: the folder web/."""

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()
        self._files: OrderedDict[Path, _File] = OrderedDict()
        self._kept_bytes = 0

    def add_routes(self, app: web.Application) -> None:
        app.router.add_get("/", self.home)
        app.router.add_get("/call/{room}", self.call)
        app.router.add_get("/static/{path:.+}", self.static)

    async def home(self, request: web.Request) -> web.Response:
        return self._answer(request, self._root / "index.html")

    async def call(self, request: web.Request) -> web.Response:
        if not _ROOM.fullmatch(request.match_info["room"]):
            raise Problem(404, "not_found")
        return self._answer(request, self._root / "call.html")

    async def static(self, request: web.Request) -> web.Response:
        segments = request.match_info["path"].split("/")
        if segments[0] not in FOLDERS or len(segments) > _MAX_DEPTH or not all(map(_SEGMENT.fullmatch, segments)):
            raise Problem(404, "not_found")
        path = self._root.joinpath(*segments).resolve()
        if not path.is_relative_to(self._root / segments[0]):
            raise Problem(404, "not_found")
        return self._answer(request, path)

    def _answer(self, request: web.Request, path: Path) -> web.Response:
        kind = _TYPES.get(path.suffix)
        file = self._read(path) if kind else None
        if file is None or kind is None:
            raise Problem(404, "not_found")
        lasting = path.suffix in _LASTING
        headers = {
            "ETag": file.etag,
            "Cache-Control": "public, max-age=86400" if lasting else "no-cache",
            "Vary": "Accept-Encoding",
        }
        if file.etag in (tag.strip().removeprefix("W/") for tag in request.headers.get("If-None-Match", "").split(",")):
            return web.Response(status=304, headers=headers)
        headers["Content-Type"] = kind
        if file.packed is not None and "gzip" in request.headers.get("Accept-Encoding", ""):
            headers["Content-Encoding"] = "gzip"
            # RFC 9110 section 8.8.3: another representation needs another strong tag, or a weak one.
            headers["ETag"] = f"W/{file.etag}"
            return web.Response(body=file.packed, headers=headers)
        return web.Response(body=file.body, headers=headers)

    def _read(self, path: Path) -> _File | None:
        try:
            status = path.stat()
            stamp = (status.st_mtime_ns, status.st_size)
            file = self._files.get(path)
            if file is not None and file.stamp == stamp:
                return file
            body = path.read_bytes()
        except OSError:
            return None
        packed = None
        if path.suffix not in _LASTING:
            packed = gzip.compress(body, 6, mtime=0)
            if len(packed) > 0.9 * len(body):
                packed = None
        digest = hashlib.blake2b(body, digest_size=12).hexdigest()
        file = _File(stamp, body, packed, f'"{digest}"')
        self._forget(path)
        self._files[path] = file
        self._kept_bytes += len(body)
        while self._kept_bytes > _MAX_KEPT_BYTES:
            self._forget(next(iter(self._files)))
        return file

    def _forget(self, path: Path) -> None:
        file = self._files.pop(path, None)
        if file is not None:
            self._kept_bytes -= len(file.body)
