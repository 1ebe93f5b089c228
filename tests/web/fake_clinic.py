"""A clinic that only answers: what the pages of a visit show is said by the test, by rows and pushes.

The real routes and rules are tested in tests/booking, real visits between real servers and browsers in tests/browser.
"""

import asyncio
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from aiohttp import WSMsgType, web

from tests.web.fake_server import FakeServer

PROVIDER: Final = "0190d0c0-0000-7000-8000-000000000001"
SERVICE: Final = "0190d0c0-0000-7000-8000-0000000000a1"
VISIT: Final = "0190d0c0-0000-7000-8000-0000000000c1"
HOLD: Final = "0190d0c0-0000-7000-8000-0000000000b1"
PERSON: Final = "0190d0c0-0000-7000-8000-0000000000e1"
TICKET: Final = "0190d0c0-0000-7000-8000-0000000000d1"
LINK: Final = "a-link-that-is-kept-out-of-sight"
SLUG: Final = "ayesha-khan"
DOCTOR: Final = "Dr. Ayesha Khan"
Json = Mapping[str, Any]


def soon(minutes: float = 10) -> str:
    """So many minutes from now."""
    return said(datetime.now(UTC) + timedelta(minutes=minutes))


def said(at: datetime) -> str:
    return at.replace(microsecond=0).isoformat().replace("+00:00", "Z")


def instant(**changes: Any) -> dict[str, Any]:
    """A request for a doctor now, as who asks sees it."""
    return {
        "request": TICKET,
        "state": "ringing",
        "ring": 1,
        "ring_until": soon(1.5),
        "doctor": None,
        "appointment": None,
        **changes,
    }


def ring(index: int = 0, **changes: Any) -> dict[str, Any]:
    """A request that rings at a doctor."""
    return {
        "request": TICKET[:-1] + str(index),
        "specialty": "dermatology",
        "language": "ur",
        "reason": "An itching rash since Monday",
        "rung_at": soon(0),
        "ring_until": soon(1.5),
        "here": True,
        **changes,
    }


def care(index: int = 0, **changes: Any) -> dict[str, Any]:
    """Somebody for whom one acts, or who acts for oneself."""
    return {
        "id": f"0190d0c0-0000-7000-8000-0000000000{index + 0x70:x}",
        "person": f"0190d0c0-0000-7000-8000-0000000000{index + 0x80:x}",
        "name": ["Ali Malik", "زینب رضا"][index % 2],
        "relation": "child",
        "rights": ["book", "join", "read"],
        "until": None,
        "birth_year": 2018,
        **changes,
    }


def wait(**changes: Any) -> dict[str, Any]:
    """What somebody waits for."""
    return {
        "id": TICKET,
        "service": SERVICE,
        "provider": PROVIDER,
        "patient": PERSON,
        "earliest": soon(60),
        "latest": soon(10_000),
        "state": "waiting",
        "offer": None,
        "offer_start": None,
        "offer_until": None,
        "ahead": 2,
        **changes,
    }


def money(amount_minor: int) -> Json:
    return {"amount_minor": amount_minor, "currency": "PKR"}


def card(index: int = 0) -> dict[str, Any]:
    names = ["Ayesha Khan", "عائشہ صدیقی", "Bilal Ahmed"]
    return {
        "id": PROVIDER,
        "slug": SLUG if index == 0 else f"doctor-{index}",
        "name": names[index % 3],
        "title": "Dr.",
        "gender": "female",
        "languages": ["ur", "en", "pa"],
        "specialties": [{"code": "dermatology", "name": "Dermatology"}],
        "kinds": ["video", "in_person"] if index else ["video"],
        "price_from": money(150_000) if index != 2 else money(0),
        "rating": {"average": 4.7, "count": 132} if index != 2 else {"average": None, "count": 0},
        "next_free_at": soon(90 + index * 700) if index != 1 else None,
        "online": index == 0,
        "place": {"code": "pk-lahore", "name": "Lahore"},
        "distance_km": None,
    }


def profile() -> dict[str, Any]:
    offer = {"kind": "video", "minutes": 20, "capacity": 1, "notice_minutes": 30, "horizon_days": 60}
    return {
        "card": card(),
        "bio": "Skin, hair and nails of children and grown-ups. Trained in Lahore and Dubai.",
        "timezone": "Asia/Dubai",
        "location": {
            "name": "Al-Shifa Clinic",
            "address": "12 Main Boulevard",
            "latitude": 31.5,
            "longitude": 74.3,
            "timezone": "Asia/Karachi",
        },
        "services": [
            {"id": SERVICE, "name": "Video consultation", "price": money(150_000), **offer},
            {"id": SERVICE[:-1] + "2", "name": "Follow-up", "price": money(0), **offer, "minutes": 10},
        ],
        "licences": [{"issuer": "PMDC", "country": "PK", "number": "12345-P"}],
    }


def appointment(**changes: Any) -> dict[str, Any]:
    return {
        "id": VISIT,
        "provider": PROVIDER,
        "service": SERVICE,
        "status": "confirmed",
        "kind": "video",
        "starts_at": soon(20),
        "ends_at": soon(40),
        "patient": PERSON,
        "patient_name": "Sana Malik",
        "provider_timezone": "Asia/Dubai",
        "payment": "none",
        "reason": "An itching rash since Monday",
        "hold_until": None,
        "price_minor": 150_000,
        "currency": "PKR",
        "cancelling": steps(),
        **changes,
    }


def visit(**changes: Any) -> dict[str, Any]:
    """A visit as its patient sees it from the waiting room."""
    return {
        "appointment": VISIT,
        "seat": "patient",
        "state": "waiting",
        "status": "checked_in",
        "end": None,
        "payment": "none",
        "doctor": DOCTOR,
        "doctor_slug": SLUG,
        "doctor_here": True,
        "clinic": "Al-Shifa Clinic",
        "starts_at": soon(),
        "ends_at": soon(30),
        "opens_at": soon(-20),
        "closes_at": soon(90),
        "timezone": "Asia/Karachi",
        "arrived_at": soon(-3),
        "position": 2,
        "wait": {"low_min": 10, "high_min": 20},
        "delay_minutes": 0,
        "talked_s": None,
        "others": [],
        "messages": [],
        **changes,
    }


def message(seq: int, body: str, from_seat: str = "doctor", *, own: bool = False) -> Json:
    return {"seq": seq, "from_seat": from_seat, "body": body, "at": soon(-1), "own": own}


def steps() -> list[Json]:
    """What cancelling costs: free, half, all."""
    whole = [(-1440, 0), (-120, 75_000), (0, 150_000)]
    return [{"until": soon(4000 + m), "fee_minor": fee, "refund_minor": 150_000 - fee} for m, fee in whole]


def waiting(index: int = 0, **changes: Any) -> dict[str, Any]:
    """Somebody in the doctor's line."""
    return {
        "ticket": TICKET[:-1] + str(index),
        "no": index + 1,
        "kind": "booked",
        "state": "waiting",
        "place": index + 1,
        "appointment": VISIT,
        "patient": PROVIDER,
        "name": ["Sana Malik", "زینب رضا", "Omar Farooq"][index % 3],
        "status": "checked_in",
        "payment": "none",
        "starts_at": soon(10 * index),
        "joined_at": soon(-4 - index),
        "here": index != 1,
        "device_check": {"camera": index != 2},
        "messages": [],
        "companions": [],
        **changes,
    }


class FakeClinic(FakeServer):
    """``asked`` holds every request as (method, path, body); ``refusals`` answers a path with a problem once."""

    def __init__(self) -> None:
        super().__init__()
        self.cards = [card(index) for index in range(3)]
        self.appointments = [appointment()]
        self.looked: dict[str, Any] = {
            "state": "open",
            "clinic": "Al-Shifa Clinic",
            "language": "en",
            "seat": "patient",
            "status": None,
            "doctor": DOCTOR,
            "doctor_slug": SLUG,
            "talked_s": None,
            "starts_at": soon(),
            "ends_at": soon(30),
            "opens_at": soon(-20),
            "timezone": "Asia/Karachi",
            "needs_birth_year": False,
            "needs_sign_in": False,
            "gesture": "click",
        }
        self.visit = visit()
        self.line = {
            "provider": PROVIDER,
            "day": "2026-11-21",
            "delay_minutes": 0,
            "entries": [waiting(i) for i in range(3)],
        }
        self.person = PERSON
        self.name = ""
        self.online_until: str | None = None
        self.roles = ["anonymous"]
        self.request = instant()
        self.waits: list[dict[str, Any]] = []
        self.dependants: list[dict[str, Any]] = []
        self.rings: list[dict[str, Any]] = []
        self.check_ins: list[str] = []
        self.sent = 0
        self.terms = {
            "may_cancel": True,
            "steps": steps(),
            "fee_minor": 75_000,
            "refund_minor": 75_000,
            "currency": "PKR",
            "may_reschedule": True,
        }
        self.asked: list[tuple[str, str, Any]] = []
        self.keys: list[str] = []
        self.refusals: dict[str, tuple[int, Json]] = {}
        self.overtaken_by: Json = {}
        """What somebody else does to the request for a doctor just before an answer of ``refusals``."""
        self._live: list[tuple[web.WebSocketResponse, str]] = []
        self._watched: dict[str, asyncio.Event] = {}
        router = self.app.router
        router.add_get("/v1/visits/live", self._watch_socket)
        router.add_get("/v1/appointments/{id}.ics", self._file)
        router.add_route("*", "/v1/{rest:.+}", self._any)

    async def show(self, **changes: Any) -> None:
        """The visit changes, and its page hears of it."""
        self.visit = {**self.visit, **changes}
        await self._tell("visit", {"visit": self.visit})

    async def show_line(self, entries: list[dict[str, Any]], **changes: Any) -> None:
        self.line = {**self.line, "entries": entries, **changes}
        await self._tell("queue", {"queue": self.line})

    async def show_request(self, **changes: Any) -> None:
        """What becomes of a request for a doctor now."""
        self.request = {**self.request, **changes}
        await self._tell("instant", {"instant": self.request})

    async def show_rings(self, *rings: dict[str, Any]) -> None:
        self.rings = list(rings)
        await self._tell("rings", {"rings": self.rings})

    async def bye(self, reason: str) -> None:
        await self._tell("bye", {"reason": reason})

    async def cut_live(self) -> None:
        """The live sockets break, and none is accepted until ``accepting`` is set again."""
        await self._is_watched("visit")
        self.accepting = False
        for socket, _ in self._live:
            await socket.close(code=1011)

    def to(self, path: str) -> list[Any]:
        """The bodies of what was asked there."""
        return [body for _, asked, body in self.asked if asked == path]

    async def _tell(self, kind: str, fields: Json) -> None:
        watched = "visit" if kind == "bye" else kind
        await self._is_watched(watched)
        for socket, shown in self._live:
            if shown == watched and not socket.closed:
                await socket.send_json({"type": kind, "id": 1, "seq": 1, **fields})

    async def _is_watched(self, kind: str) -> None:
        """A page shows what it was answered before its live socket has opened."""
        async with asyncio.timeout(5):
            await self._watched.setdefault(kind, asyncio.Event()).wait()

    async def _file(self, request: web.Request) -> web.Response:
        return web.Response(text="BEGIN:VCALENDAR\r\nEND:VCALENDAR\r\n", content_type="text/calendar")

    async def _any(self, request: web.Request) -> web.Response:
        path = request.path
        text = await request.text()
        body = json.loads(text) if text else None
        self.asked.append((request.method, path, body))
        if "Idempotency-Key" in request.headers:
            self.keys.append(request.headers["Idempotency-Key"])
        if path in self.refusals:
            status, fields = self.refusals.pop(path)
            self.request = {**self.request, **self.overtaken_by}
            problem = {"status": status, "title": "No", **fields}
            return web.json_response(problem, status=status, content_type="application/problem+json")
        answer = self._answer_to(request.method, path, request.query, body)
        if answer is None:
            return web.Response(status=204)
        return web.json_response(answer)

    def _answer_to(self, method: str, path: str, query: Mapping[str, str], body: Any) -> Any:
        match method, path.removeprefix("/v1/").split("/"):
            case "GET", ["providers"]:
                found = [each for each in self.cards if query.get("q", "").casefold() in each["name"].casefold()]
                return {"items": found, "similar": False, "next": None}
            case "GET", ["providers", _]:
                return profile()
            case "GET", ["specialties"]:
                return [{"code": "dermatology", "name": "Dermatology", "names": {}}]
            case "GET", ["providers", _, "slots"]:
                return {"slots": self._slots(query["from"], query["to"])}
            case "POST", ["holds"]:
                return appointment(id=HOLD, status="held", hold_until=soon(4))
            case "POST", ["holds", _, "extend"]:
                return appointment(id=HOLD, status="held", hold_until=soon(10))
            case "POST", ["appointments"]:
                return appointment()
            case "GET", ["appointments", _, "terms"]:
                return self.terms
            case "GET", ["appointments"]:
                return {"items": self.appointments, "next": None}
            case "POST", ["appointments", _, action]:
                states = {"cancel": "cancelled_by_patient", "accept": "confirmed", "decline": "declined"}
                self.appointments[0]["status"] = states.get(action, "confirmed")
                changed = self.appointments[0]
                return {"appointment": changed, "fee_minor": 0, "refund_minor": 0} if action == "cancel" else changed
            case "POST", ["auth", "otp"]:
                return {"ticket": TICKET, "expires_in": 600, "resend_after": 30}
            case "POST", ["auth", "login"]:
                return {**self._signed_in(), "state": "second_factor", "ticket": "factor", "access_token": None}
            case "POST", ["auth", "upgrade"]:
                self.roles = ["patient"]
                return self._signed_in()
            case "POST", ["auth", "logout"]:
                return None
            case "POST", ["auth", *_]:
                return self._signed_in()
            case "POST", ["join", "look"]:
                return self.looked
            case "POST", ["join", "exchange"]:
                return {
                    "state": "seated",
                    "appointment": VISIT,
                    "seat": "patient",
                    "starts_at": soon(),
                    "opens_at": soon(-20),
                }
            case "POST", [*_, "live"]:
                return {"ticket": path, "expires_at": soon(1)}
            case "POST", ["visits", _, "check-in"]:
                state = "waiting" if body["switch"] or not self.check_ins else self.check_ins.pop(0)
                return {"state": state}
            case "GET", ["visits", _, "token"]:
                return {
                    "token": "token",
                    "room": "visit-room-0123456789",
                    "identity": "p",
                    "name": "Sana Malik",
                    "role": "guest",
                    "expires_at": soon(10),
                    "refresh_after_s": 300,
                }
            case "POST", ["visits", _, "messages" | "desk-messages"]:
                self.sent += 1
                return {"seq": self.sent}
            case "GET", ["visits", _]:
                return self.visit
            case "GET", ["me", "dependants"]:
                return self.dependants
            case "GET", ["waitlist"]:
                return self.waits
            case "POST", ["waitlist"]:
                self.waits = [wait(earliest=body["earliest"], latest=body["latest"])]
                return self.waits[0]
            case "POST", ["waitlist", _, "accept"]:
                self.waits = []
                return appointment(id=HOLD)
            case "DELETE", ["waitlist", _]:
                self.waits = []
            case "POST", ["instant-requests"]:
                return self.request
            case "GET", ["instant-requests", _]:
                return self.request
            case "POST", ["instant-requests", _, "accept"]:
                return {"appointment": VISIT}
            case "GET", ["me"]:
                return {"id": self.person, "name": self.name, "roles": self.roles, "contacts": []}
            case "PATCH", ["me"]:
                self.name = body["name"]
            case "GET", ["providers", _, "profile"]:
                return {"online_until": self.online_until}
            case "PUT", ["providers", _, "online"]:
                self.online_until = soon(body["minutes"])
                return {"online_until": self.online_until}
            case "DELETE", ["providers", _, "online"]:
                self.online_until = None
            case "GET", ["queue"]:
                return self.line
            case "POST", ["queue", "next"]:
                return {"ticket": TICKET, "appointment": VISIT, "patient": PROVIDER}
        return None

    def _signed_in(self) -> Json:
        return {
            "state": "signed_in",
            "access_token": "token",
            "expires_in": 600,
            "person": self.person,
            "roles": self.roles,
            "ticket": None,
        }

    def _slots(self, start: str, end: str) -> list[Json]:
        """Twenty minutes each, in the morning, on Mondays to Thursdays."""
        at, until = (datetime.fromisoformat(day).replace(tzinfo=UTC) for day in (start, end))
        at = max(at, datetime.now(UTC).replace(minute=0, second=0, microsecond=0) + timedelta(hours=1))
        found = []
        while at < until:
            if at.weekday() < 4 and 5 <= at.hour < 9:
                found += [
                    {"start": said(at + timedelta(minutes=m)), "end": said(at + timedelta(minutes=m + 20))}
                    for m in (0, 20, 40)
                ]
            at += timedelta(hours=1)
        return found

    async def _watch_socket(self, request: web.Request) -> web.WebSocketResponse:
        if not self.accepting:
            raise web.HTTPServiceUnavailable
        socket = web.WebSocketResponse(protocols=("wadud.visits.v1",))
        await socket.prepare(request)
        async for frame in socket:
            if frame.type is not WSMsgType.TEXT:
                continue
            asked = json.loads(frame.data)
            if asked["type"] == "ping":
                await socket.send_json({"type": "pong", "id": asked["id"]})
                continue
            states = {"queue": self.line, "rings": self.rings, "instant": self.request, "visit": self.visit}
            kind = next((each for each in states if each in asked["ticket"]), "visit")
            self._live.append((socket, kind))
            self._watched.setdefault(kind, asyncio.Event()).set()
            await socket.send_json({"type": kind, "id": 1, "seq": 1, kind: states[kind]})
        self._live = [each for each in self._live if each[0] is not socket]
        for kind, event in self._watched.items():
            if all(shown != kind for _, shown in self._live):
                event.clear()
        return socket
