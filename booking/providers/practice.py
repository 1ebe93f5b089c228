"""What providers run themselves: profile, services, and whether they take people right now.

Every change brings the search up to date in its own transaction (`index.reindex`) and, where it moves bookable times,
tells `availability.changed`. A service that was booked is never deleted, it is taken off the list: appointments keep
pointing at it, with their own copy of its price. All services of a provider have one currency, because "from" and the
order by price would mean nothing otherwise.
"""

from datetime import datetime, timedelta
from typing import Annotated, Final, Literal
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from backplane.api import Call, Routes
from backplane.audit import Entry, record
from backplane.bounds import WIDE
from backplane.ids import uuid7
from backplane.outbox import Event, emit
from backplane.postgres import Connection, Row
from booking.providers.access import MANAGE_CLINIC, managed, no_such_provider
from booking.providers.applications import (
    Bio,
    Gender,
    Languages,
    Name,
    Specialties,
    Title,
    Zone,
    checked_specialties,
    checked_zone,
)
from booking.providers.index import reindex
from booking.providers.onboarding import Actor
from booking.refusals import Conflict, Invalid, NotFound

MAX_SERVICES: Final = 50
# ISO 4217 codes that a clinic may ask for money in.
CURRENCIES: Final = frozenset(
    {"PKR", "AED", "QAR", "SAR", "ZAR", "INR", "USD", "EUR", "GBP", "KWD", "BHD", "OMR", "EGP", "JOD", "IQD", "BDT"}
    | {"LKR", "NPR", "AFN", "TRY", "MYR", "SGD", "CAD", "AUD", "NZD", "NGN", "KES", "CHF", "LBP", "MAD", "TND"}
)

routes = Routes(tag="practice")

Minutes = Annotated[int, Meta(ge=5, le=480)]
Buffer = Annotated[int, Meta(ge=0, le=240)]
NoticeMinutes = Annotated[int, Meta(ge=0, le=43_200)]
HorizonDays = Annotated[int, Meta(ge=1, le=730)]
Capacity = Annotated[int, Meta(ge=1, le=500)]
Price = Annotated[int, Meta(ge=0, le=10**12, extra=WIDE)]
Currency = Annotated[str, Meta(pattern="^[A-Z]{3}$")]
ServiceKind = Literal["video", "audio", "in_person", "class"]


class NewService(Struct, forbid_unknown_fields=True, kw_only=True):
    """``price_minor``: in the smallest unit of ``currency`` (ISO 4217). ``capacity`` above 1 is for classes only.

    ``notice_minutes``: how long before its start a slot closes; ``horizon_days``: how far ahead it opens. Buffers keep
    the provider free around a visit and are not seen by patients. ``auto_confirm`` false: each request is answered.
    """

    name: Name
    kind: ServiceKind
    minutes: Minutes
    price_minor: Price
    currency: Currency
    step_minutes: Minutes = 15
    buffer_before_minutes: Buffer = 0
    buffer_after_minutes: Buffer = 0
    notice_minutes: NoticeMinutes = 60
    horizon_days: HorizonDays = 60
    capacity: Capacity = 1
    auto_confirm: bool = True
    active: bool = True
    location: UUID | None = None


class ServiceChange(Struct, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """What is given changes, the rest stays. The kind stays for ever: appointments were booked for it."""

    name: Name | UnsetType = UNSET
    minutes: Minutes | UnsetType = UNSET
    price_minor: Price | UnsetType = UNSET
    currency: Currency | UnsetType = UNSET
    step_minutes: Minutes | UnsetType = UNSET
    buffer_before_minutes: Buffer | UnsetType = UNSET
    buffer_after_minutes: Buffer | UnsetType = UNSET
    notice_minutes: NoticeMinutes | UnsetType = UNSET
    horizon_days: HorizonDays | UnsetType = UNSET
    capacity: Capacity | UnsetType = UNSET
    auto_confirm: bool | UnsetType = UNSET
    active: bool | UnsetType = UNSET
    location: UUID | UnsetType | None = UNSET


class Service(Struct, frozen=True, kw_only=True):
    """A service as its provider sees it."""

    id: UUID
    provider: UUID
    name: str
    kind: str
    minutes: int
    price_minor: int
    currency: str
    step_minutes: int
    buffer_before_minutes: int
    buffer_after_minutes: int
    notice_minutes: int
    horizon_days: int
    capacity: int
    auto_confirm: bool
    active: bool
    location: UUID | None


class ProfileChange(Struct, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """What is given changes, the rest stays."""

    display_name: Name | UnsetType = UNSET
    title: Title | UnsetType = UNSET
    gender: Gender | UnsetType | None = UNSET
    languages: Languages | UnsetType = UNSET
    specialties: Specialties | UnsetType = UNSET
    bio: Bio | UnsetType = UNSET
    timezone: Zone | UnsetType = UNSET
    location: UUID | UnsetType | None = UNSET


class OwnProfile(Struct, frozen=True, kw_only=True):
    """A profile as its owner edits it, listed or not."""

    id: UUID
    slug: str
    status: str
    display_name: str
    title: str
    gender: str | None
    languages: list[str]
    specialties: list[str]
    bio: str
    timezone: str
    location: UUID | None
    online_until: datetime | None
    listed: bool


class Online(Struct, forbid_unknown_fields=True):
    """``minutes``: how long; then one is offline again by itself."""

    minutes: Annotated[int, Meta(ge=5, le=240)] = 60


_VERIFIED: Final = frozenset({"review", "approved", "suspended"})
_NOT_MINE: Final = {401: (), 404: ("no_such_provider",)}


@routes.get("/v1/providers/{provider}/profile", etag=True, problems=_NOT_MINE)
async def show_own_profile(call: Call, provider: UUID) -> OwnProfile:
    """A profile as its owner or the clinic edits it."""
    async with call.db.tenant(call.tenant.id) as connection:
        await managed(call, connection, provider)
        return await _profile(connection, provider, call.now)


@routes.patch(
    "/v1/providers/{provider}",
    problems={
        **_NOT_MINE,
        409: ("name_verified",),
        422: ("unknown_specialty", "unknown_timezone", "unknown_location"),
    },
)
async def change_profile(call: Call, provider: UUID, body: ProfileChange) -> OwnProfile:
    """Change a profile; search knows at once. A name that was held against a licence is the clinic's to change."""
    given = {name: value for name, value in msgspec.structs.asdict(body).items() if value is not UNSET}
    if body.specialties is not UNSET:
        given["specialties"] = checked_specialties(body.specialties)
    if body.timezone is not UNSET:
        checked_zone(body.timezone)
    if body.display_name is not UNSET:
        given["display_name"] = " ".join(body.display_name.split())
    async with call.transaction() as connection:
        await managed(call, connection, provider)
        given = await _columns(connection, given)
        if "display_name" in given and not call.may(MANAGE_CLINIC):
            row = await connection.fetchrow("SELECT status, display_name FROM provider WHERE id = $1", provider)
            if row is not None and row["status"] in _VERIFIED and row["display_name"] != given["display_name"]:
                raise Conflict("name_verified", "Your licence was checked under this name. Ask the clinic.")
        if given:
            columns = ", ".join(f"{name} = ${at}" for at, name in enumerate(given, 2))
            await connection.execute(f"UPDATE provider SET {columns} WHERE id = $1", provider, *given.values())
            await reindex(connection, provider, call.now)
            await _trace(call, connection, provider, "provider.changed", {"fields": sorted(given)})
            if "timezone" in given:
                await _availability_changed(connection, provider, call.now)
        return await _profile(connection, provider, call.now)


async def _profile(connection: Connection, provider: UUID, now: datetime) -> OwnProfile:
    row = await connection.fetchrow(
        """
        SELECT p.*, EXISTS (SELECT FROM provider_search s
                            WHERE s.provider_id = p.id AND s.listed_until > $2) AS listed
        FROM provider p WHERE p.id = $1""",
        provider,
        now,
    )
    if row is None:
        raise no_such_provider()
    return OwnProfile(
        location=row["location_id"],
        **{name: row[name] for name in OwnProfile.__struct_fields__ if name != "location"},
    )


async def _location(connection: Connection, location: object) -> object:
    if location is not None and not await connection.fetchval("SELECT true FROM location WHERE id = $1", location):
        raise Invalid("unknown_location", "The clinic has no such location.")
    return location


@routes.put("/v1/providers/{provider}/online", problems={**_NOT_MINE, 409: ("not_listed",)})
async def go_online(call: Call, provider: UUID, body: Online) -> OwnProfile:
    """Take instant requests from now on, for a while."""
    async with call.transaction() as connection:
        await _oneself(call, connection, provider)
        done = await connection.fetchval(
            """
            UPDATE provider p SET online_until = $2 FROM provider_search s
            WHERE p.id = $1 AND p.status = 'approved' AND s.provider_id = p.id AND s.listed_until > $3
            RETURNING true""",
            provider,
            call.now + timedelta(minutes=body.minutes),
            call.now,
        )
        if not done:
            raise Conflict("not_listed", "Only approved providers with a valid licence can go online.")
        await _availability_changed(connection, provider, call.now)
        return await _profile(connection, provider, call.now)


@routes.delete("/v1/providers/{provider}/online", problems=_NOT_MINE)
async def go_offline(call: Call, provider: UUID) -> None:
    """Take no more instant requests."""
    async with call.transaction() as connection:
        await _oneself(call, connection, provider)
        await connection.execute("UPDATE provider SET online_until = NULL WHERE id = $1", provider)
        await _availability_changed(connection, provider, call.now)


async def _oneself(call: Call, connection: Connection, provider: UUID) -> None:
    """Nobody but the provider says that the provider is there. Unauthenticated, NotFound."""
    if await managed(call, connection, provider) != call.principal.person:
        raise no_such_provider()


_SERVICE: Final = {422: ("capacity_of_class_only", "unknown_currency", "one_currency", "unknown_location")}


@routes.get("/v1/providers/{provider}/services", etag=True, problems=_NOT_MINE)
async def list_services(call: Call, provider: UUID) -> list[Service]:
    """All services of a provider, also those not offered."""
    async with call.db.tenant(call.tenant.id) as connection:
        await managed(call, connection, provider)
        rows = await connection.fetch("SELECT * FROM service WHERE provider_id = $1 ORDER BY id", provider)
    return [_service(row) for row in rows]


@routes.post(
    "/v1/providers/{provider}/services", status=201, problems={**_NOT_MINE, **_SERVICE, 409: ("too_many_services",)}
)
async def add_service(call: Call, provider: UUID, body: NewService) -> Service:
    """Offer a service."""
    async with call.transaction() as connection:
        await managed(call, connection, provider)
        count = await connection.fetchval("SELECT count(*) FROM service WHERE provider_id = $1", provider)
        if count >= MAX_SERVICES:
            raise Conflict("too_many_services", f"{MAX_SERVICES} services are kept at most. Change one of them.")
        given = await _columns(connection, msgspec.structs.asdict(body))
        names = ", ".join(given)
        values = ", ".join(f"${at}" for at in range(4, len(given) + 4))
        row = await connection.fetchrow(
            f"INSERT INTO service (id, provider_id, created_at, {names}) VALUES ($1, $2, $3, {values}) RETURNING *",
            uuid7(call.now),
            provider,
            call.now,
            *given.values(),
        )
        assert row is not None
        await _after_change(call, connection, row, "service.added")
        return _service(row)


@routes.patch("/v1/services/{service}", problems={401: (), 404: ("no_such_service",), **_SERVICE})
async def change_service(call: Call, service: UUID, body: ServiceChange) -> Service:
    """Change a service; what is booked already keeps its time and price."""
    changes = {name: value for name, value in msgspec.structs.asdict(body).items() if value is not UNSET}
    async with call.transaction() as connection:
        row = await _managed_service(call, connection, service)
        given = await _columns(connection, changes)
        if given:
            columns = ", ".join(f"{name} = ${at}" for at, name in enumerate(given, 2))
            changed = await connection.fetchrow(
                f"UPDATE service SET {columns} WHERE id = $1 RETURNING *", service, *given.values()
            )
            assert changed is not None
            row = changed
            await _after_change(call, connection, row, "service.changed", fields=sorted(given))
        return _service(row)


@routes.delete("/v1/services/{service}", problems={401: (), 404: ("no_such_service",)})
async def withdraw_service(call: Call, service: UUID) -> None:
    """Offer a service no longer. It stays in the provider's list, and may be offered again."""
    async with call.transaction() as connection:
        await _managed_service(call, connection, service)
        row = await connection.fetchrow("UPDATE service SET active = false WHERE id = $1 RETURNING *", service)
        assert row is not None
        await _after_change(call, connection, row, "service.withdrawn")


async def _managed_service(call: Call, connection: Connection, service: UUID) -> Row:
    missing = NotFound("no_such_service", "There is no such service here.")
    row = await connection.fetchrow("SELECT * FROM service WHERE id = $1 FOR UPDATE", service)
    if row is None:
        call.principal  # noqa: B018  (a stranger hears 401 and not what exists)
        raise missing
    try:
        await managed(call, connection, row["provider_id"])
    except NotFound:
        raise missing from None
    return row


async def _columns(connection: Connection, given: dict[str, object]) -> dict[str, object]:
    if "location" in given:
        given["location_id"] = await _location(connection, given.pop("location"))
    return given


async def _after_change(
    call: Call, connection: Connection, row: Row, action: str, *, fields: list[str] | None = None
) -> None:
    """Checks what the row now says as a whole, then tells everybody. Invalid, which takes the change back."""
    if row["capacity"] > 1 and row["kind"] != "class":
        raise Invalid("capacity_of_class_only", "Only a class takes more than one person.")
    if row["currency"] not in CURRENCIES:
        raise Invalid("unknown_currency", "Give an ISO 4217 currency that clinics use, such as PKR.")
    await reindex(connection, row["provider_id"], call.now)  # locks the provider: the count below is of one at a time
    currencies = await connection.fetchval(
        "SELECT count(DISTINCT currency) FROM service WHERE provider_id = $1 AND active", row["provider_id"]
    )
    if currencies > 1:
        raise Invalid("one_currency", "All services of a provider have one currency. Change the others first.")
    await _availability_changed(connection, row["provider_id"], call.now)
    facts: dict[str, object] = {"service": str(row["id"])}
    if fields is not None:
        facts["fields"] = fields
    await _trace(call, connection, row["provider_id"], action, facts)


async def _availability_changed(connection: Connection, provider: UUID, now: datetime) -> None:
    event = Event(
        type="availability.changed", aggregate="provider", aggregate_id=provider, payload={"provider": str(provider)}
    )
    await emit(connection, event, now)


async def _trace(call: Call, connection: Connection, provider: UUID, action: str, facts: dict[str, object]) -> None:
    actor = Actor.of(call.principal)
    entry = Entry(
        actor=actor.person,
        actor_role=actor.role,
        action=action,
        subject_kind="provider",
        subject_id=provider,
        facts=facts,
    )
    await record(connection, entry, call.now)


def _service(row: Row) -> Service:
    named = ("provider", "location")
    return Service(
        provider=row["provider_id"],
        location=row["location_id"],
        **{name: row[name] for name in Service.__struct_fields__ if name not in named},
    )
