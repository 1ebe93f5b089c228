"""A visit as joining sees it: an appointment with its doctor, its window and what has become of it.

Everything is read anew for every request and nothing is kept: a cancelled or moved appointment must end what is going
on at once, and one indexed read is all that this costs.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol
from uuid import UUID

from aiohttp import web

from backplane.postgres import Connection
from backplane.tokens import TokenAuthority
from booking.links.link import Link, Links, Seat, Window
from booking.links.passes import Passes
from booking.refusals import NotFound, Refusal
from booking.visits.room_names import VisitRoom, VisitRooms

# An appointment in one of these can be entered; a completed one once more when its doctor calls again.
ENTERED: Final = frozenset({"confirmed", "checked_in", "in_progress", "interrupted"})
CALLED_AGAIN: Final = ENTERED | {"completed"}
VOUCHED: Final = -1  # visit_seat.birth_tries of somebody whom the clinic knows without asking

_SELECT: Final = """
SELECT a.id, a.tenant_id, a.provider_id, p.person_id AS doctor, p.display_name, p.title, p.slug AS doctor_slug,
       a.patient_id, a.status, a.kind, a.payment, lower(a.during) AS starts_at, upper(a.during) AS ends_at,
       a.join_epoch, a.provider_timezone, v.reopened_until, t.name AS clinic, t.slug, t.policy
FROM appointment a JOIN provider p ON p.id = a.provider_id JOIN tenant t ON t.id = a.tenant_id
LEFT JOIN visit v ON v.appointment_id = a.id
WHERE a.id = $1"""


@dataclass(frozen=True, slots=True)
class Visit:
    """``patient`` None: a class. ``doctor``: the person; ``provider``: what they are here."""

    appointment: UUID
    tenant: int
    provider: UUID
    doctor: UUID
    doctor_name: str
    doctor_slug: str
    patient: UUID | None
    status: str
    kind: str
    payment: str
    starts_at: datetime
    ends_at: datetime
    epoch: int
    timezone: str
    reopened_until: datetime | None
    clinic: str
    slug: str
    policy: Mapping[str, object]

    @property
    def window(self) -> Window:
        return Window.around(self.starts_at, self.ends_at, self.reopened_until)

    @property
    def room(self) -> VisitRoom:
        return VisitRoom(self.tenant, self.appointment, self.epoch)

    def reopened(self, now: datetime) -> bool:
        return self.reopened_until is not None and now < self.reopened_until

    def enterable(self, now: datetime) -> bool:
        """Whether people may be in the room now, as far as the appointment decides."""
        live = self.status in ENTERED or (self.status == "completed" and self.reopened(now))
        return live and self.window.state(now) == "open"

    def link(self, seat: Seat, holder: UUID, language: str) -> Link:
        window = self.window
        return Link(
            self.tenant, self.appointment, seat, holder, self.epoch, window.opens_at, window.closes_at, language
        )


class Lifecycle(Protocol):
    """What joining may do to an appointment; booking/appointments does it, and emits what follows.

    ``action``: check_in, start, interrupt, resume, complete, no_show_patient. True when the status was changed, False
    when the table of transitions does not allow it now; no other error.
    """

    async def change(
        self,
        connection: Connection,
        appointment: UUID,
        action: str,
        *,
        actor: UUID | None,
        role: str,
        cause: str,
        now: datetime,
    ) -> bool: ...


class Rooms(Protocol):
    """What booking asks of whoever runs the calls. It need not succeed at once: tokens end by themselves in minutes."""

    async def put_out(self, room: str, identity: str) -> None:
        """End this person's call; tokens that they have in hand must not bring them back."""

    async def revoke_room(self, room: str) -> None:
        """Everybody out, and no token of the room holds any longer."""

    async def renew(self, room: str, identity: str, until: datetime) -> None:
        """Let the call of this person go on until then: they still may be in."""


@dataclass(frozen=True, slots=True)
class Joining:
    """What the routes of joining stand on beside the database and the bus."""

    links: Links
    passes: Passes
    names: VisitRooms
    authority: TokenAuthority
    rooms: Rooms
    lifecycle: Lifecycle


JOINING: Final = web.AppKey("joining", Joining)


async def load(connection: Connection, appointment: UUID) -> Visit | None:
    """The visit of that id, of the connection's tenant."""
    row = await connection.fetchrow(_SELECT, appointment)
    if row is None:
        return None
    return Visit(
        appointment=row["id"],
        tenant=row["tenant_id"],
        provider=row["provider_id"],
        doctor=row["doctor"],
        doctor_name=f"{row['title']} {row['display_name']}".strip(),
        doctor_slug=row["doctor_slug"],
        patient=row["patient_id"],
        status=row["status"],
        kind=row["kind"],
        payment=row["payment"],
        starts_at=row["starts_at"],
        ends_at=row["ends_at"],
        epoch=row["join_epoch"],
        timezone=row["provider_timezone"],
        reopened_until=row["reopened_until"],
        clinic=row["clinic"],
        slug=row["slug"],
        policy=row["policy"],
    )


async def need(connection: Connection, appointment: UUID) -> Visit:
    """As `load`. NotFound."""
    visit = await load(connection, appointment)
    if visit is None:
        raise no_such_visit()
    return visit


def no_such_visit() -> Refusal:
    return NotFound("not_found", "There is no such visit here. Open the link of your invitation again.")
