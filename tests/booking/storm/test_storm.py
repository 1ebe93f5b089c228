"""Many who want the same at the same moment: one has it, and everybody else hears so at once.

Real processes, real Postgres, real HTTP (conftest.py tells how to run all of it). Every test ends by looking at the
rows: nothing overlaps, everything that happened is told once, Postgres has seen no deadlock.
"""

import asyncio
import time
from collections.abc import AsyncIterator
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
    begun, worked = time.monotonic(), [time.process_time(), *(each.cpu_s() for each in installation.servers)]
    answers = await at_once(visitors.book(each.token, doctor.service, day(3)) for each in patients)
    took = time.monotonic() - begun
    cpu = [time.process_time() - worked[0], *(s.cpu_s() - w for s, w in zip(installation.servers, worked[1:]))]
    print(
        f"\n{installation.name}: {THOUSAND} simultaneous bookings of one slot in {took:.2f} s;"
        f" CPU seconds of the crowd {cpu[0]:.2f}, of the servers {' + '.join(f'{each:.2f}' for each in cpu[1:])}"
    )
    one_winner(answers, 201, {"409 slot_taken"})
    assert all(len(answer.body["alternatives"]) == 3 for answer in answers if answer.status == 409)
    assert took < THOUSAND_S
    assert await checks.whole(installation.postgres_url) == 1


async def test_the_last_seat_of_a_class_has_one_taker(clinic: Clinic, visitors: Crowd) -> None:
    doctor = await clinic.doctor(kind="class", capacity=3)
    patients = await clinic.patients(MANY + 2)
    for each in patients[:2]:
        assert (await visitors.book(each.token, doctor.service, day(3))).status == 201
    answers = await at_once(visitors.book(each.token, doctor.service, day(3)) for each in patients[2:])
    one_winner(answers, 201, {"409 class_full"})


async def test_a_class_that_all_open_at_once_begins_once(clinic: Clinic, visitors: Crowd) -> None:
    doctor = await clinic.doctor(kind="class", capacity=5)
    patients = await clinic.patients(MANY)
    answers = await at_once(visitors.book(each.token, doctor.service, day(3)) for each in patients)
    counted = tally(answers)
    assert counted == {"201": 5, "409 class_full": MANY - 5}
    assert len({answer.id for answer in answers if answer.status == 201}) == 1


async def test_a_free_slot_is_offered_to_one_of_those_who_wait(clinic: Clinic, visitors: Crowd) -> None:
    doctor = await clinic.doctor()
    patients = await clinic.patients(MANY)
    window = {"earliest": day(3).isoformat(), "latest": (day(3) + STEP).isoformat()}
    wish = {"service": str(doctor.service), **window}
    joined = await at_once(visitors.ask("POST", "/v1/waitlist", each.token, wish) for each in patients)
    assert tally(joined) == {"201": MANY}
    lists = await at_once(visitors.ask("GET", "/v1/waitlist", each.token) for each in patients)
    assert [len(answer.body) for answer in lists] == [1] * MANY
    offered = [(each, answer.body[0]) for each, answer in zip(patients, lists) if answer.body[0]["state"] == "offered"]
    ((patient, entry),) = offered

    tries = []
    for _ in range(MANY // 2):  # by the list, and by the hold that the offer is
        tries.append(visitors.ask("POST", f"/v1/waitlist/{entry['id']}/accept", patient.token))
        tries.append(visitors.ask("POST", "/v1/appointments", patient.token, {"hold": entry["offer"]}))
    answers = await at_once(tries)
    assert sum(answer.status in (200, 201) for answer in answers) == 1, tally(answers)
    refusals = {"409 no_offer", "409 not_possible", "409 changed_meanwhile"}
    assert {answer.told for answer in answers if answer.status >= 400} <= refusals, tally(answers)


async def test_an_instant_request_is_taken_by_one_doctor(clinic: Clinic, visitors: Crowd) -> None:
    doctors = [await clinic.doctor(online=True) for _ in range(DOCTORS)]
    (patient,) = await clinic.patients(1)
    wish = {"specialty": "general-practice", "language": "en"}
    asked = await visitors.ask("POST", "/v1/instant-requests", patient.token, wish)
    assert asked.status == 201, asked.body
    path = f"/v1/instant-requests/{asked.body['request']}/accept"
    answers = await at_once(visitors.ask("POST", path, doctors[n % DOCTORS].token) for n in range(MANY))
    one_winner(answers, 200, {"409 already_taken"})


async def test_one_key_sent_many_times_at_once_books_once(clinic: Clinic, visitors: Crowd) -> None:
    doctor = await clinic.doctor()
    (patient,) = await clinic.patients(1)

    async def until_told(n: int) -> Answer:
        while True:
            answer = await visitors.book(patient.token, doctor.service, day(3), key="the-same-key-of-all")
            if answer.code != "idempotency_in_progress":
                return answer
            await asyncio.sleep(0.05)

    answers = await at_once(until_told(n) for n in range(MANY))
    assert tally(answers) == {"201": MANY}
    assert len({answer.id for answer in answers}) == 1


class Slots:
    """Fifty slots of five doctors, half of which overlap with a neighbour, and one who books, moves and cancels."""

    def __init__(self, doctors: list[Doctor], visitors: Crowd) -> None:
        self._doctors = doctors
        self._visitors = visitors
        self.known: dict[UUID, tuple[str, str]] = {}  # what was answered last: status and start
        self.answers: list[Answer] = []

    async def live(self, patient: Patient, rng: Random, until: float) -> None:
        mine: dict[UUID, Doctor] = {}
        while time.monotonic() < until:
            if not mine or (len(mine) < 4 and rng.random() < 0.4):
                doctor = rng.choice(self._doctors)
                answer = await self._visitors.book(patient.token, doctor.service, self._start(rng))
                if answer.status == 201:
                    mine[answer.id] = doctor
            else:
                id = rng.choice(list(mine))
                if rng.random() < 0.6:
                    body = {"start": self._start(rng).isoformat()}
                    path = f"/v1/appointments/{id}/reschedule"
                    answer = await self._visitors.ask("POST", path, patient.token, body)
                    if answer.code == "no_more_reschedules":
                        answer = await self._cancel(patient, mine, id)
                else:
                    answer = await self._cancel(patient, mine, id)
            self.answers.append(answer)
            if answer.status in (200, 201):
                told = answer.body.get("appointment", answer.body)
                self.known[UUID(told["id"])] = (told["status"], told["starts_at"])

    async def _cancel(self, patient: Patient, mine: dict[UUID, Doctor], id: UUID) -> Answer:
        answer = await self._visitors.ask("POST", f"/v1/appointments/{id}/cancel", patient.token, {})
        if answer.status == 200:
            del mine[id]
        return answer

    def _start(self, rng: Random) -> object:
        return day(5) + STEP * rng.randrange(SLOTS_EACH)


async def test_a_storm_over_fifty_slots_leaves_no_overlap_and_every_event(
    installation: Installation, clinic: Clinic, visitors: Crowd, rng: Random
) -> None:
    doctors = [await clinic.doctor(auto_confirm=n > 0) for n in range(DOCTORS)]
    patients = await clinic.patients(WRITERS)
    slots = Slots(doctors, visitors)
    until = time.monotonic() + SECONDS
    seeds = [Random(rng.random()) for _ in patients]
    await asyncio.gather(*(slots.live(patient, each, until) for patient, each in zip(patients, seeds)))
    counted = tally(slots.answers)
    print(f"\n{installation.name}: {len(slots.answers)} answers in {SECONDS:.0f} s: {dict(counted)}")
    assert counted["201"] > 0
    assert counted["200"] > 0
    assert set(counted) <= {"200", "201", "409 slot_taken", "409 same_time"}
    await checks.whole(installation.postgres_url)
    async with clinic.database.tenant(clinic.tenant) as connection:
        rows = await connection.fetch("SELECT id, status, lower(during) AS start FROM appointment")
    there = {row["id"]: (row["status"], row["start"]) for row in rows}
    for id, (status, start) in slots.known.items():
        assert there[id][0] == status
        assert there[id][1].isoformat().replace("+00:00", "Z") == start
