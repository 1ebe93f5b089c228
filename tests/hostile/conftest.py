"""One server for all tests that only talk nonsense to it."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support.server import RunningServer, running_server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hostile_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningServer]:
    """A live server; a test must leave it as good as it was."""
    async with running_server(tmp_path_factory.mktemp("hostile")) as server:
        yield server
