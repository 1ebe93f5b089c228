"""The server is killed between any two steps of a deed: it happened wholly or not at all, and a retry tells which.

First the steps of the transaction are counted at the wire (proxy.py), then the server is killed before each of them and
after the last. ``WADUD_STORM=full`` takes every step of three deeds, bin/test a few by the seed of the run. Then it is
killed at any moment under load, with its own Postgres beside it.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from random import Random
from uuid import UUID, uuid4

import asyncpg
import pytest

from backplane.embedded_postgres import url
from backplane.postgres import Database
from tests.booking.storm import checks
from tests.booking.storm.clinic import SEEDS, STEP, Clinic, Patient, day
from tests.booking.storm.conftest import FULL, cluster_of, fresh_database, open_directory
from tests.booking.storm.load import NOT_NOW, PAUSE_S, load_on
from tests.booking.storm.proxy import Cut, Proxy
from tests.booking.storm.servers import Server, eventually, processes_of
from tests.booking.storm.visitors import Answer, Crowd, crowd

SAMPLE = 2
KILLS = 20 if FULL else 3
GONE_S = 20.0

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

Deed = Callable[[str], Awaitable[Answer]]


@dataclass
class Cuttable:
    """A server whose every word to Postgres passes the proxy."""

    server: Server
    proxy: Proxy
    clinic: Clinic
    visitors: Crowd
    postgres_url: str

    async def prepare(self, what: str, patient: Patient) -> Deed:
        """The deed ``what`` of ``patient``, to be done with a key."""
        doctor = await self.clinic.doctor()
        if what == "book":
            return lambda key: self.visitors.book(patient.token, doctor.service, day(3), key=key)
        booked = await self.visitors.book(patient.token, doctor.service, day(3))
        assert booked.status == 201, booked.body
        path = f"/v1/appointments/{booked.id}/{what}"
        body = {"start": (day(3) + STEP).isoformat()} if what == "reschedule" else {}
        return lambda key: self.visitors.ask("POST", path, patient.token, body, key=key)

    async def transitions_of(self, person: UUID) -> int:
        connection = await asyncpg.connect(self.postgres_url)
        try:
            count: int = await connection.fetchval("SELECT count(*) FROM transition WHERE actor = $1", person)
            return count
        finally:
            await connection.close()

    async def until_told(self, deed: Deed, key: str) -> Answer:
        while True:
            answer = await deed(key)
            if answer.told not in NOT_NOW:
                return answer
            await asyncio.sleep(PAUSE_S)


@asynccontextmanager
async def cuttable() -> AsyncIterator[Cuttable]:
    with cluster_of("system") as cluster, open_directory() as directory:
        postgres_url = await asyncio.to_thread(fresh_database, cluster)
        proxy = Proxy(directory, cluster.sockets)
        await proxy.start()
        name = postgres_url.partition("@/")[2].partition("?")[0]
        server = Server(directory / "server", SEEDS, postgres_url=url(directory, name))
        try:
            await asyncio.to_thread(server.start)
            database = await Database.open(postgres_url, min_size=1, max_size=2)
            try:
                async with crowd([server.url]) as visitors:
                    clinic = await Clinic.open(database, server.data)
                    yield Cuttable(server, proxy, clinic, visitors, postgres_url)
            finally:
                await database.close()
        finally:
            server.kill()
            await proxy.stop()


@pytest.mark.parametrize("what", ["book", "reschedule", "cancel"] if FULL else ["book"])
async def test_a_server_killed_between_two_steps_leaves_nothing_half_done(what: str, rng: Random) -> None:
    async with cuttable() as it:
        (patient,) = await it.clinic.patients(1)
        key = uuid4().hex
        deed = await it.prepare(what, patient)
        it.proxy.cut = whole = Cut(key.encode(), it.server.kill)
        assert (await deed(key)).status in (200, 201)
        steps = whole.steps
        assert steps > 4
        inner = range(steps - 1) if FULL else sorted(rng.sample(range(steps - 1), SAMPLE))
        print(f"\n{what}: {steps} steps; killed before {list(inner)}, before and after the commit")
        for at in (*inner, steps, None):
            answered = at is None
            (patient,) = await it.clinic.patients(1)
            key = uuid4().hex
            deed = await it.prepare(what, patient)
            before = await it.transitions_of(patient.person)
            it.proxy.cut = cut = Cut(key.encode(), it.server.kill, at, answered)
            assert (await deed(key)).status == 0
            assert cut.done
            assert processes_of(it.server.data) == []
            assert await it.transitions_of(patient.person) == before + answered
            await checks.whole(it.postgres_url)
            it.proxy.cut = None
            await asyncio.to_thread(it.server.start)
            told = await it.until_told(deed, key)
            assert told.status in (200, 201), told.body
            assert ("Idempotent-Replayed" in told.headers) == answered
            assert await it.transitions_of(patient.person) == before + 1
            await checks.whole(it.postgres_url)


async def test_a_server_killed_at_any_moment_loses_and_doubles_nothing(rng: Random) -> None:
    with open_directory() as directory:
        server = Server(directory / "server", SEEDS)
        postgres_url = url(server.data / "postgres" / "run")
        try:
            await asyncio.to_thread(server.start)
            async with crowd([server.url]) as visitors:
                database = await Database.open(postgres_url, min_size=1, max_size=2)
                load = await load_on(await Clinic.open(database, server.data), visitors)
                await database.close()
                running = asyncio.create_task(load.run())
                for n in range(KILLS):
                    await load.more(rng.randrange(1, 12))
                    await asyncio.sleep(rng.random() * 0.1)
                    server.kill()
                    if n % 2:  # every other time the next start finds the old Postgres at its end
                        await asyncio.to_thread(gone, server)
                    await asyncio.to_thread(server.start)
                await load.more()
                load.stop()
                await running
                await checks.all_mailed(postgres_url)
                await checks.whole(postgres_url)
                await load.nothing_lost_or_doubled(postgres_url)
                print(f"\n{KILLS} kills, {len(load.booked)} bookings: {dict(load.counted)}")
            assert await asyncio.to_thread(server.stop) == 0
            await asyncio.to_thread(gone, server)
        finally:
            server.kill()
            await asyncio.to_thread(gone, server)


def gone(server: Server) -> None:
    """Nothing that belongs to the server is left: no supervisor, no Postgres."""
    eventually(f"all processes of {server.data.name} are gone", lambda: not processes_of(server.data), GONE_S)
