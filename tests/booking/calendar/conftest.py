"""The calendar's clinic for every test of this folder."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from backplane.postgres import Database
from tests.support.calendar import NOW, World, running
from tests.support.providers import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock(NOW)


@pytest_asyncio.fixture
async def world(database: Database, clock: Clock) -> AsyncIterator[World]:
    async with running(database, clock) as world:
        yield world
