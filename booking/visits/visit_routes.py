"""A visit for whoever has a seat in it: arrive, look, get the token of the call, write, go.

A token opens the room of this appointment under this epoch, for ten minutes at most, and is fetched anew while the
person may be in; each time the call itself is told to go on. So whoever is turned away, has moved to another device or
whose visit was called off is out by itself within minutes, even if nobody could be told.
"""

from datetime import datetime, timedelta
from typing import Annotated, Final, Literal
from uuid import UUID

from msgspec import Meta, Struct

from backplane.api import Call, Rate, Routes
from backplane.lines import LINES
from backplane.postgres import Connection
from booking.links.link import Seat
from booking.refusals import Conflict
from booking.visits.room_names import identity
from booking.visits.views import VisitView, visit_view
from booking.visits.visit import JOINING, Visit, need
from booking.visits.visitors import Visitor, claim, visitor
from booking.waiting_room import admittance
from live.notes import note_after

TOKEN_LIFETIME: Final = timedelta(minutes=10)
GUEST_RIGHTS: Final = ("publish", "subscribe", "share_screen")
HOST_RIGHTS: Final = (*GUEST_RIGHTS, "moderate")
MAX_NAME: Final = 64
routes = Routes(tag="visits")

DeviceCheck = Annotated[dict[Annotated[str, Meta(pattern="^[a-z_]{1,24}$")], bool], Meta(max_length=8)]
Text = Annotated[str, Meta(min_length=1, max_length=500), LINES]


class CheckIn(Struct, frozen=True, forbid_unknown_fields=True):
    """``device_check``: what the person's device can do, such as camera and microphone. ``switch``: take the seat over
    from another device."""

    device_check: DeviceCheck = {}
    switch: bool = False


class CheckedIn(Struct, frozen=True):
    """waiting, admitted, or elsewhere: another device has the seat; ask again with ``switch``."""

    state: Literal["waiting", "admitted", "elsewhere"]


class RoomToken(Struct, frozen=True):
    """``token`` joins the room with wadud.v1, under ``name``. Fetch the next one after ``refresh_after_s``."""

    token: str
    room: str
    identity: str
    name: str
    role: Literal["host", "guest"]
    expires_at: datetime
    refresh_after_s: int


class NewMessage(Struct, frozen=True, forbid_unknown_fields=True):
    body: Text


class MessageKept(Struct, frozen=True):
    seq: int


@routes.get(
    "/v1/visits/{appointment}",
    right="visit.join",
    guests="appointment",
    problems={403: ("not_your_visit",), 404: (), 410: ()},
)
async def read_visit(call: Call, appointment: UUID) -> VisitView:
    """The visit as its person sees it"""
    async with call.transaction() as connection:
        visit, who = await _at(call, connection, appointment)
        return await visit_view(connection, visit, who, call.now)


@routes.post(
    "/v1/visits/{appointment}/check-in",
    right="visit.join",
    guests="appointment",
    problems={403: ("not_your_visit", "denied"), 404: (), 409: ("not_open", "device_moved"), 410: ()},
)
async def check_in(call: Call, appointment: UUID, body: CheckIn) -> CheckedIn:
    """Say that one is ready; stands in line, or is back in a visit that is on"""
    joining = call.request.app[JOINING]
    async with call.transaction() as connection:
        visit, who = await _at(call, connection, appointment)
        if who.seat is Seat.PATIENT:
            await admittance.lock_line(connection, visit, call.now)
            visit, who = await _at(call, connection, appointment)  # as it is under the lock
        admittance.must_be_open(visit, call.now)
        if not await claim(connection, visit, who, call.now, switch=body.switch):
            return CheckedIn("elsewhere")
        state = await admittance.check_in(connection, joining.lifecycle, visit, who, body.device_check, call.now)
    note_after(call, visit.provider)
    return CheckedIn("admitted" if state == "admitted" else "waiting")


@routes.get(
    "/v1/visits/{appointment}/token",
    right="visit.join",
    guests="appointment",
    problems={403: ("not_your_visit",), 404: (), 409: ("not_open", "not_admitted", "device_moved"), 410: ()},
    rate=Rate(per_s=1, burst=20),
)
async def room_token(call: Call, appointment: UUID) -> RoomToken:
    """A token for the call, for who has been let in"""
    joining = call.request.app[JOINING]
    async with call.transaction() as connection:
        visit, who = await _at(call, connection, appointment)
        admittance.must_be_open(visit, call.now)
        await _must_be_admitted(connection, visit, who, call.now)
        name = await _name(connection, visit, who)
    until = min(call.now + TOKEN_LIFETIME, visit.window.closes_at)
    host = who.seat is Seat.DOCTOR
    room, who_in_room = joining.names.name(visit.room), identity(who.seat, who.holder)
    token, claims = joining.authority.issue(
        room=room,
        identity=who_in_room,
        name=name,
        role="host" if host else "guest",
        rights=HOST_RIGHTS if host else GUEST_RIGHTS,
        now=call.now.timestamp(),
        lifetime_s=max(1, int((until - call.now).total_seconds())),
    )
    expires = datetime.fromtimestamp(claims.exp, call.now.tzinfo)
    await joining.rooms.renew(room, who_in_room, expires)
    refresh = max(1, int((expires - call.now).total_seconds()) // 2)
    return RoomToken(token, room, who_in_room, name, "host" if host else "guest", expires, refresh)


@routes.post(
    "/v1/visits/{appointment}/leave",
    right="visit.join",
    guests="appointment",
    problems={403: ("not_your_visit",), 404: (), 410: ()},
)
async def leave(call: Call, appointment: UUID) -> None:
    """Go. Who was waiting gives up the place; who was in may come back while the visit is on"""
    joining = call.request.app[JOINING]
    async with call.transaction() as connection:
        visit, who = await _at(call, connection, appointment)
        held = await _device(connection, visit, who)
        await admittance.leave(connection, visit, who, call.now)
    if held == who.device:  # the person's newer device goes on
        await joining.rooms.put_out(joining.names.name(visit.room), identity(who.seat, who.holder))
    note_after(call, visit.provider)


@routes.post(
    "/v1/visits/{appointment}/messages",
    right="visit.join",
    guests="appointment",
    status=201,
    problems={403: ("not_your_visit", "denied"), 404: (), 409: ("not_open", "too_many_messages"), 410: ()},
    rate=Rate(per_s=1, burst=10),
)
async def write(call: Call, appointment: UUID, body: NewMessage) -> MessageKept:
    """A message to the others of the visit while waiting; in a class to the doctor and the clinic"""
    async with call.transaction() as connection:
        visit, who = await _at(call, connection, appointment)
        admittance.must_be_open(visit, call.now)
        if await connection.fetchval(
            "SELECT state = 'denied' FROM visit_seat WHERE (appointment_id, seat, holder) = ($1, $2, $3)",
            appointment,
            who.seat.word,
            who.holder,
        ):
            raise admittance.denied()
        number = await admittance.say(connection, visit, who.seat.word, who.holder, body.body, call.now)
    note_after(call, visit.provider)
    return MessageKept(number)


async def _at(call: Call, connection: Connection, appointment: UUID) -> tuple[Visit, Visitor]:
    visit = await need(connection, appointment)
    return visit, await visitor(call, connection, visit)


async def _device(connection: Connection, visit: Visit, who: Visitor) -> UUID | None:
    device: UUID | None = await connection.fetchval(
        "SELECT device FROM visit_seat WHERE (appointment_id, seat, holder) = ($1, $2, $3)",
        visit.appointment,
        who.seat.word,
        who.holder,
    )
    return device


async def _must_be_admitted(connection: Connection, visit: Visit, who: Visitor, now: datetime) -> None:
    row = await connection.fetchrow(
        """UPDATE visit_seat SET seen_at = $4, here = true
           WHERE (appointment_id, seat, holder) = ($1, $2, $3) AND device = $5 RETURNING state""",
        visit.appointment,
        who.seat.word,
        who.holder,
        now,
        who.device,
    )
    if row is None:
        if await _device(connection, visit, who) is not None:
            raise admittance.device_moved()
        raise Conflict("not_admitted", "Check in first.")
    if row["state"] != "admitted":
        raise Conflict("not_admitted", "The doctor has not let you in yet. Stay in the waiting room.")


async def _name(connection: Connection, visit: Visit, who: Visitor) -> str:
    if who.seat is Seat.DOCTOR:
        return shown(visit.doctor_name) or "Doctor"
    table = "join_invite" if who.seat is Seat.THIRD else "person"
    name = await connection.fetchval(f"SELECT name FROM {table} WHERE id = $1", who.holder)
    return shown(name or "") or "Guest"


def shown(name: str) -> str:
    """A name without what does not print, as long as a tile has room for."""
    return "".join(character for character in name if character.isprintable()).strip()[:MAX_NAME]
