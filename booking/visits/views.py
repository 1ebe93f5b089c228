"""What the screens show: a visit to somebody who has a seat in it, a line to the doctor and the clinic.

A view is the whole state and never a part of it: the HTTP routes answer with it and the live socket pushes it, so a
page that was away needs no history. Only messages are a list that grows, and they are numbered.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, Literal
from uuid import UUID

from msgspec import Struct

from backplane.postgres import Connection, Row
from booking.links.link import Seat
from booking.visits.visit import Visit
from booking.visits.visitors import ALIVE, Visitor
from booking.waiting_room.line import position
from booking.waiting_room.tickets import Line, Lines, line_once

MAX_QUEUE: Final = 200
MAX_CONVERSATION: Final = 20
End = Literal["cancelled", "over"]


class WaitRange(Struct, frozen=True):
    low_min: int
    high_min: int


class Message(Struct, frozen=True):
    """``from_seat``: patient, doctor, third or clinic. ``own``: written by who reads it; of a line, by the staff."""

    seq: int
    from_seat: str
    body: str
    at: datetime
    own: bool


class Other(Struct, frozen=True):
    """Somebody else with a seat. ``here``: the page is open."""

    seat: str
    holder: UUID
    name: str
    state: str
    here: bool


class VisitView(Struct, frozen=True):
    """A visit as one of its people sees it.

    ``state``: of one's own seat. ``end`` is set when nobody can come in any more, ``status`` then says why and
    ``payment`` what became of the money. ``position`` and ``wait`` are null when they are not known. ``doctor_slug``
    leads to the doctor's page; ``talked_s`` is how long doctor and patient were together, for who is out.
    """

    appointment: UUID
    seat: str
    state: str
    status: str
    end: End | None
    payment: str
    doctor: str
    doctor_slug: str
    doctor_here: bool
    clinic: str
    starts_at: datetime
    ends_at: datetime
    opens_at: datetime
    closes_at: datetime
    timezone: str
    arrived_at: datetime | None
    position: int | None
    wait: WaitRange | None
    delay_minutes: int
    talked_s: int | None
    others: list[Other]
    messages: list[Message]


class Companion(Struct, frozen=True):
    """Somebody asked in to a visit, who waits for it or is in it; ``holder`` as /v1/visits/{id}/admit takes it."""

    holder: UUID
    name: str
    state: str
    here: bool


class QueueEntry(Struct, frozen=True):
    """One person in a line. ``place`` is null for who is in, or has lost the place. ``messages``: the newest of what
    this person and the staff wrote to each other."""

    ticket: UUID
    no: int
    kind: str
    state: str
    place: int | None
    appointment: UUID | None
    patient: UUID
    name: str
    status: str | None
    payment: str | None
    starts_at: datetime | None
    joined_at: datetime
    here: bool
    device_check: dict[str, bool]
    messages: list[Message]
    companions: list[Companion]


class QueueView(Struct, frozen=True):
    provider: UUID
    day: str
    delay_minutes: int
    entries: list[QueueEntry]


async def seats_of(connection: Connection, visit: Visit, now: datetime) -> Sequence[Row]:
    """Everybody who has come, in order of arrival; ``ticket`` is that of a patient who waits."""
    return await connection.fetch(
        """SELECT s.seat, s.holder, s.device, s.state, s.here AND s.seen_at > $2 AS here, s.arrived_at,
               coalesce(i.name, p.name, '') AS name, i.revoked_at,
               CASE WHEN s.seat = 'patient' THEN (
                   SELECT q.id FROM queue_ticket q WHERE q.appointment_id = s.appointment_id
                   AND q.patient_id = s.holder AND q.state = 'waiting') END AS ticket
           FROM visit_seat s LEFT JOIN join_invite i ON s.seat = 'third' AND i.id = s.holder
           LEFT JOIN person p ON s.seat <> 'third' AND p.id = s.holder
           WHERE s.appointment_id = $1 ORDER BY s.arrived_at""",
        visit.appointment,
        now - ALIVE,
    )


async def visit_view(
    connection: Connection,
    visit: Visit,
    visitor: Visitor,
    now: datetime,
    *,
    after: int = 0,
    seats: Sequence[Row] | None = None,
    lines: Lines | None = None,
) -> VisitView:
    """``after``: messages with greater numbers only. ``seats``: of this visit, when the caller has read them.
    ``lines``: what was read of lines in this moment."""
    if seats is None:
        seats = await seats_of(connection, visit, now)
    own = next((row for row in seats if (row["seat"], row["holder"]) == (visitor.seat.word, visitor.holder)), None)
    others = [
        Other(
            row["seat"],
            row["holder"],
            visit.doctor_name if row["seat"] == "doctor" else row["name"],
            row["state"],
            bool(row["here"]),
        )
        for row in seats
        if row is not own
    ]
    if visitor.seat is not Seat.DOCTOR and visit.kind == "class":
        others = [other for other in others if other.seat == "doctor"]  # a class does not show its patients around
    place, wait, delay = None, None, timedelta(0)
    if visitor.seat is Seat.PATIENT and own is not None and own["state"] == "waiting":
        line = await line_once(connection, visit.provider, now, {} if lines is None else lines)
        delay = line.delay
        if own["ticket"] is not None:
            place = line.position(own["ticket"], now)
            wait = line.wait(own["ticket"], now, visit.starts_at)
    end, patient = _end(visit, now), visitor.holder if visitor.seat is Seat.PATIENT else None
    left = own is not None and own["state"] in ("left", "denied")
    window = visit.window
    return VisitView(
        appointment=visit.appointment,
        seat=visitor.seat.word,
        state="away" if own is None else own["state"],
        status=visit.status,
        end=end,
        payment=visit.payment,
        doctor=visit.doctor_name,
        doctor_slug=visit.doctor_slug,
        doctor_here=any(row["seat"] == "doctor" and row["here"] for row in seats),
        clinic=visit.clinic,
        starts_at=visit.starts_at,
        ends_at=visit.ends_at,
        opens_at=window.opens_at,
        closes_at=window.closes_at,
        timezone=visit.timezone,
        arrived_at=None if own is None else own["arrived_at"],
        position=place,
        wait=None if wait is None else WaitRange(wait.low_min, wait.high_min),
        delay_minutes=_whole_minutes(delay),
        talked_s=await talked_s(connection, visit, patient, now) if left or end else None,
        others=others,
        messages=await messages(connection, visit, visitor, after),
    )


async def talked_s(connection: Connection, visit: Visit, patient: UUID | None, now: datetime) -> int | None:
    """Seconds from when doctor and patient first were connected until they last were. ``patient`` None: anyone."""
    seconds: float | None = await connection.fetchval(
        """SELECT extract(epoch FROM max(least(coalesce(d.left_at, $3), coalesce(p.left_at, $3)))
               - min(greatest(d.connected_at, p.connected_at)))::float8
           FROM call_session d JOIN call_session p USING (appointment_id)
           WHERE appointment_id = $1 AND d.seat = 'doctor' AND p.seat = 'patient'
             AND ($2::uuid IS NULL OR p.holder = $2) AND greatest(d.connected_at, p.connected_at)
                 < least(coalesce(d.left_at, $3), coalesce(p.left_at, $3))""",
        visit.appointment,
        patient,
        now,
    )
    return None if seconds is None else round(seconds)


async def messages(connection: Connection, visit: Visit, visitor: Visitor, after: int) -> list[Message]:
    """In a class everybody speaks with the doctor and the clinic: no patient reads what another one writes, nor what
    is answered to another one."""
    rows = await connection.fetch(
        """SELECT seq, from_seat, (from_seat, sender) = ($4, $5) AS own, body, at FROM waiting_message
           WHERE appointment_id = $1 AND seq > $2 AND ($3 OR (from_seat, sender) = ($4, $5)
               OR from_seat IN ('doctor', 'clinic') AND (to_patient IS NULL OR $4 = 'patient' AND to_patient = $5))
           ORDER BY seq""",
        visit.appointment,
        after,
        visitor.seat is Seat.DOCTOR or visit.kind != "class",
        visitor.seat.word,
        visitor.holder,
    )
    return [Message(row["seq"], row["from_seat"], row["body"], row["at"], row["own"]) for row in rows]


async def _conversations(connection: Connection, entries: Sequence[Row]) -> Mapping[UUID, list[Message]]:
    """By ticket what its person and the staff wrote to each other, the newest."""
    rows = await connection.fetch(
        """SELECT q.id, m.* FROM queue_ticket q, LATERAL (
               SELECT seq, from_seat, body, at FROM waiting_message w WHERE w.appointment_id = q.appointment_id
               AND (w.sender = q.patient_id OR w.from_seat IN ('doctor', 'clinic')
                    AND coalesce(w.to_patient, q.patient_id) = q.patient_id
                    OR w.from_seat = 'third' AND EXISTS (
                        SELECT FROM appointment a WHERE a.id = q.appointment_id AND a.patient_id IS NOT NULL))
               ORDER BY seq DESC LIMIT $2) m
           WHERE q.id = ANY($1) ORDER BY m.seq""",
        [row["id"] for row in entries],
        MAX_CONVERSATION,
    )
    found: dict[UUID, list[Message]] = {}
    for row in rows:
        own = row["from_seat"] in ("doctor", "clinic")
        found.setdefault(row["id"], []).append(Message(row["seq"], row["from_seat"], row["body"], row["at"], own))
    return found


async def _companions(connection: Connection, entries: Sequence[Row], now: datetime) -> Mapping[UUID, list[Companion]]:
    """By appointment the third persons who wait for it or are in it, whom its doctor lets in like the patient."""
    rows = await connection.fetch(
        """SELECT s.appointment_id, s.holder, i.name, s.state, s.here AND s.seen_at > $2 AS here
           FROM visit_seat s JOIN join_invite i ON i.id = s.holder
           WHERE s.appointment_id = ANY($1) AND s.seat = 'third' AND s.state IN ('waiting', 'admitted')
             AND i.revoked_at IS NULL ORDER BY s.arrived_at""",
        [row["appointment_id"] for row in entries if row["appointment_id"] is not None],
        now - ALIVE,
    )
    found: dict[UUID, list[Companion]] = {}
    for row in rows:
        each = Companion(row["holder"], row["name"], row["state"], row["here"])
        found.setdefault(row["appointment_id"], []).append(each)
    return found


async def queue_view(connection: Connection, provider: UUID, line: Line, now: datetime) -> QueueView:
    """Those who wait or are in, in order; a visit that was called off is not shown, whatever its ticket says."""
    rows = await connection.fetch(
        """SELECT q.id, q.no, q.kind, q.state, q.appointment_id, q.patient_id, q.joined_at, q.rank,
               q.here AND q.seen_at > $3 AS here, p.name, a.status, a.payment, lower(a.during) AS starts_at,
               coalesce(s.device_check, '{}') AS device_check
           FROM queue_ticket q JOIN person p ON p.id = q.patient_id
           LEFT JOIN appointment a ON a.id = q.appointment_id
           LEFT JOIN visit_seat s ON (s.appointment_id, s.seat, s.holder) = (q.appointment_id, 'patient', q.patient_id)
           WHERE q.provider_id = $1 AND q.day = ANY($2) AND q.state IN ('waiting', 'admitted')
             AND (a.id IS NULL OR a.status IN ('confirmed', 'checked_in', 'in_progress', 'interrupted', 'completed'))
           ORDER BY q.state, q.rank, q.day, q.no LIMIT $4""",
        provider,
        line.days,
        now - ALIVE,
        MAX_QUEUE,
    )
    talks = await _conversations(connection, rows)
    companions = await _companions(connection, rows, now)
    return QueueView(
        provider,
        line.days[-1].isoformat(),
        _whole_minutes(line.delay),
        [
            QueueEntry(
                ticket=row["id"],
                no=row["no"],
                kind=row["kind"],
                state=row["state"],
                place=position(line.waiting, row["id"], now),
                appointment=row["appointment_id"],
                patient=row["patient_id"],
                name=row["name"],
                status=row["status"],
                payment=row["payment"],
                starts_at=row["starts_at"],
                joined_at=row["joined_at"],
                here=row["here"],
                device_check=row["device_check"],
                messages=talks.get(row["id"], []),
                companions=companions.get(row["appointment_id"], []),
            )
            for row in rows
        ],
    )


def _end(visit: Visit, now: datetime) -> End | None:
    if visit.status.startswith("cancelled") or visit.status in ("declined", "expired"):
        return "cancelled"
    if visit.enterable(now) or visit.window.state(now) == "early":
        return None
    return "over"


def _whole_minutes(length: timedelta) -> int:
    return -(-int(length.total_seconds()) // 60)
