"""Onboarding over HTTP, the applicant's side: apply, add licences and files, see what is missing, hand in."""

from datetime import datetime, timedelta
from typing import Annotated, Final, Literal
from uuid import UUID
from zoneinfo import available_timezones

from aiohttp import web
from msgspec import Meta, Struct

from backplane.api import Call, Rate, Routes
from backplane.audit import Entry, record
from backplane.ids import uuid7
from backplane.lines import LINES
from backplane.postgres import Connection, Row
from booking import documents, specialties
from booking.documents import DOCUMENTS, Document, Kind
from booking.providers import onboarding
from booking.providers.access import APPLY, VERIFY, managed
from booking.providers.onboarding import Actor, ChecklistItem
from booking.providers.registry import REGISTRY, Claim, NoRegistry
from booking.refusals import Conflict, Invalid, NotFound, Refusal

routes = Routes(tag="onboarding")

MAX_CREDENTIALS: Final = 20
_LONGEST_VALIDITY: Final = timedelta(days=36_525)
_UNFIT: Final = ("licence_incomplete", "number_not_kept", "expired", "bad_expiry", "no_such_document")
_ZONES: Final = available_timezones()

# Postgres holds every character but NUL.
STORABLE: Final = r"^[^\u0000]*$"
Name = Annotated[str, Meta(min_length=2, max_length=120, pattern=r"^\s*[^\s\u0000][^\u0000]*[^\s\u0000]\s*$")]
Language = Annotated[str, Meta(pattern="^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*$", max_length=35)]
Languages = Annotated[list[Language], Meta(max_length=12)]
Specialties = Annotated[list[Annotated[str, Meta(max_length=64)]], Meta(max_length=8)]
Country = Annotated[str, Meta(pattern="^[A-Z]{2}$")]
Gender = Literal["female", "male", "other"]
Bio = Annotated[str, Meta(max_length=4000, pattern=STORABLE), LINES]
Title = Annotated[str, Meta(max_length=60, pattern=STORABLE)]
Zone = Annotated[str, Meta(max_length=64)]


class NewApplication(Struct, forbid_unknown_fields=True, kw_only=True):
    """``specialties``: codes of /v1/specialties; ``languages``: BCP 47; ``timezone``: IANA, else the clinic's."""

    display_name: Name
    title: Title = ""
    gender: Gender | None = None
    languages: Languages = []
    specialties: Specialties = []
    bio: Bio = ""
    timezone: Zone | None = None


class NewCredential(Struct, forbid_unknown_fields=True, kw_only=True):
    """A licence or another paper. ``number``: for licences and degrees only, as it stands in the registry.

    ``country``: ISO 3166-1 alpha-2. ``document``: a file that was sent before.
    """

    kind: Kind
    country: Country
    issuer: Annotated[str, Meta(max_length=120, pattern=STORABLE)] = ""
    number: Annotated[str, Meta(max_length=60, pattern=r"^[\w./ -]*$")] = ""
    expires_at: Annotated[datetime, Meta(tz=True)] | None = None
    document: UUID | None = None


class Credential(Struct, frozen=True):
    """``registry``: what the council's registry said when the application was handed in."""

    id: UUID
    kind: str
    number: str
    issuer: str
    country: str
    expires_at: datetime | None
    state: str
    registry: str
    document: UUID | None


class Step(Struct, frozen=True):
    """What happened, and the reviewer's words to the applicant."""

    step: str
    note: str
    at: datetime


class Application(Struct, frozen=True):
    """How an application stands, as the applicant sees it. ``waiting_for``: whose turn it is."""

    provider: UUID
    status: str
    waiting_for: str
    applied_at: datetime
    submitted_at: datetime | None
    decided_at: datetime | None
    checklist: list[ChecklistItem]
    credentials: list[Credential]
    documents: list[Document]
    steps: list[Step]


class DocumentQuery(Struct, forbid_unknown_fields=True):
    """``kind``: what the file shows."""

    kind: Kind


def checked_zone(name: str) -> str:
    """``name`` when it is an IANA zone. Invalid."""
    if name not in _ZONES:
        raise Invalid("unknown_timezone", "Give an IANA time zone such as Asia/Karachi.")
    return name


def checked_specialties(codes: list[str]) -> list[str]:
    """``codes``, each once, when all are of the catalogue. Invalid."""
    if not specialties.known(codes):
        raise Invalid("unknown_specialty", "Take codes from /v1/specialties.")
    return list(dict.fromkeys(codes))


@routes.post(
    "/v1/providers/applications",
    right=APPLY,
    status=201,
    problems={409: ("already_applied",), 422: ("unknown_specialty", "unknown_timezone")},
)
async def apply(call: Call, body: NewApplication) -> Application:
    """Apply to be a provider here."""
    zone = checked_zone(body.timezone or call.tenant.timezone)
    codes = checked_specialties(body.specialties)
    async with call.transaction() as connection:
        provider = await onboarding.apply(
            connection,
            Actor.of(call.principal),
            display_name=" ".join(body.display_name.split()),
            title=body.title.strip(),
            gender=body.gender,
            languages=list(dict.fromkeys(body.languages)),
            specialties=codes,
            bio=body.bio.strip(),
            timezone=zone,
            now=call.now,
        )
        return await application_of(connection, provider, call.now)


@routes.get("/v1/providers/applications/mine", problems={401: (), 404: ("no_application",)})
async def show_own_application(call: Call) -> Application:
    """One's own application, with what is missing."""
    async with call.db.tenant(call.tenant.id) as connection:
        return await application_of(connection, await _own(call, connection), call.now)


@routes.post(
    "/v1/providers/applications/mine/submit",
    problems={401: (), 404: ("no_application",), 409: ("incomplete", "wrong_step")},
)
async def submit_application(call: Call) -> Application:
    """Hand the application in for review; again, after the reviewer asked for more."""
    await _ask_registry(call)
    async with call.transaction() as connection:
        provider = await _own(call, connection)
        await onboarding.take(connection, provider, "submitted", Actor.of(call.principal), call.now)
        await connection.execute(
            """
            UPDATE application SET waiting_for = 'reviewer', submitted_at = coalesce(submitted_at, $2)
            WHERE provider_id = $1""",
            provider,
            call.now,
        )
        return await application_of(connection, provider, call.now)


async def _ask_registry(call: Call) -> None:
    """Before the transaction: a council's server may take its time."""
    registry = call.request.app.get(REGISTRY, NoRegistry())
    async with call.db.tenant(call.tenant.id) as connection:
        rows = await connection.fetch(
            """
            SELECT c.*, p.display_name FROM credential c JOIN provider p ON p.id = c.provider_id
            WHERE c.provider_id = $1 AND c.kind = 'licence' AND c.state = 'pending'""",
            await _own(call, connection),
        )
    for row in rows:
        claim = Claim(row["country"], row["issuer"], row["number"], row["display_name"], row["expires_at"])
        standing = await registry.look_up(claim)
        async with call.db.tenant(call.tenant.id) as connection:
            await connection.execute("UPDATE credential SET registry = $2 WHERE id = $1", row["id"], standing.value)


@routes.post(
    "/v1/providers/{provider}/credentials",
    status=201,
    problems={401: (), 404: ("no_such_provider",), 409: ("licence_taken", "too_many_credentials"), 422: _UNFIT},
)
async def add_credential(call: Call, provider: UUID, body: NewCredential) -> Credential:
    """Add a licence or another paper; a reviewer verifies it. So a licence is renewed, too."""
    number = " ".join(body.number.split()).upper()
    if body.kind == "licence" and not (number and body.issuer.strip()):
        raise Invalid("licence_incomplete", "A licence needs its number and who issued it.")
    if number and body.kind not in ("licence", "degree"):
        raise Invalid("number_not_kept", "Numbers of identity papers are not kept. Send the file only.")
    if body.expires_at is not None and body.expires_at <= call.now:
        raise Invalid("expired", "This paper has run out already. Send the renewed one.")
    if body.expires_at is not None and body.expires_at - call.now > _LONGEST_VALIDITY:
        raise Invalid("bad_expiry", "Leave the end out when this paper has none.")
    async with call.transaction() as connection:
        await managed(call, connection, provider)
        held = await connection.fetchval("SELECT count(*) FROM credential WHERE provider_id = $1", provider)
        if held >= MAX_CREDENTIALS:
            raise Conflict("too_many_credentials", f"{MAX_CREDENTIALS} papers are kept at most.")
        if body.document is not None and not await connection.fetchval(
            "SELECT true FROM document WHERE id = $1 AND provider_id = $2 AND deleted_at IS NULL",
            body.document,
            provider,
        ):
            raise Invalid("no_such_document", "Send the file first, then name its id.")
        if body.kind == "licence":
            same = (body.country, body.issuer.strip(), number)
            if await connection.fetchval(
                """
                SELECT EXISTS (SELECT FROM credential WHERE provider_id <> $1 AND kind = 'licence' AND country = $2
                               AND issuer = $3 AND number = $4 AND state IN ('pending', 'verified'))""",
                provider,
                *same,
            ):
                raise Conflict("licence_taken", "Somebody here holds this licence already.")
            # given again, perhaps with another end: only the last word waits for a reviewer
            await connection.execute(
                """
                UPDATE credential SET state = 'replaced', decided_at = $5
                WHERE provider_id = $1 AND kind = 'licence' AND state = 'pending' AND country = $2 AND issuer = $3
                  AND number = $4""",
                provider,
                *same,
                call.now,
            )
        row = await connection.fetchrow(
            """
            INSERT INTO credential (id, provider_id, kind, number, issuer, country, expires_at, document_id, created_at)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING RETURNING *""",
            uuid7(call.now),
            provider,
            body.kind,
            number,
            body.issuer.strip(),
            body.country,
            body.expires_at,
            body.document,
            call.now,
        )
        if row is None:
            raise Conflict("licence_taken", "Somebody here holds this licence already.")
        return credential_of(row)


@routes.post(
    "/v1/providers/{provider}/documents",
    status=201,
    rate=Rate(0.5, 20),
    problems={
        400: ("no_file",),
        401: (),
        404: ("no_such_provider",),
        408: (),
        409: ("too_many_documents",),
        413: ("document_too_large",),
        415: ("unsupported_document",),
        422: ("empty_document", "infected_document"),
        503: ("scanner_unavailable",),
    },
)
async def send_document(call: Call, provider: UUID, query: DocumentQuery) -> Document:
    """Send a file: as the part named file of multipart/form-data, or as the raw body. JPEG, PNG, WebP or PDF, 10 MB."""
    async with call.db.tenant(call.tenant.id) as connection:
        owner = await managed(call, connection, provider)
    held = call.request.app[DOCUMENTS]
    content = await documents.read_upload(call.request)
    admitted = await documents.admit(held, content)
    async with call.transaction() as connection:
        return await documents.keep(
            connection, held, content, admitted, owner=owner, provider=provider, kind=query.kind, now=call.now
        )


@routes.get("/v1/documents/{document}", problems={401: (), 404: ("no_such_document",)}, content_type="application/pdf")
async def read_document(call: Call, document: UUID) -> web.Response:
    """A file, for its owner, and for reviewers at the clinic's address."""
    who = call.principal
    async with call.transaction() as connection:
        row = await connection.fetchrow("SELECT * FROM document WHERE id = $1 AND deleted_at IS NULL", document)
        if row is None or not (row["owner_id"] == who.person or (who.may(VERIFY) and row["provider_id"] is not None)):
            raise _no_such_document()
        await record_read(connection, Actor.of(who), row, call.now)
    return await documents.give(call.request.app[DOCUMENTS], row)


@routes.delete("/v1/documents/{document}", problems={401: (), 404: ("no_such_document",), 409: ("document_in_use",)})
async def delete_document(call: Call, document: UUID) -> None:
    """Delete one's own file, as long as no decision rests on it."""
    who = call.principal
    async with call.transaction() as connection:
        row = await connection.fetchrow(
            """
            SELECT d.owner_id, p.status FROM document d LEFT JOIN provider p ON p.id = d.provider_id
            WHERE d.id = $1 AND d.deleted_at IS NULL""",
            document,
        )
        if row is None or row["owner_id"] != who.person:
            raise _no_such_document()
        if row["status"] in ("review", "approved", "suspended"):
            raise Conflict("document_in_use", "Your application rests on this file. Ask the clinic to remove it.")
        await connection.execute("UPDATE document SET deleted_at = $2 WHERE id = $1", document, call.now)
    held = call.request.app[DOCUMENTS]
    call.after_commit(lambda: held.store.remove(document))


def _no_such_document() -> Refusal:
    return NotFound("no_such_document", "There is no such file here.")


async def record_read(connection: Connection, actor: Actor, row: Row, now: datetime) -> None:
    """Reading somebody else's paper leaves a trace; reading one's own does not."""
    if actor.person != row["owner_id"]:
        entry = Entry(
            actor=actor.person,
            actor_role=actor.role,
            action="document.read",
            subject_kind="document",
            subject_id=row["id"],
            facts={"kind": row["kind"]},
        )
        await record(connection, entry, now)


async def _own(call: Call, connection: Connection) -> UUID:
    who = call.principal
    provider: UUID | None = await connection.fetchval("SELECT id FROM provider WHERE person_id = $1", who.person)
    if provider is None:
        raise NotFound("no_application", "You have not applied here. POST /v1/providers/applications first.")
    return provider


async def application_of(
    connection: Connection, provider: UUID, now: datetime, *, everything: bool = False
) -> Application:
    """The view of an application. ``everything``: with what reviewers wrote for each other. NotFound."""
    row = await connection.fetchrow(
        "SELECT a.*, p.status FROM application a JOIN provider p ON p.id = a.provider_id WHERE p.id = $1", provider
    )
    if row is None:
        raise onboarding.no_application()
    credentials = await connection.fetch("SELECT * FROM credential WHERE provider_id = $1 ORDER BY id", provider)
    held = await connection.fetch(
        "SELECT * FROM document WHERE provider_id = $1 AND deleted_at IS NULL ORDER BY id", provider
    )
    steps = await connection.fetch("SELECT * FROM application_review WHERE provider_id = $1 ORDER BY id", provider)
    return Application(
        provider,
        row["status"],
        row["waiting_for"],
        row["applied_at"],
        row["submitted_at"],
        row["decided_at"],
        await onboarding.checklist(connection, provider, now),
        [credential_of(each) for each in credentials],
        [documents.document_of(each) for each in held],
        [
            Step(each["step"], each["note"] if everything or each["for_applicant"] else "", each["at"])
            for each in steps
            if everything or each["step"] not in ("assigned", "noted")
        ],
    )


def credential_of(row: Row) -> Credential:
    return Credential(
        row["id"],
        row["kind"],
        row["number"],
        row["issuer"],
        row["country"],
        row["expires_at"],
        row["state"],
        row["registry"],
        row["document_id"],
    )
