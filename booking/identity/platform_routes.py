"""All clinics, for the platform's admins: made here, with an invitation for their first admin.

This is the one part of identity that reaches over tenants, so it answers at the platform's own address only, where a
platform admin is a member, and every act is in the platform's audit trail.
"""

from typing import Annotated
from uuid import UUID

import asyncpg
from msgspec import Meta, Struct

from backplane.api import Call, Routes
from backplane.audit import Entry, record
from backplane.bounds import Int8
from booking.identity import contacts
from booking.identity.auth_routes import Email, Locale
from booking.identity.clinic_routes import ClinicName, invited_address, not_found
from booking.identity.founding import TakenError, write_clinic
from booking.identity.invites import invite
from booking.identity.me_routes import Invited, Zone, check_zone
from booking.identity.service import identity_of
from booking.refusals import Conflict, Denied
from booking.rights import CLINIC_ADMIN, PLATFORM_TENANT
from booking.tenants import Clinic, clinic

routes = Routes(tag="platform")

Slug = Annotated[str, Meta(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
Host = Annotated[str, Meta(pattern=r"^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9-]{2,63}$", max_length=253)]
Region = Annotated[str, Meta(pattern=r"^[A-Z]{2}$")]


class NewTenant(Struct, frozen=True, forbid_unknown_fields=True):
    """``admin_email`` is invited as the first admin."""

    slug: Slug
    name: ClinicName
    admin_email: Email
    region: Region = "PK"
    locale: Locale = "en"
    timezone: Zone = "Asia/Karachi"
    hosts: Annotated[tuple[Host, ...], Meta(max_length=10)] = ()


class NewAdmin(Struct, frozen=True, forbid_unknown_fields=True):
    email: Email


class TenantListed(Struct, frozen=True):
    id: int
    slug: str
    name: str
    region: str
    hosts: tuple[str, ...]


@routes.get("/v1/tenants", right="tenant.read")
async def list_tenants(call: Call) -> list[TenantListed]:
    """All clinics."""
    async with call.db.platform() as connection:
        rows = await connection.fetch("SELECT id, slug, name, region, hosts FROM tenant ORDER BY id")
    return [TenantListed(**{**dict(row), "hosts": tuple(row["hosts"])}) for row in rows]


@routes.post(
    "/v1/tenants", right="tenant.manage", status=201, problems={409: ("taken",), 422: ("bad_contact", "bad_timezone")}
)
async def make_tenant(call: Call, body: NewTenant) -> TenantListed:
    """Make a clinic and invite its first admin."""
    _on_the_platform(call)
    check_zone(body.timezone)
    contact = invited_address(body.admin_email)
    try:
        async with call.db.platform() as platform, platform.transaction():
            row = await write_clinic(
                platform,
                slug=body.slug,
                name=body.name,
                hosts=body.hosts,
                region=body.region,
                locale=body.locale,
                timezone=body.timezone,
            )
            entry = Entry(
                actor=call.principal.person,
                actor_role="platform_admin",
                action="tenant.created",
                subject_kind="person",
                subject_id=call.principal.person,
                facts={"tenant": row["id"]},
            )
            await record(platform, entry, call.now, tenant=PLATFORM_TENANT)
    except TakenError as error:
        what = "this slug" if error.what == "slug" else "one of these host names"
        raise Conflict("taken", f"Another clinic has {what}.") from None
    identity_of(call).tenants.forget()
    await _invite_admin(call, clinic(row), contact)
    return TenantListed(row["id"], row["slug"], row["name"], row["region"], tuple(row["hosts"]))


@routes.post(
    "/v1/tenants/{id}/admins",
    right="tenant.manage",
    status=201,
    problems={404: ("not_found",), 422: ("bad_contact",)},
)
async def invite_admin(call: Call, id: Int8, body: NewAdmin) -> Invited:
    """Invite somebody as admin of a clinic."""
    _on_the_platform(call)
    try:
        to = await identity_of(call).tenants.of(id)
    except (LookupError, asyncpg.DataError):
        raise not_found("clinic") from None
    return Invited(await _invite_admin(call, to, invited_address(body.email)))


async def _invite_admin(call: Call, to: Clinic, contact: contacts.Contact) -> UUID:
    async with call.db.tenant(to.id) as connection, connection.transaction():
        return await invite(call, connection, to, contact, role=CLINIC_ADMIN)


def _on_the_platform(call: Call) -> None:
    if call.tenant.id != PLATFORM_TENANT:
        raise Denied("forbidden", "This is done at the platform's own address.")
