"""Who comes to a visit: a signed-in person who has a seat in it, or the holder of a pass.

A doctor's seat is the doctor's alone and needs the doctor's own session: a link that was forwarded gives nobody the
rights of a host. A patient's seat is taken by the patient, by who cares for them, or by whoever has the link. One
device has a seat at a time: the newer one asks whether it shall take over, and the older one is told.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from aiohttp import web

from backplane.api import Call
from backplane.postgres import Connection
from backplane.principal import Principal, Tenant
from backplane.proxies import same_origin
from backplane.routes import ROUTE
from booking.links.link import Seat
from booking.links.passes import Pass, Passes
from booking.refusals import Denied, Gone
from booking.rights import GUEST_LINK, rights_of
from booking.tenants import Clinic
from booking.visits.visit import JOINING, Visit

HEADER: Final = "Visit-Pass"
ALIVE: Final = timedelta(seconds=45)  # a device that was heard of so lately counts as being there
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True, slots=True)
class Visitor:
    """``holder``: as in a link. ``device``: of the pass, or the session of an account. ``role``: for the audit."""

    seat: Seat
    holder: UUID
    device: UUID
    actor: UUID | None
    role: str


def cookie_name(appointment: UUID) -> str:
    """One cookie per visit, so that a family's visits do not push each other out."""
    return f"visit-{appointment.hex[-16:]}"


def read_pass(request: web.Request, passes: Passes, appointment: UUID, now: datetime) -> Pass | None:
    """The pass for this visit that came with the request. A cookie counts on unsafe methods only from our pages."""
    text = request.headers.get(HEADER)
    if text is None and (request.method in _SAFE or same_origin(request)):
        text = request.cookies.get(cookie_name(appointment))
    held = None if text is None else passes.read(text, now)
    return held if held is not None and held.appointment == appointment else None


def guest_principal(request: web.Request, tenant: Tenant, passes: Passes, now: datetime) -> Principal | None:
    """Who a request is from when no account says so: the holder of a pass, where the route lets guests in, and for that
    very appointment only.

    A link was given for one visit, so it must not show or change the patient's other ones.
    """
    named = request[ROUTE].guests
    if named is None:
        return None
    try:
        appointment = UUID(request.match_info[named])
    except ValueError:
        return None
    held = read_pass(request, passes, appointment, now)
    if held is None or held.tenant != tenant.id or held.seat is Seat.DOCTOR:
        return None
    rights = rights_of([GUEST_LINK], tenant.policy if isinstance(tenant, Clinic) else None)
    if held.seat is Seat.THIRD:  # an interpreter neither cancels nor reads
        rights &= {"visit.join", "visit.join.own"}
    return Principal(held.holder, tenant.id, frozenset({GUEST_LINK}), rights, held.device)


async def visitor(call: Call, connection: Connection, visit: Visit) -> Visitor:
    """The seat of who asks. Denied not_your_visit, Gone link_replaced or invitation_withdrawn."""
    who = call.who
    if who is not None and GUEST_LINK not in who.roles:
        if who.person == visit.doctor:
            return Visitor(Seat.DOCTOR, who.person, who.session, who.person, "doctor")
        patient = await _patient_for(connection, visit, who.person, call.now)
        if patient is not None:
            return Visitor(Seat.PATIENT, patient, who.session, who.person, "patient")
    held = read_pass(call.request, call.request.app[JOINING].passes, visit.appointment, call.now)
    if held is None or held.tenant != visit.tenant:
        raise Denied("not_your_visit", "This visit is somebody else's. Open the link of your own invitation.")
    return await of_pass(connection, visit, held)


async def of_pass(connection: Connection, visit: Visit, held: Pass) -> Visitor:
    """The seat that a pass still gives. Gone as `visitor`."""
    if visit.status.startswith("cancelled"):
        raise Gone("visit_cancelled", "This visit was cancelled. Book another time with the clinic.")
    if held.epoch != visit.epoch:
        raise Gone("link_replaced", "The visit was changed. Open the link of the newest message.")
    if held.seat is Seat.THIRD and not await invited(connection, visit, held.holder):
        raise Gone("invitation_withdrawn", "The invitation was taken back. Ask who invited you.")
    holder = seat_holder(visit, held.seat, held.holder)
    if held.seat is Seat.PATIENT and not await takes_part(connection, visit, holder):
        raise Gone("visit_cancelled", "This seat was given up. Book another one with the clinic.")
    actor = None if held.seat is Seat.THIRD else holder
    return Visitor(held.seat, holder, held.device, actor, GUEST_LINK)


def seat_holder(visit: Visit, seat: Seat, holder: UUID) -> UUID:
    """Who has the seat now that was given to ``holder``: a visitor may have become somebody known since."""
    return visit.patient if seat is Seat.PATIENT and visit.patient is not None else holder


async def doctor_of(call: Call, visit: Visit) -> Visitor:
    """The doctor of this visit, signed in. Unauthenticated or Denied."""
    who = call.require("visit.host")
    if who.person != visit.doctor:
        raise Denied("not_your_visit", "Only the doctor of this visit can do this.")
    return Visitor(Seat.DOCTOR, who.person, who.session, who.person, "doctor")


async def invited(connection: Connection, visit: Visit, invite: UUID) -> bool:
    """Whether the invitation of a third person stands."""
    query = "SELECT true FROM join_invite WHERE id = $1 AND appointment_id = $2 AND revoked_at IS NULL"
    return bool(await connection.fetchval(query, invite, visit.appointment))


async def claim(connection: Connection, visit: Visit, visitor: Visitor, now: datetime, *, switch: bool) -> bool:
    """Give the seat to the visitor's device. False: another device has it and is there, and nobody said `switch`."""
    return bool(
        await connection.fetchval(
            """
            INSERT INTO visit_seat AS s (appointment_id, seat, holder, device, here, seen_at)
            VALUES ($1, $2, $3, $4, true, $5)
            ON CONFLICT (appointment_id, seat, holder) DO UPDATE SET device = $4, here = true, seen_at = $5
            WHERE s.device IS NULL OR s.device = $4 OR NOT s.here OR s.seen_at < $6 OR $7
            RETURNING true""",
            visit.appointment,
            visitor.seat.word,
            visitor.holder,
            visitor.device,
            now,
            now - ALIVE,
            switch,
        )
    )


async def takes_part(connection: Connection, visit: Visit, patient: UUID) -> bool:
    """Whether this is the visit's patient, or has a seat in the class."""
    if visit.patient is not None:
        return patient == visit.patient
    query = "SELECT true FROM seat WHERE appointment_id = $1 AND patient_id = $2 AND status = 'confirmed'"
    return bool(await connection.fetchval(query, visit.appointment, patient))


async def _patient_for(connection: Connection, visit: Visit, person: UUID, now: datetime) -> UUID | None:
    """In whose seat ``person`` sits: their own, or that of somebody they care for."""
    if await takes_part(connection, visit, person):
        return person
    patient: UUID | None = await connection.fetchval(
        """SELECT d.person_id FROM dependant d
           WHERE d.guardian_id = $2 AND d.ended_at IS NULL AND 'join' = ANY(d.rights)
             AND (d.until IS NULL OR d.until > $4)
             AND (d.person_id = $3 OR $3 IS NULL AND EXISTS (
                 SELECT FROM seat s WHERE s.appointment_id = $1 AND s.patient_id = d.person_id
                 AND s.status = 'confirmed')) LIMIT 1""",
        visit.appointment,
        person,
        visit.patient,
        now.date(),
    )
    return patient
