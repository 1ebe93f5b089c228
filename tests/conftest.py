"""Fixtures for every test: the checkout, and one source of chance per test that can be repeated.

The seed of a run is printed in pytest's header; ``WADUD_SEED=N bin/test ...`` repeats it.
"""

import asyncio
import os
import random
import shutil
import tempfile
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.support.clock import MachineTime
from tests.support.postgres import (  # noqa: F401  (fixtures)
    database,
    database_url,
    empty_database_url,
    postgres_cluster,
    postgres_url,
    run_sql,
)
from tests.support.redis import redis_bus, redis_process, redis_server  # noqa: F401  (fixtures)
from tests.support.server import DATA
from tests.support.smtp import smtp_server  # noqa: F401  (fixtures)
from tests.support.turns import turn

TURNS = "WADUD_TEST_TURNS"
LONG = (
    "tests/bin/test_serve",
    "tests/booking/proofs/test_schema",
    "tests/web/",
    "tests/booking/storm/",
    "tests/browser/",
    "tests/network/",
    "tests/hostile/",
    "tests/turn/test_coturn",
)
SEED = int(os.environ.get("WADUD_SEED", "1"))


def pytest_report_header() -> str:
    return f"seed: {SEED} (WADUD_SEED)"


def pytest_configure(config: pytest.Config) -> None:
    asyncio.set_event_loop_policy(MachineTime())
    if config.getoption("numprocesses", None):  # this process shares the tests out and runs none
        os.environ[TURNS] = tempfile.mkdtemp(prefix="wadud-turns-")


def pytest_sessionfinish() -> None:
    DATA.forget()


def pytest_unconfigure(config: pytest.Config) -> None:
    if config.getoption("numprocesses", None) and TURNS in os.environ:
        shutil.rmtree(os.environ.pop(TURNS), ignore_errors=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where tests run side by side, files that take long come first: at the end all processes have something to do."""
    if TURNS in os.environ:
        items.sort(key=lambda item: not item.nodeid.startswith(LONG))


@pytest.hookimpl(wrapper=True, tryfirst=True)  # before the clock of the test's timeout starts
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Where tests run side by side, those marked ``alone`` do not."""
    if TURNS not in os.environ:
        return (yield)
    with turn(Path(os.environ[TURNS]), alone=item.get_closest_marker("alone") is not None):
        return (yield)


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return Path(__file__).resolve().parent.parent


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> random.Random:
    """Chance of one test: depends on the run's seed and the test's name, not on the order of tests."""
    return random.Random(f"{SEED}:{request.node.nodeid}")
