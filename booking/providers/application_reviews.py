"""Onboarding over HTTP, the reviewer's side: what waits, whose it is, and the decisions.

All of it needs the right to verify. At the platform's address the list spans all clinics, at a clinic's its own.
"""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final, Literal
from uuid import UUID

from aiohttp import web
from msgspec import Meta, Struct

from backplane.api import Call, Page, Routes, decode_cursor, page_of
from backplane.bounds import WIDE
from backplane.lines import LINES
from backplane.postgres import Connection
from booking import documents
from booking.documents import DOCUMENTS
from booking.providers import onboarding
from booking.providers.access import VERIFY, review
from booking.providers.applications import STORABLE, Application, application_of, record_read
from booking.providers.onboarding import Actor
from booking.refusals import Denied, NotFound
from booking.rights import PLATFORM_TENANT

STATISTICS_OVER: Final = timedelta(days=90)
PROMISED: Final = timedelta(hours=48)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

routes = Routes(tag="onboarding review")

Text = Annotated[str, Meta(min_length=1, max_length=4000, pattern=STORABLE), LINES]


class ApplicationQuery(Struct, forbid_unknown_fields=True):
    """``mine``: only those that I was assigned."""

    status: Literal["applied", "review", "approved", "rejected", "suspended"] = "review"
    waiting_for: Literal["applicant", "reviewer", "nobody"] | None = None
    mine: bool = False
    cursor: Annotated[str, Meta(max_length=512)] | None = None
    limit: Annotated[int, Meta(ge=1, le=100)] = 50


class _Place(Struct, frozen=True, array_like=True):
    """Where a page of the list ended: microseconds since 1970, and the provider."""

    at_us: Annotated[int, Meta(ge=0, le=10**16, extra=WIDE)]
    provider: UUID


class Waiting(Struct, frozen=True):
    """An application in the list. ``tenant``: the clinic's number."""

    provider: UUID
    tenant: int
    name: str
    status: str
    waiting_for: str
    reviewer: UUID | None
    applied_at: datetime
    submitted_at: datetime | None


class Note(Struct, forbid_unknown_fields=True):
    text: Text


class Reason(Struct, forbid_unknown_fields=True):
    """``text`` goes to the applicant; needed to reject or suspend."""

    text: Annotated[str, Meta(max_length=4000, pattern=STORABLE), LINES] = ""


class Assignment(Struct, forbid_unknown_fields=True):
    """``reviewer``: who takes it; oneself when left out."""

    reviewer: UUID | None = None


class ReviewedApplication(Struct, frozen=True):
    """With the notes that reviewers wrote for each other."""

    application: Application
    tenant: int
    name: str
    reviewer: UUID | None


class Statistics(Struct, frozen=True):
    """Of the last 90 days. Hours from the application to the approval; ``in_time``: share of at most 48 hours."""

    waiting_for_reviewer: int
    longest_wait_hours: float | None
    approved: int
    median_hours: float | None
    p90_hours: float | None
    in_time: float | None


@routes.get("/v1/providers/applications", right=VERIFY, problems={400: ("bad_cursor",)})
async def list_applications(call: Call, query: ApplicationQuery) -> Page[Waiting]:
    """Applications, the oldest first."""
    after = decode_cursor(query.cursor, _Place) if query.cursor else None
    own = None if call.tenant.id == PLATFORM_TENANT else call.tenant.id
    async with _everywhere_or_here(call) as connection:
        rows = await connection.fetch(
            """
            SELECT a.*, p.status, p.display_name FROM application a JOIN provider p ON p.id = a.provider_id
            WHERE p.status = $1 AND ($2::text IS NULL OR a.waiting_for = $2)
              AND ($3::uuid IS NULL OR a.reviewer_id = $3) AND ($4::bigint IS NULL OR a.tenant_id = $4)
              AND ($5::timestamptz IS NULL OR (a.applied_at, a.provider_id) > ($5, $6::uuid))
            ORDER BY a.applied_at, a.provider_id LIMIT $7""",
            query.status,
            query.waiting_for,
            call.principal.person if query.mine else None,
            own,
            after and _EPOCH + timedelta(microseconds=after.at_us),
            after and after.provider,
            query.limit + 1,
        )
    return page_of(
        rows,
        query.limit,
        lambda row: Waiting(
            row["provider_id"],
            row["tenant_id"],
            row["display_name"],
            row["status"],
            row["waiting_for"],
            row["reviewer_id"],
            row["applied_at"],
            row["submitted_at"],
        ),
        lambda row: ((row["applied_at"] - _EPOCH) // timedelta(microseconds=1), row["provider_id"]),
    )


@routes.get("/v1/providers/applications/statistics", right=VERIFY)
async def onboarding_statistics(call: Call) -> Statistics:
    """How long applicants wait."""
    async with _everywhere_or_here(call) as connection:
        row = await connection.fetchrow(
            """
            WITH decided AS (
                SELECT extract(epoch FROM a.decided_at - a.applied_at)::float8 / 3600 AS hours
                FROM application a JOIN provider p ON p.id = a.provider_id
                WHERE a.decided_at > $1 AND p.status IN ('approved', 'suspended')
                  AND ($3::bigint IS NULL OR a.tenant_id = $3)
            ), waiting AS (
                SELECT count(*) AS n, extract(epoch FROM $2::timestamptz - min(submitted_at))::float8 / 3600 AS longest
                FROM application WHERE waiting_for = 'reviewer' AND ($3::bigint IS NULL OR tenant_id = $3)
            )
            SELECT (SELECT n FROM waiting) AS waiting, (SELECT longest FROM waiting) AS longest, count(*) AS approved,
                   percentile_cont(0.5) WITHIN GROUP (ORDER BY hours) AS median,
                   percentile_cont(0.9) WITHIN GROUP (ORDER BY hours) AS p90,
                   avg((hours <= $4)::int)::float8 AS in_time FROM decided""",
            call.now - STATISTICS_OVER,
            call.now,
            None if call.tenant.id == PLATFORM_TENANT else call.tenant.id,
            PROMISED.total_seconds() / 3600,
        )
    assert row is not None
    return Statistics(*row)


def _everywhere_or_here(call: Call) -> AbstractAsyncContextManager[Connection]:
    return call.db.platform() if call.tenant.id == PLATFORM_TENANT else call.db.tenant(call.tenant.id)


async def _reviewed(connection: Connection, provider: UUID, tenant: int, now: datetime) -> ReviewedApplication:
    application = await application_of(connection, provider, now, everything=True)
    row = await connection.fetchrow(
        """
        SELECT p.display_name, a.reviewer_id FROM provider p JOIN application a ON a.provider_id = p.id
        WHERE p.id = $1""",
        provider,
    )
    assert row is not None
    return ReviewedApplication(application, tenant, row["display_name"], row["reviewer_id"])


@routes.get(
    "/v1/providers/applications/{provider}", right=VERIFY, problems={404: ("no_such_provider", "no_application")}
)
async def show_application(call: Call, provider: UUID) -> ReviewedApplication:
    """An application with everything that belongs to it."""
    async with review(call, provider) as at:
        return await _reviewed(at.connection, provider, at.tenant, call.now)


@routes.get(
    "/v1/providers/applications/{provider}/documents/{document}",
    right=VERIFY,
    problems={404: ("no_such_provider", "no_such_document")},
    content_type="application/pdf",
)
async def read_application_document(call: Call, provider: UUID, document: UUID) -> web.Response:
    """A file of an application, for its reviewer; reading it is audited."""
    async with review(call, provider) as at:
        row = await at.connection.fetchrow(
            "SELECT * FROM document WHERE id = $1 AND provider_id = $2 AND deleted_at IS NULL", document, provider
        )
        if row is None:
            raise NotFound("no_such_document", "There is no such file in this application.")
        await record_read(at.connection, Actor.of(at.who), row, call.now)
    return await documents.give(call.request.app[DOCUMENTS], row)


_DECISION: Final = {
    403: ("own_application",),
    404: ("no_such_provider", "no_application"),
    409: ("wrong_step", "incomplete", "no_valid_licence"),
}


@routes.post("/v1/providers/applications/{provider}/assign", right=VERIFY, problems=_DECISION)
async def assign_application(call: Call, provider: UUID, body: Assignment) -> ReviewedApplication:
    """Take an application, or give it to another reviewer."""
    reviewer = body.reviewer or call.principal.person
    async with review(call, provider) as at:
        row = await onboarding.take(at.connection, provider, "assigned", Actor.of(at.who), call.now)
        if row["person_id"] == reviewer:
            raise Denied("own_application", "Nobody reviews themselves. Name another reviewer.")
        await at.connection.execute(
            "UPDATE application SET reviewer_id = $2 WHERE provider_id = $1", provider, reviewer
        )
        return await _reviewed(at.connection, provider, at.tenant, call.now)


@routes.post("/v1/providers/applications/{provider}/notes", right=VERIFY, problems=_DECISION)
async def note_application(call: Call, provider: UUID, body: Note) -> ReviewedApplication:
    """Write a note that reviewers see and the applicant does not."""
    async with review(call, provider) as at:
        await onboarding.take(at.connection, provider, "noted", Actor.of(at.who), call.now, note=body.text)
        return await _reviewed(at.connection, provider, at.tenant, call.now)


@routes.post("/v1/providers/applications/{provider}/ask", right=VERIFY, problems=_DECISION)
async def ask_applicant(call: Call, provider: UUID, body: Note) -> ReviewedApplication:
    """Ask the applicant for more; it is their turn until they hand in again."""
    async with review(call, provider) as at:
        await onboarding.take(at.connection, provider, "asked", Actor.of(at.who), call.now, note=body.text)
        await at.connection.execute("UPDATE application SET waiting_for = 'applicant' WHERE provider_id = $1", provider)
        return await _reviewed(at.connection, provider, at.tenant, call.now)


Decision = Callable[[Connection, UUID, Actor, datetime, str], Awaitable[None]]


async def _decide(call: Call, provider: UUID, note: str, decision: Decision) -> ReviewedApplication:
    async with review(call, provider) as at:
        await decision(at.connection, provider, Actor.of(at.who), call.now, note)
        return await _reviewed(at.connection, provider, at.tenant, call.now)


@routes.post("/v1/providers/applications/{provider}/approve", right=VERIFY, problems=_DECISION)
async def approve_application(call: Call, provider: UUID, body: Reason) -> ReviewedApplication:
    """Verify the licences and list the provider."""
    return await _decide(call, provider, body.text, onboarding.approve)


@routes.post("/v1/providers/applications/{provider}/reject", right=VERIFY, problems=_DECISION)
async def reject_application(call: Call, provider: UUID, body: Note) -> ReviewedApplication:
    """Reject an application, with a reason for the applicant, who may apply again."""
    return await _decide(call, provider, body.text, onboarding.reject)


@routes.post("/v1/providers/applications/{provider}/suspend", right=VERIFY, problems=_DECISION)
async def suspend_provider(call: Call, provider: UUID, body: Note) -> ReviewedApplication:
    """Take a provider off the list at once, with a reason."""
    return await _decide(call, provider, body.text, onboarding.suspend)


@routes.post("/v1/providers/applications/{provider}/reinstate", right=VERIFY, problems=_DECISION)
async def reinstate_provider(call: Call, provider: UUID, body: Reason) -> ReviewedApplication:
    """List a suspended provider again."""
    return await _decide(call, provider, body.text, onboarding.reinstate)


_CREDENTIAL: Final = {
    403: ("own_application",),
    404: ("no_such_provider", "no_such_credential", "no_application"),
    409: ("already_decided",),
}


@routes.post(
    "/v1/providers/applications/{provider}/credentials/{credential}/{verdict}", right=VERIFY, problems=_CREDENTIAL
)
async def decide_credential(
    call: Call, provider: UUID, credential: UUID, verdict: Literal["verify", "refuse"]
) -> ReviewedApplication:
    """Verify or refuse one paper, such as a renewed licence."""
    async with review(call, provider) as at:
        await onboarding.decide_credential(
            at.connection, provider, credential, verdict == "verify", Actor.of(at.who), call.now
        )
        return await _reviewed(at.connection, provider, at.tenant, call.now)
