"""The end of every way in: one second factor if there is one, then a session and its two tokens.

A program gets the refresh token in the answer. A browser asks for a cookie (``keep: cookie``), which scripts cannot
read: ``__Host-wadud-refresh``, HttpOnly, SameSite=Lax, Secure. Browsers refuse a Secure cookie on plain http, so there
it is called ``wadud-refresh`` and bound to /v1/auth, on loopback hosts only; elsewhere plain http gets no cookie.
Routes that act on the cookie demand that the Origin is ours.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, Literal
from uuid import UUID

from aiohttp import web
from msgspec import Struct

from backplane.clocks import just_now
from backplane.hosts import asked_host
from backplane.keys import TokenError, TokenKind
from backplane.postgres import Connection
from backplane.proxies import same_origin
from backplane.routes import Answer, Call
from booking.identity.access import LIFETIME, SECOND_FACTOR, second_factor_roles
from booking.identity.devices import COOKIE as DEVICE_COOKIE
from booking.identity.devices import LIFETIME as DEVICE_LIFETIME
from booking.identity.devices import LOOPBACK_COOKIE as LOOPBACK_DEVICE_COOKIE
from booking.identity.devices import remembering
from booking.identity.people import Standing, standing, take_over
from booking.identity.refresh import Opened, open_session, revoke_all
from booking.identity.service import Identity, identity_of
from booking.refusals import Denied, Malformed, Unauthenticated
from booking.tenants import Clinic

COOKIE: Final = "__Host-wadud-refresh"
LOOPBACK_COOKIE: Final = "wadud-refresh"
RECENT: Final = timedelta(minutes=15)
_FACTOR_AUDIENCE: Final = "wadud.second-factor"
_FACTOR_LIFETIME: Final = timedelta(minutes=5)
_BROWSERS: Final = ("Firefox", "Edg", "OPR", "SamsungBrowser", "Chrome", "Safari")
_SYSTEMS: Final = ("Android", "iPhone", "iPad", "Windows", "Mac OS X", "Linux")

Keep = Literal["body", "cookie"]


class SignIn(Struct, frozen=True):
    """``signed_in``: here are the tokens. ``second_factor``: take ``ticket`` and a code to /v1/auth/mfa/verify.

    ``second_factor_due``: signed in, but a role of yours counts only once a second factor is enrolled or entered.
    """

    state: Literal["signed_in", "second_factor"]
    access_token: str | None = None
    expires_in: int = 0
    refresh_token: str | None = None
    person: UUID | None = None
    session: UUID | None = None
    roles: tuple[str, ...] = ()
    amr: tuple[str, ...] = ()
    second_factor_due: bool = False
    ticket: str | None = None


class FactorClaims(Struct, frozen=True):
    """Somebody who has given the first factor."""

    sub: UUID
    tid: int
    amr: tuple[str, ...]


async def sign_in(call: Call, connection: Connection, person: UUID, amr: Sequence[str], keep: Keep) -> Answer[SignIn]:
    """Signs ``person`` in by what they proved, or asks for the second factor. Denied account_disabled.

    A visitor who asks, by their access token, becomes ``person``: what they booked before is ``person``'s.
    """
    identity = identity_of(call)
    who = await standing(connection, person)
    if who.disabled:
        raise Denied("account_disabled", "This account was closed. Ask the clinic.")
    if who.totp and SECOND_FACTOR not in amr:
        claims = FactorClaims(person, call.tenant.id, tuple(amr))
        ticket = identity.authority.sign(TokenKind.SECOND_FACTOR, _FACTOR_AUDIENCE, claims, call.now, _FACTOR_LIFETIME)
        return Answer(SignIn("second_factor", ticket=ticket))
    if call.who is not None and call.who.anonymous:
        await take_over_visitor(call, connection, call.who.person, person)
    opened = await open_session(connection, person, amr, device(call.request), call.now)
    return answer(call, opened, who, keep, proven=True)


async def take_over_visitor(call: Call, connection: Connection, visitor: UUID, person: UUID) -> None:
    """Give what ``visitor`` did to ``person``, and end the visitor's sessions."""
    if await take_over(connection, visitor, person, call.now):
        ended = await revoke_all(connection, visitor, "merged", call.now)
        call.after_commit(lambda: identity_of(call).denylist.add(ended, call.now))


def factor_claims(call: Call, ticket: str) -> FactorClaims:
    """Who has given the first factor. Unauthenticated."""
    try:
        claims = identity_of(call).authority.verify(
            TokenKind.SECOND_FACTOR, _FACTOR_AUDIENCE, ticket, FactorClaims, call.now
        )
    except TokenError as error:
        raise Unauthenticated(error.code, "Sign in again from the beginning.") from None
    if claims.tid != call.tenant.id:
        raise Unauthenticated("bad_token", "Sign in again from the beginning.")
    return claims


def answer(call: Call, opened: Opened, who: Standing, keep: Keep, *, proven: bool = False) -> Answer[SignIn]:
    """The tokens of a session, the refresh token where it is kept. ``proven``: the person has just shown who they are,
    so that a browser is remembered as theirs."""
    identity: Identity = identity_of(call)
    clinic = call.tenant
    assert isinstance(clinic, Clinic)
    due = SECOND_FACTOR not in opened.amr and not second_factor_roles(clinic.policy).isdisjoint(who.roles)
    body = SignIn(
        "signed_in",
        identity.access.issue(opened.person, clinic.id, who.roles, opened.session, opened.amr, call.now),
        int(LIFETIME.total_seconds()),
        opened.refresh if keep == "body" else None,
        opened.person,
        opened.session,
        who.roles,
        opened.amr,
        due,
    )
    if keep == "body":
        return Answer(body)
    cookies = [cookie(call.request, opened.refresh, opened.expires_at - call.now)]
    if proven:
        cookies.append(device_cookie(call, opened.person, call.request.headers["Origin"].startswith("https://")))
    return Answer(body, cookies=cookies)


def device_cookie(call: Call, person: UUID, secure: bool) -> str:
    """The Set-Cookie header that remembers the browser as one of ``person``'s."""
    value = remembering(call.request, identity_of(call).sealer, call.tenant.id, person, call.now)
    return _set_cookie(secure, call.request, value, DEVICE_LIFETIME, (DEVICE_COOKIE, LOOPBACK_DEVICE_COOKIE))


def cookie(request: web.Request, value: str, lives: timedelta) -> str:
    """A Set-Cookie header. Malformed: plain http that is not loopback; Denied: not from a page of ours."""
    if not same_origin(request):
        raise Denied("bad_origin", "This may be done from our own pages only.")
    return _set_cookie(request.headers["Origin"].startswith("https://"), request, value, lives)


def cookie_after_redirect(request: web.Request, value: str, lives: timedelta) -> str:
    """The same for the end of a navigation, which has no Origin; its caller has checked where it began."""
    return _set_cookie(request.scheme == "https", request, value, lives)


def no_cookie(request: web.Request) -> dict[str, str]:
    """Headers that take the cookie away, if one was sent."""
    name = next((name for name in (COOKIE, LOOPBACK_COOKIE) if name in request.cookies), None)
    if name is None:
        return {}
    where = "Path=/; Secure" if name == COOKIE else "Path=/v1/auth"
    return {"Set-Cookie": f"{name}=; {where}; HttpOnly; SameSite=Lax; Max-Age=0"}


def cookie_token(request: web.Request) -> str | None:
    """The refresh token that came as a cookie. Denied when another site made the browser send it."""
    value = request.cookies.get(COOKIE) or (request.cookies.get(LOOPBACK_COOKIE) if loopback(request) else None)
    if value and not same_origin(request):
        raise Denied("bad_origin", "This may be done from our own pages only.")
    return value or None


def cookie_of_redirect(request: web.Request) -> str:
    """The refresh token that came with the end of a navigation, or nothing; its caller has checked where it began."""
    return request.cookies.get(COOKIE) or (request.cookies.get(LOOPBACK_COOKIE, "") if loopback(request) else "")


def _set_cookie(
    secure: bool, request: web.Request, value: str, lives: timedelta, names: tuple[str, str] = (COOKIE, LOOPBACK_COOKIE)
) -> str:
    tail = f"HttpOnly; SameSite=Lax; Max-Age={int(lives.total_seconds())}"
    if secure:
        return f"{names[0]}={value}; Path=/; Secure; {tail}"
    if not loopback(request):
        raise Malformed("https_required", "A cookie needs https here. Use https, or keep the token yourself.")
    return f"{names[1]}={value}; Path=/v1/auth; {tail}"


def loopback(request: web.Request) -> bool:
    """Whether the page that asks was reached on the browser's own machine."""
    return asked_host(request).loopback


def device(request: web.Request) -> str:
    """Browser and system in two words, for the list of sessions; the rest of User-Agent is not kept."""
    agent = request.headers.get("User-Agent", "")
    browser = next((name for name in _BROWSERS if name in agent), "")
    system = next((name for name in _SYSTEMS if name in agent), "")
    names = {"Edg": "Edge", "OPR": "Opera", "SamsungBrowser": "Samsung Internet", "Mac OS X": "macOS"}
    return ", ".join(names.get(word, word) for word in (browser, system) if word)


async def require_recent(connection: Connection, session: UUID, now: datetime) -> None:
    """Denied unless the session began a moment ago: for changes that a borrowed device must not make."""
    began = await connection.fetchval("SELECT created_at FROM session WHERE id = $1", session)
    if not isinstance(began, datetime) or not just_now(began, now, RECENT):
        raise Denied("sign_in_again", "Sign in again first: this needs a sign-in of the last 15 minutes.")
