"""A doctor now: rings, one winner, and clear ends; and walk-in tickets."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio

from backplane.jobs import JobRow, Scheduler
from backplane.postgres import Connection, Database
from booking.instant.instant_requests import JOB, RING_LASTS, Ringing
from tests.booking.join_world import (
    START,
    TENANT,
    Browser,
    Clinic,
    another_provider,
    make_clinic,
    service_of,
    serving,
    waits_for_lock,
)

DOCTOR = "doctor"
ASK = {"specialty": "general", "language": "ur", "reason": "a canary cough"}


@pytest_asyncio.fixture
async def clinic(database: Database, tmp_path: Path) -> Clinic:
    return await make_clinic(database, tmp_path)


@pytest_asyncio.fixture
async def browser(clinic: Clinic) -> AsyncIterator[Browser]:
    async with serving(clinic, ringing=Ringing(clinic.bus, size=2)) as browser:
        yield browser


async def online(clinic: Clinic, count: int) -> list[UUID]:
    """Persons of doctors who take requests."""
    people = []
    for number in range(count):
        person, provider = await another_provider(clinic, f"Dr {number}", online_until=START + timedelta(hours=2))
        await service_of(clinic, provider)
        people.append(person)
    return people


async def ask(clinic: Clinic, browser: Browser, **change: object) -> tuple[UUID, dict[str, Any]]:
    patient = await clinic.person("Sana")
    answer = await browser.ask("POST", "/v1/instant-requests", {**ASK, **change}, by=(patient, "patient"), status=201)
    return patient, answer


async def rung(browser: Browser, doctors: list[UUID]) -> list[UUID]:
    found = []
    for each in doctors:
        answer = await browser.ask("GET", "/v1/instant-rings", by=(each, DOCTOR))
        if answer["rings"]:
            found.append(each)
    return found


async def ring_over(clinic: Clinic, ringing: Ringing) -> None:
    clinic.now += RING_LASTS
    await Scheduler(clinic.db, ringing.jobs(), lambda: clinic.now).step()


async def test_the_first_to_accept_has_the_visit(clinic: Clinic, browser: Browser) -> None:
    doctors = await online(clinic, 2)
    patient, asked = await ask(clinic, browser)
    assert (asked["state"], asked["ring"]) == ("ringing", 1)
    path = f"/v1/instant-requests/{asked['request']}"
    async with browser.screen() as screen:
        await screen.watch(f"{path}/live", by=(patient, "patient"))
        taken = await browser.ask("POST", f"{path}/accept", by=(doctors[0], DOCTOR))
        told = (await screen.next())["instant"]
    assert (told["state"], told["appointment"], told["doctor"]) == ("accepted", taken["appointment"], "Dr 0")
    assert (await browser.ask("POST", f"{path}/accept", by=(doctors[1], DOCTOR), status=409))["code"] == "already_taken"
    assert await rung(browser, doctors) == []
    # the patient's page checks in and is in at once
    visit = f"/v1/visits/{taken['appointment']}"
    assert (await browser.ask("POST", f"{visit}/check-in", {}, by=(patient, "patient")))["state"] == "admitted"
    await browser.ask("GET", f"{visit}/token", by=(patient, "patient"))
    outbox = str(await clinic.scalar("SELECT string_agg(type || payload::text, ' ') FROM outbox"))
    assert "instant.accepted" in outbox
    assert "canary" not in outbox


async def test_who_did_not_hear_that_they_have_it_is_told_where_to_go(clinic: Clinic, browser: Browser) -> None:
    doctors = await online(clinic, 2)
    _, asked = await ask(clinic, browser)
    path = f"/v1/instant-requests/{asked['request']}/accept"
    taken = await browser.ask("POST", path, by=(doctors[0], DOCTOR))
    again = await browser.ask("POST", path, by=(doctors[0], DOCTOR), status=409)
    assert (again["code"], again["appointment"]) == ("already_taken", taken["appointment"])
    other = await browser.ask("POST", path, by=(doctors[1], DOCTOR), status=409)
    assert other["code"] == "already_taken"
    assert "appointment" not in other  # whose visit it is is nobody else's business
    assert await clinic.scalar("SELECT count(*) FROM appointment") == 1
    assert await clinic.scalar("SELECT count(*) FROM outbox WHERE type = 'instant.accepted'") == 1


async def test_fifty_doctors_accept_one_request_and_one_wins(clinic: Clinic) -> None:
    doctors = await online(clinic, 50)
    async with serving(clinic, ringing=Ringing(clinic.bus, size=50)) as browser:
        _, asked = await ask(clinic, browser)
        path = f"/v1/instant-requests/{asked['request']}/accept"
        answers = await asyncio.gather(*(browser.response("POST", path, by=(each, DOCTOR)) for each in doctors))
    assert sorted(answer.status for answer in answers) == [200] + [409] * 49
    assert await clinic.scalar("SELECT count(*) FROM appointment") == 1
    assert await clinic.scalar("SELECT count(*) FROM instant_ring WHERE answer = 'accepted'") == 1


async def test_a_ring_that_nobody_answers_goes_to_others_and_ends(clinic: Clinic, browser: Browser) -> None:
    doctors = await online(clinic, 3)
    ringing = Ringing(clinic.bus, size=2)
    patient, asked = await ask(clinic, browser)
    first = await rung(browser, doctors)
    assert len(first) == 2
    await ring_over(clinic, ringing)
    assert await rung(browser, doctors) == [each for each in doctors if each not in first]
    late = await browser.ask(
        "POST", f"/v1/instant-requests/{asked['request']}/accept", by=(first[0], DOCTOR), status=409
    )
    assert late["code"] == "already_taken"
    await ring_over(clinic, ringing)
    ended = await browser.ask("GET", f"/v1/instant-requests/{asked['request']}", by=(patient, "patient"))
    assert (ended["state"], ended["ring"], ended["appointment"]) == ("unanswered", 2, None)
    assert await clinic.scalar("SELECT count(*) FROM outbox WHERE type = 'instant.expired'") == 1


async def test_when_all_decline_the_next_are_rung_at_once(clinic: Clinic, browser: Browser) -> None:
    doctors = await online(clinic, 3)
    _, asked = await ask(clinic, browser)
    first = await rung(browser, doctors)
    path = f"/v1/instant-requests/{asked['request']}/decline"
    answers = await asyncio.gather(*(browser.response("POST", path, by=(each, DOCTOR)) for each in first))
    assert [answer.status for answer in answers] == [204, 204]
    assert await rung(browser, doctors) == [each for each in doctors if each not in first]


@pytest.mark.parametrize("deed", ["cancel", "decline"])
async def test_what_is_pressed_while_a_ring_ends_takes_its_turn(clinic: Clinic, deed: str) -> None:
    doctors = await online(clinic, 2)
    ringing = Ringing(clinic.bus, size=1)
    async with serving(clinic, ringing=ringing) as browser:
        patient, asked = await ask(clinic, browser)
        begun, ring_over = asyncio.Event(), ringing.jobs()[JOB]

        async def ends(connection: Connection, job: JobRow, now: datetime) -> None:
            begun.set()
            await waits_for_lock(clinic)
            await ring_over(connection, job, now)

        who = (patient, "patient") if deed == "cancel" else ((await rung(browser, doctors))[0], DOCTOR)
        clinic.now += RING_LASTS
        step = asyncio.create_task(Scheduler(clinic.db, {JOB: ends}, lambda: clinic.now).step())
        await begun.wait()
        answer = await browser.response("POST", f"/v1/instant-requests/{asked['request']}/{deed}", by=who)
        await step
    assert answer.status == (204 if deed == "cancel" else 409)  # the ring had ended before it was declined
    assert await clinic.scalar("SELECT last_error FROM job") is None


async def test_nobody_free_is_said_at_once(clinic: Clinic, browser: Browser) -> None:
    (person,) = await online(clinic, 1)
    provider = await clinic.scalar("SELECT id FROM provider WHERE person_id = $1", person)
    assert isinstance(provider, UUID)
    assert (await ask(clinic, browser, language="sw"))[1]["state"] == "unanswered"
    assert (await ask(clinic, browser, specialty="cardiology"))[1]["state"] == "unanswered"
    await clinic.appointment(provider=provider, start=START + timedelta(minutes=10))
    assert (await ask(clinic, browser))[1]["state"] == "unanswered"  # the doctor's next visit begins too soon


async def test_a_doctor_is_rung_only_if_there_is_time_for_the_visit_that_would_be_made(
    clinic: Clinic, browser: Browser
) -> None:
    doctors = await online(clinic, 1)
    provider = await clinic.scalar("SELECT id FROM provider WHERE person_id = $1", doctors[0])
    assert isinstance(provider, UUID)
    async with clinic.db.tenant(TENANT.id) as connection:  # a call of 5 minutes beside the video visit of 20
        await connection.execute(
            """INSERT INTO service (id, provider_id, name, kind, minutes, created_at)
               VALUES (gen_random_uuid(), $1, 'a', 'audio', 5, $2)""",
            provider,
            START,
        )
    await clinic.appointment(provider=provider, start=START + timedelta(minutes=10))
    assert (await ask(clinic, browser))[1]["state"] == "unanswered"


async def test_a_patient_takes_a_request_back(clinic: Clinic, browser: Browser) -> None:
    doctors = await online(clinic, 2)
    patient, asked = await ask(clinic, browser)
    again = await browser.ask("POST", "/v1/instant-requests", ASK, by=(patient, "patient"), status=409)
    assert (again["code"], again["request"]) == ("already_asking", asked["request"])
    path = f"/v1/instant-requests/{asked['request']}"
    stranger = (await clinic.person(), "patient")
    await browser.ask("POST", f"{path}/cancel", by=stranger, status=404)
    await browser.ask("POST", f"{path}/cancel", by=(patient, "patient"), status=204)
    assert await rung(browser, doctors) == []
    await browser.ask("POST", f"{path}/accept", by=(doctors[0], DOCTOR), status=409)
    await browser.ask("POST", f"{path}/cancel", by=(patient, "patient"), status=409)


async def test_the_doctors_see_that_who_asks_has_closed_the_page_and_come_back(
    clinic: Clinic, browser: Browser
) -> None:
    [doctor] = await online(clinic, 1)
    patient, asked = await ask(clinic, browser)

    async def here(expected: bool) -> None:
        for _ in range(500):
            answer = await browser.ask("GET", "/v1/instant-rings", by=(doctor, DOCTOR))
            if answer["rings"][0]["here"] == expected:
                return
        raise AssertionError(f"here was never {expected}")

    for _ in range(2):
        async with browser.screen() as screen:
            await screen.watch(f"/v1/instant-requests/{asked['request']}/live", by=(patient, "patient"))
            await here(True)
        await here(False)


async def test_a_winner_whose_calendar_refuses_has_taken_nothing(clinic: Clinic, browser: Browser) -> None:
    doctors = await online(clinic, 2)
    _, asked = await ask(clinic, browser)
    busy = await clinic.scalar("SELECT id FROM provider WHERE person_id = $1", doctors[0])
    assert isinstance(busy, UUID)
    await clinic.appointment(provider=busy, start=START + timedelta(minutes=5))  # booked after the ring began
    path = f"/v1/instant-requests/{asked['request']}/accept"
    assert (await browser.ask("POST", path, by=(doctors[0], DOCTOR), status=409))["code"] == "time_taken"
    await browser.ask("POST", path, by=(doctors[1], DOCTOR))


async def test_a_walk_in_stands_in_line_sees_the_position_and_is_called(clinic: Clinic, browser: Browser) -> None:
    path = f"/v1/queues/{clinic.provider}/tickets"
    first, second = await clinic.person("A"), await clinic.person("B")
    assert (await browser.ask("POST", path, by=(first, "patient"), status=409))["code"] == "not_taking"
    async with clinic.db.tenant(TENANT.id) as connection:
        await connection.execute("UPDATE provider SET online_until = $1", START + timedelta(hours=1))
    one = await browser.ask("POST", path, by=(first, "patient"), status=201)
    clinic.now += timedelta(seconds=1)
    two = await browser.ask("POST", path, by=(second, "patient"), status=201)
    again = await browser.ask("POST", path, by=(second, "patient"), status=201)
    assert (one["position"], two["position"], again["ticket"]) == (1, 2, two["ticket"])
    await browser.ask("GET", f"/v1/queue-tickets/{two['ticket']}", by=(first, "patient"), status=404)
    async with browser.screen() as screen:
        await screen.watch(f"/v1/queue-tickets/{two['ticket']}/live", by=(second, "patient"))
        called = await browser.ask("POST", "/v1/queue/next", {}, by=(clinic.doctor, DOCTOR))
        assert called["ticket"] == one["ticket"]
        assert (await screen.until(lambda message: message["place"]["position"] == 1))["place"]["wait"] is None
    view = await browser.ask("GET", f"/v1/queue-tickets/{one['ticket']}", by=(first, "patient"))
    assert (view["state"], view["appointment"]) == ("admitted", called["appointment"])
    visit = f"/v1/visits/{called['appointment']}"
    assert (await browser.ask("POST", f"{visit}/check-in", {}, by=(first, "patient")))["state"] == "admitted"
    await browser.ask("DELETE", f"/v1/queue-tickets/{two['ticket']}", by=(second, "patient"), status=204)
    assert (await browser.ask("GET", f"/v1/queue-tickets/{two['ticket']}", by=(second, "patient")))["state"] == "left"
