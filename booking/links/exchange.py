"""From a link to a seat: a look that spends nothing, and an exchange that only a click makes.

    page --look--> who and when, a gesture --click--> exchange --> a pass for this device

Mail scanners fetch links, and some submit the forms that they find. So a GET gives the page and touches nothing; a
look reads; and the exchange wants JSON from a page of ours with the gesture that the look gave. Even then nothing is
used up: the same link works again on the next device. A time that is not the visit's is no error of the person: the
answer says when to come. A device that finds the seat taken is asked before it takes over.

The doctor's link opens the doctor's visit only under the doctor's own session. For a patient the clinic may ask for the
year of birth (policy ``join.birth_year``); after `BIRTH_TRIES` mistakes the clinic has to vouch for the person itself.
"""

from datetime import datetime
from typing import Annotated, Final, Literal
from uuid import UUID

from msgspec import Meta, Struct

from backplane.api import Answer, Call, Rate, Routes
from backplane.ids import uuid7
from backplane.postgres import Connection
from backplane.proxies import same_origin
from backplane.web import Problem
from booking.links.link import BadLink, Link, Seat
from booking.links.passes import PASS_LIFETIME, Pass
from booking.refusals import Denied, NotFound, Refusal
from booking.rights import GUEST_LINK
from booking.visits.views import talked_s
from booking.visits.visit import JOINING, VOUCHED, Visit, load
from booking.visits.visitors import Visitor, claim, cookie_name, invited, seat_holder, takes_part

BIRTH_TRIES: Final = 5
routes = Routes(tag="join")

State = Literal["open", "early", "over", "replaced", "cancelled", "withdrawn"]
Token = Annotated[str, Meta(min_length=1, max_length=200)]


class Look(Struct, frozen=True, forbid_unknown_fields=True):
    """``token``: what stands behind the # of the link."""

    token: Token


class Looked(Struct, frozen=True):
    """What the page of a link shows, in neutral words. Times are given while the link still means this visit.

    ``status`` says why a visit is over or cancelled; ``doctor_slug`` and ``talked_s`` are as in the visit's own view.
    ``gesture`` goes into the exchange when the person clicks; it is null unless the visit can be entered now.
    """

    state: State
    clinic: str
    language: str
    seat: Literal["patient", "doctor", "third"]
    status: str | None = None
    doctor: str | None = None
    doctor_slug: str | None = None
    talked_s: int | None = None
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    opens_at: datetime | None = None
    timezone: str | None = None
    needs_birth_year: bool = False
    needs_sign_in: bool = False
    gesture: str | None = None


class Exchange(Struct, frozen=True, forbid_unknown_fields=True):
    """``switch``: take the seat over from another device. ``bearer``: for an embedded page, which has no cookie."""

    token: Token
    gesture: Annotated[str, Meta(min_length=1, max_length=200)]
    switch: bool = False
    bearer: bool = False
    birth_year: Annotated[int, Meta(ge=1890, le=2200)] | None = None


class Exchanged(Struct, frozen=True):
    """``state`` seated: the device has the seat; ``bearer`` only when it was asked for, for the header Visit-Pass.
    elsewhere: another device has it; ask again with ``switch``. Otherwise as in a look."""

    state: Literal["seated", "elsewhere", "open", "early", "over", "replaced", "cancelled", "withdrawn"]
    appointment: UUID | None = None
    seat: Literal["patient", "doctor", "third"] | None = None
    starts_at: datetime | None = None
    opens_at: datetime | None = None
    expires_at: datetime | None = None
    bearer: str | None = None


@routes.post("/v1/join/look", problems={404: ("unknown_link",)}, rate=Rate(per_s=5, burst=60))
async def look(call: Call, body: Look) -> Looked:
    """Who and when a join link is for; spends nothing"""
    joining = call.request.app[JOINING]
    link = _read(call, body.token)
    async with call.db.tenant(link.tenant) as connection:
        visit, state = await _state(connection, link, call.now)
        patient = seat_holder(visit, link.seat, link.holder) if link.seat is Seat.PATIENT else None
        talked = await talked_s(connection, visit, patient, call.now) if state == "over" else None
    known = state in ("open", "early", "over")
    return Looked(
        state=state,
        clinic=visit.clinic,
        language=link.language,
        seat=_seat(link.seat),
        status=visit.status if state in ("over", "cancelled") else None,
        doctor=visit.doctor_name if known else None,
        doctor_slug=visit.doctor_slug if known else None,
        talked_s=talked,
        starts_at=visit.starts_at if known else None,
        ends_at=visit.ends_at if known else None,
        opens_at=visit.window.opens_at if known else None,
        timezone=visit.timezone if known else None,
        needs_birth_year=_asks_birth_year(visit, link),
        needs_sign_in=link.seat is Seat.DOCTOR,
        gesture=joining.passes.gesture(body.token, call.now) if state == "open" else None,
    )


@routes.post(
    "/v1/join/exchange",
    problems={
        401: ("sign_in",),
        403: ("not_a_click", "not_your_visit", "birth_year_needed", "birth_year_wrong", "ask_the_clinic"),
        404: ("unknown_link",),
    },
    rate=Rate(per_s=2, burst=30),
)
async def exchange(call: Call, body: Exchange) -> Answer[Exchanged]:
    """Take a seat by a click on a join link"""
    joining = call.request.app[JOINING]
    link = _read(call, body.token)
    if not same_origin(call.request) or not joining.passes.gestured(body.gesture, body.token, call.now):
        raise Denied("not_a_click", "Open the link in a browser and press the button there.")
    device = uuid7(call.now)
    refused: Refusal | None = None
    async with call.transaction() as connection:
        visit, state = await _state(connection, link, call.now)
        if state != "open":
            early = state == "early"
            return Answer(
                Exchanged(
                    state,
                    starts_at=visit.starts_at if early else None,
                    opens_at=visit.window.opens_at if early else None,
                )
            )
        if link.seat is Seat.DOCTOR:
            device = _doctors_session(call, visit)
        else:
            device = _same_device(call, link) or device
        holder = seat_holder(visit, link.seat, link.holder)
        visitor = Visitor(link.seat, holder, device, holder, GUEST_LINK)
        if _asks_birth_year(visit, link):
            refused = await _birth_year(connection, visit, holder, body.birth_year)
        # A wrong year is counted, so it is raised only after the commit.
        if refused is None and not await claim(connection, visit, visitor, call.now, switch=body.switch):
            return Answer(Exchanged("elsewhere", visit.appointment, _seat(link.seat), visit.starts_at))
    if refused is not None:
        raise refused
    return _seated(call, visit, visitor, bearer=body.bearer)


def _seated(call: Call, visit: Visit, visitor: Visitor, *, bearer: bool) -> Answer[Exchanged]:
    expires = call.now + PASS_LIFETIME
    given = Pass(visit.tenant, visit.appointment, visitor.seat, visitor.holder, visit.epoch, visitor.device, expires)
    # A doctor has a session already; a pass beside it would only be one more thing to lose.
    text = None if visitor.seat is Seat.DOCTOR else call.request.app[JOINING].passes.sign(given)
    headers = {}
    if text is not None and not bearer:
        secure = "; Secure" if call.request.secure else ""
        headers["Set-Cookie"] = (
            f"{cookie_name(visit.appointment)}={text}; Path=/v1/; Max-Age={int(PASS_LIFETIME.total_seconds())}; "
            f"HttpOnly; SameSite=Strict{secure}"
        )
    body = Exchanged(
        "seated",
        visit.appointment,
        _seat(visitor.seat),
        visit.starts_at,
        visit.window.opens_at,
        expires,
        text if bearer else None,
    )
    return Answer(body, headers)


async def _state(connection: Connection, link: Link, now: datetime) -> tuple[Visit, State]:
    """What has become of a link. NotFound when its appointment is gone."""
    visit = await load(connection, link.appointment)
    if visit is None:
        raise _unknown()
    if visit.status.startswith("cancelled") or visit.status in ("declined", "expired"):
        return visit, "cancelled"
    if link.epoch != visit.epoch:
        return visit, "replaced"
    if link.seat is Seat.THIRD and not await invited(connection, visit, link.holder):
        return visit, "withdrawn"
    holder = seat_holder(visit, link.seat, link.holder)
    if link.seat is Seat.PATIENT and not await takes_part(connection, visit, holder):
        return visit, "cancelled"
    match visit.window.state(now):
        case "early":
            return visit, "early"
        case "open" if visit.enterable(now):
            return visit, "open"
    return visit, "over"


def _read(call: Call, token: str) -> Link:
    try:
        link = call.request.app[JOINING].links.read(token)
    except BadLink:
        raise _unknown() from None
    if link.tenant != call.tenant.id:
        raise _unknown()
    return link


def _unknown() -> Refusal:
    return NotFound("unknown_link", "This is no link of this clinic. Copy the whole link from the message.")


def _doctors_session(call: Call, visit: Visit) -> UUID:
    if call.who is None:
        raise Problem(401, "sign_in", "Sign in to open your visit.", {"WWW-Authenticate": "Bearer"})
    if call.who.person != visit.doctor:
        raise Denied("not_your_visit", "This is the link of the visit's doctor. Sign in as that doctor.")
    return call.who.session


def _same_device(call: Call, link: Link) -> UUID | None:
    """The device's id of before, when it comes again through the link."""
    passes = call.request.app[JOINING].passes
    held = passes.read(call.request.cookies.get(cookie_name(link.appointment), ""), call.now)
    if held is None or (held.appointment, held.seat, held.holder) != (link.appointment, link.seat, link.holder):
        return None
    return held.device


def _asks_birth_year(visit: Visit, link: Link) -> bool:
    join = visit.policy.get("join")
    return link.seat is Seat.PATIENT and isinstance(join, dict) and join.get("birth_year") is True


async def _birth_year(connection: Connection, visit: Visit, patient: UUID, given: int | None) -> Refusal | None:
    """Counts a wrong answer; None when it is right, or when the clinic does not know the year."""
    known = await connection.fetchval("SELECT birth_year FROM person WHERE id = $1", patient)
    vouched = await connection.fetchval(
        """SELECT birth_tries = $3 FROM visit_seat
           WHERE (appointment_id, seat, holder) = ($1, 'patient', $2)""",
        visit.appointment,
        patient,
        VOUCHED,
    )
    if known is None or vouched:
        return None
    if given is None:
        return Denied("birth_year_needed", "Give the year of birth of the patient.")
    tries = await connection.fetchval(
        """
        INSERT INTO visit_seat AS s (appointment_id, seat, holder, birth_tries) VALUES ($1, 'patient', $2, $3)
        ON CONFLICT (appointment_id, seat, holder) DO UPDATE SET birth_tries = s.birth_tries + $3
        WHERE s.birth_tries BETWEEN 0 AND $4 - 1 RETURNING birth_tries""",
        visit.appointment,
        patient,
        int(given != known),
        BIRTH_TRIES,
    )
    if tries is None or (tries >= BIRTH_TRIES and given != known):
        return Denied("ask_the_clinic", "Call the clinic: somebody there can vouch for you.")
    if given != known:
        left = BIRTH_TRIES - tries
        return Denied("birth_year_wrong", f"This is not the patient's year of birth. Tries left: {left}.")
    return None


def _seat(seat: Seat) -> Literal["patient", "doctor", "third"]:
    match seat:
        case Seat.PATIENT:
            return "patient"
        case Seat.DOCTOR:
            return "doctor"
    return "third"
