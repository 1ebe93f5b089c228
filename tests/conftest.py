"""Fixtures for every test: the checkout, and one source of chance per test that can be repeated.

The seed of a run is printed in pytest's header; ``WADUD_SEED=N bin/test ...`` repeats it.
"""

import os
import random
from pathlib import Path

import pytest

from tests.support.postgres import (  # noqa: F401  (fixtures)
    database,
    database_url,
    empty_database_url,
    postgres_cluster,
    postgres_url,
)
from tests.support.redis import redis_bus, redis_process, redis_server  # noqa: F401  (fixtures)
from tests.support.smtp import smtp_server  # noqa: F401  (fixtures)

SEED = int(os.environ.get("WADUD_SEED", "1"))


def pytest_report_header() -> str:
    return f"seed: {SEED} (WADUD_SEED)"


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return Path(__file__).resolve().parent.parent


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> random.Random:
    """Chance of one test: depends on the run's seed and the test's name, not on the order of tests."""
    return random.Random(f"{SEED}:{request.node.nodeid}")
