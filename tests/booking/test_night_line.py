"""A line at three in the morning, when its day turns: nobody who waits is lost."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
import pytest_asyncio

from backplane.postgres import Database
from tests.booking.guests import Guest, doctor, guest, queue
from tests.booking.join_world import TENANT, Browser, Clinic, make_clinic, serving

TURN = datetime.fromisoformat("2026-11-21T22:00:00+00:00")  # three in the morning in Karachi
MINUTE = timedelta(minutes=1)
MOMENT = timedelta(seconds=15)  # a page that was open before the turn is still open after it


@pytest_asyncio.fixture
async def clinic(database: Database, tmp_path: Path) -> Clinic:
    clinic = await make_clinic(database, tmp_path)
    clinic.now = TURN - MOMENT
    return clinic


@pytest_asyncio.fixture
async def browser(clinic: Clinic) -> AsyncIterator[Browser]:
    async with serving(clinic) as browser:
        yield browser


async def arrive(clinic: Clinic, browser: Browser, *minutes: int) -> list[Guest]:
    """Patients whose visits begin so many minutes after the turn, and who are here."""
    people = [await guest(clinic, browser, start=TURN + each * MINUTE, minutes=10) for each in minutes]
    for each in people:
        await each.check_in()
    return people


async def on_board(clinic: Clinic, browser: Browser) -> list[tuple[str, int]]:
    return [(entry["appointment"], entry["place"]) for entry in await queue(clinic, browser)]


@pytest.mark.parametrize("start", [-10, 0, 20])
async def test_the_doctor_sees_who_came_before_the_turn(clinic: Clinic, browser: Browser, start: int) -> None:
    (patient,) = await arrive(clinic, browser, start)
    shown = [(str(patient.appointment), 1)]
    assert await on_board(clinic, browser) == shown
    clinic.now = TURN + MOMENT
    assert await on_board(clinic, browser) == shown
    assert (await patient.ask("GET"))["position"] == 1
    called = await doctor(clinic, browser, "/v1/queue/next", {}, 200)
    assert called["appointment"] == str(patient.appointment)


async def test_who_comes_after_the_turn_stands_behind(clinic: Clinic, browser: Browser) -> None:
    (before,) = await arrive(clinic, browser, -10)
    clinic.now = TURN + MOMENT
    (after,) = await arrive(clinic, browser, 10)
    assert (await after.ask("GET"))["position"] == 2
    assert await on_board(clinic, browser) == [(str(before.appointment), 1), (str(after.appointment), 2)]
    first, second = [entry["ticket"] for entry in await queue(clinic, browser)]
    await doctor(clinic, browser, "/v1/queue/swap", {"first": first, "second": second, "reason": "urgent"})
    assert await on_board(clinic, browser) == [(str(after.appointment), 1), (str(before.appointment), 2)]


async def test_a_delay_is_still_true_after_the_turn(clinic: Clinic, browser: Browser) -> None:
    (patient,) = await arrive(clinic, browser, -10)
    await doctor(clinic, browser, "/v1/queue/delay", {"minutes": 30})
    clinic.now = TURN + MOMENT
    assert (await patient.ask("GET"))["delay_minutes"] == 30
    await doctor(clinic, browser, "/v1/queue/delay", {"minutes": 0})
    assert (await patient.ask("GET"))["delay_minutes"] == 0


async def class_across_the_turn(clinic: Clinic, browser: Browser) -> tuple[str, list[UUID]]:
    """Path and patients of a class, all of one rank; the last one has come after the turn."""
    people = [await clinic.person(f"P{number}") for number in range(3)]
    appointment = await clinic.appointment(start=TURN + 10 * MINUTE)
    await clinic.set(appointment, patient_id=None, kind="class", capacity=10)
    async with clinic.db.tenant(TENANT.id) as connection:
        for number, person in enumerate(people, 1):
            await connection.execute(
                """INSERT INTO seat (id, appointment_id, no, patient_id, status, price_minor, currency, created_at,
                       updated_at) VALUES (gen_random_uuid(), $1, $2, $3, 'confirmed', 0, 'PKR', $4, $4)""",
                appointment,
                number,
                person,
                clinic.now,
            )
    path = f"/v1/visits/{appointment}"
    for person in people:
        clinic.now = TURN + MOMENT if person is people[-1] else TURN - MOMENT
        await browser.ask("POST", f"{path}/check-in", {}, by=(person, "patient"))
    return path, people


async def test_among_equals_who_came_before_the_turn_stands_first(clinic: Clinic, browser: Browser) -> None:
    path, people = await class_across_the_turn(clinic, browser)
    places = [(await browser.ask("GET", path, by=(person, "patient")))["position"] for person in people]
    assert places == [1, 2, 3]
    assert [entry["patient"] for entry in await queue(clinic, browser)] == [str(person) for person in people]


async def test_equals_from_both_sides_of_the_turn_are_exchanged(clinic: Clinic, browser: Browser) -> None:
    _, (first, second, third) = await class_across_the_turn(clinic, browser)
    one, _, other = [entry["ticket"] for entry in await queue(clinic, browser)]
    await doctor(clinic, browser, "/v1/queue/swap", {"first": one, "second": other, "reason": "urgent"})
    shown = [entry["patient"] for entry in await queue(clinic, browser)]
    assert shown.index(str(third)) < shown.index(str(first))
    assert set(shown) == {str(first), str(second), str(third)}


async def test_a_walk_in_whose_page_stood_open_for_a_day_gets_a_new_place(clinic: Clinic, browser: Browser) -> None:
    async with clinic.db.tenant(TENANT.id) as connection:
        await connection.execute("UPDATE provider SET online_until = $1", TURN + timedelta(days=3))
    patient = (await clinic.person("W"), "patient")
    path = f"/v1/queues/{clinic.provider}/tickets"
    before = await browser.ask("POST", path, by=patient, status=201)
    clinic.now += timedelta(hours=26)
    await browser.ask("GET", f"/v1/queue-tickets/{before['ticket']}", by=patient)
    again = await browser.ask("POST", path, by=patient, status=201)
    assert [entry["ticket"] for entry in await queue(clinic, browser)] == [again["ticket"]]
