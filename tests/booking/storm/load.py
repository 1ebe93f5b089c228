"""A steady load of bookings that never gives up: each wish has a slot, a patient and a key of its own.

Whoever gets no answer, or is told to come back, asks again with the same key until there is a booking. Nobody else
wants the same slot, so the only right answers are 201 and "not now": a refusal would mean that a slot was taken by an
earlier try that nobody was told of.
"""

import asyncio
import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID, uuid4

import asyncpg

from tests.booking.storm.clinic import Clinic, Doctor, Patient, day
from tests.booking.storm.visitors import Answer, Crowd
from tests.support import clock

PAUSE_S = 0.05
NOT_NOW = frozenset({"0", "503 database_unavailable", "409 idempotency_in_progress"})
VISITS_A_DAY = 40


def distinct_slots(doctors: list[Doctor]) -> Iterator[tuple[Doctor, datetime]]:
    """No two of them overlap."""
    for ahead in itertools.count(2):
        for n in range(VISITS_A_DAY):
            for doctor in doctors:
                yield doctor, day(ahead) + timedelta(minutes=20) * n


@dataclass
class Load:
    """``booked``: what was acknowledged, with the key. ``slowest_s``: the longest that one answer took;
    ``longest_gap_s``: between two bookings."""

    visitors: Crowd
    patients: list[Patient]
    slots: Iterator[tuple[Doctor, datetime]]
    booked: dict[UUID, str] = field(default_factory=dict)
    counted: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 0.0
    longest_gap_s: float = 0.0
    _booked_at: float = field(default_factory=clock.now)
    _stop: bool = False

    async def run(self) -> None:
        """Until `stop`; every wish that was begun is carried through."""
        await asyncio.gather(*(self._wishes(patient) for patient in self.patients))

    def stop(self) -> None:
        self._stop = True

    async def more(self, count: int = 10, seconds: float = 60.0) -> None:
        """Waits until so many more are booked."""
        give_up, had = clock.now() + seconds, len(self.booked)
        while len(self.booked) < had + count:
            assert clock.now() < give_up, f"no bookings any more: {self.counted}"
            await asyncio.sleep(0.01)

    async def _wishes(self, patient: Patient) -> None:
        while not self._stop:
            doctor, start = next(self.slots)
            await self.carry_through(patient, doctor, start, uuid4().hex)
            await asyncio.sleep(PAUSE_S)

    async def carry_through(self, patient: Patient, doctor: Doctor, start: datetime, key: str) -> Answer:
        """Asks until the slot is booked."""
        while True:
            begun = clock.now()
            answer = await self.visitors.book(patient.token, doctor.service, start, key=key)
            self.slowest_s = max(self.slowest_s, clock.now() - begun)
            self.counted[answer.told] += 1
            if answer.status == 201:
                assert answer.id not in self.booked, "two keys, one booking"
                self.booked[answer.id] = key
                self.longest_gap_s = max(self.longest_gap_s, clock.now() - self._booked_at)
                self._booked_at = clock.now()
                return answer
            assert answer.told in NOT_NOW, (answer.told, answer.body)
            if answer.status == 503:
                assert int(answer.headers["Retry-After"]) > 0
            await asyncio.sleep(PAUSE_S)

    async def nothing_lost_or_doubled(self, url: str) -> None:
        """What was acknowledged is there, and nothing else is."""
        connection = await asyncpg.connect(url)
        try:
            rows = await connection.fetch(
                """SELECT a.id, i.key FROM appointment a JOIN idempotency i
                   ON i.route = 'POST /v1/appointments' AND (convert_from(i.body, 'UTF8')::jsonb ->> 'id')::uuid = a.id
                   WHERE a.booked_by = ANY($1)""",
                [patient.person for patient in self.patients],
            )
            there = {row["id"]: row["key"] for row in rows}
            assert len(there) == len(rows)
            assert there == self.booked
            count = await connection.fetchval(
                "SELECT count(*) FROM appointment WHERE booked_by = ANY($1)", [each.person for each in self.patients]
            )
            assert count == len(self.booked)
        finally:
            await connection.close()


async def load_on(clinic: Clinic, visitors: Crowd, writers: int = 8) -> Load:
    doctors = [await clinic.doctor() for _ in range(4)]
    return Load(visitors, await clinic.patients(writers), distinct_slots(doctors))
