"""Many who want the same: one wins, nobody hangs, and the books balance.

``WADUD_STORM_S`` makes the storm last that long; by default it is a short one.
"""

import asyncio
import os
import random
from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from unittest.mock import patch
from uuid import UUID, uuid4

import asyncpg
import pytest
import pytest_asyncio

from backplane.postgres import Database, DatabaseUnavailable
from backplane.principal import Tenant
from booking.appointments import changes, claims, transitions
from booking.appointments.bookable import wish
from booking.appointments.claims import Particulars
from booking.appointments.module import ROUTES
from booking.appointments.sweeper import sweep
from booking.refusals import Refusal
from tests.support.booking import NOW, Clinic, at, clinic, served, wire

NOBODY = Particulars()
STORM_S = float(os.environ.get("WADUD_STORM_S", "4"))


@pytest_asyncio.fixture
async def place(database: Database) -> Clinic:
    return await clinic(database)


async def deadlocks(place: Clinic) -> int:
    async with place.db.platform() as connection:
        return int(
            await connection.fetchval("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
        )


async def book(place: Clinic, name: str, start: datetime | None = None, service: str = "video") -> UUID:
    async with place.transaction() as connection:
        return await place.claim(connection, name, start or at(), service)


async def test_one_of_a_thousand_who_want_one_slot_gets_it(place: Clinic) -> None:
    told: list[object] = []

    async def attempt(n: int) -> str:
        try:
            await book(place, ("amina", "bilal", "chand")[n % 3])
        except Refusal as refusal:
            told.append(refusal.facts["alternatives"])
            return refusal.code
        return "won"

    async with asyncio.timeout(10):
        outcome = Counter(await asyncio.gather(*(attempt(n) for n in range(1000))))
    assert outcome == {"won": 1, "slot_taken": 999}
    assert all(each == [wire(at(minute=m)) for m in (30, 45, 60)] for each in told)
    assert await place.balanced() == 1
    assert await deadlocks(place) == 0


async def test_a_thousand_who_all_reach_the_constraint_wait_for_one(place: Clinic) -> None:
    """As above without the memory of what is taken."""
    async with place.db.tenant(place.tenant.id) as connection:
        wanted = await wish(connection, place.request("amina", at()).question, NOW)

    async def attempt(n: int) -> bool:
        async with place.transaction() as connection:
            # staggered ranges overlap one another in all ways
            request = place.request("amina", at(minute=n % 3 * 10))
            return await claims.claim(connection, place.context, request, wanted) is not None

    async with asyncio.timeout(20):
        won = sum(await asyncio.gather(*(attempt(n) for n in range(1000))))
    assert won == 1
    assert await place.overlaps() == 0
    assert await deadlocks(place) == 0
    assert await place.balanced() == 1


async def test_over_http_everybody_but_one_is_told_what_else_is_free(place: Clinic) -> None:
    body = {"service": str(place.services["video"]), "start": wire(at())}
    async with served(place, ROUTES) as front:

        async def attempt(n: int) -> int:
            answer = await front.ask(("amina", "bilal", "chand")[n % 3], "POST", "/v1/appointments", body)
            if answer.status == 409:
                assert len((await answer.json())["alternatives"]) == 3
            return answer.status

        outcome = Counter(await asyncio.gather(*(attempt(n) for n in range(300))))
    assert outcome == {201: 1, 409: 299}
    await place.balanced()


async def test_an_overdue_hold_is_taken_over_by_one(place: Clinic) -> None:
    async with place.transaction() as connection:
        await place.claim(connection, "amina", at(), hold=True)
    place.now += timedelta(minutes=10)
    attempts = [book(place, "bilal") for _ in range(50)]
    outcome = await asyncio.gather(*attempts, sweep(place.db, place.now), return_exceptions=True)
    won = [each for each in outcome if isinstance(each, UUID)]
    assert len(won) <= 1
    if not won:  # whoever ended the hold may have been too late for all the others
        await book(place, "bilal")
    assert await place.overlaps() == 0
    assert await place.balanced() == 3


async def test_the_last_seat_has_one_winner(place: Clinic) -> None:
    await book(place, "guest", service="yoga")
    names = ["amina", "bilal", "chand", "drtariq"] * 10
    outcome = await asyncio.gather(*(book(place, name, service="yoga") for name in names), return_exceptions=True)
    assert sum(isinstance(each, UUID) for each in outcome) == 1
    codes = {each.code for each in outcome if isinstance(each, Refusal)}
    assert codes <= {"class_full", "already_booked"}
    async with place.transaction() as connection:
        row = await connection.fetchrow(
            "SELECT seats_taken, (SELECT count(*) FROM seat WHERE status = 'confirmed') AS seats FROM appointment"
        )
    assert row is not None
    assert tuple(row) == (2, 2)
    await place.balanced()


async def test_a_class_that_nobody_opened_is_opened_once(place: Clinic) -> None:
    names = ["amina", "bilal", "chand", "guest", "drtariq"] * 4
    outcome = await asyncio.gather(*(book(place, name, service="yoga") for name in names), return_exceptions=True)
    assert sum(isinstance(each, UUID) for each in outcome) == 2
    async with place.transaction() as connection:
        assert await connection.fetchval("SELECT count(*) FROM appointment") == 1
    assert await deadlocks(place) == 0


async def test_two_visits_that_want_each_others_time_do_not_hang(place: Clinic) -> None:
    first, second = await book(place, "amina", at(hour=10)), await book(place, "bilal", at(hour=11))

    async def move(id: UUID, name: str, start: object) -> None:
        async with place.transaction() as connection:
            await changes.reschedule(connection, place.context, place.who(name), id, start, place.command(name))  # type: ignore[arg-type]

    for _ in range(10):
        outcome = await asyncio.gather(
            move(first, "amina", at(hour=11)), move(second, "bilal", at(hour=10)), return_exceptions=True
        )
        assert all(isinstance(each, Refusal) and each.code == "slot_taken" for each in outcome), outcome
    assert await deadlocks(place) == 0


async def test_a_cancellation_and_an_acceptance_do_not_both_win(place: Clinic) -> None:
    for hour in range(10, 16):
        visit = await book(place, "amina", at(hour=hour), "asked")

        async def accept(visit: UUID = visit) -> None:
            async with place.transaction() as connection:
                await changes.perform(
                    connection, place.context, place.who("drsana"), visit, "accept", place.command("drsana")
                )

        async def decline(visit: UUID = visit) -> None:
            async with place.transaction() as connection:
                await changes.perform(
                    connection, place.context, place.who("front"), visit, "decline", place.command("front")
                )

        outcome = await asyncio.gather(accept(), decline(), return_exceptions=True)
        assert sum(each is None for each in outcome) == 1
        (lost,) = [each for each in outcome if each is not None]
        assert isinstance(lost, Refusal)
        assert lost.code in ("changed_meanwhile", "not_possible")
    await place.balanced()


@pytest.mark.slow
async def test_after_a_storm_the_books_balance(place: Clinic, rng: random.Random) -> None:
    """Book, hold, move and cancel at random over fifty slots of two doctors."""
    slots = [at(1 + n // 25, 8 + n % 25 // 3, n % 3 * 15) for n in range(50)]
    names = ("amina", "bilal", "chand")
    done: Counter[str] = Counter()
    visits: list[tuple[UUID, str]] = []
    until = asyncio.get_running_loop().time() + STORM_S

    async def one() -> None:
        name = rng.choice(names)
        who, start = place.who(name), rng.choice(slots)
        service = rng.choice(("video", "other"))
        command = place.command(name)
        what = rng.choice(("book", "book", "hold", "move", "move", "cancel", "sweep"))
        if what == "sweep":
            await sweep(place.db, NOW + timedelta(minutes=rng.choice((1, 20))))
            return
        async with place.transaction() as connection:
            if what == "book":
                id = await place.claim(connection, name, start, service)
            elif what == "hold":
                id = await place.claim(connection, name, start, service, hold=True)
            elif visits:
                id, name = rng.choice(visits)
                if what == "cancel":
                    await changes.cancel(connection, place.context, place.who(name), id, command)
                else:
                    front = place.who("front")
                    await changes.reschedule(connection, place.context, front, id, start, place.command("front"))
                return
            else:
                return
        visits.append((id, name))
        if what == "hold":
            async with place.transaction() as connection:
                await claims.book_hold(connection, place.context, who, id, NOBODY, command)

    async def worker() -> None:
        while asyncio.get_running_loop().time() < until:
            place.context.taken_slots.forget(place.services["video"])
            place.context.taken_slots.forget(place.services["other"])
            try:
                await one()
                done["ok"] += 1
            except Refusal as refusal:
                done[refusal.code] += 1

    await asyncio.gather(*(worker() for _ in range(16)))
    assert done["ok"] > 50
    assert done["slot_taken"] > 0
    assert await place.overlaps() == 0
    assert await deadlocks(place) == 0
    assert await place.balanced() > 50


@pytest.mark.parametrize("command", ["book", "book_hold", "reschedule", "cancel", "seat"])
async def test_a_server_that_dies_between_any_two_steps_leaves_nothing_half(place: Clinic, command: str) -> None:
    """The backend is killed before the n-th statement of a command, for every n, and the command is then done again."""
    visit = await book(place, "amina")
    async with place.transaction() as connection:
        hold = await place.claim(connection, "amina", at(2), hold=True)
    before = await place.balanced()
    who, mine = place.who("amina"), place.command("amina")

    async def do(connection: "Dying") -> None:
        alike: transitions.Connection = connection  # type: ignore[assignment]
        if command == "book":
            await place.claim(alike, "amina", at(3))
        elif command == "book_hold":
            await claims.book_hold(alike, place.context, who, hold, NOBODY, mine)
        elif command == "reschedule":
            await changes.reschedule(alike, place.context, who, visit, at(4), mine)
        elif command == "cancel":
            await changes.cancel(alike, place.context, who, visit, mine)
        else:
            await place.claim(alike, "amina", at(5), "yoga")

    operator = await asyncpg.connect(place.db.url)
    n = 0
    while True:
        try:
            async with place.transaction() as connection:
                dying = Dying(connection, operator, n)
                await do(dying)
                await dying.step()  # and before the commit
            break
        except DatabaseUnavailable:
            pass
        assert await place.balanced() == before, f"statement {n}"
        n += 1
    await operator.close()
    assert n >= 2
    assert await place.balanced() == before + (2 if command == "seat" else 1)
    assert await place.overlaps() == 0


class Dying:
    """A connection whose server process is gone before the ``n``-th statement."""

    def __init__(
        self, connection: transitions.Connection, operator: "asyncpg.Connection[asyncpg.Record]", n: int
    ) -> None:
        self._connection = connection
        self._operator = operator
        self._left = n

    async def step(self) -> None:
        if self._left == 0:
            pid = await self._connection.fetchval("SELECT pg_backend_pid()")
            await self._operator.execute("SELECT pg_terminate_backend($1, 5000)", pid)
        self._left -= 1

    async def fetch(self, query: str, *arguments: object) -> object:
        await self.step()
        return await self._connection.fetch(query, *arguments)

    async def fetchrow(self, query: str, *arguments: object) -> object:
        await self.step()
        return await self._connection.fetchrow(query, *arguments)

    async def fetchval(self, query: str, *arguments: object) -> object:
        await self.step()
        return await self._connection.fetchval(query, *arguments)

    async def execute(self, query: str, *arguments: object) -> object:
        await self.step()
        return await self._connection.execute(query, *arguments)

    def transaction(self) -> object:
        return self._connection.transaction()


async def test_a_request_that_is_cancelled_leaves_nothing_half(place: Clinic, rng: random.Random) -> None:
    for n in range(60):
        task = asyncio.create_task(book(place, "amina", at(1 + n // 20, n % 20)))
        for _ in range(rng.randrange(40)):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await place.balanced()
    assert await place.overlaps() == 0


async def test_clinics_are_apart(place: Clinic) -> None:
    other = await clinic(place.db, Tenant(1001, "defence", "Defence Clinic"))
    visit = await book(place, "amina")
    async with other.transaction() as connection:
        with pytest.raises(Refusal, match="not_found"):
            await changes.cancel(connection, other.context, other.who("boss"), visit, other.command("boss"))
        theirs = replace(other.request("boss", at(2)), service=place.services["video"])
        with pytest.raises(Refusal, match="not_found"):
            await claims.claim_slot(connection, other.context, theirs)
        for table in ("appointment", "transition", "seat", "series", "waitlist_entry"):
            assert await connection.fetchval(f"SELECT count(*) FROM {table}") == 0
    with pytest.raises(Refusal, match="not_found"):
        await _book_for(other, place)
    await book(other, "amina")
    await place.balanced()


async def _book_for(other: Clinic, place: Clinic) -> None:
    """The front desk of one clinic books for a patient of another."""
    about = Particulars(patient=place.people["bilal"])
    async with other.transaction() as connection:
        request = replace(other.request("front", at(2)), about=about)
        await claims.claim_slot(connection, other.context, request)


async def test_money_that_comes_twice_or_late_confirms_once_or_never(place: Clinic) -> None:
    async with place.transaction() as connection:
        hold = await place.claim(connection, "amina", at(), hold=True)

    async def paid() -> str:
        async with place.transaction() as connection:
            return await claims.confirm_paid(connection, hold, str(uuid4()), place.now)

    assert sorted(await asyncio.gather(paid(), paid(), paid())) == ["confirmed", "known", "known"]
    async with place.transaction() as connection:
        late = await place.claim(connection, "amina", at(2), hold=True)
    await sweep(place.db, NOW + timedelta(hours=1))
    async with place.transaction() as connection:
        assert await claims.confirm_paid(connection, late, "ref", place.now) == "too_late"
    await place.balanced()


async def test_a_crowd_books_as_many_alone_would(place: Clinic) -> None:
    """One transaction books for many; refused are those who would be refused alone, in the same words."""
    bilal = {"patient": "bilal"}
    bodies: list[tuple[str, str, datetime, dict[str, str], int, str]] = [
        ("amina", "video", at(1, 10), {}, 201, ""),
        ("bilal", "other", at(1, 10), {"reason": "cough"}, 201, ""),
        ("chand", "video", at(1, 11), {}, 201, ""),  # the same doctor: alone
        ("bilal", "video", at(1, 10), {}, 409, "slot_taken"),
        ("bilal", "video", at(1, 9, 7), {}, 409, "slot_not_offered"),
        ("amina", "yoga", at(1, 15), {}, 201, ""),
        ("amina", "other", at(1, 12), bilal, 403, "not_your_patient"),
        ("amina", "other", at(1, 12), {"timezone": "Mars/Base"}, 422, "unknown_zone"),
        ("front", "other", at(1, 13), bilal, 201, ""),
    ]
    ways = []
    other = await clinic(place.db, Tenant(1001, "defence", "Defence Clinic"))
    for house, lanes in ((place, 0), (other, 100)):  # all together, and all alone
        async with served(house, ROUTES) as front:

            async def book_one(
                name: str, service: str, start: datetime, more: dict[str, str], *, house: Clinic = house
            ) -> tuple[int, Any]:
                body = {"service": str(house.services[service]), "start": wire(start), **more}
                if "patient" in more:
                    body["patient"] = str(house.people[more["patient"]])
                answer = await front.ask(name, "POST", "/v1/appointments", body)
                return answer.status, await answer.json()

            with patch("backplane.request_batching.LANES", lanes):
                tasks = []
                for name, service, start, more, _, _ in bodies:
                    tasks.append(asyncio.create_task(book_one(name, service, start, more)))
                    await (tasks[-1] if lanes else asyncio.sleep(0.05))
            await book_one("chand", "other", at(1, 16), {})  # whose end lets the crowd in
            told = [await task for task in tasks]
        assert [(status, body.get("code", "")) for status, body in told] == [each[4:] for each in bodies]
        own = {"id", "created_at", "provider", "service", "patient", "location", "seats", "alternatives"}
        ways.append([{key: value for key, value in body.items() if key not in own} for _, body in told])
    await place.balanced()
    assert ways[0] == ways[1]
