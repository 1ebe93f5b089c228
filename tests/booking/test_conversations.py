"""What patients and the staff write to each other while a visit is waited for, as the board of the line shows it."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from backplane.postgres import Database
from booking.visits import views
from tests.booking.guests import DOCTOR, doctor, guest, queue
from tests.booking.join_world import START, TENANT, Browser, Clinic, make_clinic, serving


@pytest_asyncio.fixture
async def clinic(database: Database, tmp_path: Path) -> Clinic:
    return await make_clinic(database, tmp_path)


@pytest_asyncio.fixture
async def browser(clinic: Clinic) -> AsyncIterator[Browser]:
    async with serving(clinic) as browser:
        yield browser


def said(messages: list[dict[str, Any]]) -> list[tuple[str, bool]]:
    return [(message["body"], message["own"]) for message in messages]


async def test_the_board_hears_of_a_message_at_once_and_the_patient_of_the_answer(
    clinic: Clinic, browser: Browser
) -> None:
    patient = await guest(clinic, browser)
    await patient.check_in()
    async with browser.screen() as board, browser.screen() as phone:
        await board.watch("/v1/queue/live", {}, by=(clinic.doctor, DOCTOR))
        await patient.watch(phone)
        await patient.ask("POST", "/messages", {"body": "I have a fever"}, 201)
        told = await board.until(lambda push: bool(push["queue"]["entries"][0]["messages"]))
        [entry] = told["queue"]["entries"]
        assert said(entry["messages"]) == [("I have a fever", False)]
        answer = {"body": "Since when?", "patient": entry["patient"]}
        await doctor(clinic, browser, f"{patient.path}/desk-messages", answer, 201)
        heard = await phone.until(lambda push: len(push["visit"]["messages"]) == 2)
        assert said(heard["visit"]["messages"]) == [("I have a fever", True), ("Since when?", False)]
    [entry] = await queue(clinic, browser)
    assert said(entry["messages"]) == [("I have a fever", False), ("Since when?", True)]


async def test_each_patient_of_a_class_has_a_conversation_of_their_own(clinic: Clinic, browser: Browser) -> None:
    people = [await clinic.person(name) for name in ("Sana", "Omar")]
    appointment = await clinic.appointment()
    await clinic.set(appointment, patient_id=None, kind="class", capacity=10)
    async with clinic.db.tenant(TENANT.id) as connection:
        await connection.executemany(
            """INSERT INTO seat (id, appointment_id, no, patient_id, status, price_minor, currency, created_at,
                   updated_at) VALUES (gen_random_uuid(), $1, $2, $3, 'confirmed', 0, 'PKR', $4, $4)""",
            [(appointment, number, person, START) for number, person in enumerate(people, 1)],
        )
    path = f"/v1/visits/{appointment}"
    for person in people:
        await browser.ask("POST", f"{path}/check-in", {}, by=(person, "patient"))
        await browser.ask("POST", f"{path}/messages", {"body": f"of {person}"}, by=(person, "patient"), status=201)
    sana, omar = people
    await doctor(clinic, browser, f"{path}/desk-messages", {"body": "for Sana alone", "patient": str(sana)}, 201)
    await doctor(clinic, browser, f"{path}/desk-messages", {"body": "for all"}, 201)
    stranger = {"body": "!", "patient": str(await clinic.person("Stranger"))}
    assert (await doctor(clinic, browser, f"{path}/desk-messages", stranger, 404))["code"] == "nobody_waits"
    own = {
        sana: [f"of {sana}", "for Sana alone", "for all"],
        omar: [f"of {omar}", "for all"],
    }
    for person in people:
        view = await browser.ask("GET", path, by=(person, "patient"))
        assert [body for body, _ in said(view["messages"])] == own[person]
    line = {entry["patient"]: [body for body, _ in said(entry["messages"])] for entry in await queue(clinic, browser)}
    assert line == {str(person): bodies for person, bodies in own.items()}


async def test_the_board_shows_the_newest_of_a_long_conversation(
    clinic: Clinic, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views, "MAX_CONVERSATION", 2)
    patient = await guest(clinic, browser)
    await patient.check_in()
    for word in ("one", "two", "three"):
        await patient.ask("POST", "/messages", {"body": word}, 201)
    [entry] = await queue(clinic, browser)
    assert [body for body, _ in said(entry["messages"])] == ["two", "three"]
