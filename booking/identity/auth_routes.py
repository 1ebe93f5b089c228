"""Ways in and out: codes, passwords, visitors who become known, refresh and logout.

No answer tells whether an account exists. Asking for a code and registering give a ticket in any case; whether somebody
is known by the contact is looked at only after the code was right. Registering with a contact that has an account
therefore signs in to it, and the new password is forgotten: a password is never given to an account that was there
before.
"""

from datetime import datetime, timedelta
from typing import Annotated, Final
from uuid import UUID

from aiohttp import web
from msgspec import Meta, Struct

from backplane.api import Answer, Call, Problem, Routes
from backplane.postgres import Connection
from booking.identity import codes, contacts
from booking.identity.contacts import Contact
from booking.identity.courier import Letter
from booking.identity.devices import shown
from booking.identity.people import known_by, new_person, person_for, recognise, standing
from booking.identity.refresh import Ended, open_session, refresh, revoke, revoke_all
from booking.identity.service import address_of, identity_of
from booking.identity.signing_in import Keep, SignIn, answer, cookie_token, device, no_cookie, sign_in
from booking.refusals import Conflict, Invalid, Malformed, Refusal, Unauthenticated

RESEND_AFTER_S: Final = 30
# Here somebody who still lacks a second factor gets one, and somebody with an outdated token a new one.
routes = Routes(tag="auth", second_factor=False, stale_tokens=True)

Email = Annotated[str, Meta(min_length=3, max_length=254)]
Phone = Annotated[str, Meta(min_length=4, max_length=32)]
Password = Annotated[str, Meta(min_length=1, max_length=200)]
NO_NUL: Final = r"^[^\x00]*$"  # which Postgres cannot keep
Name = Annotated[str, Meta(max_length=120, pattern=NO_NUL)]
Locale = Annotated[str, Meta(pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})?$")]
CodeText = Annotated[str, Meta(min_length=6, max_length=12)]


class CodeWish(Struct, frozen=True, forbid_unknown_fields=True):
    """One of ``email`` and ``phone``."""

    email: Email | None = None
    phone: Phone | None = None
    locale: Locale | None = None


class Registration(Struct, frozen=True, forbid_unknown_fields=True):
    """``email`` with ``password``, or ``phone``."""

    email: Email | None = None
    phone: Phone | None = None
    password: Password | None = None
    name: Name = ""
    locale: Locale | None = None


class Ticket(Struct, frozen=True):
    """A code was sent. It goes to /v1/auth/otp/verify with the ticket."""

    ticket: UUID
    expires_in: int
    resend_after: int = RESEND_AFTER_S


class Code(Struct, frozen=True, forbid_unknown_fields=True):
    ticket: UUID
    code: CodeText
    keep: Keep = "body"


class Credentials(Struct, frozen=True, forbid_unknown_fields=True):
    password: Password
    email: Email | None = None
    phone: Phone | None = None
    keep: Keep = "body"


class RefreshToken(Struct, frozen=True, forbid_unknown_fields=True):
    """Empty where the token is in a cookie."""

    refresh_token: Annotated[str, Meta(max_length=128)] | None = None


class Visit(Struct, frozen=True, forbid_unknown_fields=True):
    locale: Locale | None = None
    keep: Keep = "body"


def contact_of(email: str | None, phone: str | None, region: str) -> Contact:
    """Invalid unless it is one good contact."""
    if (email is None) == (phone is None):
        raise Invalid("bad_request", "Give one of email and phone.")
    try:
        return contacts.email(email) if email is not None else contacts.phone(phone or "", region)
    except ValueError as error:
        raise Invalid("bad_contact", f"{str(error).capitalize()}. Look at it again.") from None


@routes.post(
    "/v1/auth/register",
    status=202,
    problems={422: ("bad_contact", "weak_password"), 503: ("busy",), 429: ("rate_limited",)},
)
async def register(call: Call, body: Registration) -> Ticket:
    """Begin an account. A code is sent to the contact; entering it makes the account."""
    identity = identity_of(call)
    contact = contact_of(body.email, body.phone, call.tenant.region)
    await pace_codes(call, contact)
    hashed = None
    if body.password is not None:
        identity.passwords.check(body.password, near=contact.value.partition("@")[0])
        hashed = await identity.passwords.hash(body.password)
    elif contact.kind == "email":
        raise Invalid("weak_password", "Choose a password, or ask for a code in place of registering.")
    payload = {"name": body.name.strip(), "password": hashed, "locale": body.locale}
    return await send_code(call, contact, "register", body.locale, payload=payload)


@routes.post("/v1/auth/otp", status=202, problems={422: ("bad_contact",), 429: ("rate_limited",)})
async def request_code(call: Call, body: CodeWish) -> Ticket:
    """Get a code that signs in, or makes the account of a contact that has none."""
    contact = contact_of(body.email, body.phone, call.tenant.region)
    await pace_codes(call, contact)
    return await send_code(call, contact, "sign_in", body.locale, payload={"locale": body.locale})


@routes.post("/v1/auth/otp/verify", problems={400: ("wrong_code",), 403: ("account_disabled",), 429: ("rate_limited",)})
async def verify_code(call: Call, body: Code) -> Answer[SignIn]:
    """Sign in with a code."""
    proven = await prove(call, body.ticket, body.code, ("sign_in", "register"))
    async with call.transaction() as connection:
        await spend(connection, proven, call.now)
        person, fresh = await _person_of(call, connection, proven)
        if fresh and proven.payload.get("password"):
            await set_password(connection, person, str(proven.payload["password"]), call.now)
        return await sign_in(call, connection, person, (proven.contact.proof,), body.keep)


@routes.post(
    "/v1/auth/login",
    problems={
        401: ("wrong_credentials",),
        403: ("account_disabled",),
        422: ("bad_contact",),
        429: ("rate_limited",),
        503: ("busy",),
    },
)
async def log_in(call: Call, body: Credentials) -> Answer[SignIn]:
    """Sign in with a password."""
    identity = identity_of(call)
    contact = contact_of(body.email, body.phone, call.tenant.region)
    await identity.allow("login address", address_of(call), identity.paces.login_per_address)
    async with call.db.tenant(call.tenant.id) as connection:
        row = await connection.fetchrow(
            "SELECT i.person_id, p.hash FROM identity i JOIN password p ON p.person_id = i.person_id"
            " WHERE i.tenant_id = app_tenant() AND i.kind = $1 AND i.value = $2",
            contact.kind,
            contact.value,
        )
    await identity.allow_try(call, "login", contact.value, None if row is None else row["person_id"])
    hashed = None if row is None else str(row["hash"])
    if not await identity.passwords.verify(hashed, body.password) or row is None or hashed is None:
        raise Unauthenticated("wrong_credentials", "Contact or password is wrong. You can get a code instead.")
    fresh = await identity.passwords.hash(body.password) if identity.passwords.outdated(hashed) else None
    async with call.transaction() as connection:
        if fresh is not None:
            await set_password(connection, row["person_id"], fresh, call.now)
        return await sign_in(call, connection, row["person_id"], ("pwd",), body.keep)


@routes.post("/v1/auth/refresh", problems={401: ("session_ended",), 403: ("bad_origin",)})
async def refresh_session(call: Call, body: RefreshToken | None = None) -> Answer[SignIn]:
    """A new access token, and the next refresh token; the one shown is spent.

    Repeating the last refresh within ten seconds gives the same successor. A token that was spent before ends the
    session.
    """
    identity = identity_of(call)
    shown = body.refresh_token if body is not None else None
    keep: Keep = "body" if shown is not None else "cookie"
    token = shown if shown is not None else cookie_token(call.request)
    if token is None:
        raise Unauthenticated("session_ended", "Sign in again.")
    async with call.transaction() as connection:
        opened = await refresh(connection, identity.sealer, token, call.now)
        if not isinstance(opened, Ended):
            return answer(call, opened, await standing(connection, opened.person), keep)
        if opened.reused is not None:
            await _warn_of_reuse(call, connection, opened.reused)
    if opened.reused is not None:
        await identity.void([opened.reused])
    raise Problem(401, "session_ended", "Sign in again.", no_cookie(call.request))


@routes.post("/v1/auth/logout", right="session.manage.own")
async def log_out(call: Call) -> Answer[None]:
    """End this session."""
    async with call.transaction() as connection:
        ended = await revoke(connection, [call.principal.session], "logout", call.now)
    await identity_of(call).void(ended)
    return Answer(None, no_cookie(call.request))


@routes.post("/v1/auth/logout-all", right="session.manage.own")
async def log_out_everywhere(call: Call) -> Answer[None]:
    """End all sessions of this account."""
    async with call.transaction() as connection:
        ended = await revoke_all(connection, call.principal.person, "logout_all", call.now)
    await identity_of(call).void(ended)
    return Answer(None, no_cookie(call.request))


@routes.post("/v1/auth/anonymous", status=201, problems={429: ("rate_limited",)})
async def visit(call: Call, body: Visit | None = None) -> Answer[SignIn]:
    """Begin without an account. What is booked stays when the visitor signs in later, with their access token shown."""
    identity = identity_of(call)
    wish = body or Visit()
    await identity.allow("visitor", address_of(call), identity.paces.visitor_per_address)
    async with call.transaction() as connection:
        locale = wish.locale or call.tenant.locale
        person = await new_person(connection, call.now, locale=locale, timezone=call.tenant.timezone, anonymous=True)
        opened = await open_session(connection, person, (), device(call.request), call.now)
        return answer(call, opened, await standing(connection, person), wish.keep)


@routes.post(
    "/v1/auth/upgrade",
    right="session.manage.own",
    problems={400: ("wrong_code",), 403: ("account_disabled",), 409: ("not_anonymous",), 429: ("rate_limited",)},
)
async def upgrade(call: Call, body: Code) -> Answer[SignIn]:
    """A visitor proves a contact with a code of /v1/auth/otp or register, and keeps what they have done.

    A contact that nobody has becomes theirs.
    """
    identity = identity_of(call)
    visitor = call.principal
    if not visitor.anonymous:
        raise Conflict("not_anonymous", "This account is known already. Add a contact at /v1/me/contacts.")
    proven = await prove(call, body.ticket, body.code, ("sign_in", "register"))
    async with call.transaction() as connection:
        await spend(connection, proven, call.now)
        still = await connection.fetchval("SELECT anonymous FROM person WHERE id = $1 FOR UPDATE", visitor.person)
        if not still:
            raise Conflict("not_anonymous", "This account is known already.")
        known = await known_by(connection, proven.contact.kind, proven.contact.value)
        if known is not None:  # who has a second factor gets nothing, and the visitor loses nothing, before it is given
            return await sign_in(call, connection, known, (proven.contact.proof,), body.keep)
        person = await recognise(connection, visitor.person, proven.contact, call.now)
        if person == visitor.person:
            name = str(proven.payload.get("name") or "")
            await connection.execute("UPDATE person SET name = $2 WHERE id = $1 AND name = ''", person, name)
            if proven.payload.get("password"):
                await set_password(connection, person, str(proven.payload["password"]), call.now)
        ended = await revoke_all(connection, visitor.person, "merged", call.now)
        signed_in = await sign_in(call, connection, person, (proven.contact.proof,), body.keep)
    await identity.denylist.add(ended, call.now)
    return signed_in


@routes.get("/.well-known/jwks.json", content_type="application/json", second_factor=True, stale_tokens=False)
async def public_keys(call: Call) -> web.Response:
    """The keys that verify our tokens (RFC 7517)."""
    headers = {"Cache-Control": "public, max-age=300"}
    return web.json_response(identity_of(call).authority.ring.jwks(call.now), headers=headers)


async def send_code(
    call: Call,
    contact: Contact,
    purpose: codes.Purpose,
    locale: str | None,
    *,
    person: UUID | None = None,
    payload: dict[str, str | None] | None = None,
) -> Ticket:
    """Send a code for ``purpose``; the same for every contact."""
    identity = identity_of(call)
    async with call.transaction() as connection:
        issued = await codes.issue(
            connection, identity.sealer, contact, purpose, call.now, person=person, payload=payload
        )
        letter = Letter(
            contact, "code", locale or call.tenant.locale, call.tenant.name, call.now + codes.LIFETIME, issued.code
        )
        await identity.courier.post(connection, letter, issued.ticket, call.now)
    return Ticket(issued.ticket, int(codes.LIFETIME.total_seconds()))


async def prove(call: Call, ticket: UUID, code: str, purposes: tuple[codes.Purpose, ...]) -> codes.Proven:
    """What the code proves. Malformed wrong_code, TooMany."""
    identity = identity_of(call)
    await identity.allow("code try", address_of(call), identity.paces.try_per_address)
    async with call.db.tenant(call.tenant.id) as connection:  # its own transaction: a try stays counted
        proven = await codes.check(connection, identity.sealer, ticket, code, call.now)
    if proven is None or proven.purpose not in purposes:
        raise wrong_code()
    return proven


async def spend(connection: Connection, proven: codes.Proven, now: datetime) -> None:
    """Malformed when the code was spent by another request meanwhile."""
    if not await codes.spend(connection, proven, now):
        raise wrong_code()


def wrong_code() -> Refusal:
    return Malformed("wrong_code", "This code is wrong or too old. Look again, or ask for a new one.")


async def set_password(connection: Connection, person: UUID, hashed: str, now: datetime) -> None:
    await connection.execute(
        "INSERT INTO password (person_id, hash, changed_at) VALUES ($1, $2, $3)"
        " ON CONFLICT (person_id) DO UPDATE SET hash = excluded.hash, changed_at = excluded.changed_at",
        person,
        hashed,
        now,
    )


async def _person_of(call: Call, connection: Connection, proven: codes.Proven) -> tuple[UUID, bool]:
    return await person_for(
        connection,
        proven.contact,
        call.now,
        name=str(proven.payload.get("name") or ""),
        locale=str(proven.payload.get("locale") or call.tenant.locale),
        timezone=call.tenant.timezone,
    )


async def pace_codes(call: Call, contact: Contact) -> None:
    """TooMany when too many codes are asked for. Whom the contact belongs to is looked up only for a browser that
    says that somebody has signed in on it."""
    identity = identity_of(call)
    await identity.allow("code address", address_of(call), identity.paces.code_per_address)
    person = None
    if shown(call.request):
        async with call.db.tenant(call.tenant.id) as connection:
            person = await known_by(connection, contact.kind, contact.value)
    await identity.allow_try(call, "code", contact.value, person)


async def _warn_of_reuse(call: Call, connection: Connection, session: UUID) -> None:
    row = await connection.fetchrow(
        "SELECT p.id, p.locale, i.value FROM session s JOIN person p ON p.id = s.person_id"
        " JOIN identity i ON i.person_id = p.id AND i.kind = 'email' WHERE s.id = $1 ORDER BY i.created_at LIMIT 1",
        session,
    )
    if row is not None:
        contact = Contact("email", row["value"])
        until = call.now + timedelta(days=1)
        letter = Letter(contact, "token_reused", row["locale"], call.tenant.name, until)
        await identity_of(call).courier.post(connection, letter, row["id"], call.now)
