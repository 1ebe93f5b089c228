"""An instant request as the patient sees it, and what rings at a doctor now."""

from datetime import datetime
from uuid import UUID

from msgspec import Struct

from backplane.postgres import Connection


class InstantView(Struct, frozen=True):
    """A patient's request for a doctor now. ``state``: ringing, accepted, unanswered or cancelled."""

    request: UUID
    state: str
    ring: int
    ring_until: datetime
    doctor: str | None
    appointment: UUID | None


class RingView(Struct, frozen=True):
    """A request that rings at a doctor. ``here``: the page of who asks is open."""

    request: UUID
    specialty: str
    language: str
    reason: str
    rung_at: datetime
    ring_until: datetime
    here: bool


async def instant_view(connection: Connection, request: UUID) -> InstantView | None:
    row = await connection.fetchrow(
        """SELECT r.id, r.state, r.ring, r.ring_until, trim(p.title || ' ' || p.display_name) AS doctor,
               r.appointment_id
           FROM instant_request r LEFT JOIN provider p ON p.id = r.provider_id WHERE r.id = $1""",
        request,
    )
    return None if row is None else InstantView(*row.values())


async def rings_of(connection: Connection, provider: UUID, now: datetime) -> list[RingView]:
    """Requests that this doctor can still take, the oldest first."""
    rows = await connection.fetch(
        """SELECT r.id, r.specialty, r.language, r.reason, g.rung_at, r.ring_until, r.here
           FROM instant_ring g JOIN instant_request r ON r.id = g.request_id
           WHERE g.provider_id = $1 AND g.answer IS NULL AND r.state = 'ringing' AND r.ring_until > $2
           ORDER BY g.rung_at, r.id""",
        provider,
        now,
    )
    return [RingView(*row.values()) for row in rows]
