"""Which clinic a request is for: its host name says so.

``SLUG.BASE`` (``a.localhost``) leads to the clinic of that slug, a host of ``tenant.hosts`` to its owner, the base host
itself to the default clinic. Without a base host every strange name leads to the default clinic as well, so that one
clinic behind any domain needs no setting. Answers are kept for some seconds; a server that changed a clinic forgets at
once.

A brand is a name, a logo and one colour, of buttons and links on a white page: it is refused below the contrast that
WCAG 2.1 asks of controls (1.4.11, 3 to 1). Of black and white one always reads well on it (`text_on`).
"""

import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from aiohttp import web
from msgspec import Struct

from backplane.clocks import just_now
from backplane.hosts import asked_host
from backplane.postgres import Database, Row
from backplane.principal import Tenant
from booking.refusals import NotFound
from booking.rights import PLATFORM_TENANT

KEPT_FOR: Final = timedelta(seconds=10)
MAX_HOSTS: Final = 4096
PAGE: Final = "#ffffff"
MIN_CONTRAST: Final = 3.0
LOCAL_BASE: Final = "localhost"
_SLUG: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_COLOUR: Final = re.compile(r"#[0-9a-f]{6}")
_COLUMNS: Final = "id, slug, name, locale, timezone, region, hosts, brand, policy"


class Clinic(Tenant, frozen=True):
    """A tenant with what only booking reads: ``brand`` and ``policy``, as they are kept."""

    brand: Mapping[str, Any] = {}
    policy: Mapping[str, Any] = {}


class _Kept(Struct, frozen=True):
    clinic: Clinic | None
    read_at: datetime


class Tenants:
    """Host names to clinics. ``base``: the installation's own host without port; ``default``: slug of its clinic."""

    def __init__(
        self, db: Database, clock: Callable[[], datetime], *, base: str | None = None, default: str | None = None
    ) -> None:
        self._db = db
        self._clock = clock
        self._base = base.lower() if base else None
        self._default = default
        self._kept: OrderedDict[str, _Kept] = OrderedDict()

    async def tenant_of(self, request: web.Request) -> Clinic:
        """The hook of `backplane.api.Services`. NotFound: no clinic has this name."""
        return await self.at(asked_host(request).name)

    async def at(self, host: str) -> Clinic:
        """The clinic at ``host``, which may have a port. NotFound."""
        name = host_name(host)
        now = self._clock()
        kept = self._kept.get(name)
        if kept is None or not just_now(kept.read_at, now, KEPT_FOR):
            kept = _Kept(await self._find(name), now)
            self._kept.pop(name, None)
            self._kept[name] = kept
            if len(self._kept) > MAX_HOSTS:
                self._kept.popitem(last=False)
        if kept.clinic is None:
            raise NotFound("unknown_clinic", "No clinic has this address. Look at the link that you were given.")
        return kept.clinic

    async def of(self, tenant: int) -> Clinic:
        """The clinic of this number, read now. LookupError."""
        async with self._db.platform() as connection:
            row = await connection.fetchrow(f"SELECT {_COLUMNS} FROM tenant WHERE id = $1", tenant)
        if row is None:
            raise LookupError("no such tenant")
        return clinic(row)

    def forget(self) -> None:
        """Read every clinic anew: one was changed."""
        self._kept.clear()

    async def _find(self, name: str) -> Clinic | None:
        async with self._db.platform() as connection:
            row = await connection.fetchrow(f"SELECT {_COLUMNS} FROM tenant WHERE hosts @> ARRAY[$1::text]", name)
            if row is None:
                slug = self._slug(name)
                if slug is None:
                    return None
                if slug:
                    row = await connection.fetchrow(f"SELECT {_COLUMNS} FROM tenant WHERE slug = $1", slug)
                elif self._default:
                    row = await connection.fetchrow(f"SELECT {_COLUMNS} FROM tenant WHERE slug = $1", self._default)
                if row is None and not slug:
                    row = await connection.fetchrow(f"SELECT {_COLUMNS} FROM tenant WHERE id = $1", PLATFORM_TENANT)
        return None if row is None else clinic(row)

    def _slug(self, name: str) -> str | None:
        """The slug that ``name`` means; "" for the default clinic, None for nobody's."""
        for base in {self._base, LOCAL_BASE} - {None}:
            if name == base:
                return ""
            label = name.removesuffix(f".{base}")
            if label != name:
                return label if _SLUG.fullmatch(label) else None
        local = name.startswith("[") or re.fullmatch(r"[0-9.]+", name)
        return "" if self._base is None or local else None


def clinic(row: Row) -> Clinic:
    """A row of `tenant`."""
    return Clinic(
        id=row["id"],
        slug=row["slug"],
        name=row["name"],
        locale=row["locale"],
        timezone=row["timezone"],
        region=row["region"],
        hosts=tuple(row["hosts"]),
        brand=row["brand"],
        policy=row["policy"],
    )


def host_name(host: str) -> str:
    """``host`` without port, in lower case, without the dot at its end."""
    if host.startswith("["):
        return host.partition("]")[0].lower() + "]"
    return host.partition(":")[0].lower().rstrip(".")


def contrast(first: str, second: str) -> float:
    """WCAG 2.1 contrast ratio of two colours ``#rrggbb``, 1 to 21."""
    lighter, darker = sorted((_luminance(first), _luminance(second)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def text_on(colour: str) -> str:
    """The text colour that reads better on ``colour``, 4.5 to 1 at least."""
    return max(("#ffffff", "#000000"), key=lambda text: contrast(colour, text))


def check_colour(colour: str) -> None:
    """ValueError when ``colour`` is none, or cannot be told from the page."""
    if not _COLOUR.fullmatch(colour):
        raise ValueError("write the colour as #rrggbb, in lower case")
    if contrast(colour, PAGE) < MIN_CONTRAST:
        raise ValueError(f"the colour has too little contrast to white: choose a darker one ({MIN_CONTRAST} to 1)")


def _luminance(colour: str) -> float:
    parts = (int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5))
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
