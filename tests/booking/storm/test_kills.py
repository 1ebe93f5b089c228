"""Postgres, Redis and SMTP go away one at a time under a steady load of bookings, and come back.

What is then answered is written down in docs/operations.md, and nothing else may be: `load.Load` fails at the first
other answer. Whatever was acknowledged is there afterwards, and every mail arrives, although our process was never
restarted.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest
from redis import Redis

from backplane.embedded_postgres import Cluster
from backplane.postgres import Database
from tests.booking.storm import checks
from tests.booking.storm.clinic import Clinic
from tests.booking.storm.conftest import FULL, cluster_of, fresh_database, servers_on
from tests.booking.storm.load import Load, load_on
from tests.booking.storm.servers import Server
from tests.booking.storm.visitors import crowd
from tests.support import clock
from tests.support.redis import RedisServer
from tests.support.server import free_port
from tests.support.smtp import SmtpServer

AWAY_S = 2.0
BACK_S = 30.0
SLOWEST_WITHOUT_REDIS_S = 5.0

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@dataclass
class House:
    """One server and all that it leans on, under load."""

    server: Server
    cluster: Cluster
    postgres_url: str
    smtp: SmtpServer
    load: Load

    async def is_whole(self) -> None:
        """The load ends; everything that was acknowledged is there, told once and mailed, by the same process."""
        assert self.server.runs
        begun = clock.now()
        await checks.all_mailed(self.postgres_url)
        print(f"{len(self.load.booked)} bookings; the last mail came {clock.now() - begun:.1f} s after the last one")
        await checks.whole(self.postgres_url)
        await self.load.nothing_lost_or_doubled(self.postgres_url)
        assert set(await checks.message_ids(self.postgres_url)) <= {each["Message-ID"] for each in self.smtp.received}
        assert self.server.runs

    def one_backend(self) -> int:
        """A process of Postgres that serves us."""
        for entry in Path("/proc").iterdir():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                serves = b" [local] " in (entry / "cmdline").read_bytes()
            except (OSError, ValueError, IndexError):
                continue
            if parent == self.postmaster() and serves:
                return int(entry.name)
        raise AssertionError("Postgres serves nobody")

    def postmaster(self) -> int:
        return int((self.cluster.home / "cluster" / "postmaster.pid").read_text().split("\n", 1)[0])


@asynccontextmanager
async def house(kind: str, redis: RedisServer) -> AsyncIterator[House]:
    smtp = SmtpServer(port=free_port())
    await smtp.start()
    with cluster_of(kind) as cluster:
        postgres_url = await asyncio.to_thread(fresh_database, cluster)
        with Redis.from_url(redis.url) as client:
            client.flushall()
        smtp_url = f"smtp://127.0.0.1:{smtp.port}"
        with servers_on(postgres_url, 1, redis_url=redis.url, smtp_url=smtp_url) as (server,):
            async with crowd([server.url]) as visitors:
                database = await Database.open(postgres_url, min_size=1, max_size=2)
                load = await load_on(await Clinic.open(database, server.data), visitors, writers=4)
                await database.close()
                running = asyncio.create_task(load.run())
                try:
                    await load.more()
                    it = House(server, cluster, postgres_url, smtp, load)
                    yield it
                    await load.more()
                    load.stop()
                    await running
                    await it.is_whole()
                finally:
                    running.cancel()
                    await asyncio.gather(running, return_exceptions=True)
                    await smtp.stop()


@pytest.fixture(params=["system", "wheel"] if FULL else ["system"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_postgres_killed_under_load_is_back_by_itself(kind: str, redis_process: RedisServer) -> None:
    async with house(kind, redis_process) as it:
        for victim in ("postmaster", "backend"):  # our supervisor starts it again; Postgres recovers by itself
            it.load.longest_gap_s = 0.0
            os.kill(it.postmaster() if victim == "postmaster" else it.one_backend(), signal.SIGKILL)
            await asyncio.sleep(AWAY_S)
            await it.load.more(20, BACK_S)
            print(f"\n{kind}: {victim} killed; {it.load.longest_gap_s:.2f} s without a booking")
        assert it.load.counted["503 database_unavailable"] > 0


async def test_postgres_away_for_a_while_is_told_with_when_to_come_back(kind: str, redis_process: RedisServer) -> None:
    async with house(kind, redis_process) as it:
        postmaster = it.postmaster()
        os.kill(it.cluster.supervisor.pid, signal.SIGSTOP)
        os.kill(postmaster, signal.SIGKILL)
        begun = clock.now()
        await asyncio.sleep(AWAY_S)
        assert it.load.counted["503 database_unavailable"] > 0
        os.kill(it.cluster.supervisor.pid, signal.SIGCONT)
        await it.load.more(20, BACK_S)
        print(f"\n{kind}: {clock.now() - begun:.1f} s without Postgres: {dict(it.load.counted)}")


async def test_bookings_go_on_without_redis_and_events_arrive_afterwards(kind: str, redis_process: RedisServer) -> None:
    async with house(kind, redis_process) as it:
        it.load.slowest_s = 0.0
        redis_process.kill()
        begun = clock.now()
        try:
            while clock.now() - begun < AWAY_S:
                await it.load.more(5, BACK_S)
            slowest = it.load.slowest_s
        finally:
            await asyncio.to_thread(redis_process.start)
        assert set(it.load.counted) == {"201"}
        assert slowest < SLOWEST_WITHOUT_REDIS_S
        print(f"\n{kind}: {AWAY_S:.0f} s without Redis: {dict(it.load.counted)}, the slowest took {slowest:.2f} s")


async def test_mails_wait_for_the_mail_server(kind: str, redis_process: RedisServer) -> None:
    async with house(kind, redis_process) as it:
        await it.smtp.stop()
        had = len(it.smtp.received)
        await it.load.more(20, BACK_S)
        await asyncio.sleep(AWAY_S)
        assert len(it.smtp.received) == had
        connection = await asyncpg.connect(it.postgres_url)
        waiting = await connection.fetchval("SELECT count(*) FROM mail WHERE state = 'queued' AND last_error <> ''")
        await connection.close()
        assert waiting > 0
        await it.smtp.start()
        assert set(it.load.counted) == {"201"}
        print(f"\n{kind}: without SMTP: {dict(it.load.counted)}; {waiting} mails waited")
