"""Who acts for somebody else: what each right of a guardian opens, and that nothing is left once it has ended."""

from collections.abc import AsyncIterator
from datetime import date, timedelta
from uuid import UUID

import pytest
import pytest_asyncio

from backplane.ids import uuid7
from backplane.postgres import Database
from booking.appointments.module import ROUTES
from tests.support.booking import NOW, Clinic, Front, at, clinic, served, wire

YESTERDAY = NOW.date() - timedelta(days=1)
NEXT_YEAR = date(2031, 1, 1)


@pytest_asyncio.fixture
async def place(database: Database) -> Clinic:
    return await clinic(database)


@pytest_asyncio.fixture
async def front(place: Clinic) -> AsyncIterator[Front]:
    async with served(place, ROUTES) as front:
        yield front


async def care(place: Clinic, rights: str, *, until: date | None = None, ended: bool = False) -> None:
    """amina acts for bilal."""
    amina, bilal = place.people["amina"], place.people["bilal"]
    async with place.transaction() as connection:
        await connection.execute(
            """INSERT INTO dependant (id, guardian_id, person_id, relation, rights, until, created_at, ended_at)
               VALUES ($1, $2, $3, 'child', $4::text[], $5, $6, $7)""",
            uuid7(NOW), amina, bilal, rights.split(), until, NOW, NOW if ended else None,
        )  # fmt: skip


async def end(place: Clinic) -> None:
    async with place.transaction() as connection:
        await connection.execute("UPDATE dependant SET ended_at = $1", NOW)


def wish(place: Clinic, hour: int = 10, service: str = "video") -> dict[str, object]:
    patient = str(place.people["bilal"])
    return {"service": str(place.services[service]), "start": wire(at(hour=hour)), "patient": patient, "reason": "mine"}


async def listed(front: Front, name: str = "amina") -> set[str]:
    return {each["id"] for each in (await front.get(name, "/v1/appointments"))["items"]}


# rights -> until, ended; then whether they may book, see it in the list, see it alone, read the reason; cancel's status
CASES = {
    "everything": ("book join read", NEXT_YEAR, False, True, True, True, True, 200),
    "booking": ("book", None, False, True, False, True, False, 200),
    "reading": ("read", None, False, False, True, True, True, 403),
    "joining": ("join", None, False, False, False, False, False, 404),
    "it is ended": ("book join read", None, True, False, False, False, False, 404),
    "it is over": ("book join read", YESTERDAY, False, False, False, False, False, 404),
}


@pytest.mark.parametrize("case", CASES)
async def test_a_guardian_may_do_what_the_right_says(place: Clinic, front: Front, case: str) -> None:
    rights, until, ended, books, lists, sees, reads, cancels = CASES[case]
    await care(place, rights, until=until, ended=ended)
    own = (await front.post("bilal", "/v1/appointments", {**wish(place), "reason": "private"}, 201))["id"]
    path = f"/v1/appointments/{own}"
    assert await listed(front) == ({own} if lists else set())
    told = await front.get("amina", path, 200 if sees else 404)
    assert ("reason" in told, "patient_name" in told) == (reads, sees)
    for end_of in ("/transitions", "/terms", ".ics"):
        assert (await front.ask("amina", "GET", path + end_of)).status == (200 if sees else 404), end_of
    for hour, start in ((11, "/v1/appointments"), (12, "/v1/holds")):
        assert (await front.ask("amina", "POST", start, wish(place, hour))).status == (201 if books else 403), start
    assert (await front.ask("amina", "POST", f"{path}/reschedule", {"start": wire(at(3))})).status == cancels
    assert (await front.ask("amina", "POST", f"{path}/cancel", {})).status == cancels
    await place.balanced()


async def test_who_may_book_finds_again_what_they_booked(place: Clinic, front: Front) -> None:
    await care(place, "book")
    made = await front.post("amina", "/v1/appointments", wish(place), 201)
    assert made["reason"] == "mine"
    assert await listed(front) == {made["id"]}
    assert await listed(front, "bilal") == {made["id"]}
    await end(place)
    assert await listed(front) == set()
    await front.get("amina", f"/v1/appointments/{made['id']}", 404)
    await front.post("amina", f"/v1/appointments/{made['id']}/cancel", {}, 404)
    assert await listed(front, "bilal") == {made["id"]}


async def test_a_hold_for_somebody_is_lost_with_the_care_for_them(place: Clinic, front: Front) -> None:
    await care(place, "book")
    held = (await front.post("amina", "/v1/holds", wish(place), 201))["id"]
    await end(place)
    await front.post("amina", "/v1/appointments", {"hold": held}, 404)
    await front.post("amina", f"/v1/holds/{held}/extend", {}, 404)
    assert (await front.ask("amina", "DELETE", f"/v1/holds/{held}")).status == 404
    assert await place.status(UUID(held)) == "held"
    taken = (await front.post("front", "/v1/holds", wish(place, 12), 201))["id"]  # the clinic holds for anybody
    assert (await front.post("front", "/v1/appointments", {"hold": taken}, 201))["status"] == "confirmed"


async def test_a_seat_in_a_class_is_seen_by_who_may_read(place: Clinic, front: Front) -> None:
    made = (await front.post("bilal", "/v1/appointments", wish(place, 9, "yoga"), 201))["id"]
    path = f"/v1/appointments/{made}"
    await front.get("amina", path, 404)
    await care(place, "read")
    assert await listed(front) == {made}
    (seat,) = (await front.get("amina", path))["seats"]
    assert seat["patient"] == str(place.people["bilal"])
    assert (await front.ask("amina", "DELETE", f"{path}/seats/{seat['id']}")).status == 404
    await end(place)
    await front.get("amina", path, 404)
    await care(place, "book")
    await front.get("amina", path, 404)  # bilal took it himself
    assert (await front.ask("amina", "DELETE", f"{path}/seats/{seat['id']}")).status == 404


async def test_who_only_looks_is_told_the_terms_of_the_patient(place: Clinic, front: Front) -> None:
    await care(place, "read")
    made = (await front.post("bilal", "/v1/appointments", wish(place), 201))["id"]
    path = f"/v1/appointments/{made}/terms"
    place.now = at(hour=9, minute=50)
    assert await front.get("amina", path) == await front.get("bilal", path)
    assert await front.get("front", path) != await front.get("bilal", path)


async def test_who_may_book_waits_for_somebody_as_long_as_they_may(place: Clinic, front: Front) -> None:
    body = {k: v for k, v in wish(place).items() if k in ("service", "patient")}
    window = {"earliest": wire(at()), "latest": wire(at(hour=11))}
    await front.post("amina", "/v1/waitlist", {**body, **window}, 403)
    await care(place, "book")
    made = (await front.post("amina", "/v1/waitlist", {**body, **window}, 201))["id"]
    for name, seen in (("amina", [made]), ("bilal", [made]), ("chand", [])):
        assert [each["id"] for each in await front.get(name, "/v1/waitlist")] == seen
    await end(place)
    assert await front.get("amina", "/v1/waitlist") == []
    await front.post("amina", f"/v1/waitlist/{made}/accept", {}, 404)
    assert (await front.ask("amina", "DELETE", f"/v1/waitlist/{made}")).status == 404
    assert (await front.ask("bilal", "DELETE", f"/v1/waitlist/{made}")).status == 204
