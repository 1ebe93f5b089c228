"""Looking at appointments: lists by what one is, one, its history, its terms, its entry for a calendar."""

from datetime import UTC, datetime
from typing import Annotated, Final
from uuid import UUID

from aiohttp import web
from icalendar import Calendar, Event
from msgspec import Meta, Struct, field

from backplane.api import Call, Routes
from backplane.bounds import Moment
from backplane.paging import Page, decode_cursor, page_of
from backplane.postgres import Connection, Row
from backplane.principal import Principal
from booking import access_policy, policy
from booking.access_policy import sees_clinics_appointments
from booking.appointments import classes
from booking.appointments.changes import terms_of
from booking.appointments.lists import Wanted, statement
from booking.appointments.record import Record, need, record
from booking.appointments.views import Appointment, Change, ClassSession, Instant, Seat, Status, TermsNow
from booking.appointments.views import appointment as view
from booking.identity.dependants import acted_for

routes = Routes(tag="booking")
MOST: Final = 100
_STATUS: Final = {"cancelled": "CANCELLED", "expired": "CANCELLED", "declined": "CANCELLED"}


class AppointmentQuery(Struct, forbid_unknown_fields=True, kw_only=True):
    """Begins in [``from``, ``to``). ``mine``: only those one is part of, although one may see the clinic's."""

    from_: Instant | None = field(default=None, name="from")
    to: Instant | None = None
    status: Status | None = None
    provider: UUID | None = None
    patient: UUID | None = None
    service: UUID | None = None
    mine: bool = False
    cursor: Annotated[str, Meta(max_length=512)] | None = None
    limit: Annotated[int, Meta(ge=1, le=MOST)] = 20


class ClassQuery(Struct, forbid_unknown_fields=True, kw_only=True):
    provider: UUID | None = None
    service: UUID | None = None
    limit: Annotated[int, Meta(ge=1, le=MOST)] = 20


@routes.get("/v1/appointments", right="appointment.read")
async def appointments(call: Call, query: AppointmentQuery) -> Page[Appointment]:
    """Appointments that one may see, by their start

    Staff see the clinic's, doctors theirs, patients their own and those of the people they care for.
    """
    who = call.principal
    sql, values = statement(
        Wanted(
            person=who.person,
            day=call.now.date(),
            everybody=sees_clinics_appointments(who) and not query.mine,
            booked=sees_clinics_appointments(who),
            begin=query.from_,
            end=query.to,
            status=query.status,
            provider=query.provider,
            patient=query.patient,
            service=query.service,
            after=None if query.cursor is None else decode_cursor(query.cursor, tuple[Moment, UUID]),
            limit=query.limit + 1,
        )
    )
    async with call.transaction() as connection:
        rows = await connection.fetch(sql, *values)
    return page_of(
        rows,
        query.limit,
        lambda row: _view(record(row, who.person), who),
        lambda row: (row["starts_at"], row["id"]),
    )


# before the route below, whose path would match it
@routes.get(
    "/v1/appointments/{appointment}.ics",
    right="appointment.read",
    guests="appointment",
    problems={404: ()},
    content_type="text/calendar",
)
async def ics(call: Call, appointment: UUID) -> web.Response:
    """An appointment for one's own calendar, without a word of what it is about"""
    async with call.transaction() as connection:
        found = await need(connection, appointment, call.principal, call.now)
    return web.Response(
        body=entry(found.row, call.services.urls.host, call.now),
        content_type="text/calendar",
        charset="utf-8",
        headers={
            "Content-Disposition": 'attachment; filename="appointment.ics"',
            "Cache-Control": "no-store",
        },
    )


@routes.get("/v1/appointments/{appointment}", right="appointment.read", guests="appointment", problems={404: ()})
async def one(call: Call, appointment: UUID) -> Appointment:
    """One appointment"""
    async with call.transaction() as connection:
        return await shown(connection, call.principal, appointment, call.now)


async def shown(connection: Connection, who: Principal, appointment: UUID, now: datetime) -> Appointment:
    """The appointment as ``who`` may see it; of a class with the seats that are theirs to see. NotFound."""
    found = await need(connection, appointment, who, now)
    seats = None
    if found.is_class:
        everything = access_policy.sees_every_seat(who, found.stake)
        rows = await classes.roster(connection, found.id)
        look = await acted_for(connection, who.person, "read", now)
        book = await acted_for(connection, who.person, "book", now)
        seats = [
            Seat(id=row["id"], no=row["no"], patient=row["patient_id"], payment=row["payment"])
            for row in rows
            if everything or row["patient_id"] in look or (row["patient_id"] in book and row["booked_by"] == who.person)
        ]
    return _view(found, who, seats)


def _view(found: Record, who: Principal, seats: list[Seat] | None = None) -> Appointment:
    return view(
        found.row,
        private=access_policy.sees_private_words(who, found.stake),
        named=access_policy.sees_patients_name(who, found.stake),
        seats=seats,
    )


@routes.get(
    "/v1/appointments/{appointment}/transitions", right="appointment.read", guests="appointment", problems={404: ()}
)
async def transitions(call: Call, appointment: UUID) -> list[Change]:
    """What happened to an appointment, oldest first"""
    async with call.transaction() as connection:
        found = await need(connection, appointment, call.principal, call.now)
        rows = await connection.fetch(
            """SELECT action, from_status, to_status, actor, actor_role, cause, seat_id, at FROM transition
               WHERE appointment_id = $1 ORDER BY id""",
            appointment,
        )
        everything = access_policy.sees_whole_history(call.principal, found.stake, is_class=found.is_class)
    return [
        Change(
            action=row["action"],
            from_status=row["from_status"],
            to_status=row["to_status"],
            by=row["actor_role"],
            self=row["actor"] == call.principal.person,
            cause=row["cause"],
            seat=row["seat_id"],
            at=row["at"],
        )
        for row in rows
        if everything or row["seat_id"] is None or row["actor"] == call.principal.person
    ]


@routes.get("/v1/appointments/{appointment}/terms", right="appointment.read", guests="appointment", problems={404: ()})
async def terms(call: Call, appointment: UUID) -> TermsNow:
    """What cancelling or moving would cost now"""
    async with call.transaction() as connection:
        found, cancelling, moving = await terms_of(connection, call.principal, appointment, call.now)
    fee = policy.share(found.row["price_minor"], cancelling.fee_bp)
    return TermsNow(
        may_cancel=cancelling.allowed,
        cancel_until=cancelling.until,
        steps=list(policy.steps(found.policy, found.starts_at, found.row["price_minor"])),
        fee_minor=fee,
        refund_minor=found.row["price_minor"] - fee,
        currency=found.row["currency"],
        may_reschedule=moving.allowed,
        reschedule_until=moving.until,
    )


def entry(row: Row, host: str, now: datetime) -> bytes:
    """RFC 5545. Times in UTC: a file that is fetched once needs no description of a zone."""
    event = Event()
    event.add("uid", f"{row['id']}@{host.partition(':')[0]}")
    event.add("sequence", row["ics_sequence"])
    event.add("dtstamp", now)
    event.add("dtstart", row["starts_at"].astimezone(UTC))
    event.add("dtend", row["ends_at"].astimezone(UTC))
    event.add("summary", "Appointment")
    event.add("class", "PRIVATE")
    state = "TENTATIVE" if row["status"] in ("held", "requested") else "CONFIRMED"
    event.add("status", _STATUS.get(row["status"].partition("_")[0], state))
    calendar = Calendar()
    calendar.add("prodid", "-//Wadud//booking//EN")
    calendar.add("version", "2.0")
    calendar.add("method", "PUBLISH")
    calendar.add_component(event)
    return bytes(calendar.to_ical())


@routes.get("/v1/classes")
async def open_classes(call: Call, query: ClassQuery) -> list[ClassSession]:
    """Classes to come that have seats left"""
    async with call.transaction() as connection:
        rows = await connection.fetch(
            """SELECT a.id, a.service_id, a.provider_id, s.name, a.during, a.capacity,
                   a.capacity - a.seats_taken AS seats_left, a.price_minor, a.currency
               FROM appointment a JOIN service s ON s.id = a.service_id JOIN provider p ON p.id = a.provider_id
               WHERE a.kind = 'class' AND a.status = 'confirmed' AND a.starts_at > $1 AND a.seats_taken < a.capacity
                   AND p.status = 'approved' AND ($2::uuid IS NULL OR a.provider_id = $2)
                   AND ($3::uuid IS NULL OR a.service_id = $3)
               ORDER BY a.starts_at, a.id LIMIT $4""",
            call.now,
            query.provider,
            query.service,
            query.limit,
        )
    return [
        ClassSession(
            id=row["id"],
            service=row["service_id"],
            provider=row["provider_id"],
            name=row["name"],
            starts_at=row["during"].lower,
            ends_at=row["during"].upper,
            capacity=row["capacity"],
            seats_left=row["seats_left"],
            price_minor=row["price_minor"],
            currency=row["currency"],
        )
        for row in rows
    ]
