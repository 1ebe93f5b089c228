"""One world per module, for proofs that leave it as it was or do not care."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from backplane import embedded_postgres
from backplane.postgres import Database
from tests.booking.proofs.world import World, world
from tests.support.postgres import TEMPLATE

NAME = "proofs"


async def _command(url: str, sql: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(sql)
    finally:
        await connection.close()


@pytest.fixture(scope="module")
def module_database_url(postgres_cluster: embedded_postgres.Cluster, postgres_url: str) -> Iterator[str]:
    """A fresh migrated database for the tests of one file."""
    asyncio.run(_command(postgres_cluster.url(), f"CREATE DATABASE {NAME} TEMPLATE {TEMPLATE}"))
    yield postgres_cluster.url(NAME)
    asyncio.run(_command(postgres_cluster.url(), f"DROP DATABASE {NAME} WITH (FORCE)"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served_world(module_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    database = await Database.open(module_database_url, min_size=1, max_size=10)
    data: Path = tmp_path_factory.mktemp("data")
    async with world(database, data) as served:
        yield served
    await database.close()
