"""Who reads whose messages while a visit is waited for, over HTTP and over the live socket."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio

from backplane.postgres import Database
from booking.waiting_room import admittance
from tests.booking.guests import DOCTOR, Guest, doctor, guest
from tests.booking.join_world import START, TENANT, Browser, Clinic, make_clinic, serving


@pytest_asyncio.fixture
async def clinic(database: Database, tmp_path: Path) -> Clinic:
    return await make_clinic(database, tmp_path)


@pytest_asyncio.fixture
async def browser(clinic: Clinic) -> AsyncIterator[Browser]:
    async with serving(clinic) as browser:
        yield browser


async def a_class(clinic: Clinic, *names: str) -> tuple[UUID, list[UUID]]:
    """The appointment, and those who have a seat in it."""
    people = [await clinic.person(name) for name in names]
    appointment = await clinic.appointment()
    await clinic.set(appointment, patient_id=None, kind="class", capacity=10)
    async with clinic.db.tenant(TENANT.id) as connection:
        for number, person in enumerate(people, 1):
            await connection.execute(
                """INSERT INTO seat (id, appointment_id, no, patient_id, status, price_minor, currency, created_at,
                       updated_at) VALUES (gen_random_uuid(), $1, $2, $3, 'confirmed', 0, 'PKR', $4, $4)""",
                appointment,
                number,
                person,
                START,
            )
    return appointment, people


def bodies(view: dict[str, Any]) -> list[str]:
    return [message["body"] for message in view["messages"]]


async def test_patients_of_a_class_do_not_read_each_other(clinic: Clinic, browser: Browser) -> None:
    appointment, (sana, omar) = await a_class(clinic, "Sana", "Omar")
    path = f"/v1/visits/{appointment}"
    made = await browser.ask(
        "POST", f"/v1/appointments/{appointment}/links", {"kind": "other", "name": "Guest"},
        by=(clinic.doctor, DOCTOR), status=201,
    )  # fmt: skip
    third = Guest(browser, appointment, await browser.sit_down(made["path"].partition("#")[2]))
    await third.check_in()
    async with (
        browser.screen() as hers,
        browser.screen() as his,
        browser.screen() as theirs,
        browser.screen() as host,
    ):
        for person in (sana, omar):
            await browser.ask("POST", f"{path}/check-in", {}, by=(person, "patient"))
        await hers.watch(f"{path}/live", by=(sana, "patient"))
        await his.watch(f"{path}/live", by=(omar, "patient"))
        await third.watch(theirs)
        await host.watch(f"{path}/live", by=(clinic.doctor, DOCTOR))
        await browser.ask("POST", f"{path}/messages", {"body": "I am pregnant"}, by=(sana, "patient"), status=201)
        await browser.ask("POST", f"{path}/messages", {"body": "I am ill"}, by=(omar, "patient"), status=201)
        await third.ask("POST", "/messages", {"body": "I look on"}, 201)
        await doctor(clinic, browser, f"{path}/desk-messages", {"body": "We begin"}, 201)
        shown = {}
        for name, screen in (("sana", hers), ("omar", his), ("third", theirs), ("doctor", host)):
            told = await screen.until(lambda message: "We begin" in bodies(message["visit"]))
            shown[name] = bodies(told["visit"])
    assert shown == {
        "sana": ["I am pregnant", "We begin"],
        "omar": ["I am ill", "We begin"],
        "third": ["I look on", "We begin"],
        "doctor": ["I am pregnant", "I am ill", "I look on", "We begin"],
    }
    for person, name in ((sana, "sana"), (omar, "omar")):
        assert bodies(await browser.ask("GET", path, by=(person, "patient"))) == shown[name]
    assert bodies(await third.ask("GET")) == shown["third"]
    assert bodies(await browser.ask("GET", path, by=(clinic.doctor, DOCTOR))) == shown["doctor"]


async def test_who_has_a_class_open_is_not_shown_older_messages_of_others_by_any_number(
    clinic: Clinic, browser: Browser
) -> None:
    appointment, (sana, omar) = await a_class(clinic, "Sana", "Omar")
    path = f"/v1/visits/{appointment}"
    for person in (sana, omar):
        await browser.ask("POST", f"{path}/check-in", {}, by=(person, "patient"))
        await browser.ask("POST", f"{path}/messages", {"body": f"of {person}"}, by=(person, "patient"), status=201)
    for after in (0, 1, 2, 2**31 - 1):
        async with browser.screen() as screen:
            told = await screen.watch(f"{path}/live", by=(omar, "patient"), after=after)
            assert bodies(told["visit"]) == ([f"of {omar}"] if after < 2 else [])


async def test_the_people_of_one_patients_visit_read_each_other(clinic: Clinic, browser: Browser) -> None:
    patient = await guest(clinic, browser)
    await patient.check_in()
    await patient.ask("POST", "/messages", {"body": "I wait"}, 201)
    await doctor(clinic, browser, f"{patient.path}/desk-messages", {"body": "Nearly"}, 201)
    assert bodies(await patient.ask("GET")) == ["I wait", "Nearly"]


async def test_nobody_writes_so_much_that_others_cannot(
    clinic: Clinic, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admittance, "MAX_MESSAGES", 7)
    monkeypatch.setattr(admittance, "KEPT_FOR_STAFF", 2)
    monkeypatch.setattr(admittance, "MAX_OF_A_VISITOR", 3)
    appointment, people = await a_class(clinic, "Sana", "Omar", "Zara")
    path = f"/v1/visits/{appointment}"

    async def write(person: UUID, status: int) -> None:
        await browser.ask("POST", f"{path}/messages", {"body": "!"}, by=(person, "patient"), status=status)

    for person in people:
        await browser.ask("POST", f"{path}/check-in", {}, by=(person, "patient"))
    for status in (201, 201, 201, 409, 409, 409):
        await write(people[0], status)
    for status in (201, 201, 409):  # all that is not kept for the doctor and the clinic
        await write(people[1], status)
    await write(people[2], 409)
    for status in (201, 201, 409):
        await doctor(clinic, browser, f"{path}/desk-messages", {"body": "Hello"}, status)
