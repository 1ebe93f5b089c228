"""The cookie by which a browser shows that somebody has signed in on it before: it opens nothing, it only counts apart.

After OWASP's "device cookies". The cookie holds a random name of the browser and, for each of the last people who have
signed in there, a MAC over that name, the clinic, the person and the day on which it ends. Nothing is stored. Who
copies the cookie may guess as slowly as before, and locks out nobody but this browser.
"""

import base64
import hmac
import re
import secrets
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from aiohttp import web

from backplane.sealed import Sealer

COOKIE: Final = "__Host-wadud-device"
LOOPBACK_COOKIE: Final = "wadud-device"
LIFETIME: Final = timedelta(days=400)  # as long as browsers keep any cookie (RFC 6265bis section 5.5)
MAX_PEOPLE: Final = 8
_DAY_S: Final = 86_400
_SHAPE: Final = re.compile(r"[A-Za-z0-9_-]{22}(?:\.[0-9]{1,6}-[A-Za-z0-9_-]{22})*")


def known_device(request: web.Request, sealer: Sealer, tenant: int, person: UUID, now: datetime) -> str | None:
    """The browser's name, when ``person`` has signed in on it; None otherwise."""
    name, entries = _read(request)
    found = any(_holds(sealer, tenant, person, name, entry, now) for entry in entries)
    return name if found else None


def shown(request: web.Request) -> bool:
    """Whether the browser says that anybody has signed in on it."""
    return bool(_read(request)[1])


def remembering(request: web.Request, sealer: Sealer, tenant: int, person: UUID, now: datetime) -> str:
    """The cookie's next value, once ``person`` has signed in."""
    name, entries = _read(request)
    others = [each for each in entries if not _holds(sealer, tenant, person, name, each, now)][: MAX_PEOPLE - 1]
    day = int((now + LIFETIME).timestamp()) // _DAY_S
    return ".".join([name, f"{day}-{_tag(sealer, tenant, person, name, day)}", *others])


def _read(request: web.Request) -> tuple[str, list[str]]:
    value = request.cookies.get(COOKIE) or request.cookies.get(LOOPBACK_COOKIE) or ""
    if _SHAPE.fullmatch(value):
        name, *entries = value.split(".")
        return name, entries[:MAX_PEOPLE]
    return secrets.token_urlsafe(16), []


def _holds(sealer: Sealer, tenant: int, person: UUID, name: str, entry: str, now: datetime) -> bool:
    day, _, tag = entry.partition("-")
    fresh = int(day) * _DAY_S > now.timestamp()
    return fresh and hmac.compare_digest(tag, _tag(sealer, tenant, person, name, int(day)))


def _tag(sealer: Sealer, tenant: int, person: UUID, name: str, day: int) -> str:
    made = sealer.mac("device", name, str(tenant), person.bytes, str(day))[:16]
    return base64.urlsafe_b64encode(made).decode().rstrip("=")
