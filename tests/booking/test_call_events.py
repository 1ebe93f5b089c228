"""What happens in the call drives the appointment: on a real Postgres, with real jobs, in the test's time."""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio

from backplane.bus import LocalBus
from backplane.jobs import Scheduler
from backplane.postgres import Database
from booking.instant.instant_requests import Ringing
from booking.links.link import Seat
from booking.visits import room_commands
from booking.visits.call_events import DOCTOR_RETURNS, TOGETHER, CallEvents
from booking.visits.module import jobs
from booking.visits.room_commands import PutOut, Renew, RevokeRoom, RoomCommands
from booking.visits.room_names import identity
from booking.visits.visitors import Visitor, claim
from booking.waiting_room import admittance
from tests.booking.join_world import START, TENANT, Clinic, make_clinic, waits_for_lock


class Call:
    """One visit's call as signalling tells it."""

    def __init__(self, clinic: Clinic, appointment: UUID, room: str, doctor: str, patient: str) -> None:
        self.clinic = clinic
        self.appointment = appointment
        self.room = room
        self.people = {"doctor": doctor, "patient": patient}
        self.events = CallEvents(clinic.db, clinic.bus, clinic.joining.names, clinic.joining.lifecycle)
        self.stay = {"doctor": 0, "patient": 0}
        self.scheduler = Scheduler(
            clinic.db, jobs(clinic.joining, self.events, Ringing(clinic.bus), clinic.bus), lambda: clinic.now
        )

    async def come(self, who: str, *, connect: bool = True) -> None:
        self.stay[who] += 1
        await self.events.joined(self.room, self.people[who], self.key(who), self.clinic.now)
        if connect:
            await self.events.connected(self.room, self.people[who], self.key(who), self.clinic.now)

    async def go(self, who: str, reason: str = "left") -> None:
        await self.events.left(self.room, self.people[who], self.key(who), reason, self.clinic.now)

    async def wait(self, length: timedelta) -> None:
        self.clinic.now += length
        await self.scheduler.step()

    async def status(self) -> str:
        return (await self.clinic.visit(self.appointment)).status

    def key(self, who: str) -> str:
        return f"{who} {self.stay[who]}"


@pytest_asyncio.fixture
async def call(database: Database, tmp_path: Path) -> Call:
    clinic = await make_clinic(database, tmp_path)
    appointment = await clinic.appointment()
    visit = await clinic.visit(appointment)
    assert visit.patient is not None
    doctor, patient = identity(Seat.DOCTOR, visit.doctor), identity(Seat.PATIENT, visit.patient)
    return Call(clinic, appointment, clinic.joining.names.name(visit.room), doctor, patient)


async def begun(call: Call) -> None:
    await call.come("doctor")
    await call.come("patient")
    await call.wait(TOGETHER)
    assert await call.status() == "in_progress"


async def test_a_minute_together_is_a_visit(call: Call) -> None:
    await call.come("doctor")
    await call.wait(TOGETHER)
    await call.come("patient")
    await call.wait(TOGETHER - timedelta(seconds=1))
    assert await call.status() == "confirmed"
    await call.wait(timedelta(seconds=1))
    assert await call.status() == "in_progress"


async def test_two_people_without_media_have_not_met(call: Call) -> None:
    await call.come("doctor")
    await call.come("patient", connect=False)
    await call.wait(2 * TOGETHER)
    assert await call.status() == "confirmed"


async def test_a_minute_in_pieces_is_no_visit(call: Call) -> None:
    await call.come("doctor")
    await call.come("patient")
    await call.wait(timedelta(seconds=40))
    await call.go("patient", "connection_lost")
    await call.come("patient")
    await call.wait(timedelta(seconds=40))
    assert await call.status() == "confirmed"
    await call.wait(timedelta(seconds=20))
    assert await call.status() == "in_progress"


@pytest.mark.parametrize("who", ["doctor", "patient"])
async def test_a_lost_call_is_interrupted_and_goes_on(call: Call, who: str) -> None:
    await begun(call)
    await call.go(who, "connection_lost")
    assert await call.status() == "interrupted"
    await call.come(who)
    assert await call.status() == "in_progress"
    rows = await call.clinic.scalar("SELECT count(*) FROM call_session WHERE left_at IS NULL")
    assert rows == 2


async def test_a_new_device_is_no_interruption(call: Call) -> None:
    await begun(call)
    await call.go("patient", "replaced")
    assert await call.status() == "in_progress"
    await call.come("patient")
    await call.wait(DOCTOR_RETURNS)
    assert await call.status() == "in_progress"


async def test_a_doctor_who_leaves_and_does_not_return_has_ended_the_visit(call: Call) -> None:
    await begun(call)
    await call.go("doctor")
    await call.wait(DOCTOR_RETURNS - timedelta(seconds=1))
    assert await call.status() == "in_progress"
    await call.wait(timedelta(seconds=1))
    assert await call.status() == "completed"


async def test_a_call_that_is_lost_while_the_visit_ends_takes_its_turn(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    await begun(call)
    await call.go("doctor")
    ending, end = asyncio.Event(), admittance.end

    async def slowly(*visit: Any) -> None:
        ending.set()
        await waits_for_lock(call.clinic)
        await end(*visit)

    monkeypatch.setattr(admittance, "end", slowly)
    ends = asyncio.create_task(call.wait(DOCTOR_RETURNS))
    await ending.wait()
    await call.go("patient", "connection_lost")
    await ends
    assert await call.status() == "completed"
    assert await call.clinic.scalar("SELECT max(last_error) FROM job") is None


async def test_a_doctor_who_returns_in_time_goes_on(call: Call) -> None:
    await begun(call)
    await call.go("doctor")
    await call.wait(timedelta(seconds=30))
    await call.come("doctor")
    await call.wait(DOCTOR_RETURNS)
    assert await call.status() == "in_progress"


async def test_an_interrupted_visit_that_nobody_resumes_ends_with_its_window(call: Call) -> None:
    await begun(call)
    await call.go("patient", "connection_lost")
    await call.go("doctor")
    await call.wait(timedelta(minutes=70))
    assert await call.status() == "interrupted"
    await call.wait(timedelta(minutes=10))
    assert await call.status() == "completed"


async def test_events_of_an_older_epoch_and_of_strange_rooms_change_nothing(call: Call) -> None:
    await begun(call)
    await call.clinic.set(call.appointment, join_epoch=2)
    await call.go("patient", "connection_lost")
    assert await call.status() == "in_progress"
    for room, who in (("k4xq2m7zt5bwc3rdhn6yfa", call.people["doctor"]), (call.room, "Ab3dE6gH9jKl")):
        await call.events.joined(room, who, "x", START)
        await call.events.connected(room, who, "x", START)
        await call.events.left(room, who, "x", "left", START)
    assert await call.clinic.scalar("SELECT count(*) FROM call_session") == 2


async def test_a_stay_that_a_dead_server_left_open_ends_with_the_next(call: Call) -> None:
    await call.come("doctor")
    await call.come("doctor")
    reasons = await call.clinic.scalar("SELECT array_agg(reason ORDER BY joined_at, call_key) FROM call_session")
    assert reasons == ["superseded", None]


async def test_who_may_not_be_there_is_named(call: Call) -> None:
    clinic = call.clinic
    visit = await clinic.visit(call.appointment)
    people = {call.room: list(call.people.values())}
    assert len(await call.events.unwelcome(people, START)) == 2  # nobody was let in
    async with clinic.db.tenant(TENANT.id) as connection, connection.transaction():
        for seat, holder in ((Seat.DOCTOR, visit.doctor), (Seat.PATIENT, visit.patient)):
            assert holder is not None
            who = Visitor(seat, holder, UUID(int=9), None, "test")
            assert await claim(connection, visit, who, START, switch=False)
            await admittance.check_in(connection, clinic.joining.lifecycle, visit, who, {}, START)
    assert await call.events.unwelcome(people, START) == [(call.room, call.people["patient"])]
    await clinic.set(call.appointment, join_epoch=2)
    assert len(await call.events.unwelcome(people, START)) == 2
    assert await call.events.unwelcome({"a strange room": ["x"]}, START) == []


async def test_commands_travel_over_the_bus() -> None:
    bus = LocalBus()
    commands = RoomCommands(bus)
    async with bus.subscribe(room_commands.TOPIC) as heard:
        await commands.put_out("r", "i")
        await commands.revoke_room("r")
        await commands.renew("r", "i", START)
        expected = [PutOut("r", "i"), RevokeRoom("r"), Renew("r", "i", START)]
        assert [room_commands.read(await heard.get()) for _ in range(3)] == expected
    assert room_commands.read(b"{}") is None
