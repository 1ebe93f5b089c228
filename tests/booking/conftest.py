"""The identity server for tests of booking."""

from collections.abc import AsyncIterator

import pytest_asyncio

from backplane.postgres import Database
from tests.support.identity import House, house


@pytest_asyncio.fixture
async def served(database: Database) -> AsyncIterator[House]:
    """Identity over real HTTP and Postgres."""
    async with house(database) as running:
        yield running
