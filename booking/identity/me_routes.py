"""One's own account: profile, contacts, password, sessions, passkeys, and people one cares for."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from msgspec import UNSET, Meta, Struct, UnsetType

from backplane.api import Call, Routes
from backplane.clocks import just_now
from booking.identity import contacts, dependants
from booking.identity.auth_routes import (
    NO_NUL,
    Code,
    CodeWish,
    Email,
    Locale,
    Name,
    Password,
    Ticket,
    contact_of,
    pace_codes,
    prove,
    send_code,
    set_password,
    spend,
)
from booking.identity.dependants import Care, Relation, Right
from booking.identity.invites import Care as InvitedCare
from booking.identity.invites import invite
from booking.identity.people import add_identity, new_person, standing
from booking.identity.refresh import revoke, revoke_all
from booking.identity.service import identity_of
from booking.identity.signing_in import RECENT, require_recent
from booking.refusals import Conflict, Denied, Invalid, Malformed, NotFound

routes = Routes(tag="me", second_factor=False)

Zone = Annotated[str, Meta(min_length=1, max_length=64)]
BirthYear = Annotated[int, Meta(ge=1890, le=2200)]
Gender = Literal["female", "male", "other"]


class ContactSeen(Struct, frozen=True):
    id: UUID
    kind: Literal["email", "phone", "oidc"]
    value: str


class Me(Struct, frozen=True):
    """``contacts`` of kind oidc show no value."""

    id: UUID
    name: str
    locale: str
    timezone: str
    gender: Gender | None
    birth_year: int | None
    anonymous: bool
    roles: list[str]
    rights: list[str]
    amr: list[str]
    contacts: list[ContactSeen]
    has_password: bool
    has_totp: bool


class MyChange(Struct, frozen=True, forbid_unknown_fields=True):
    """What is left out stays."""

    name: Name | UnsetType = UNSET
    locale: Locale | UnsetType = UNSET
    timezone: Zone | UnsetType = UNSET
    gender: Gender | UnsetType | None = UNSET
    birth_year: BirthYear | UnsetType | None = UNSET


class NewPassword(Struct, frozen=True, forbid_unknown_fields=True):
    """``current`` may be left out a few minutes after a sign-in with a code."""

    password: Password
    current: Password | None = None


class Session(Struct, frozen=True):
    id: UUID
    device: str
    created_at: datetime
    seen_at: datetime
    current: bool


class Passkey(Struct, frozen=True):
    id: UUID
    label: str
    created_at: datetime
    used_at: datetime | None


class NewDependant(Struct, frozen=True, forbid_unknown_fields=True):
    """Somebody without an account of their own, such as a child."""

    name: Annotated[str, Meta(min_length=1, max_length=120, pattern=NO_NUL)]
    relation: Relation
    birth_year: BirthYear | None = None
    gender: Gender | None = None


class NewCaregiver(Struct, frozen=True, forbid_unknown_fields=True):
    """Who shall act for oneself. They are invited by mail, whether they have an account or not."""

    email: Email
    relation: Relation = "other"
    rights: Annotated[tuple[Right, ...], Meta(min_length=1, max_length=3)] = ("book", "join")


class Invited(Struct, frozen=True):
    id: UUID


def check_zone(name: str) -> None:
    """Invalid when nobody keeps time like that."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise Invalid("bad_timezone", "Name a time zone like Asia/Karachi.") from None


@routes.get("/v1/me", right="account.read.own")
async def read_me(call: Call) -> Me:
    """Who one is here."""
    who = call.principal
    async with call.db.tenant(call.tenant.id) as connection:
        row = await connection.fetchrow(
            "SELECT *, EXISTS (SELECT FROM password w WHERE w.person_id = p.id) AS has_password FROM person p"
            " WHERE id = $1",
            who.person,
        )
        known = await connection.fetch(
            "SELECT id, kind, value FROM identity WHERE person_id = $1 ORDER BY created_at", who.person
        )
        now = await standing(connection, who.person)
    assert row is not None
    seen = [ContactSeen(each["id"], each["kind"], "" if each["kind"] == "oidc" else each["value"]) for each in known]
    return Me(
        who.person, row["name"], row["locale"], row["timezone"], row["gender"], row["birth_year"], row["anonymous"],
        list(now.roles), sorted(who.rights), sorted(who.amr), seen, row["has_password"], now.totp,
    )  # fmt: skip


@routes.patch("/v1/me", right="profile.manage.own", problems={422: ("bad_timezone",)})
async def change_me(call: Call, body: MyChange) -> Me:
    """Change one's profile."""
    if body.timezone is not UNSET:
        check_zone(body.timezone)
    changes = {
        name: value
        for name in ("name", "locale", "timezone", "gender", "birth_year")
        if (value := getattr(body, name)) is not UNSET
    }
    if changes:
        columns = ", ".join(f"{name} = ${number}" for number, name in enumerate(changes, 2))
        async with call.transaction() as connection:
            await connection.execute(
                f"UPDATE person SET {columns} WHERE id = $1", call.principal.person, *changes.values()
            )
    return await read_me(call)


@routes.put(
    "/v1/me/password",
    right="account.manage.own",
    problems={
        403: ("wrong_credentials", "sign_in_again"),
        422: ("weak_password",),
        503: ("busy",),
        429: ("rate_limited",),
    },
)
async def change_password(call: Call, body: NewPassword) -> None:
    """Set or change the password. All other sessions end."""
    identity = identity_of(call)
    who = call.principal
    async with call.db.tenant(call.tenant.id) as connection:
        current = await connection.fetchval("SELECT hash FROM password WHERE person_id = $1", who.person)
        began = await connection.fetchval("SELECT created_at FROM session WHERE id = $1", who.session)
    by_code = not {"email", "sms"}.isdisjoint(who.amr) and began is not None and just_now(began, call.now, RECENT)
    if body.current is not None:
        await identity.allow_try(call, "login", str(who.person), who.person, who.session)
        if not await identity.passwords.verify(current, body.current):
            raise Denied("wrong_credentials", "The current password is another.")
    elif not by_code:
        raise Denied("sign_in_again", "Give the current password, or sign in with a code first.")
    identity.passwords.check(body.password)
    hashed = await identity.passwords.hash(body.password)
    async with call.transaction() as connection:
        await set_password(connection, who.person, hashed, call.now)
        ended = await revoke_all(connection, who.person, "password", call.now, but=who.session)
    await identity.void(ended)


@routes.post(
    "/v1/me/contacts", right="account.manage.own", status=202, problems={422: ("bad_contact",), 429: ("rate_limited",)}
)
async def add_contact(call: Call, body: CodeWish) -> Ticket:
    """Add an address or number: a code is sent there, which goes to /v1/me/contacts/verify."""
    identity = identity_of(call)
    contact = contact_of(body.email, body.phone, call.tenant.region)
    await pace_codes(call, contact)
    await identity.allow("code person", str(call.principal.person), identity.paces.code_per_person)
    async with call.transaction() as connection:
        await require_recent(connection, call.principal.session, call.now)
    return await send_code(call, contact, "add_contact", body.locale, person=call.principal.person)


@routes.post(
    "/v1/me/contacts/verify",
    right="account.manage.own",
    problems={400: ("wrong_code",), 409: ("contact_taken",), 429: ("rate_limited",)},
)
async def verify_contact(call: Call, body: Code) -> Me:
    """Prove the added contact; one can sign in with it from now on."""
    proven = await prove(call, body.ticket, body.code, ("add_contact",))
    who = call.principal
    if proven.person != who.person:
        raise Malformed("wrong_code", "This code was asked for by somebody else.")
    async with call.transaction() as connection:
        await spend(connection, proven, call.now)
        if not await add_identity(connection, who.person, proven.contact.kind, proven.contact.value, call.now):
            raise Conflict("contact_taken", "Another account here has this contact. Sign in with it instead.")
    return await read_me(call)


@routes.delete(
    "/v1/me/contacts/{id}", right="account.manage.own", problems={404: ("not_found",), 409: ("last_contact",)}
)
async def remove_contact(call: Call, id: UUID) -> None:
    """Remove a contact, but not the last one."""
    who = call.principal
    async with call.transaction() as connection:
        await require_recent(connection, who.session, call.now)
        rows = await connection.fetch("SELECT id FROM identity WHERE person_id = $1 FOR UPDATE", who.person)
        if id not in {row["id"] for row in rows}:
            raise NotFound("not_found", "There is no such contact.")
        if len(rows) == 1:
            raise Conflict("last_contact", "Add another contact first, or nobody could sign in any more.")
        await connection.execute("DELETE FROM identity WHERE id = $1", id)


@routes.get("/v1/me/sessions", right="session.manage.own")
async def list_sessions(call: Call) -> list[Session]:
    """Where one is signed in."""
    who = call.principal
    async with call.db.tenant(call.tenant.id) as connection:
        rows = await connection.fetch(
            "SELECT id, device, created_at, seen_at FROM session WHERE person_id = $1 AND revoked_at IS NULL"
            " AND expires_at > $2 ORDER BY seen_at DESC",
            who.person,
            call.now,
        )
    return [
        Session(row["id"], row["device"], row["created_at"], row["seen_at"], row["id"] == who.session) for row in rows
    ]


@routes.delete("/v1/me/sessions/{id}", right="session.manage.own", problems={404: ("not_found",)})
async def end_session(call: Call, id: UUID) -> None:
    """Sign out there."""
    async with call.transaction() as connection:
        own = await connection.fetchval(
            "SELECT true FROM session WHERE id = $1 AND person_id = $2", id, call.principal.person
        )
        if not own:
            raise NotFound("not_found", "There is no such session.")
        ended = await revoke(connection, [id], "logout", call.now)
    await identity_of(call).void(ended)


@routes.get("/v1/me/passkeys", right="account.manage.own")
async def list_passkeys(call: Call) -> list[Passkey]:
    """One's passkeys."""
    async with call.db.tenant(call.tenant.id) as connection:
        rows = await connection.fetch(
            "SELECT id, label, created_at, used_at FROM passkey WHERE person_id = $1 ORDER BY id", call.principal.person
        )
    return [Passkey(row["id"], row["label"], row["created_at"], row["used_at"]) for row in rows]


@routes.delete("/v1/me/passkeys/{id}", right="account.manage.own", problems={404: ("not_found",)})
async def remove_passkey(call: Call, id: UUID) -> None:
    """Remove a passkey."""
    async with call.transaction() as connection:
        await require_recent(connection, call.principal.session, call.now)
        tag = await connection.execute(
            "DELETE FROM passkey WHERE id = $1 AND person_id = $2", id, call.principal.person
        )
    if tag == "DELETE 0":
        raise NotFound("not_found", "There is no such passkey.")


@routes.get("/v1/me/dependants", right="dependant.manage.own")
async def list_dependants(call: Call) -> list[Care]:
    """For whom one may act."""
    async with call.db.tenant(call.tenant.id) as connection:
        return await dependants.cared_for(connection, call.principal.person)


@routes.post("/v1/me/dependants", right="dependant.manage.own", status=201, problems={409: ("too_many_dependants",)})
async def add_dependant(call: Call, body: NewDependant) -> Care:
    """Add somebody without an account, such as a child."""
    who = call.principal
    async with call.transaction() as connection:
        person = await new_person(
            connection, call.now, name=body.name, locale=call.tenant.locale, timezone=call.tenant.timezone
        )
        await connection.execute(
            "UPDATE person SET birth_year = $2, gender = $3 WHERE id = $1", person, body.birth_year, body.gender
        )
        made = await dependants.relate(
            connection, who.person, person, body.relation, dependants.RIGHTS, call.now, birth_year=body.birth_year
        )
        return next(care for care in await dependants.cared_for(connection, who.person) if care.id == made)


@routes.get("/v1/me/caregivers", right="dependant.manage.own")
async def list_caregivers(call: Call) -> list[Care]:
    """Who may act for oneself."""
    async with call.db.tenant(call.tenant.id) as connection:
        return await dependants.carers_of(connection, call.principal.person)


@routes.post(
    "/v1/me/caregivers",
    right="dependant.manage.own",
    status=202,
    problems={422: ("bad_contact",), 429: ("rate_limited",)},
)
async def name_caregiver(call: Call, body: NewCaregiver) -> Invited:
    """Ask somebody to act for oneself."""
    identity = identity_of(call)
    try:
        contact = contacts.email(body.email)
    except ValueError:
        raise Invalid("bad_contact", "This is not an e-mail address.") from None
    who = call.principal
    await identity.allow("invite person", str(who.person), identity.paces.code_per_person)
    async with call.transaction() as connection:
        care = InvitedCare(who.person, body.relation, body.rights)
        return Invited(await invite(call, connection, call.tenant, contact, care=care))


@routes.delete("/v1/me/dependants/{id}", right="dependant.manage.own", problems={404: ("not_found",)})
async def end_care(call: Call, id: UUID) -> None:
    """End acting for somebody, or somebody's acting for oneself."""
    async with call.transaction() as connection:
        if not await dependants.end(connection, id, call.principal.person, call.now):
            raise NotFound("not_found", "There is no such relation.")
