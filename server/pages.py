"""The pages and what they load, from web/.

Only the sub-folders of `FOLDERS` are served, and only names without a leading dot, so nothing else of the checkout has
an address. Each file is kept in memory with its digest as ETag and, when it is text, compressed once; a change on disk
is seen at the next request. Code is revalidated every time (its names carry no version), fonts and pictures once a day.

A page is the same for everybody, and a GET never spends anything: who somebody is and what a link opens, the page asks
by itself. Only a doctor's page has a head of its own, for search engines and for those who share its address. What
stands there as JSON-LD is data: a browser runs no script of that type, so it needs no place in the content policy.
"""

import gzip
import hashlib
import html
import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from aiohttp import web

from backplane.web import Problem

FOLDERS: Final = frozenset({"src", "styles", "assets", "locales", "vendor"})
_SEGMENT = re.compile(r"[A-Za-z0-9_@][A-Za-z0-9_@.\-]{0,127}")
_ROOM = re.compile(r"[A-Za-z0-9_\-]{1,128}")
_CLINIC = re.compile(r"[a-z0-9][a-z0-9\-]{0,62}")
_DOCTOR = re.compile(r"[a-z0-9\-]{1,80}")
_VISIT = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_HEAD = re.compile(r"  <title>.*?</title>\n|  <meta name=\"description\"[^>]*>\n", re.DOTALL)
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


class Head(Protocol):
    """What the head of a doctor's page says. ``json_ld`` is safe inside a script element."""

    @property
    def title(self) -> str: ...
    @property
    def description(self) -> str: ...
    @property
    def canonical(self) -> str: ...
    @property
    def json_ld(self) -> str: ...


class FindHead(Protocol):
    """The head of the doctor's page of that name, None when nobody here is called so."""

    def __call__(self, request: web.Request, slug: str, /) -> Awaitable[Head | None]: ...


DOCTOR_HEAD: Final = web.AppKey("doctor_head", FindHead)


@dataclass(frozen=True, slots=True)
class _File:
    stamp: tuple[int, int]  # modification time in ns, size
    body: bytes
    packed: bytes | None
    etag: str


class Pages:
    """Handlers of all pages and of /static/. ``root``: the folder web/. Heads of doctors' pages: `DOCTOR_HEAD`."""

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()
        self._files: OrderedDict[Path, _File] = OrderedDict()
        self._kept_bytes = 0

    def add_routes(self, app: web.Application) -> None:
        app.router.add_get("/", self.home)
        app.router.add_get("/call/{room}", self.call)
        app.router.add_get("/book", self.page("book.html"))
        app.router.add_get("/doctors/{slug}", self.doctor)
        app.router.add_get("/now", self.page("now.html"))
        app.router.add_get("/visits", self.page("visits.html"))
        app.router.add_get("/visits/{visit}", self.page("join.html", "visit", _VISIT))
        app.router.add_get("/j/{clinic}", self.page("join.html", "clinic", _CLINIC))
        app.router.add_get("/sign-in", self.page("sign-in.html"))
        app.router.add_get("/account", self.page("account.html"))
        app.router.add_get("/invite", self.page("invite.html"))
        app.router.add_get("/static/{path:.+}", self.static)

    async def home(self, request: web.Request) -> web.Response:
        return self._answer(request, self._root / "index.html")

    async def call(self, request: web.Request) -> web.Response:
        if not _ROOM.fullmatch(request.match_info["room"]):
            raise Problem(404, "not_found")
        return self._answer(request, self._root / "call.html")

    def page(
        self, name: str, part: str = "", pattern: re.Pattern[str] | None = None
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        """A handler that gives the page of that name, if the ``part`` of the path fits."""

        async def give(request: web.Request) -> web.Response:
            if pattern is not None and not pattern.fullmatch(request.match_info[part]):
                raise Problem(404, "not_found")
            return self._answer(request, self._root / name)

        return give

    async def doctor(self, request: web.Request) -> web.Response:
        slug = request.match_info["slug"]
        if not _DOCTOR.fullmatch(slug):
            raise Problem(404, "not_found")
        path = self._root / "book.html"
        file = self._read(path)
        find = request.app.get(DOCTOR_HEAD)
        if find is None or file is None:
            return self._answer(request, path)
        head = await find(request, slug)
        # A page is given in any case: it says in the visitor's language that nobody is called so.
        body = file.body if head is None else _with_head(file.body.decode(), head).encode()
        kind = {"Content-Type": _TYPES[".html"], "Cache-Control": "no-cache"}
        return web.Response(body=body, status=404 if head is None else 200, headers=kind)

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


def _with_head(page: str, head: Head) -> str:
    """The page with its own title and description in place of the general ones."""
    title, description, canonical = (html.escape(text) for text in (head.title, head.description, head.canonical))
    lines = (
        f"  <title>{title}</title>",
        f'  <meta name="description" content="{description}">',
        f'  <link rel="canonical" href="{canonical}">',
        '  <meta property="og:type" content="profile">',
        f'  <meta property="og:title" content="{title}">',
        f'  <meta property="og:description" content="{description}">',
        f'  <meta property="og:url" content="{canonical}">',
        f'  <script type="application/ld+json">{head.json_ld}</script>',
    )
    before, mark, after = _HEAD.sub("", page).partition('  <meta name="viewport"')
    return before + "\n".join(lines) + "\n" + mark + after
