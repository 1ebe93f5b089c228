"""The clinic itself: what it looks like, where it is, who works there.

Roles come by invitation only. The last admin of a clinic cannot be removed. Ending a membership voids the access tokens
of that person at once; their next one says what they are then.
"""

from datetime import datetime
from typing import Annotated, Any, Final, Literal
from uuid import UUID

import asyncpg
import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from backplane.api import Call, Rate, Routes
from backplane.audit import Entry, record
from backplane.ids import uuid7
from backplane.lines import LINES
from backplane.postgres import Connection
from booking.identity import contacts
from booking.identity.auth_routes import NO_NUL, Email, Locale
from booking.identity.invites import Invitation, accept, invite, look
from booking.identity.me_routes import Invited, Zone, check_zone
from booking.identity.people import tell
from booking.identity.refresh import make_stale
from booking.identity.service import identity_of
from booking.policy import check_tenant
from booking.refusals import Conflict, Denied, Invalid, NotFound, Refusal
from booking.rights import MAY_GRANT, ROLES, acting_role, check_narrowing
from booking.tenants import Clinic, check_colour, clinic, text_on

MAX_POLICY_BYTES: Final = 16 * 1024
routes = Routes(tag="clinic")

ClinicName = Annotated[str, Meta(min_length=1, max_length=120, pattern=NO_NUL)]
Role = Literal["doctor", "staff", "clinic_admin", "platform_admin", "finance", "support"]


class Brand(Struct, frozen=True, forbid_unknown_fields=True):
    """``colour`` of buttons and links, #rrggbb; ``logo``: a path of ours or a data: image."""

    colour: Annotated[str, Meta(max_length=7)] | None = None
    logo: (
        Annotated[
            str,
            Meta(max_length=8000, pattern=r"^(/[A-Za-z0-9._/-]*|data:image/(png|webp);base64,[A-Za-z0-9+/=]+)$"),
        ]
        | None
    ) = None
    tagline: Annotated[str, Meta(max_length=200, pattern=NO_NUL)] = ""


class TenantSeen(Struct, frozen=True):
    """What a page needs to look like the clinic. ``on_colour``: of text on ``brand.colour``."""

    name: str
    slug: str
    locale: str
    timezone: str
    region: str
    brand: Brand
    on_colour: str


class ClinicChange(Struct, frozen=True, forbid_unknown_fields=True):
    """What is left out stays. ``policy``: its keys replace those of the same name, null takes one away."""

    name: ClinicName | UnsetType = UNSET
    locale: Locale | UnsetType = UNSET
    timezone: Zone | UnsetType = UNSET
    brand: Brand | UnsetType = UNSET
    policy: dict[str, Any] | UnsetType = UNSET


class NewLocation(Struct, frozen=True, forbid_unknown_fields=True):
    name: ClinicName
    timezone: Zone
    address: Annotated[str, Meta(max_length=400, pattern=NO_NUL), LINES] = ""
    latitude: Annotated[float, Meta(ge=-90, le=90)] | None = None
    longitude: Annotated[float, Meta(ge=-180, le=180)] | None = None


class Location(Struct, frozen=True):
    id: UUID
    name: str
    timezone: str
    address: str
    latitude: float | None
    longitude: float | None


class Membership(Struct, frozen=True):
    id: UUID
    person: UUID
    name: str
    role: Role
    location: UUID | None
    since: datetime


class NewInvite(Struct, frozen=True, forbid_unknown_fields=True):
    email: Email
    role: Role
    location: UUID | None = None


class InviteSeen(Struct, frozen=True):
    id: UUID
    email: str
    role: Role
    created_at: datetime
    expires_at: datetime


class InviteToken(Struct, frozen=True, forbid_unknown_fields=True):
    token: Annotated[str, Meta(max_length=4096)]


class Accepted(Struct, frozen=True):
    """``role`` counts from the next access token on: refresh. None: you act for somebody now (/v1/me/dependants)."""

    role: Role | None


@routes.get("/v1/tenant", second_factor=False)
async def read_tenant(call: Call) -> TenantSeen:
    """The clinic at this address: name, brand, language."""
    return _seen(call.tenant)


@routes.patch("/v1/clinic", right="clinic.manage", problems={422: ("bad_colour", "bad_policy", "bad_timezone")})
async def change_clinic(call: Call, body: ClinicChange) -> TenantSeen:
    """Change name, brand, language, policy of the clinic."""
    values: dict[str, object] = {}
    if body.name is not UNSET:
        values["name"] = body.name
    if body.locale is not UNSET:
        values["locale"] = body.locale
    if body.timezone is not UNSET:
        check_zone(body.timezone)
        values["timezone"] = body.timezone
    if body.brand is not UNSET:
        if body.brand.colour is not None:
            try:
                check_colour(body.brand.colour)
            except ValueError as error:
                raise Invalid("bad_colour", str(error)) from None
        values["brand"] = {name: getattr(body.brand, name) for name in Brand.__struct_fields__}
    async with call.transaction() as connection:
        row = await connection.fetchrow("SELECT * FROM tenant WHERE id = $1 FOR UPDATE", call.tenant.id)
        assert row is not None
        if body.policy is not UNSET:
            policy = {**row["policy"], **body.policy}
            values["policy"] = {name: value for name, value in policy.items() if value is not None}
            _check_policy(values["policy"], [name for name, value in body.policy.items() if value is not None])
        if values:
            columns = ", ".join(f"{name} = ${number}" for number, name in enumerate(values, 2))
            row = await connection.fetchrow(
                f"UPDATE tenant SET {columns} WHERE id = $1 RETURNING *", call.tenant.id, *values.values()
            )
            assert row is not None
            await _note(call, connection, "clinic.changed", "person", call.principal.person, sorted(values))
    identity_of(call).tenants.forget()
    return _seen(clinic(row))


@routes.get("/v1/locations")
async def list_locations(call: Call) -> list[Location]:
    """Where the clinic is."""
    async with call.db.tenant(call.tenant.id) as connection:
        rows = await connection.fetch(
            "SELECT id, name, timezone, address, latitude, longitude FROM location ORDER BY name, id"
        )
    return [Location(**dict(row)) for row in rows]


@routes.post("/v1/locations", right="clinic.manage", status=201, problems={422: ("bad_timezone",)})
async def add_location(call: Call, body: NewLocation) -> Location:
    """Add a place."""
    check_zone(body.timezone)
    made = uuid7(call.now)
    async with call.transaction() as connection:
        await connection.execute(
            "INSERT INTO location (id, name, timezone, address, latitude, longitude, created_at)"
            " VALUES ($1, $2, $3, $4, $5, $6, $7)",
            made,
            body.name,
            body.timezone,
            body.address,
            body.latitude,
            body.longitude,
            call.now,
        )
    return Location(made, body.name, body.timezone, body.address, body.latitude, body.longitude)


@routes.put("/v1/locations/{id}", right="clinic.manage", problems={404: ("not_found",), 422: ("bad_timezone",)})
async def change_location(call: Call, id: UUID, body: NewLocation) -> Location:
    """Change a place."""
    check_zone(body.timezone)
    async with call.transaction() as connection:
        tag = await connection.execute(
            "UPDATE location SET name = $2, timezone = $3, address = $4, latitude = $5, longitude = $6 WHERE id = $1",
            id,
            body.name,
            body.timezone,
            body.address,
            body.latitude,
            body.longitude,
        )
    if tag == "UPDATE 0":
        raise not_found("location")
    return Location(id, body.name, body.timezone, body.address, body.latitude, body.longitude)


@routes.delete("/v1/locations/{id}", right="clinic.manage", problems={404: ("not_found",), 409: ("in_use",)})
async def remove_location(call: Call, id: UUID) -> None:
    """Remove a place where nothing ever was."""
    try:
        async with call.transaction() as connection:
            tag = await connection.execute("DELETE FROM location WHERE id = $1", id)
    except asyncpg.ForeignKeyViolationError:
        raise Conflict("in_use", "Doctors, services or appointments are at this place.") from None
    if tag == "DELETE 0":
        raise not_found("location")


@routes.get("/v1/memberships", right="membership.read")
async def list_memberships(call: Call) -> list[Membership]:
    """Who works here."""
    async with call.db.tenant(call.tenant.id) as connection:
        rows = await connection.fetch(
            "SELECT m.id, m.person_id, p.name, m.role, m.location_id, m.created_at FROM membership m"
            " JOIN person p ON p.id = m.person_id WHERE m.ended_at IS NULL ORDER BY m.created_at, m.id"
        )
    return [Membership(*row.values()) for row in rows]


@routes.delete("/v1/memberships/{id}", right="membership.manage", problems={404: ("not_found",), 409: ("last_admin",)})
async def end_membership(call: Call, id: UUID) -> None:
    """Take a role away. It stops counting at once."""
    async with call.transaction() as connection:
        admins = await connection.fetch(
            "SELECT id FROM membership WHERE role IN ('clinic_admin', 'platform_admin') AND ended_at IS NULL"
            " ORDER BY id FOR UPDATE"
        )
        row = await connection.fetchrow(
            "UPDATE membership SET ended_at = $2 WHERE id = $1 AND ended_at IS NULL RETURNING person_id, role",
            id,
            call.now,
        )
        if row is None:
            raise not_found("membership")
        _may_grant(call, row["role"])
        if [each["id"] for each in admins] == [id]:
            raise Conflict("last_admin", "Make somebody else an admin first.")
        sessions = await make_stale(connection, row["person_id"], call.now)
        await _note(call, connection, "membership.ended", "person", row["person_id"], [row["role"]])
        await tell(connection, "user.roles_changed", row["person_id"], call.now)
    await identity_of(call).void(sessions)


@routes.get("/v1/invites", right="membership.manage")
async def list_invites(call: Call) -> list[InviteSeen]:
    """Invitations that can still be accepted."""
    async with call.db.tenant(call.tenant.id) as connection:
        rows = await connection.fetch(
            "SELECT id, email, role, created_at, expires_at FROM invite WHERE role IS NOT NULL AND accepted_at IS NULL"
            " AND withdrawn_at IS NULL AND expires_at > $1 ORDER BY created_at",
            call.now,
        )
    return [InviteSeen(**dict(row)) for row in rows]


@routes.post(
    "/v1/invites", right="membership.manage", status=201, problems={403: ("may_not_grant",), 422: ("bad_contact",)}
)
async def invite_member(call: Call, body: NewInvite) -> Invited:
    """Invite somebody to one role here."""
    _may_grant(call, body.role)
    async with call.transaction() as connection:
        if body.location is not None and not await connection.fetchval(
            "SELECT true FROM location WHERE id = $1", body.location
        ):
            raise Invalid("bad_request", "There is no such location.")
        made = await invite(
            call, connection, call.tenant, invited_address(body.email), role=body.role, location=body.location
        )
    return Invited(made)


@routes.delete("/v1/invites/{id}", right="membership.manage", problems={404: ("not_found",)})
async def withdraw_invite(call: Call, id: UUID) -> None:
    """Take an invitation back."""
    async with call.transaction() as connection:
        tag = await connection.execute(
            "UPDATE invite SET withdrawn_at = $2 WHERE id = $1 AND role IS NOT NULL AND accepted_at IS NULL"
            " AND withdrawn_at IS NULL",
            id,
            call.now,
        )
    if tag == "UPDATE 0":
        raise not_found("invitation")


@routes.post("/v1/invites/look", problems={400: ("bad_invite",)}, rate=Rate(per_s=5, burst=60))
async def look_at_invite(call: Call, body: InviteToken) -> Invitation:
    """What an invitation is to. Nothing is spent by looking."""
    async with call.db.tenant(call.tenant.id) as connection:
        return await look(call, connection, body.token)


@routes.post(
    "/v1/invites/accept",
    second_factor=False,
    right="invite.accept.own",
    problems={400: ("bad_invite",), 403: ("wrong_account",), 409: ("invite_over", "already_related")},
)
async def accept_invite(call: Call, body: InviteToken) -> Accepted:
    """Accept an invitation that was mailed to one's own address."""
    async with call.transaction() as connection:
        role = await accept(call, connection, body.token)
    return Accepted(role)  # type: ignore[arg-type]


def _may_grant(call: Call, role: str) -> None:
    able = {each for own in call.principal.roles for each in MAY_GRANT.get(own, ())}
    if role not in able:
        raise Denied("may_not_grant", "You may not give or take this role here.")


def invited_address(text: str) -> contacts.Contact:
    try:
        return contacts.email(text)
    except ValueError:
        raise Invalid("bad_contact", "This is not an e-mail address.") from None


def _check_policy(policy: object, written: list[str]) -> None:
    """Invalid bad_policy. Only keys that are ``written`` now must be known: an older release may have kept more."""
    assert isinstance(policy, dict)
    text = msgspec.json.encode(policy)
    if len(text) > MAX_POLICY_BYTES or b"\\u0000" in text:
        raise Invalid("bad_policy", f"A policy has at most {MAX_POLICY_BYTES} bytes, and no NUL.")
    factors = policy.get("second_factor", [])
    if not isinstance(factors, list) or not all(isinstance(role, str) and role in ROLES for role in factors):
        raise Invalid("bad_policy", "second_factor is a list of roles.")
    try:
        check_tenant({name: policy[name] for name in written})
        check_narrowing(policy)
    except ValueError as error:
        raise Invalid("bad_policy", str(error)[:200]) from None


def _seen(tenant: object) -> TenantSeen:
    assert isinstance(tenant, Clinic)
    brand = Brand(**{name: tenant.brand[name] for name in Brand.__struct_fields__ if name in tenant.brand})
    on_colour = "#ffffff" if brand.colour is None else text_on(brand.colour)
    return TenantSeen(tenant.name, tenant.slug, tenant.locale, tenant.timezone, tenant.region, brand, on_colour)


def not_found(what: str) -> Refusal:
    return NotFound("not_found", f"There is no such {what} here.")


async def _note(call: Call, connection: Connection, action: str, kind: str, subject: UUID, facts: list[str]) -> None:
    entry = Entry(
        actor=call.principal.person,
        actor_role=acting_role(call.principal.roles),
        action=action,
        subject_kind=kind,
        subject_id=subject,
        facts={"what": facts},
    )
    await record(connection, entry, call.now)
