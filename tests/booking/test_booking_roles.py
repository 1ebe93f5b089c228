"""Every transition by everybody: who may not is told so, and nothing changes."""

from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import UUID

import pytest
import pytest_asyncio

from backplane.postgres import Database
from booking.appointments.module import ROUTES
from tests.support.booking import ROLES, Clinic, Front, at, clinic, served, wire

# action -> (the status it starts from, who may; nobody else of ROLES). The patient is amina, the doctor drsana.
TABLE: dict[str, tuple[str, str]] = {
    "accept": ("requested", "drsana front boss"),
    "decline": ("requested", "drsana front boss"),
    "reschedule": ("confirmed", "amina drsana front boss"),
    "cancel": ("confirmed", "amina drsana front boss"),
    "check-in": ("confirmed", "amina front boss"),
    "start": ("checked_in", "drsana"),
    "interrupt": ("in_progress", "drsana"),
    "resume": ("interrupted", "drsana"),
    "complete": ("in_progress", "drsana front boss"),
    "no-show": ("confirmed", "drsana front boss"),
    "correct": ("completed", "drsana"),
}
BODIES: dict[str, object] = {
    "reschedule": {"start": wire(at(2))},
    "cancel": {},
    "no-show": {"who": "patient"},
    "correct": {"status": "no_show_patient"},
}
WAY: dict[str, tuple[str, ...]] = {
    "requested": (),
    "confirmed": ("accept",),
    "checked_in": ("accept", "check-in"),
    "in_progress": ("accept", "start"),
    "interrupted": ("accept", "start", "interrupt"),
    "completed": ("accept", "start", "complete"),
}


@pytest_asyncio.fixture
async def place(database: Database) -> Clinic:
    return await clinic(database)


@pytest_asyncio.fixture
async def front(place: Clinic) -> AsyncIterator[Front]:
    async with served(place, ROUTES) as front:
        yield front


@pytest.mark.parametrize("action", TABLE)
async def test_an_action_is_for_those_in_the_table(place: Clinic, front: Front, action: str) -> None:
    status, allowed = TABLE[action]
    body = {"service": str(place.services["asked"]), "start": wire(at())}
    visit = (await front.post("amina", "/v1/appointments", body, 201))["id"]
    path = f"/v1/appointments/{visit}"
    if action != "reschedule":
        place.now = at(minute=15) if action == "no-show" else at(minute=-10)
    for step in WAY[status]:
        who = "front" if step == "check-in" else "drsana"
        await front.post(who, f"{path}/{step}", BODIES.get(step))
    assert await place.status(UUID(visit)) == status
    for name in ROLES:
        if name not in allowed.split():
            answer = await front.ask(name, "POST", f"{path}/{action}", BODIES.get(action))
            assert answer.status in (403, 404), (name, answer.status, await answer.text())
            assert answer.content_type == "application/problem+json"
    assert (await front.ask(None, "POST", f"{path}/{action}", BODIES.get(action))).status == 401
    assert await place.status(UUID(visit)) == status
    before = await place.balanced()
    answer = await front.ask(allowed.split()[0], "POST", f"{path}/{action}", BODIES.get(action))
    assert answer.status == 200, await answer.text()
    assert await place.balanced() == before + 1


@pytest.mark.parametrize("action", TABLE)
async def test_what_has_ended_refuses_every_action(place: Clinic, front: Front, action: str) -> None:
    body = {"service": str(place.services["video"]), "start": wire(at())}
    visit = (await front.post("amina", "/v1/appointments", body, 201))["id"]
    await front.post("amina", f"/v1/appointments/{visit}/cancel")
    place.now = at(hour=11)
    for name in TABLE[action][1].split():
        answer = await front.ask(name, "POST", f"/v1/appointments/{visit}/{action}", BODIES.get(action))
        assert (answer.status, (await answer.json())["code"]) == (409, "not_possible"), name
    assert await place.balanced() == 2


@pytest.mark.parametrize(
    "name, status",
    [("amina", 201), ("guest", 201), ("drtariq", 201), ("front", 201), ("boss", 201), ("helper", 201), ("money", 403),
     ("root", 403)],
)  # fmt: skip
async def test_who_may_hold(place: Clinic, front: Front, name: str, status: int) -> None:
    body: dict[str, object] = {"service": str(place.services["video"]), "start": wire(at())}
    if ROLES[name] in ("staff", "clinic_admin", "support"):
        body["patient"] = str(place.people["bilal"])
    assert (await front.ask(name, "POST", "/v1/holds", body)).status == status


async def test_one_person_s_hold_is_nobody_else_s(place: Clinic, front: Front) -> None:
    body = {"service": str(place.services["video"]), "start": wire(at())}
    hold = (await front.post("amina", "/v1/holds", body, 201))["id"]
    for name in ("bilal", "guest", "drtariq"):
        assert (await front.ask(name, "POST", "/v1/appointments", {"hold": hold})).status == 404
        assert (await front.ask(name, "GET", f"/v1/appointments/{hold}")).status == 404
    place.now += timedelta(minutes=1)
    assert (await front.post("front", "/v1/appointments", {"hold": hold}, 201))["status"] == "confirmed"
