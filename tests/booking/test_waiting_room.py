"""The waiting room over HTTP and live sockets, on a real Postgres.

The tests that name a number are failures of Ottehr's waiting room as its public tracker tells them.
"""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio

from backplane.consumers import Worker
from backplane.jobs import Scheduler
from backplane.outbox import OutboxPublisher
from backplane.postgres import Connection, Database
from booking.appointments.changes import cancel, reschedule
from booking.appointments.transitions import Command
from booking.instant.instant_requests import Ringing
from booking.visits.call_events import CallEvents
from booking.visits.module import consumers, jobs
from booking.waiting_room import admittance
from booking.waiting_room.admittance import REOPENED_FOR
from booking.waiting_room.line import GRACE
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


async def finish_visits(clinic: Clinic, *minutes: int, day_offset: int = 0, provider: UUID | None = None) -> None:
    """Visits of this line that are over."""
    for number, length in enumerate(minutes):
        appointment = await clinic.appointment(
            start=START - timedelta(hours=10 + number), status="completed", provider=provider
        )
        patient = (await clinic.visit(appointment)).patient
        begin = START - timedelta(minutes=length)
        async with clinic.db.tenant(TENANT.id) as connection:
            await connection.execute(
                """INSERT INTO queue_ticket (id, provider_id, day, no, kind, appointment_id, patient_id, state, rank,
                       joined_at, seen_at, admitted_at, ended_at)
                   VALUES ($1, $2, $3, $4, 'booked', $1, $5, 'done', 0, $6, $6, $6, $7)""",
                appointment,
                provider or clinic.provider,
                (START + timedelta(days=day_offset)).date(),
                900 + number,
                patient,
                begin,
                START,
            )


async def test_a_patient_waits_is_admitted_and_gets_a_token(clinic: Clinic, browser: Browser) -> None:
    patient = await guest(clinic, browser)
    assert (await patient.ask("GET", "/token", status=409))["code"] == "not_admitted"
    assert await patient.check_in() == {"state": "waiting"}
    assert (await clinic.visit(patient.appointment)).status == "checked_in"
    assert (await patient.ask("GET"))["position"] == 1
    assert (await patient.ask("GET", "/token", status=409))["code"] == "not_admitted"
    (entry,) = await queue(clinic, browser)
    assert (entry["state"], entry["place"], entry["device_check"]) == ("waiting", 1, {"camera": True})
    await doctor(clinic, browser, f"{patient.path}/admit", {})
    assert (await patient.ask("GET"))["state"] == "admitted"
    given = await patient.ask("GET", "/token")
    claims = clinic.joining.authority.verify(given["token"], clinic.now.timestamp())
    visit = await clinic.visit(patient.appointment)
    assert clinic.joining.names.read(claims.room) == visit.room
    assert (claims.role, claims.exp - claims.nbf) == ("guest", 600)
    assert "moderate" not in claims.rights
    assert clinic.rooms.asked[-1] == ("renew", claims.room, claims.identity)


async def test_the_doctor_is_alerted_when_somebody_waits(clinic: Clinic, browser: Browser) -> None:
    """Ottehr #3553: nothing told the provider that somebody was in the waiting room."""
    patient = await guest(clinic, browser)
    async with browser.screen() as screen:
        first = await screen.watch("/v1/queue/live", {}, by=(clinic.doctor, DOCTOR))
        assert first["queue"]["entries"] == []
        await patient.check_in()
        told = await screen.next()
    assert [entry["state"] for entry in told["queue"]["entries"]] == ["waiting"]
    assert await clinic.scalar("SELECT count(*) FROM outbox WHERE type = 'queue.joined'") == 1


async def cancelled_by_provider(clinic: Clinic, appointment: UUID) -> None:
    who = principal(clinic.doctor, DOCTOR)
    async with clinic.db.tenant(TENANT.id) as connection, connection.transaction():
        await cancel(connection, CONTEXT, who, appointment, Command(clinic.doctor, DOCTOR, clinic.now))


async def test_when_the_doctor_cancels_the_waiting_patient_hears_at_once(clinic: Clinic, browser: Browser) -> None:
    """Ottehr #604: stuck in the waiting room after the provider had cancelled."""
    patient = await guest(clinic, browser)
    await patient.check_in()
    await clinic.set(patient.appointment, payment="paid", price_minor=1000)
    old_room = clinic.joining.names.name((await clinic.visit(patient.appointment)).room)
    (consumer,) = consumers(clinic.joining, clinic.bus)
    tasks = [
        asyncio.create_task(OutboxPublisher(clinic.db, clinic.bus, lambda: clinic.now).run()),
        asyncio.create_task(Worker(clinic.db, clinic.bus, consumer, lambda: clinic.now).run()),
    ]
    async with browser.screen() as screen:
        assert (await patient.watch(screen))["visit"]["end"] is None
        began = asyncio.get_running_loop().time()
        await cancelled_by_provider(clinic, patient.appointment)
        told = await screen.until(lambda message: message["visit"]["end"] is not None)
        assert asyncio.get_running_loop().time() - began < 1.0
    for _ in range(1000):  # the room is closed beside it
        if clinic.rooms.asked:
            break
        await asyncio.sleep(0.01)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    visit = told["visit"]
    assert (visit["end"], visit["status"], visit["payment"]) == ("cancelled", "cancelled_by_provider", "refund_due")
    assert visit["position"] is None
    assert ("revoke_room", old_room) in clinic.rooms.asked
    assert await clinic.scalar("SELECT state FROM queue_ticket") == "cancelled"
    assert await queue(clinic, browser) == []
    assert (await patient.check_in(status=410))["code"] == "visit_cancelled"


async def test_who_left_returns_to_the_call(clinic: Clinic, browser: Browser) -> None:
    """Ottehr #516: no way back into the call after leaving it."""
    patient = await guest(clinic, browser)
    await patient.check_in()
    await doctor(clinic, browser, f"{patient.path}/admit", {})
    await clinic.set(patient.appointment, status="in_progress")
    await patient.ask("POST", "/leave", status=204)
    assert clinic.rooms.asked[-1][0] == "put_out"
    assert (await patient.ask("GET", "/token", status=409))["code"] == "not_admitted"
    again = Guest(browser, patient.appointment, await browser.sit_down(await clinic.link(patient.appointment)))
    assert await again.check_in() == {"state": "admitted"}
    assert (await again.ask("GET", "/token"))["role"] == "guest"


async def test_position_and_wait_count_todays_line_only(clinic: Clinic, browser: Browser) -> None:
    """Ottehr #2613: position and wait were counted across all days."""
    yesterday = await guest(clinic, browser, start=START)
    await yesterday.check_in()
    async with clinic.db.tenant(TENANT.id) as connection:  # a ticket that nobody closed, and visits of another day
        await connection.execute("UPDATE queue_ticket SET day = day - 1")
    await finish_visits(clinic, 10, 10, 10, 10, day_offset=-1)
    first = await guest(clinic, browser, start=START + timedelta(minutes=20))
    await first.check_in()
    view = await first.ask("GET")
    assert (view["position"], view["wait"]) == (1, None)


async def test_the_wait_is_unknown_until_today_has_shown_it(clinic: Clinic, browser: Browser) -> None:
    """Ottehr PR 4403: the wait was removed, because it promised what nobody knew."""
    clinic.now = START + timedelta(minutes=25)  # both visits' time has come
    first = await guest(clinic, browser, start=START)
    second = await guest(clinic, browser, start=START + timedelta(minutes=20))
    await first.check_in()
    await second.check_in()
    view = await second.ask("GET")
    assert (view["position"], view["wait"]) == (2, None)
    _, provider = await another_provider(clinic)
    await finish_visits(clinic, 5, 5, 5, 5, provider=provider)  # another doctor's visits tell nothing of this one
    assert (await second.ask("GET"))["wait"] is None
    await finish_visits(clinic, 10, 12, 14, 20)
    assert (await second.ask("GET"))["wait"] == {"low_min": 12, "high_min": 20}
    await doctor(clinic, browser, "/v1/queue/delay", {"minutes": 30})
    view = await second.ask("GET")
    assert (view["wait"], view["delay_minutes"]) == ({"low_min": 30, "high_min": 30}, 30)


async def test_nobody_is_promised_a_visit_before_its_hour(clinic: Clinic, browser: Browser) -> None:
    await finish_visits(clinic, 10, 12, 14, 20)
    early = await guest(clinic, browser, start=START + timedelta(minutes=20))
    await early.check_in()
    assert (await early.ask("GET"))["wait"] == {"low_min": 20, "high_min": 20}


async def test_the_doctor_calls_again_when_all_is_over(clinic: Clinic, browser: Browser) -> None:
    """Ottehr PR 8696: the provider must be able to call again after the room has expired."""
    patient = await guest(clinic, browser)
    token = await clinic.link(patient.appointment)
    await clinic.set(patient.appointment, status="completed")
    clinic.now = START + timedelta(hours=5)
    assert (await browser.ask("POST", "/v1/join/look", {"token": token}))["state"] == "over"
    assert (await doctor(clinic, browser, f"{patient.path}/call-again", status=200))["until"] > "2026-11-21T15:30"
    again = Guest(browser, patient.appointment, await browser.sit_down(token))
    assert await again.check_in() == {"state": "waiting"}
    assert [entry["state"] for entry in await queue(clinic, browser)] == ["waiting"]
    await doctor(clinic, browser, f"{again.path}/admit", {})
    assert (await again.ask("GET", "/token"))["role"] == "guest"
    await doctor(clinic, browser, f"{again.path}/end")
    assert (await again.ask("GET", "/token", status=409))["code"] == "not_open"
    cancelled = await clinic.appointment(status="cancelled_by_patient", start=START + timedelta(hours=8))
    await doctor(clinic, browser, f"/v1/visits/{cancelled}/call-again", status=409)


async def test_a_visit_that_was_called_again_and_never_ended_leaves_the_line(clinic: Clinic, browser: Browser) -> None:
    patient = await guest(clinic, browser)
    await clinic.set(patient.appointment, status="completed")
    await doctor(clinic, browser, f"{patient.path}/call-again", status=200)
    await patient.check_in()
    await doctor(clinic, browser, f"{patient.path}/admit", {})
    clinic.now += REOPENED_FOR - timedelta(seconds=1)
    await doctor(clinic, browser, f"{patient.path}/call-again", status=200)
    clinic.now += timedelta(seconds=2)
    await scheduler(clinic).step()
    assert [entry["state"] for entry in await queue(clinic, browser)] == ["admitted"]
    clinic.now += REOPENED_FOR
    await scheduler(clinic).step()
    assert await queue(clinic, browser) == []
    assert (await patient.ask("GET"))["state"] == "left"


async def test_a_visit_that_never_began_and_was_called_again_leaves_the_line(clinic: Clinic, browser: Browser) -> None:
    patient = await guest(clinic, browser)
    await patient.check_in()
    clinic.now += timedelta(hours=2)
    await doctor(clinic, browser, f"{patient.path}/call-again", status=200)
    await patient.check_in()
    await doctor(clinic, browser, f"{patient.path}/admit", {})
    clinic.now += REOPENED_FOR + timedelta(seconds=1)
    await scheduler(clinic).step()
    assert await queue(clinic, browser) == []


async def test_calling_again_while_the_hour_ends_takes_its_turn(
    clinic: Clinic, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    patient = await guest(clinic, browser)
    await clinic.set(patient.appointment, status="completed")
    await doctor(clinic, browser, f"{patient.path}/call-again", status=200)
    clinic.now += REOPENED_FOR
    begun, ending = asyncio.Event(), admittance.over

    async def over(connection: Connection, *rest: Any) -> None:
        begun.set()
        await waits_for_lock(clinic)
        await ending(connection, *rest)

    monkeypatch.setattr(admittance, "over", over)
    step = asyncio.create_task(scheduler(clinic).step())
    await begun.wait()
    await doctor(clinic, browser, f"{patient.path}/call-again", status=200)
    await step
    clinic.now += REOPENED_FOR / 2
    assert (await clinic.visit(patient.appointment)).reopened(clinic.now)
    assert await clinic.scalar("SELECT last_error FROM job WHERE kind = 'visit.reopened'") is None


async def test_a_closed_page_keeps_the_place_for_five_minutes(clinic: Clinic, browser: Browser) -> None:
    first, second = [await guest(clinic, browser, start=START + timedelta(minutes=20 * n)) for n in range(2)]
    clinic.now = START + timedelta(minutes=20)
    async with browser.screen() as screen:
        await first.check_in()
        await first.watch(screen)
    await page_closed(clinic, browser, first.appointment)
    await second.check_in()
    assert (await second.ask("GET"))["position"] == 2
    assert [entry["here"] for entry in await queue(clinic, browser)] == [False, True]
    clinic.now += GRACE - timedelta(seconds=1)
    async with browser.screen() as screen:  # back in time: the same place
        assert (await first.watch(screen))["visit"]["position"] == 1
    await page_closed(clinic, browser, first.appointment)
    clinic.now += GRACE + timedelta(seconds=1)
    await scheduler(clinic).step()
    # the second one's page was never open
    assert await clinic.scalar("SELECT count(*) FROM queue_ticket WHERE state = 'left'") == 2
    again = Guest(browser, second.appointment, await browser.sit_down(await clinic.link(second.appointment)))
    assert await again.check_in() == {"state": "waiting"}
    late = Guest(browser, first.appointment, await browser.sit_down(await clinic.link(first.appointment)))
    assert await late.check_in() == {"state": "waiting"}
    assert (await late.ask("GET"))["position"] == 2  # the place was lost


async def page_closed(clinic: Clinic, browser: Browser, appointment: UUID) -> None:
    """Until the doctor's screen shows that the patient's only page is closed."""

    def closed(message: dict[str, Any]) -> bool:
        entries = message["queue"]["entries"]
        return not any(entry["here"] for entry in entries if entry["appointment"] == str(appointment))

    async with browser.screen() as screen:
        if not closed(await screen.watch("/v1/queue/live", {}, by=(clinic.doctor, DOCTOR))):
            await screen.until(closed)


def scheduler(clinic: Clinic) -> Scheduler:
    handlers = jobs(clinic.joining, events(clinic), Ringing(clinic.bus), clinic.bus)
    return Scheduler(clinic.db, handlers, lambda: clinic.now)


def events(clinic: Clinic) -> CallEvents:
    return CallEvents(clinic.db, clinic.bus, clinic.joining.names, clinic.joining.lifecycle)


async def test_next_is_the_first_whose_page_is_open(clinic: Clinic, browser: Browser) -> None:
    first, second = [await guest(clinic, browser, start=START + timedelta(minutes=20 * n)) for n in range(2)]
    async with browser.screen() as screen:
        await first.check_in()
        await first.watch(screen)
    await page_closed(clinic, browser, first.appointment)
    await second.check_in()
    called = await doctor(clinic, browser, "/v1/queue/next", {}, 200)
    assert called["appointment"] == str(second.appointment)
    assert (await doctor(clinic, browser, "/v1/queue/next", {}, 404))["code"] == "nobody_waits"


async def test_many_bells_call_each_person_once(clinic: Clinic, browser: Browser) -> None:
    people = [await guest(clinic, browser, start=START + timedelta(minutes=5 * n), minutes=5) for n in range(4)]
    for each in people:
        await each.check_in()
    who = (clinic.doctor, DOCTOR)
    answers = await asyncio.gather(*(browser.response("POST", "/v1/queue/next", {}, by=who) for _ in range(10)))
    called = [(await answer.json())["appointment"] for answer in answers if answer.status == 200]
    assert sorted(called) == sorted(str(each.appointment) for each in people)
    assert {answer.status for answer in answers} == {200, 404}


async def test_everything_at_once_ends_without_an_error(clinic: Clinic, browser: Browser) -> None:
    """Arriving, calling, turning away, leaving and ending the same visits: locks are taken in one order."""
    people = [await guest(clinic, browser, start=START + timedelta(minutes=5 * n), minutes=5) for n in range(3)]
    who = (clinic.doctor, DOCTOR)
    for _ in range(4):
        asked = []
        for each in people:
            asked += [
                browser.response("POST", f"{each.path}/check-in", {}, pass_=each.pass_),
                browser.response("POST", f"{each.path}/admit", {}, by=who),
                browser.response("POST", "/v1/queue/next", {}, by=who),
                browser.response("POST", f"{each.path}/leave", pass_=each.pass_),
                browser.response("POST", f"{each.path}/call-again", by=who),
                browser.response("POST", f"{each.path}/end", by=who),
                browser.response("POST", f"{each.path}/check-in", {}, pass_=each.pass_),
            ]
        answers = await asyncio.gather(*asked)
        assert {answer.status for answer in answers} <= {200, 204, 403, 404, 409}


async def test_who_is_denied_is_out_and_may_be_let_in_after_all(clinic: Clinic, browser: Browser) -> None:
    patient = await guest(clinic, browser)
    await patient.check_in()
    await doctor(clinic, browser, f"{patient.path}/admit", {})
    await patient.ask("GET", "/token")
    await doctor(clinic, browser, f"{patient.path}/deny", {})
    assert clinic.rooms.asked[-1][0] == "put_out"
    assert (await patient.ask("GET", "/token", status=409))["code"] == "not_admitted"
    assert (await patient.check_in(status=403))["code"] == "denied"
    await doctor(clinic, browser, f"{patient.path}/admit", {})
    await patient.ask("GET", "/token")
    assert await clinic.scalar("SELECT count(*) FROM audit_entry WHERE action = 'visit.deny'") == 1


async def test_messages_reach_the_waiting_person_and_are_not_lost(clinic: Clinic, browser: Browser) -> None:
    patient = await guest(clinic, browser)
    await patient.check_in()
    await doctor(clinic, browser, f"{patient.path}/desk-messages", {"body": "Five more minutes"}, 201)
    async with browser.screen() as screen:
        first = await patient.watch(screen)
        assert [message["body"] for message in first["visit"]["messages"]] == ["Five more minutes"]
        await doctor(clinic, browser, f"{patient.path}/desk-messages", {"body": "Nearly"}, 201)
        told = await screen.next()
        assert [message["seq"] for message in told["visit"]["messages"]] == [1, 2]
    async with browser.screen() as screen:  # a page that comes back asks for what it has not seen
        again = await patient.watch(screen, after=1)
        assert [message["body"] for message in again["visit"]["messages"]] == ["Nearly"]
    await patient.ask("POST", "/messages", {"body": "I wait"}, 201)
    assert "I wait" not in str(await clinic.scalar("SELECT string_agg(payload::text, ' ') FROM outbox"))


async def test_two_places_are_exchanged_with_a_reason(clinic: Clinic, browser: Browser) -> None:
    first, second, third = [
        await guest(clinic, browser, start=START + timedelta(minutes=10 * n), minutes=10) for n in range(3)
    ]
    for each in (first, second, third):
        await each.check_in()
    tickets = [entry["ticket"] for entry in await queue(clinic, browser)]
    swap = {"first": tickets[0], "second": tickets[2], "reason": "urgent"}
    await doctor(clinic, browser, "/v1/queue/swap", swap)
    assert [entry["ticket"] for entry in await queue(clinic, browser)] == tickets[::-1]
    assert await clinic.scalar("SELECT reason FROM queue_swap") == "urgent"
    await doctor(clinic, browser, "/v1/queue/swap", {**swap, "reason": "because"}, 422)
    await doctor(clinic, browser, f"{third.path}/admit", {})
    assert (await doctor(clinic, browser, "/v1/queue/swap", swap, 409))["code"] == "not_waiting"


async def test_an_older_device_hears_that_it_was_replaced(clinic: Clinic, browser: Browser) -> None:
    old = await guest(clinic, browser)
    await old.check_in()
    async with browser.screen() as screen:
        await old.watch(screen)
        token = await clinic.link(old.appointment)
        new = Guest(browser, old.appointment, await browser.sit_down(token, switch=True))
        assert await new.check_in() == {"state": "waiting"}
        told = await screen.until(lambda message: message["type"] == "bye")
        assert told["reason"] == "moved"
    await doctor(clinic, browser, f"{old.path}/admit", {})
    assert (await old.ask("GET", "/token", status=409))["code"] == "device_moved"
    await new.ask("GET", "/token")
    assert await clinic.scalar("SELECT count(*) FROM queue_ticket") == 1


async def test_a_patient_who_does_not_come_is_marked(clinic: Clinic, browser: Browser) -> None:
    patient = await guest(clinic, browser, start=START + timedelta(minutes=10))
    assert (await doctor(clinic, browser, f"{patient.path}/no-show", status=409))["code"] == "not_now"
    clinic.now += timedelta(minutes=25)
    await doctor(clinic, browser, f"{patient.path}/no-show")
    assert (await clinic.visit(patient.appointment)).status == "no_show_patient"
    assert (await patient.check_in(status=409))["code"] == "not_open"


async def test_a_visit_whose_hours_are_over_does_not_hold_up_the_line(clinic: Clinic, browser: Browser) -> None:
    stale = await guest(clinic, browser, start=START, minutes=5)
    await stale.check_in()
    clinic.now = START + timedelta(minutes=70)
    fresh = await guest(clinic, browser, start=START + timedelta(minutes=70))
    await fresh.check_in()
    async with clinic.db.tenant(TENANT.id) as connection:
        await connection.execute("UPDATE queue_ticket SET seen_at = $1, here = true", clinic.now)
    called = await doctor(clinic, browser, "/v1/queue/next", {}, 200)
    assert called["appointment"] == str(fresh.appointment)


async def test_who_waits_for_a_moved_visit_is_told_and_comes_by_the_new_link(clinic: Clinic, browser: Browser) -> None:
    patient = await guest(clinic, browser)
    await patient.check_in()
    (consumer,) = consumers(clinic.joining, clinic.bus)
    async with browser.screen() as screen:
        await patient.watch(screen)
        who = principal(clinic.doctor, DOCTOR)
        async with clinic.db.tenant(TENANT.id) as connection, connection.transaction():
            later = START + timedelta(minutes=25)
            command = Command(clinic.doctor, DOCTOR, clinic.now)
            await reschedule(connection, CONTEXT, who, patient.appointment, later, command)
        await OutboxPublisher(clinic.db, clinic.bus, lambda: clinic.now).step()
        await Worker(clinic.db, clinic.bus, consumer, lambda: clinic.now).step()
        assert (await screen.until(lambda message: message["type"] == "bye"))["reason"] == "replaced"
    assert await queue(clinic, browser) == []
    assert (await patient.check_in(status=410))["code"] == "link_replaced"
    again = Guest(browser, patient.appointment, await browser.sit_down(await clinic.link(patient.appointment)))
    assert await again.check_in() == {"state": "waiting"}
    assert (await again.ask("GET"))["position"] == 1


async def test_the_news_of_a_move_that_comes_late_takes_no_new_place_away(clinic: Clinic, browser: Browser) -> None:
    patient = await guest(clinic, browser)
    await patient.check_in()
    who = principal(clinic.doctor, DOCTOR)
    async with clinic.db.tenant(TENANT.id) as connection, connection.transaction():
        command = Command(clinic.doctor, DOCTOR, clinic.now)
        await reschedule(connection, CONTEXT, who, patient.appointment, START + timedelta(minutes=25), command)
    clinic.now += timedelta(seconds=10)
    again = Guest(
        browser, patient.appointment, await browser.sit_down(await clinic.link(patient.appointment), switch=True)
    )
    assert await again.check_in() == {"state": "waiting"}
    (consumer,) = consumers(clinic.joining, clinic.bus)
    await OutboxPublisher(clinic.db, clinic.bus, lambda: clinic.now).step()
    await Worker(clinic.db, clinic.bus, consumer, lambda: clinic.now).step()
    assert (await again.ask("GET"))["state"] == "waiting"
