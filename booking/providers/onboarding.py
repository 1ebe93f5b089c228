"""From an application to a listed provider: the steps, who may take them, what each leaves behind.

    applied ── submit ──> review ── approve ──> approved ── suspend, lapse ──> suspended
       ^                   │  │ ask: back to the applicant     ^                   │
       └──── apply again ──┘  └── reject ──> rejected          └──── reinstate ────┘

A step is one transaction: status, a row in `application_review` (append-only, with the reviewer's words), an audit
entry and an event without words. Nobody reviews themselves. What the checklist calls required must be there before a
submission, and again before an approval. Time to onboard counts from the application to the approval, pauses of the
applicant included, because that is what the applicant feels.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from msgspec import Struct

from backplane.audit import Entry, record
from backplane.ids import uuid7
from backplane.outbox import Event, emit
from backplane.postgres import Connection, Row
from backplane.principal import Principal
from booking.providers import licences
from booking.providers.index import reindex
from booking.providers.normalise import keys, words
from booking.refusals import Conflict, Denied, NotFound, Refusal

_ROLES_BY_WEIGHT: Final = ("platform_admin", "clinic_admin", "support", "staff", "doctor", "patient", "anonymous")
# step -> statuses it may be taken in, and the status it leads to (None: as it was)
STEPS: Final[dict[str, tuple[frozenset[str], str | None]]] = {
    "submitted": (frozenset({"applied", "review"}), "review"),
    "assigned": (frozenset({"applied", "review"}), None),
    "noted": (frozenset({"applied", "review", "approved", "rejected", "suspended"}), None),
    "asked": (frozenset({"review"}), None),
    "approved": (frozenset({"review"}), "approved"),
    "rejected": (frozenset({"applied", "review"}), "rejected"),
    "suspended": (frozenset({"approved"}), "suspended"),
    "reinstated": (frozenset({"suspended"}), "approved"),
}
_EVENTS: Final = {
    "applied": "doctor.applied",
    "approved": "doctor.verified",
    "reinstated": "doctor.verified",
    "suspended": "doctor.suspended",
}


class ChecklistItem(Struct, frozen=True):
    """``required``: without it there is no submission; the rest makes a better profile."""

    item: str
    required: bool
    done: bool


@dataclass(frozen=True, slots=True)
class Actor:
    """Who takes a step. ``person`` None: the clock."""

    person: UUID | None
    role: str

    @classmethod
    def of(cls, who: Principal) -> "Actor":
        return cls(who.person, next((role for role in _ROLES_BY_WEIGHT if role in who.roles), "other"))


async def apply(
    connection: Connection,
    actor: Actor,
    *,
    display_name: str,
    title: str,
    gender: str | None,
    languages: list[str],
    specialties: list[str],
    bio: str,
    timezone: str,
    now: datetime,
) -> UUID:
    """Makes the provider of ``actor.person``, or takes up one that was rejected. Conflict: there is one."""
    before = await connection.fetchrow("SELECT id, status FROM provider WHERE person_id = $1 FOR UPDATE", actor.person)
    if before is not None and before["status"] != "rejected":
        raise Conflict("already_applied", "You have applied already; see /v1/providers/applications/mine.")
    profile = (display_name, title, gender, languages, specialties, bio, timezone)
    if before is None:
        provider = uuid7(now)
        slug = slug_of(display_name)
        made = None
        for unique in (slug, f"{slug}-{provider.hex[-6:]}"):
            made = made or await connection.fetchval(
                """
                INSERT INTO provider (id, person_id, slug, display_name, title, gender, languages, specialties, bio,
                                      timezone, created_at)
                VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT DO NOTHING RETURNING id""",
                provider,
                actor.person,
                unique,
                *profile,
                now,
            )
        if made is None:  # two requests at once: the second meets the row of the first
            raise Conflict("already_applied", "You have applied already; see /v1/providers/applications/mine.")
        await connection.execute("INSERT INTO application (provider_id, applied_at) VALUES ($1, $2)", provider, now)
    else:
        provider = before["id"]
        await connection.execute(
            """
            UPDATE provider SET status = 'applied', display_name = $2, title = $3, gender = $4, languages = $5,
                                specialties = $6, bio = $7, timezone = $8 WHERE id = $1""",
            provider,
            *profile,
        )
        await connection.execute(
            """
            UPDATE application SET waiting_for = 'applicant', applied_at = $2, submitted_at = NULL, decided_at = NULL
            WHERE provider_id = $1""",
            provider,
            now,
        )
    await reindex(connection, provider, now)
    await leave_trace(connection, provider, "applied", actor, now)
    return provider


def slug_of(name: str) -> str:
    """A slug from the name, in Latin letters."""
    latin = [word for word in words(name) if word.isascii() and word.isalnum()]
    if not latin:  # the skeleton of an Arabic name reads badly, but better than a number
        latin = [keys(word)[-1].lower() for word in words(name) if keys(word)]
    return "-".join(("dr", *latin))[:60].strip("-")


async def checklist(connection: Connection, provider: UUID, now: datetime) -> list[ChecklistItem]:
    """What an application needs and what it has."""
    row = await connection.fetchrow(
        """
        SELECT p.specialties <> '{}' AS specialty, p.languages <> '{}' AS language, p.bio <> '' AS bio,
               p.location_id IS NOT NULL AS location,
               EXISTS (SELECT FROM credential c WHERE c.provider_id = p.id AND c.kind = 'licence'
                       AND c.state IN ('pending', 'verified') AND coalesce(c.expires_at, 'infinity') > $2) AS licence,
               EXISTS (SELECT FROM document d WHERE d.provider_id = p.id AND d.kind = 'licence'
                       AND d.deleted_at IS NULL) AS licence_document,
               EXISTS (SELECT FROM document d WHERE d.provider_id = p.id AND d.kind = 'identity'
                       AND d.deleted_at IS NULL) AS identity_document,
               EXISTS (SELECT FROM service s WHERE s.provider_id = p.id AND s.active) AS service
        FROM provider p WHERE p.id = $1""",
        provider,
        now,
    )
    assert row is not None
    required = ("licence", "licence_document", "identity_document", "specialty", "language")
    return [
        *(ChecklistItem(item, True, row[item]) for item in required),
        *(ChecklistItem(item, False, row[item]) for item in ("bio", "location", "service")),
    ]


async def take(
    connection: Connection, provider: UUID, step: str, actor: Actor, now: datetime, *, note: str = ""
) -> Row:
    """One step of `STEPS`, checked and traced; the provider as it was before. Denied, NotFound, Conflict.

    What only one step does (assigning, verifying licences) is the caller's, in the same transaction.
    """
    row = await connection.fetchrow("SELECT * FROM provider WHERE id = $1 FOR UPDATE", provider)
    if row is None:
        raise no_application()
    allowed, leads_to = STEPS[step]
    if row["status"] not in allowed:
        raise Conflict("wrong_step", f"This cannot be done while the application is {row['status']}.")
    if step != "submitted" and actor.person == row["person_id"]:
        raise Denied("own_application", "Nobody reviews themselves. Ask another reviewer.")
    if step in ("submitted", "approved", "reinstated"):
        missing = [each.item for each in await checklist(connection, provider, now) if each.required and not each.done]
        if missing:
            raise Conflict("incomplete", f"Still missing: {', '.join(missing)}.")
    if leads_to is not None and leads_to != row["status"]:
        await connection.execute(
            "UPDATE provider SET status = $2, online_until = NULL WHERE id = $1", provider, leads_to
        )
    await leave_trace(connection, provider, step, actor, now, note)
    return row


async def leave_trace(
    connection: Connection, provider: UUID, step: str, actor: Actor, now: datetime, note: str = ""
) -> None:
    """Review row, audit entry and event of a step; the note stands in the first only."""
    await connection.execute(
        """
        INSERT INTO application_review (provider_id, step, actor_id, note, for_applicant, at)
        VALUES ($1, $2, $3, $4, $5, $6)""",
        provider,
        step,
        actor.person,
        note,
        step in ("asked", "approved", "rejected", "suspended", "reinstated"),
        now,
    )
    entry = Entry(
        actor=actor.person,
        actor_role=actor.role,
        action=f"application.{step}",
        subject_kind="provider",
        subject_id=provider,
    )
    await record(connection, entry, now)
    if step in _EVENTS:
        event = Event(
            type=_EVENTS[step], aggregate="provider", aggregate_id=provider, payload={"provider": str(provider)}
        )
        await emit(connection, event, now)


async def approve(connection: Connection, provider: UUID, actor: Actor, now: datetime, note: str = "") -> None:
    """Verifies the licences that wait, lists the provider, and makes the person a doctor of the clinic."""
    row = await take(connection, provider, "approved", actor, now, note=note)
    await _verify(connection, provider, None, now)
    await connection.execute(
        "UPDATE application SET waiting_for = 'nobody', decided_at = $2 WHERE provider_id = $1", provider, now
    )
    await connection.execute(
        """
        INSERT INTO membership (id, person_id, role, created_at) VALUES ($1, $2, 'doctor', $3)
        ON CONFLICT (person_id, role) WHERE ended_at IS NULL DO NOTHING""",
        uuid7(now),
        row["person_id"],
        now,
    )
    await _listed(connection, provider, now)


async def reject(connection: Connection, provider: UUID, actor: Actor, now: datetime, note: str) -> None:
    """Ends an application; the person may apply again."""
    await take(connection, provider, "rejected", actor, now, note=note)
    await connection.execute(
        "UPDATE application SET waiting_for = 'nobody', decided_at = $2 WHERE provider_id = $1", provider, now
    )


async def suspend(connection: Connection, provider: UUID, actor: Actor, now: datetime, note: str) -> None:
    """Takes a provider off the list; what is booked stays booked until somebody acts on the event."""
    await take(connection, provider, "suspended", actor, now, note=note)
    await reindex(connection, provider, now)


async def _verify(connection: Connection, provider: UUID, only: UUID | None, now: datetime) -> None:
    """Verifies the papers that wait and are valid, or one of them; a renewal takes the place of what it renews."""
    waiting = "provider_id = $1 AND state = 'pending' AND ($2::uuid IS NULL OR id = $2)"
    valid = f"{waiting} AND coalesce(expires_at, 'infinity') > $3"
    await connection.execute(
        f"""
        UPDATE credential SET state = 'replaced', decided_at = $3
        WHERE provider_id = $1 AND state = 'verified' AND kind = 'licence' AND (country, issuer, number) IN (
            SELECT country, issuer, number FROM credential WHERE {valid} AND kind = 'licence')""",
        provider,
        only,
        now,
    )
    await connection.execute(
        f"UPDATE credential SET state = 'verified', decided_at = $3 WHERE {valid}", provider, only, now
    )


async def reinstate(connection: Connection, provider: UUID, actor: Actor, now: datetime, note: str = "") -> None:
    """Lists a suspended provider again. Conflict: no verified licence is valid."""
    await take(connection, provider, "reinstated", actor, now, note=note)
    await _listed(connection, provider, now)


async def _listed(connection: Connection, provider: UUID, now: datetime) -> None:
    if not await reindex(connection, provider, now):
        raise Conflict("no_valid_licence", "There is no verified licence that is still valid. Verify one first.")
    await licences.watch(connection, provider, now)


async def decide_credential(
    connection: Connection, provider: UUID, credential: UUID, verified: bool, actor: Actor, now: datetime
) -> None:
    """Verifies or refuses one licence or other paper, such as a renewal. Denied, NotFound, Conflict."""
    await take(connection, provider, "noted", actor, now, note="verified" if verified else "refused")
    row = await connection.fetchrow(
        "SELECT * FROM credential WHERE id = $1 AND provider_id = $2 FOR UPDATE", credential, provider
    )
    if row is None:
        raise NotFound("no_such_credential", "This provider has no such paper.")
    if row["state"] != "pending":
        raise Conflict("already_decided", f"This paper is {row['state']} already.")
    if verified:
        await _verify(connection, provider, credential, now)
    else:
        await connection.execute(
            "UPDATE credential SET state = 'refused', decided_at = $2 WHERE id = $1", credential, now
        )
    await reindex(connection, provider, now)
    await licences.watch(connection, provider, now)


def no_application() -> Refusal:
    return NotFound("no_application", "There is no such application here.")
