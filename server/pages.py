"""The pages: documents from one shell (web/shell.html), each with the files that web/scripts/build.mjs made for it.

A document depends on the page and on the language, nothing else: who somebody is and what a link opens, the page asks
by itself, and a GET never spends anything. The language is the one that the address asks for (``?lang=``), else the one
that the visitor chose (a cookie), else the first of the browser's that we have. A document names exactly the files that
its page consists of, so that the browser loads all of them at once; it is revalidated every time, they never
(`StaticFiles`).

Only a doctor's page has a head of its own, for search engines and for those who share its address. What stands there as
JSON-LD is data: a browser runs no script of that type, so it needs no place in the content policy.
"""

import html
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from string import Template
from typing import Final, Protocol

import msgspec
from aiohttp import web

from backplane.web import Problem
from server.content import Content
from server.static_files import StaticFiles

COOKIE: Final = "wadud_language"
DEFAULT_LANGUAGE: Final = "en"
_ROOM = re.compile(r"[A-Za-z0-9_\-]{1,128}")
_CLINIC = re.compile(r"[a-z0-9][a-z0-9\-]{0,62}")
_DOCTOR = re.compile(r"[a-z0-9\-]{1,80}")
_VISIT = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_VIEWPORT: Final = "width=device-width, initial-scale=1, viewport-fit=cover"
_VARY: Final = "Accept-Encoding, Accept-Language, Cookie"
_MAX_WISHES: Final = 16  # of Accept-Language


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


class Words(msgspec.Struct, frozen=True):
    """What differs by language. ``texts``: the module with the texts of the page's code."""

    texts: str
    title: str
    description: str
    noscript: str


class Page(msgspec.Struct, frozen=True):
    """The files of a page, as paths below /static/. ``imports``: what its script needs from the start.
    ``private``: not for search engines."""

    script: str
    style: str
    imports: tuple[str, ...]
    languages: dict[str, Words]
    private: bool = False
    viewport: str = ""


class Manifest(msgspec.Struct, frozen=True):
    """What a build has made. ``languages``: the direction of each; ``icon``: an address; ``shell``: the document that
    all pages are, as it was at the build: a checkout that is ahead of the running server changes nothing before it."""

    pages: dict[str, Page]
    languages: dict[str, str]
    icon: str
    shell: str


class Pages:
    """Handlers of all pages and of /static/. ``root``: the folder web/. Heads of doctors' pages: `DOCTOR_HEAD`."""

    def __init__(self, root: Path) -> None:
        self._manifest = root / "dist" / "manifest.json"
        self._static = StaticFiles(root / "dist")
        self._stamp = 0
        self._template = Template("")
        self._built = Manifest({}, {}, "", "")
        self._documents: dict[tuple[str, str], Content] = {}

    def add_routes(self, app: web.Application) -> None:
        app.router.add_get("/", self.page("home"))
        app.router.add_get("/call/{room}", self.page("call", "room", _ROOM))
        app.router.add_get("/book", self.page("book"))
        app.router.add_get("/doctors/{slug}", self.doctor)
        app.router.add_get("/now", self.page("now"))
        app.router.add_get("/visits", self.page("visits"))
        app.router.add_get("/visits/{visit}", self.page("join", "visit", _VISIT))
        app.router.add_get("/j/{clinic}", self.page("join", "clinic", _CLINIC))
        app.router.add_get("/sign-in", self.page("sign-in"))
        app.router.add_get("/account", self.page("account"))
        app.router.add_get("/invite", self.page("invite"))
        app.router.add_get("/static/{path:.+}", self._static.serve)

    def page(
        self, name: str, part: str = "", pattern: re.Pattern[str] | None = None
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        """A handler that gives the page of that name, if the ``part`` of the path fits."""

        async def give(request: web.Request) -> web.Response:
            if pattern is not None and not pattern.fullmatch(request.match_info[part]):
                raise Problem(404, "not_found")
            self._look()
            key = (name, self._language(request))
            if key not in self._documents:
                self._documents[key] = self._document(*key)
            return self._documents[key].answer(request, "no-cache", _VARY)

        return give

    async def doctor(self, request: web.Request) -> web.Response:
        slug = request.match_info["slug"]
        if not _DOCTOR.fullmatch(slug):
            raise Problem(404, "not_found")
        find = request.app.get(DOCTOR_HEAD)
        head = None if find is None else await find(request, slug)
        self._look()
        document = self._document("book", self._language(request), head)
        # A page is given in any case: it says in the visitor's language that nobody is called so.
        status = 404 if find is not None and head is None else 200
        return document.answer(request, "no-cache", _VARY, status)

    def _look(self) -> None:
        """Take notice of a new build.

        Raises:
            Problem: 404 not_found: nothing has been built.
        """
        try:
            stamp = self._manifest.stat().st_mtime_ns
            if stamp == self._stamp:
                return
            built = msgspec.json.decode(self._manifest.read_bytes(), type=Manifest)
        except (OSError, msgspec.ValidationError):
            raise Problem(404, "not_found") from None
        self._template, self._built, self._stamp = Template(built.shell), built, stamp
        self._documents.clear()

    def _language(self, request: web.Request) -> str:
        wishes = [request.query.get("lang"), request.cookies.get(COOKIE), *_languages_of(request)]
        return next((tag for tag in wishes if tag in self._built.languages), DEFAULT_LANGUAGE)

    def _document(self, name: str, language: str, head: Head | None = None) -> Content:
        page = self._built.pages.get(name)
        if page is None:
            raise Problem(404, "not_found")
        words = page.languages[language]
        text = self._template.substitute(
            language=language,
            direction=self._built.languages[language],
            head="\n  ".join(_general(page, words) if head is None else _of_doctor(head)),
            viewport=", ".join(filter(None, (_VIEWPORT, page.viewport))),
            icon=html.escape(self._built.icon),
            links="\n  ".join(_links(page, language)),
            noscript=html.escape(words.noscript),
        )
        return Content.of("page.html", text.encode())


def _languages_of(request: web.Request) -> list[str]:
    """Accept-Language, the most wanted first, without regions (RFC 9110 section 12.5.4)."""
    wishes = []
    for wish in request.headers.get("Accept-Language", "").split(",")[:_MAX_WISHES]:
        tag, _, weight = wish.partition(";")
        try:
            wanted = float(weight.strip().removeprefix("q=") or 1)
        except ValueError:
            continue
        wishes.append((wanted, tag.strip().partition("-")[0].lower()))
    return [tag for _, tag in sorted(wishes, key=lambda wish: -wish[0])]


def _links(page: Page, language: str) -> list[str]:
    """What the page loads, the script last: it waits for the style sheet in any case."""
    preloaded = (page.languages[language].texts, *page.imports)
    return [
        f'<link rel="stylesheet" href="/static/{page.style}">',
        *(f'<link rel="modulepreload" href="/static/{path}">' for path in preloaded),
        *(f'<link rel="texts" hreflang="{tag}" href="/static/{each.texts}">' for tag, each in page.languages.items()),
        f'<script type="module" src="/static/{page.script}"></script>',
    ]


def _general(page: Page, words: Words) -> list[str]:
    lines = [f"<title>{html.escape(words.title)}</title>"]
    if words.description:
        lines.append(f'<meta name="description" content="{html.escape(words.description)}">')
    if page.private:
        lines.append('<meta name="robots" content="noindex">')
    return lines


def _of_doctor(head: Head) -> list[str]:
    title, description, canonical = (html.escape(text) for text in (head.title, head.description, head.canonical))
    return [
        f"<title>{title}</title>",
        f'<meta name="description" content="{description}">',
        f'<link rel="canonical" href="{canonical}">',
        '<meta property="og:type" content="profile">',
        f'<meta property="og:title" content="{title}">',
        f'<meta property="og:description" content="{description}">',
        f'<meta property="og:url" content="{canonical}">',
        f'<script type="application/ld+json">{head.json_ld}</script>',
    ]
