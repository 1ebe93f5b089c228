"""Links for the people of a visit, and a third person asked in: an interpreter, family, a colleague.

The doctor and the patient of a visit ask people in, and the clinic does for both. An invitation is a row that can be
taken back; its link dies with it, and who is in by it is put out. A patient has a few of a visit's invitations and
takes back their own only, so that an interpreter of the doctor's has a place and keeps it; and nobody comes in before
the doctor has admitted them. A link for the patient can be made anew at any time: it is derived from the appointment,
so there is nothing to keep.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Final, Literal
from uuid import UUID

from msgspec import Meta, Struct

from backplane import audit
from backplane.api import Call, Rate, Routes
from backplane.ids import uuid7
from backplane.postgres import Connection
from booking.links.link import Seat, link_path
from booking.refusals import Conflict, Denied, Invalid, NotFound
from booking.rights import GUEST_LINK
from booking.visits.room_names import identity
from booking.visits.visit import JOINING, Visit, need
from booking.visits.visit_routes import shown
from booking.visits.visitors import visitor
from live.notes import note_after

MAX_INVITES: Final = 5
MAX_OF_PATIENT: Final = 3
routes = Routes(tag="join")


class NewLink(Struct, frozen=True, forbid_unknown_fields=True):
    """``kind`` patient: the patient's own link once more; otherwise an invitation, which needs a ``name``."""

    kind: Literal["patient", "interpreter", "family", "colleague", "other"]
    name: Annotated[str, Meta(max_length=64)] = ""
    language: Annotated[str, Meta(pattern="^[a-z]{2,3}$")] = "en"


class JoinLink(Struct, frozen=True):
    """``invite``: null for the patient's own link. ``path``: on the clinic's own address."""

    invite: UUID | None
    kind: str
    name: str
    path: str
    opens_at: datetime
    closes_at: datetime


class Invite(Struct, frozen=True):
    invite: UUID
    kind: str
    name: str
    language: str
    made_at: datetime
    state: str


class Invites(Struct, frozen=True):
    invites: list[Invite]


@routes.post(
    "/v1/appointments/{appointment}/links",
    guests="appointment",
    status=201,
    problems={
        401: (),
        403: ("not_your_visit", "forbidden"),
        404: (),
        409: ("not_open", "too_many_invites"),
        410: (),
        422: ("no_name",),
    },
    rate=Rate(per_s=1, burst=20),
)
async def make_link(call: Call, appointment: UUID, body: NewLink) -> JoinLink:
    """Make a link: for the patient, or to ask a third person in"""
    joining = call.request.app[JOINING]
    name = shown(body.name)
    async with call.transaction() as connection:
        asker = await _asker(call, connection, appointment)
        visit = asker.visit
        if visit.status.startswith(("cancelled", "declined", "expired", "no_show")):
            raise Conflict("not_open", "This visit was called off; nobody can be asked in.")
        if body.kind == "patient":
            if visit.patient is None:
                raise Conflict("not_open", "A class has a link for each of its seats.")
            seat, holder, invite = Seat.PATIENT, visit.patient, None
        else:
            if not name:
                raise Invalid("no_name", "Say who is asked in: the others will see the name.")
            invite = await _invite(connection, asker, body, name, call.now)
            seat, holder = Seat.THIRD, invite
    token = joining.links.sign(visit.link(seat, holder, body.language))
    window = visit.window
    return JoinLink(invite, body.kind, name, link_path(visit.slug, token), window.opens_at, window.closes_at)


@routes.get(
    "/v1/appointments/{appointment}/links",
    guests="appointment",
    problems={401: (), 403: ("not_your_visit", "forbidden"), 404: (), 410: ()},
)
async def list_invites(call: Call, appointment: UUID) -> Invites:
    """Who was asked in"""
    async with call.transaction() as connection:
        asker = await _asker(call, connection, appointment)
        rows = await connection.fetch(
            """SELECT i.id, i.kind, i.name, i.language, i.made_at,
                   CASE WHEN i.revoked_at IS NULL THEN coalesce(s.state, 'away') ELSE 'withdrawn' END AS state
               FROM join_invite i LEFT JOIN visit_seat s
                   ON (s.appointment_id, s.seat, s.holder) = (i.appointment_id, 'third', i.id)
               WHERE i.appointment_id = $1 ORDER BY i.made_at, i.id""",
            asker.visit.appointment,
        )
    return Invites([Invite(*row.values()) for row in rows])


@routes.delete(
    "/v1/appointments/{appointment}/links/{invite}",
    guests="appointment",
    problems={401: (), 403: ("not_your_visit", "forbidden"), 404: (), 410: ()},
)
async def withdraw_invite(call: Call, appointment: UUID, invite: UUID) -> None:
    """Take an invitation back and put its guest out"""
    joining = call.request.app[JOINING]
    async with call.transaction() as connection:
        asker = await _asker(call, connection, appointment)
        visit = asker.visit
        found = await connection.fetchval(
            """UPDATE join_invite SET revoked_at = coalesce(revoked_at, $3) WHERE id = $1 AND appointment_id = $2
                   AND ($4::uuid IS NULL OR made_by = $4) RETURNING true""",
            invite,
            visit.appointment,
            call.now,
            asker.holder if asker.seat is Seat.PATIENT else None,
        )
        if not found:
            raise NotFound("not_found", "There is no such invitation of yours to this visit.")
        await connection.execute(
            """UPDATE visit_seat SET state = 'denied', here = false
               WHERE (appointment_id, seat, holder) = ($1, 'third', $2)""",
            visit.appointment,
            invite,
        )
        await _record(connection, asker, "visit.invite.withdraw", invite, call.now)
    await joining.rooms.put_out(joining.names.name(visit.room), identity(Seat.THIRD, invite))
    note_after(call, visit.provider)


@dataclass(frozen=True, slots=True)
class _Asker:
    """Who asks. ``seat``: of the doctor or the patient, whose are the invitations; None: the clinic. ``actor``,
    ``role``: for the audit."""

    visit: Visit
    seat: Seat | None
    holder: UUID
    actor: UUID
    role: str


async def _asker(call: Call, connection: Connection, appointment: UUID) -> _Asker:
    """The visit and who asks: its doctor, its patient, or the clinic. Denied."""
    visit = await need(connection, appointment)
    if call.may("link.create.clinic"):
        person = call.principal.person
        return _Asker(visit, None, person, person, "staff")
    call.require("visit.join")
    who = await visitor(call, connection, visit)
    if who.seat is Seat.THIRD or (who.seat is Seat.PATIENT and visit.patient is None):
        raise Denied("not_your_visit", "The doctor and the patient ask people in, to a class only the doctor.")
    call.require("link.create")
    role = GUEST_LINK if who.role == GUEST_LINK else who.seat.word
    return _Asker(visit, who.seat, who.holder, who.actor or who.holder, role)


async def _invite(connection: Connection, asker: _Asker, body: NewLink, name: str, now: datetime) -> UUID:
    visit = asker.visit
    # The row of the appointment is the lock under which invitations are counted.
    await connection.execute("SELECT 1 FROM appointment WHERE id = $1 FOR UPDATE", visit.appointment)
    row = await connection.fetchrow(
        """SELECT count(*) AS all, count(*) FILTER (WHERE made_by = $2) AS own
           FROM join_invite WHERE appointment_id = $1 AND revoked_at IS NULL""",
        visit.appointment,
        asker.holder,
    )
    assert row is not None
    if row["all"] >= MAX_INVITES:
        raise Conflict("too_many_invites", f"A visit has at most {MAX_INVITES} invitations. Take one back first.")
    if asker.seat is Seat.PATIENT and row["own"] >= MAX_OF_PATIENT:
        detail = f"You can ask {MAX_OF_PATIENT} people in. Take one invitation back first, or ask the doctor."
        raise Conflict("too_many_invites", detail)
    invite = uuid7(now)
    await connection.execute(
        """INSERT INTO join_invite (id, appointment_id, kind, name, language, made_by, made_at)
           VALUES ($1, $2, $3, $4, $5, $6, $7)""",
        invite,
        visit.appointment,
        body.kind,
        name,
        body.language,
        asker.holder,
        now,
    )
    await _record(connection, asker, "visit.invite", invite, now)
    return invite


async def _record(connection: Connection, asker: _Asker, action: str, invite: UUID, now: datetime) -> None:
    entry = audit.Entry(
        actor=asker.actor,
        actor_role=asker.role,
        action=action,
        subject_kind="appointment",
        subject_id=asker.visit.appointment,
        facts={"invite": str(invite)},
    )
    await audit.record(connection, entry, now)
