"""Whose provider it is: the scope that the rights of `booking/rights.py` leave to handlers.

The provider and the clinic's administrators manage; reviewers verify. A reviewer at the platform's own address
(tenant 1) reviews for every clinic; at a clinic's address only what is of that clinic. Everything else is 404, so that
nobody learns who has applied where.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import UUID

from backplane.api import Call, unauthorized
from backplane.postgres import Connection
from backplane.principal import Principal
from booking.access_policy import manages_provider
from booking.refusals import NotFound, Refusal
from booking.rights import PLATFORM_TENANT

APPLY = "provider.apply"
MANAGE_CLINIC = "provider.manage.clinic"
MANAGE_OWN = "provider.manage.own"
VERIFY = "provider.verify"


def no_such_provider() -> Refusal:
    return NotFound("no_such_provider", "There is no such provider here.")


async def managed(call: Call, connection: Connection, provider: UUID) -> UUID:
    """The person behind ``provider`` when the caller may manage it: one's own, or the clinic's. NotFound.

    One's own needs the right to apply or that of a doctor: applicants are not doctors yet.
    """
    who = call.principal
    person: UUID | None = await connection.fetchval("SELECT person_id FROM provider WHERE id = $1", provider)
    if person is None or not manages_provider(who, person):
        raise no_such_provider()
    return person


@dataclass(frozen=True, slots=True)
class Review:
    """A transaction in the clinic of the provider under review."""

    who: Principal
    tenant: int
    connection: Connection


@asynccontextmanager
async def review(call: Call, provider: UUID) -> AsyncIterator[Review]:
    """Opens the clinic of ``provider`` for a reviewer. NotFound: there is none, or it is another clinic's."""
    who = call.who
    if who is None:
        raise unauthorized()
    if call.tenant.id == PLATFORM_TENANT:
        async with call.db.platform() as platform:
            tenant = await platform.fetchval("SELECT tenant_id FROM provider WHERE id = $1", provider)
        if tenant is None:
            raise no_such_provider()
    else:
        tenant = call.tenant.id
    async with call.db.tenant(tenant) as connection, connection.transaction():
        yield Review(who, tenant, connection)
