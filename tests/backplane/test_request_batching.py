"""Requests that come at once are done in one transaction, and nobody can tell."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from uuid import UUID, uuid4

import pytest
from msgspec import Struct

from backplane import idempotency, request_batching
from backplane.api import Answer, Call, Problem, Routes
from backplane.bounds import Int4
from backplane.postgres import Connection, Database
from tests.support.api import CLINIC, served


class Order(Struct, forbid_unknown_fields=True):
    amount: Int4


class Made(Struct):
    id: UUID
    alone: bool


class Desk:
    """Orders: odd ones are refused in a batch, negative ones by everybody; ``poison`` breaks the transaction."""

    def __init__(self) -> None:
        self.routes = Routes(tag="desk")
        self.batches: list[int] = []
        self.alone = 0
        self.told: list[UUID] = []
        self.poison: int | None = None
        self.gate = asyncio.Event()
        self.full = asyncio.Event()
        self.routes.post("/orders", status=201, idempotent=True, batch=self.many)(self.order)

    async def order(self, call: Call, body: Order) -> Answer[Made]:
        self.alone += 1
        if self.alone == request_batching.LANES:
            self.full.set()
        async with call.transaction() as connection:
            made = await self._insert(connection, call, body, alone=True)
            await self.gate.wait()
        if body.amount < 0:
            raise Problem(409, "taken")
        return Answer(made)

    async def many(self, connection: Connection, asked: Sequence[tuple[Call, Order]]) -> list[object | None]:
        self.batches.append(len(asked))
        if any(body.amount == self.poison for _, body in asked):
            await connection.execute("SELECT 1 / 0")
        return [
            await self._insert(connection, call, body, alone=False)
            if body.amount % 2 == 0 and body.amount > 0
            else None
            for call, body in asked
        ]

    async def _insert(self, connection: Connection, call: Call, body: Order, *, alone: bool) -> Made:
        made = Made(uuid4(), alone)
        await connection.execute("INSERT INTO effect (id, amount) VALUES ($1, $2)", made.id, body.amount)

        async def tell() -> None:
            self.told.append(made.id)

        call.after_commit(tell)
        return made


@pytest.fixture
async def desk(database: Database) -> Desk:
    async with database.platform() as connection:
        await connection.execute("RESET ROLE")
        await connection.execute("CREATE TABLE effect (id uuid PRIMARY KEY, amount int); GRANT ALL ON effect TO PUBLIC")
    return Desk()


async def effects(database: Database) -> Counter[int]:
    async with database.tenant(CLINIC.id) as connection:
        return Counter(row["amount"] for row in await connection.fetch("SELECT amount FROM effect"))


async def ask(client, amount: int, key: str | None = None, who: str = "amina"):  # type: ignore[no-untyped-def]
    headers = {"Idempotency-Key": key or f"key-of-{amount}", "Authorization": f"Bearer {who}"}
    answer = await client.post("/orders", json={"amount": amount}, headers=headers)
    return answer.status, await answer.json(), answer.headers.get("Idempotent-Replayed")


async def batched(desk: Desk, client, *amounts: int):  # type: ignore[no-untyped-def]
    """Two are at work while the others come."""
    first = [asyncio.create_task(ask(client, amount)) for amount in (1002, 1004)]
    await desk.full.wait()
    others = [asyncio.create_task(ask(client, amount)) for amount in amounts]
    await asyncio.sleep(0.1)
    desk.gate.set()
    await asyncio.gather(*first)
    return await asyncio.gather(*others)


async def test_who_comes_while_others_are_at_work_is_served_with_the_rest(desk: Desk, database: Database) -> None:
    async with served([desk.routes], database) as client:
        answers = await batched(desk, client, 2, 4, 6, 8)
        assert [(status, body["alone"]) for status, body, _ in answers] == [(201, False)] * 4
        again = [await ask(client, amount) for amount in (2, 4, 6, 8)]
        assert [(body, replayed) for _, body, replayed in again] == [(body, "true") for _, body, _ in answers]
    assert desk.batches == [4]
    assert await effects(database) == Counter([2, 4, 6, 8, 1002, 1004])
    assert len(desk.told) == 6


async def test_what_does_not_fit_runs_alone_with_its_own_refusal(desk: Desk, database: Database) -> None:
    async with served([desk.routes], database) as client:
        answers = await batched(desk, client, 2, 3, -1, 4)
    assert [status for status, _, _ in answers] == [201, 201, 409, 201]
    assert [body.get("alone") for _, body, _ in answers] == [False, True, None, False]
    assert answers[2][1]["code"] == "taken"
    assert await effects(database) == Counter([2, 3, 4, 1002, 1004])


async def test_a_transaction_that_fails_is_done_one_by_one(desk: Desk, database: Database) -> None:
    desk.poison = 4
    async with served([desk.routes], database) as client:
        answers = await batched(desk, client, 2, 4, 6)
    assert [(status, body["alone"]) for status, body, _ in answers] == [(201, True)] * 3
    assert await effects(database) == Counter([2, 4, 6, 1002, 1004])
    assert len(desk.told) == 5


async def test_the_same_key_twice_in_a_batch_has_one_effect(desk: Desk, database: Database) -> None:
    async with served([desk.routes], database) as client:
        answers = await batched(desk, client, 2, 2, 2, 4)
        assert {status for status, _, _ in answers} <= {201, 409}
        assert len({body["id"] for status, body, _ in answers[:3] if status == 201}) == 1
        assert all(body["code"] == "idempotency_in_progress" for status, body, _ in answers if status == 409)
    assert await effects(database) == Counter([2, 4, 1002, 1004])


async def test_who_was_overtaken_gets_the_stored_answer(
    desk: Desk, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with served([desk.routes], database) as client:
        desk.gate.set()
        first = await ask(client, 2)
        desk.gate.clear()
        desk.alone = 0
        desk.full.clear()
        blind = idempotency._LOCK_AND_LOOK.replace("expires_at > $4", "expires_at > $4 AND false")
        monkeypatch.setattr(idempotency, "_LOCK_AND_LOOK", blind)
        answers = await batched(desk, client, 2, 4)
        assert answers[0][1] == first[1]
        assert answers[1][0] == 201
    assert await effects(database) == Counter([2, 4, 1002, 1004])


async def test_a_client_that_leaves_spoils_nothing(desk: Desk, database: Database) -> None:
    async with served([desk.routes], database) as client:
        first = [asyncio.create_task(ask(client, amount)) for amount in (1002, 1004)]
        await desk.full.wait()
        others = [asyncio.create_task(ask(client, amount)) for amount in (2, 4, 6)]
        await asyncio.sleep(0.1)
        others[1].cancel()
        await asyncio.sleep(0.05)
        desk.gate.set()
        await asyncio.gather(*first, others[0], others[2])
        assert (await ask(client, 8))[0] == 201
    assert (await effects(database))[2] == 1


async def test_a_batch_is_served_in_bounded_parts(desk: Desk, database: Database) -> None:
    async with served([desk.routes], database) as client:
        answers = await batched(desk, client, *range(2, 2 + 4 * request_batching.MOST, 2))
    assert {status for status, _, _ in answers} == {201}
    assert max(desk.batches) <= request_batching.MOST


def test_only_what_has_a_key_and_no_parameters_is_done_in_batches() -> None:
    desk = Desk()
    with pytest.raises(TypeError, match="batches"):
        Routes(tag="x").post("/orders", batch=desk.many)(desk.order)
