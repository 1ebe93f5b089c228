"""Signing in at somebody else's: OpenID Connect, one clinic and its issuers at a time.

The browser leaves with a state, a nonce and a code challenge, and comes back to the same browser only: a cookie that
was set when it left must be there (RFC 6749 section 10.12). What the issuer says links to an account that is here
already only if the issuer has verified the e-mail address; without that it is another account, known by the issuer's
subject.
"""

import hashlib
import hmac
import secrets
from datetime import timedelta
from typing import Annotated, Final, NoReturn
from urllib.parse import quote
from uuid import UUID

from aiohttp import web
from msgspec import Meta, Struct

from backplane.api import Call, Routes
from backplane.audit import Entry, record
from backplane.hosts import is_own_path
from backplane.ids import uuid7
from backplane.lines import one_line
from backplane.logs import Log
from backplane.postgres import Connection
from backplane.sealed import SealError
from booking.identity import contacts
from booking.identity.auth_routes import NO_NUL
from booking.identity.oidc_client import IdClaims, OidcError
from booking.identity.people import add_identity, known_by, new_person, tell
from booking.identity.refresh import IDLE, holder
from booking.identity.service import address_of, identity_of
from booking.identity.signing_in import (
    cookie_after_redirect,
    cookie_of_redirect,
    device_cookie,
    loopback,
    sign_in,
    take_over_visitor,
)
from booking.refusals import Conflict, Invalid, Malformed, NotFound, Refusal, UpstreamFailed
from booking.rights import acting_role

LOGIN: Final = timedelta(minutes=10)
STATE_COOKIE: Final = "__Host-wadud-oidc"
LOOPBACK_STATE_COOKIE: Final = "wadud-oidc"
_PURPOSE: Final = "oidc"
_log = Log(__name__)
# Here somebody who still lacks a second factor gets one, and somebody with an outdated token a new one.
routes = Routes(tag="auth", second_factor=False, stale_tokens=True)

ProviderName = Annotated[str, Meta(pattern=r"^[a-z0-9-]{1,40}$")]


class Start(Struct, frozen=True, forbid_unknown_fields=True):
    """``return_to``: a path of ours where the browser ends."""

    return_to: Annotated[str, Meta(max_length=500)] = "/"


class Callback(Struct, frozen=True):
    """What the issuer sends back (OpenID Connect Core 3.1.2.5); more may come with it."""

    state: Annotated[str, Meta(max_length=200)] = ""
    code: Annotated[str, Meta(max_length=4096)] = ""
    error: Annotated[str, Meta(max_length=200)] = ""
    iss: Annotated[str, Meta(max_length=500)] = ""


class ProviderSetting(Struct, frozen=True, forbid_unknown_fields=True):
    """``client_secret`` empty: a public client, or keep the one that is set."""

    label: Annotated[str, Meta(min_length=1, max_length=60, pattern=NO_NUL)]
    issuer: Annotated[str, Meta(min_length=8, max_length=300)]
    client_id: Annotated[str, Meta(min_length=1, max_length=300, pattern=r"^[\x20-\x7e]+$")]
    client_secret: Annotated[str, Meta(max_length=500)] = ""
    enabled: bool = True


class Provider(Struct, frozen=True):
    name: str
    label: str
    enabled: bool = True


@routes.get("/v1/auth/oidc")
async def list_sign_in_providers(call: Call) -> list[Provider]:
    """Where else one may sign in."""
    async with call.db.tenant(call.tenant.id) as connection:
        rows = await connection.fetch("SELECT name, label FROM oidc_provider WHERE enabled ORDER BY name")
    return [Provider(row["name"], row["label"]) for row in rows]


@routes.put(
    "/v1/clinic/oidc/{name}",
    right="clinic.manage",
    second_factor=True,
    stale_tokens=False,
    problems={422: ("bad_issuer",)},
)
async def set_sign_in_provider(call: Call, name: ProviderName, body: ProviderSetting) -> Provider:
    """Trust an issuer to say who somebody is, or change how."""
    identity = identity_of(call)
    try:
        identity.oidc.check_url(body.issuer)
        await identity.oidc.metadata(body.issuer, call.now)
    except OidcError as error:
        raise Invalid("bad_issuer", f"This issuer cannot be used: {error}.") from None
    async with call.transaction() as connection:
        provider = await connection.fetchval(
            "INSERT INTO oidc_provider (id, name, label, issuer, client_id, client_secret_sealed, enabled, created_at)"
            " VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (tenant_id, name) DO UPDATE SET"
            " label = excluded.label, issuer = excluded.issuer, client_id = excluded.client_id,"
            " enabled = excluded.enabled,"
            " client_secret_sealed = CASE WHEN $9 AND oidc_provider.issuer = excluded.issuer"
            " THEN oidc_provider.client_secret_sealed ELSE excluded.client_secret_sealed END RETURNING id",
            uuid7(call.now),
            name,
            body.label,
            body.issuer,
            body.client_id,
            identity.sealer.seal(body.client_secret.encode(), _PURPOSE),
            body.enabled,
            call.now,
            body.client_secret == "",
        )
        entry = Entry(
            actor=call.principal.person,
            actor_role=acting_role(call.principal.roles),
            action="sign_in_provider.set",
            subject_kind="oidc_provider",
            subject_id=provider,
            facts={"enabled": body.enabled},
        )
        await record(connection, entry, call.now)
    return Provider(name, body.label, body.enabled)


@routes.get(
    "/v1/auth/oidc/{name}/start",
    status=302,
    content_type="text/plain",
    problems={400: ("https_required",), 404: ("unknown_provider",), 429: ("rate_limited",), 502: ("provider_failed",)},
)
async def begin_oidc(call: Call, name: ProviderName, query: Start) -> web.Response:
    """Send the browser to the issuer."""
    identity = identity_of(call)
    secure = call.request.scheme == "https"
    if not secure and not loopback(call.request):
        raise Malformed("https_required", "Signing in elsewhere needs https here.")
    if not is_own_path(query.return_to):
        raise Malformed("bad_request", "return_to is a path of this site.")
    await identity.allow("visitor", address_of(call), identity.paces.visitor_per_address)
    state, nonce, verifier, browser = (secrets.token_urlsafe(32) for _ in range(4))
    redirect_uri = f"{_origin(call)}/v1/auth/oidc/{name}/callback"
    async with call.db.tenant(call.tenant.id) as connection:
        provider = await connection.fetchrow("SELECT * FROM oidc_provider WHERE name = $1 AND enabled", name)
    if provider is None:
        raise _unknown_provider()
    try:
        url = await identity.oidc.authorization_url(
            provider["issuer"], provider["client_id"], redirect_uri, state, nonce, verifier, call.now
        )
    except OidcError as error:
        _failed(error)
    async with call.transaction() as connection:
        await connection.execute(
            "INSERT INTO oidc_login (state_hash, provider_id, browser_hash, nonce, verifier_sealed, redirect_uri,"
            " return_to, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
            _hash(state),
            provider["id"],
            _hash(browser),
            nonce,
            identity.sealer.seal(verifier.encode(), _PURPOSE),
            redirect_uri,
            query.return_to,
            call.now + LOGIN,
        )
    name_of_cookie, where = (STATE_COOKIE, "Path=/; Secure") if secure else (LOOPBACK_STATE_COOKIE, "Path=/v1/auth")
    lives = int(LOGIN.total_seconds())
    response = web.Response(status=302, headers={"Location": url, "Cache-Control": "no-store"})
    response.headers.add("Set-Cookie", f"{name_of_cookie}={browser}; {where}; HttpOnly; SameSite=Lax; Max-Age={lives}")
    return response


@routes.get(
    "/v1/auth/oidc/{name}/callback",
    status=303,
    content_type="text/plain",
    problems={
        400: ("bad_state", "sign_in_refused"),
        403: ("account_disabled",),
        404: ("unknown_provider",),
        409: ("conflict",),
        502: ("provider_failed",),
    },
)
async def end_oidc(call: Call, name: ProviderName, query: Callback) -> web.Response:
    """The browser comes back: sign in, keep the session in a cookie, go on to where it began."""
    identity = identity_of(call)
    cookies = call.request.cookies
    browser = cookies.get(STATE_COOKIE if call.request.scheme == "https" else LOOPBACK_STATE_COOKIE, "")
    async with call.db.tenant(call.tenant.id) as connection:
        row = await connection.fetchrow(
            "DELETE FROM oidc_login l USING oidc_provider p WHERE l.state_hash = $1 AND l.provider_id = p.id"
            " AND p.name = $2 AND p.enabled RETURNING l.browser_hash, l.nonce, l.verifier_sealed, l.redirect_uri,"
            " l.return_to, l.expires_at, p.id AS provider, p.issuer, p.client_id, p.client_secret_sealed",
            _hash(query.state),
            name,
        )
    if row is None or row["expires_at"] <= call.now or not hmac.compare_digest(row["browser_hash"], _hash(browser)):
        raise Malformed("bad_state", "This sign-in was not begun here, or is too old. Begin again.")
    if query.error or not query.code or query.iss not in ("", row["issuer"]):  # RFC 9207: the issuer may name itself
        raise Malformed("sign_in_refused", "The sign-in was not completed. Begin again.")
    try:
        secret = identity.sealer.unseal(row["client_secret_sealed"], _PURPOSE).decode()
        verifier = identity.sealer.unseal(row["verifier_sealed"], _PURPOSE).decode()
        issuer, client = row["issuer"], row["client_id"]
        token = await identity.oidc.exchange(
            issuer, client, secret, query.code, verifier, row["redirect_uri"], call.now
        )
        claims = await identity.oidc.verify(issuer, client, token, row["nonce"], call.now)
    except (OidcError, SealError) as error:
        _failed(error)
    async with call.transaction() as connection:
        person = await _person_of(call, connection, row["provider"], claims)
        signed_in = (await sign_in(call, connection, person, ("fed",), "body")).body
        if signed_in.state == "signed_in":
            visitor = await holder(connection, cookie_of_redirect(call.request), call.now)
            if visitor is not None:
                await take_over_visitor(call, connection, visitor, person)
    headers = {"Cache-Control": "no-store"}
    given: list[str] = []
    goal = _origin(call) + row["return_to"]  # whole, so that no reading of the path can lead elsewhere
    if signed_in.refresh_token is None:
        # The ticket goes in the fragment, which no server sees; the page asks for the code.
        headers["Location"] = f"{goal}#second_factor={quote(signed_in.ticket or '', safe='.')}"
    else:
        headers["Location"] = goal
        given.append(cookie_after_redirect(call.request, signed_in.refresh_token, IDLE))
        given.append(device_cookie(call, person, call.request.scheme == "https"))
    response = web.Response(status=303, headers=headers)
    for cookie in given:
        response.headers.add("Set-Cookie", cookie)
    return response


async def _person_of(call: Call, connection: Connection, provider: UUID, claims: IdClaims) -> UUID:
    account = f"{provider}:{claims.sub}"
    known = await known_by(connection, "oidc", account)
    if known is not None:
        return known
    email = None
    if claims.email and claims.email_verified in (True, "true"):
        try:
            email = contacts.email(claims.email)
        except ValueError:
            email = None
    person = None if email is None else await known_by(connection, "email", email.value)
    if person is None:
        person = await new_person(
            connection,
            call.now,
            name=one_line(claims.name)[:120],
            locale=call.tenant.locale,
            timezone=call.tenant.timezone,
        )
        if email is not None:
            await add_identity(connection, person, "email", email.value, call.now)
        await tell(connection, "user.registered", person, call.now)
    if not await add_identity(connection, person, "oidc", account, call.now):
        raise Conflict("conflict", "Somebody signed in with this account at the same moment. Begin again.")
    return person


def _origin(call: Call) -> str:
    """Where the browser comes back to, with the cookie that it was given."""
    return call.services.urls.of_page(call.request, call.tenant.slug, call.tenant.hosts)


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _unknown_provider() -> Refusal:
    return NotFound("unknown_provider", "One cannot sign in with that here.")


def _failed(error: OidcError | SealError) -> NoReturn:
    _log.warning("sign-in provider failed", reason=str(error))
    raise UpstreamFailed(
        "provider_failed", "The other side could not tell who you are. Try again, or sign in otherwise."
    )
