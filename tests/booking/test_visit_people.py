"""Who may take part in a visit, and as what: doctors, guests, third persons, classes, caregivers, the front desk."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest_asyncio

from backplane.consumers import Worker
from backplane.outbox import OutboxPublisher
from backplane.postgres import Database
from booking.appointments.classes import cancel_seat
from booking.appointments.record import need
from booking.appointments.transitions import Command
from booking.links.link import Seat
from booking.visits.live_topics import Kind
from booking.visits.module import consumers
from booking.visits.presence import SeatPresence
from booking.visits.room_names import identity
from live.tickets import Ticket
from tests.booking.guests import DOCTOR, Guest, doctor, guest, queue
from tests.booking.join_world import (
    CONTEXT,
    START,
    TENANT,
    Browser,
    Clinic,
    another_provider,
    make_clinic,
    principal,
    serving,
    waits_for_lock,
)


@pytest_asyncio.fixture
async def clinic(database: Database, tmp_path: Path) -> Clinic:
    return await make_clinic(database, tmp_path)


@pytest_asyncio.fixture
async def browser(clinic: Clinic) -> AsyncIterator[Browser]:
    async with serving(clinic) as browser:
        yield browser


async def test_a_third_person_is_asked_in_waits_and_is_put_out(clinic: Clinic, browser: Browser) -> None:
    patient = await guest(clinic, browser)
    links = f"/v1/appointments/{patient.appointment}/links"
    made = await browser.ask("POST", links, {"kind": "interpreter", "name": "Bilal"}, pass_=patient.pass_, status=201)
    token = made["path"].partition("#")[2]
    third = Guest(browser, patient.appointment, await browser.sit_down(token))
    assert await third.check_in() == {"state": "waiting"}
    assert (await third.ask("GET"))["position"] is None
    who = {"seat": "third", "holder": made["invite"]}
    await patient.check_in()
    asked_in = {"holder": made["invite"], "name": "Bilal", "state": "waiting", "here": True}
    assert [entry["companions"] for entry in await queue(clinic, browser)] == [[asked_in]]
    await doctor(clinic, browser, f"{patient.path}/admit", who)
    assert [entry["companions"] for entry in await queue(clinic, browser)] == [[{**asked_in, "state": "admitted"}]]
    assert (await third.ask("GET", "/token"))["identity"].startswith("third-")
    assert (await browser.ask("POST", links, {"kind": "family", "name": "x"}, pass_=third.pass_, status=403))["code"]
    listed = await browser.ask("GET", links, by=(clinic.doctor, DOCTOR))
    assert [(each["name"], each["state"]) for each in listed["invites"]] == [("Bilal", "admitted")]
    await browser.ask("DELETE", f"{links}/{made['invite']}", by=(clinic.doctor, DOCTOR), status=204)
    assert clinic.rooms.asked[-1][0] == "put_out"
    assert (await third.ask("GET", "/token", status=410))["code"] == "invitation_withdrawn"
    assert (await browser.ask("POST", "/v1/join/look", {"token": token}))["state"] == "withdrawn"


async def test_who_was_put_out_writes_no_more(clinic: Clinic, browser: Browser) -> None:
    appointment = await clinic.appointment()
    path, by = f"/v1/visits/{appointment}", (clinic.doctor, DOCTOR)
    asked = {"kind": "other", "name": "Stranger"}
    made = await browser.ask("POST", f"/v1/appointments/{appointment}/links", asked, by=by, status=201)
    third = Guest(browser, appointment, await browser.sit_down(made["path"].partition("#")[2]))
    await third.check_in()
    await third.ask("POST", "/messages", {"body": "I am here"}, 201)
    await doctor(clinic, browser, f"{path}/deny", {"seat": "third", "holder": made["invite"]})
    refused = await third.ask("POST", "/messages", {"body": "You will hear of me"}, 403)
    assert refused["code"] == "denied"
    assert await clinic.scalar("SELECT count(*) FROM waiting_message") == 1


async def test_a_visit_has_at_most_five_invitations(clinic: Clinic, browser: Browser) -> None:
    appointment = await clinic.appointment()
    links = f"/v1/appointments/{appointment}/links"
    body = {"kind": "family", "name": "somebody"}
    who = (clinic.doctor, DOCTOR)
    answers = await asyncio.gather(*(browser.response("POST", links, body, by=who) for _ in range(9)))
    assert sorted(answer.status for answer in answers) == [201] * 5 + [409] * 4
    own = await browser.ask("POST", links, {"kind": "patient"}, by=who, status=201)
    link = clinic.links.read(own["path"].partition("#")[2])
    assert (link.seat, link.appointment) == (Seat.PATIENT, appointment)


async def test_a_patient_asks_three_in_and_takes_back_their_own(clinic: Clinic, browser: Browser) -> None:
    person = await clinic.person("Sana")
    appointment = await clinic.appointment(person)
    links = f"/v1/appointments/{appointment}/links"
    who, host = (person, "patient"), (clinic.doctor, DOCTOR)
    body = {"kind": "interpreter", "name": "somebody"}
    answers = await asyncio.gather(*(browser.response("POST", links, body, by=who) for _ in range(6)))
    assert sorted(answer.status for answer in answers) == [201] * 3 + [409] * 3
    theirs = await browser.ask("POST", links, body, by=host, status=201)
    assert len((await browser.ask("GET", links, by=who))["invites"]) == 4
    await browser.ask("DELETE", f"{links}/{theirs['invite']}", by=who, status=404)
    own = next(iter((await browser.ask("GET", links, by=who))["invites"]))["invite"]
    await browser.ask("DELETE", f"{links}/{own}", by=who, status=204)
    await browser.ask("POST", links, body, by=who, status=201)
    await browser.ask("DELETE", f"{links}/{own}", by=host, status=204)
    assert await clinic.scalar("SELECT count(*) FROM audit_entry WHERE action = 'visit.invite'") == 5


async def test_strangers_to_a_visit_ask_nobody_in(clinic: Clinic, browser: Browser) -> None:
    person = await clinic.person("Sana")
    appointment = await clinic.appointment(person)
    links = f"/v1/appointments/{appointment}/links"
    body = {"kind": "family", "name": "somebody"}
    for by in ((await clinic.person("Omar"), "patient"), (await clinic.person("Dr"), DOCTOR)):
        assert (await browser.ask("POST", links, body, by=by, status=403))["code"] == "not_your_visit"
    await clinic.set(appointment, patient_id=None, kind="class", capacity=10)
    async with clinic.db.tenant(TENANT.id) as connection:
        await connection.execute(
            """INSERT INTO seat (id, appointment_id, no, patient_id, status, price_minor, currency, created_at,
                   updated_at) VALUES (gen_random_uuid(), $1, 1, $2, 'confirmed', 0, 'PKR', $3, $3)""",
            appointment,
            person,
            START,
        )
    await browser.ask("GET", f"/v1/visits/{appointment}", by=(person, "patient"))
    assert (await browser.ask("POST", links, body, by=(person, "patient"), status=403))["code"] == "not_your_visit"


async def test_the_front_desk_runs_the_lobby_but_is_not_in_the_call(clinic: Clinic, browser: Browser) -> None:
    patient = await guest(clinic, browser)
    await patient.check_in()
    staff = (await clinic.person("Desk"), "staff")
    view = await browser.ask("GET", f"/v1/queue?provider={clinic.provider}", by=staff)
    assert len(view["entries"]) == 1
    await browser.ask("POST", f"{patient.path}/admit", {}, by=staff, status=204)
    await browser.ask("GET", f"{patient.path}/token", by=staff, status=403)
    await browser.ask("POST", f"{patient.path}/end", by=staff, status=403)


async def test_a_class_lets_in_those_who_have_a_seat(clinic: Clinic, browser: Browser) -> None:
    people = [await clinic.person(f"P{number}") for number in range(3)]
    appointment = await clinic.appointment()
    await clinic.set(appointment, patient_id=None, kind="class", capacity=10)
    async with clinic.db.tenant(TENANT.id) as connection:
        for number, person in enumerate(people[:2], 1):
            await connection.execute(
                """INSERT INTO seat (id, appointment_id, no, patient_id, status, price_minor, currency, created_at,
                       updated_at) VALUES (gen_random_uuid(), $1, $2, $3, 'confirmed', 0, 'PKR', $4, $4)""",
                appointment,
                number,
                person,
                START,
            )
    path = f"/v1/visits/{appointment}"
    for person in people[:2]:
        assert (await browser.ask("POST", f"{path}/check-in", {}, by=(person, "patient")))["state"] == "waiting"
    stranger = (people[2], "patient")
    assert (await browser.ask("POST", f"{path}/check-in", {}, by=stranger, status=403))["code"] == "not_your_visit"
    await doctor(clinic, browser, f"{path}/admit", {})
    for person in people[:2]:
        view = await browser.ask("GET", path, by=(person, "patient"))
        assert (view["state"], [other["seat"] for other in view["others"]]) == ("admitted", [])
    token = clinic.links.sign((await clinic.visit(appointment)).link(Seat.PATIENT, people[0], "en"))
    async with clinic.db.tenant(TENANT.id) as connection:
        await connection.execute("UPDATE seat SET status = 'cancelled_by_patient' WHERE patient_id = $1", people[0])
    assert (await browser.ask("POST", "/v1/join/look", {"token": token}))["state"] == "cancelled"


async def test_who_has_no_seat_in_the_class_any_more_is_out_of_its_line(clinic: Clinic, browser: Browser) -> None:
    people = [await clinic.person(f"P{number}") for number in range(2)]
    appointment = await clinic.appointment()
    await clinic.set(appointment, patient_id=None, kind="class", capacity=10, seats_taken=2)
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
    path = f"/v1/visits/{appointment}"
    for person in people:
        await browser.ask("POST", f"{path}/check-in", {}, by=(person, "patient"))
    host = principal(clinic.doctor, DOCTOR)
    (consumer,) = consumers(clinic.joining, clinic.bus)
    async with browser.screen() as screen:
        await screen.watch(f"{path}/live", by=(people[0], "patient"))
        async with clinic.db.tenant(TENANT.id) as connection, connection.transaction():
            seat = await connection.fetchval("SELECT id FROM seat WHERE patient_id = $1", people[0])
            found = await need(connection, appointment, host, clinic.now)
            await cancel_seat(connection, CONTEXT, host, found, seat, Command(clinic.doctor, DOCTOR, clinic.now))
        await OutboxPublisher(clinic.db, clinic.bus, lambda: clinic.now).step()
        await Worker(clinic.db, clinic.bus, consumer, lambda: clinic.now).step()
        assert [entry["patient"] for entry in await queue(clinic, browser)] == [str(people[1])]
        assert (await screen.until(lambda message: message["type"] == "bye"))["reason"] == "gone"
    room = clinic.joining.names.name((await clinic.visit(appointment)).room)
    assert clinic.rooms.asked == [("put_out", room, identity(Seat.PATIENT, people[0]))]
    assert (await browser.ask("GET", path, by=(people[1], "patient")))["position"] == 1


async def test_a_class_is_let_in_while_its_pages_say_that_they_are_there(clinic: Clinic, browser: Browser) -> None:
    people = [await clinic.person(f"P{number}") for number in range(3)]
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
    path = f"/v1/visits/{appointment}"
    for person in (*people, people[0]):  # the first one, whose page was loaded anew, is the last row
        await browser.ask("POST", f"{path}/check-in", {}, by=(person, "patient"))
    pages = [
        Ticket(Kind.VISIT, TENANT.id, clinic.provider, appointment, Seat.PATIENT, person, UUID(int=person.int ^ 1), 1)
        for person in (people[1], people[2], people[0])
    ]

    async def heard_of() -> None:
        async with clinic.db.tenant(TENANT.id) as connection:
            await SeatPresence().still_here(connection, pages, clinic.now)

    async with clinic.db.tenant(TENANT.id) as connection, connection.transaction():
        await connection.execute("SELECT 1 FROM visit_seat WHERE holder = $1 FOR UPDATE", people[2])
        heard = asyncio.create_task(heard_of())
        await waits_for_lock(clinic, heard)
        admitted = asyncio.create_task(doctor(clinic, browser, f"{path}/admit", {}))
        await waits_for_lock(clinic, but=0 if heard.done() else 1)
    await asyncio.gather(heard, admitted)
    assert await clinic.scalar("SELECT count(*) FROM visit_seat WHERE state = 'admitted'") == 3


async def test_a_caregiver_sits_in_the_patients_seat(clinic: Clinic, browser: Browser) -> None:
    child, parent = await clinic.person("Child"), await clinic.person("Parent")
    appointment = await clinic.appointment(child)
    path = f"/v1/visits/{appointment}"
    who = (parent, "patient")
    await browser.ask("GET", path, by=who, status=403)
    async with clinic.db.tenant(TENANT.id) as connection:
        await connection.execute(
            """INSERT INTO dependant (id, guardian_id, person_id, relation, rights, created_at)
               VALUES (gen_random_uuid(), $1, $2, 'child', '{join}', $3)""",
            parent,
            child,
            START,
        )
    await browser.ask("POST", f"{path}/check-in", {}, by=who)
    assert await clinic.scalar("SELECT holder FROM visit_seat") == child
    for over in ("rights = '{book,read}'", "until = '2026-11-21', rights = '{join}'", "until = NULL, ended_at = now()"):
        async with clinic.db.tenant(TENANT.id) as connection:
            await connection.execute(f"UPDATE dependant SET {over}")
        for method, end in (("GET", ""), ("GET", "/token"), ("POST", "/check-in")):
            body = {} if method == "POST" else None
            assert (await browser.ask(method, path + end, body, by=who, status=403))["code"] == "not_your_visit", over
        links = f"/v1/appointments/{appointment}/links"
        await browser.ask("POST", links, {"kind": "patient"}, by=who, status=403)


async def test_a_caregiver_comes_by_the_link_that_they_made_for_the_patient(clinic: Clinic, browser: Browser) -> None:
    child, parent = await clinic.person("Child"), await clinic.person("Parent")
    appointment = await clinic.appointment(child)
    async with clinic.db.tenant(TENANT.id) as connection:
        await connection.execute(
            """INSERT INTO dependant (id, guardian_id, person_id, relation, rights, created_at)
               VALUES (gen_random_uuid(), $1, $2, 'child', '{join}', $3)""",
            parent,
            child,
            START,
        )
    links = f"/v1/appointments/{appointment}/links"
    made = await browser.ask("POST", links, {"kind": "patient"}, by=(parent, "patient"), status=201)
    token = made["path"].partition("#")[2]
    gesture = (await browser.ask("POST", "/v1/join/look", {"token": token}))["gesture"]
    seated = await browser.ask("POST", "/v1/join/exchange", {"token": token, "gesture": gesture, "bearer": True})
    assert (seated["state"], seated["seat"]) == ("seated", "patient")
    assert await clinic.scalar("SELECT holder FROM visit_seat") == child


async def test_the_doctor_is_the_host_of_own_visits_only(clinic: Clinic, browser: Browser) -> None:
    appointment = await clinic.appointment()
    path = f"/v1/visits/{appointment}"
    who = (clinic.doctor, DOCTOR)
    assert (await browser.ask("POST", f"{path}/check-in", {}, by=who))["state"] == "admitted"
    given = await browser.ask("GET", f"{path}/token", by=who)
    assert given["role"] == "host"
    other, _ = await another_provider(clinic)
    for method, end in (("GET", ""), ("GET", "/token"), ("POST", "/leave")):
        assert (await browser.ask(method, path + end, by=(other, DOCTOR), status=403))["code"] == "not_your_visit"
    for end in ("/admit", "/deny"):
        answer = await browser.ask("POST", path + end, {}, by=(other, DOCTOR), status=403)
        assert answer["code"] == "not_your_queue"
    for end in ("/end", "/call-again"):
        assert (await browser.ask("POST", path + end, by=(other, DOCTOR), status=403))["code"] == "not_your_visit"


async def test_a_guest_sees_this_visit_and_no_other(clinic: Clinic, browser: Browser) -> None:
    person = await clinic.person()
    first = await guest(clinic, browser, await clinic.appointment(person))
    second = await clinic.appointment(person, start=START + timedelta(minutes=20))
    answer = await browser.ask("GET", f"/v1/visits/{second}", pass_=first.pass_, status=401)
    assert answer["code"] == "unauthorized"
