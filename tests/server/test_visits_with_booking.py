"""A visit from the waiting room to its end: booking's routes on Postgres, signalling's calls, two processes over Redis.

Only the media is not real. Each process has its own calls and its own screens; they share the database and the bus.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from backplane.bus import Bus, LocalBus
from backplane.jobs import Scheduler
from backplane.postgres import Database
from backplane.redis_bus import RedisBus
from backplane.tokens import Revocations
from booking.instant.instant_requests import Ringing
from booking.visits.call_events import TOGETHER, CallEvents
from booking.visits.module import jobs
from booking.visits.room_commands import RoomCommands
from server.visit_calls import VisitCalls, VisitStays
from signalling.codes import CloseCode
from tests.booking.guests import DOCTOR, Guest, doctor
from tests.booking.join_world import Browser, Clinic, make_clinic, serving
from tests.signalling.fakes import WALL, Client, World
from tests.support.redis import RedisServer


@dataclass
class Process:
    """One server process. Its time is that of its calls."""

    clinic: Clinic
    world: World
    browser: Browser
    visits: VisitCalls

    async def enter(self, path: str, *, by: tuple[UUID, str] | None = None, pass_: str | None = None) -> Client:
        """Fetch a token and join with it."""
        given = await self.browser.ask("GET", f"{path}/token", by=by, pass_=pass_)
        client = self.world.client()
        assert client.say("join", token=given["token"], offer="v=0", tracks=[])["type"] == "joined"
        await self.visits.told()
        return client

    def advance(self, seconds: float) -> None:
        self.world.advance(seconds)
        self.clinic.now = datetime.fromtimestamp(self.world.wall, UTC)


@asynccontextmanager
async def process(database: Database, data: Path, bus: Bus, base: Clinic | None = None) -> AsyncIterator[Process]:
    clinic = base or await make_clinic(database, data, bus)
    clinic = replace(clinic, bus=bus, joining=replace(clinic.joining, rooms=RoomCommands(bus)))
    stays = VisitStays(clinic.joining.names, lambda: clinic.now)
    world = World(Revocations(data / "calls.jsonl", WALL), observer=stays)
    clinic.now = datetime.fromtimestamp(WALL, UTC)
    events = CallEvents(database, bus, clinic.joining.names, clinic.joining.lifecycle)
    visits = VisitCalls(world.calls, stays, events, bus, lambda: world.now)
    running = asyncio.create_task(visits.run())
    try:
        async with serving(clinic) as browser:
            yield Process(clinic, world, browser, visits)
    finally:
        running.cancel()


async def waiting_and_admitted(here: Process, there: Process) -> tuple[Guest, Client, Client]:
    """A patient who came ``here`` and a doctor who works ``there``; both in the call of ``here``'s process."""
    clinic = here.clinic
    appointment = await clinic.appointment(start=clinic.now)
    patient = Guest(here.browser, appointment, await here.browser.sit_down(await clinic.link(appointment)))
    await patient.check_in()
    who = (clinic.doctor, DOCTOR)
    await there.browser.ask("POST", f"{patient.path}/check-in", {}, by=who)
    await doctor(clinic, there.browser, f"{patient.path}/admit", {})
    in_call = await here.enter(patient.path, by=who)
    return patient, in_call, await here.enter(patient.path, pass_=patient.pass_)


async def begin(here: Process) -> None:
    here.visits.look()
    await here.visits.told()
    here.advance(TOGETHER.total_seconds())
    clinic = here.clinic
    events = CallEvents(clinic.db, clinic.bus, clinic.joining.names, clinic.joining.lifecycle)
    handlers = jobs(clinic.joining, events, Ringing(clinic.bus), clinic.bus)
    await Scheduler(clinic.db, handlers, lambda: clinic.now).step()


async def closed(client: Client) -> CloseCode:
    """How the client was put out."""
    async with asyncio.timeout(5):
        while client.link.code is None:  # noqa: ASYNC110  (a fake socket tells nobody)
            await asyncio.sleep(0.005)
    return client.link.code


async def test_a_visit_begins_in_the_call_and_ends_for_all(database: Database, tmp_path: Path) -> None:
    async with process(database, tmp_path, LocalBus()) as here:
        patient, host, guest = await waiting_and_admitted(here, here)
        await begin(here)
        assert (await here.clinic.visit(patient.appointment)).status == "in_progress"
        here.advance(500)  # past the ten minutes of the first tokens, which were fetched anew meanwhile
        for by, pass_ in (((here.clinic.doctor, DOCTOR), None), (None, patient.pass_)):
            await here.browser.ask("GET", f"{patient.path}/token", by=by, pass_=pass_)
        await asyncio.sleep(0)
        here.advance(200)
        assert (host.link.code, guest.link.code) == (None, None)
        await doctor(here.clinic, here.browser, f"{patient.path}/end")
        assert [await closed(each) for each in (host, guest)] == [CloseCode.BYE, CloseCode.BYE]
        assert (await here.clinic.visit(patient.appointment)).status == "completed"
        await here.visits.told()
        assert await here.clinic.scalar("SELECT count(*) FROM call_session WHERE left_at IS NULL") == 0


async def test_who_is_denied_in_one_process_is_out_of_the_call_of_the_other(
    database: Database, tmp_path: Path, redis_server: RedisServer
) -> None:
    buses = [RedisBus(redis_server.url) for _ in range(2)]
    (tmp_path / "other").mkdir()
    async with (
        process(database, tmp_path, buses[0]) as here,
        process(database, tmp_path / "other", buses[1], here.clinic) as there,
    ):
        patient, host, guest = await waiting_and_admitted(here, there)
        spare = (await patient.ask("GET", "/token"))["token"]
        await doctor(there.clinic, there.browser, f"{patient.path}/deny", {})
        assert await closed(guest) == CloseCode.BYE
        assert host.link.code is None
        refused = here.world.client().say("join", token=spare, offer="v=0", tracks=[])
        assert refused["code"] == "token_revoked"
    for bus in buses:
        await bus.close()
