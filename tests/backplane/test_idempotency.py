"""Idempotency keys against a real Postgres."""

import asyncio
from collections import Counter
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from msgspec import Struct

from backplane import idempotency
from backplane.api import Answer, Call, Problem, Routes
from backplane.bounds import Count
from backplane.idempotency import KEPT_FOR, forget_expired
from backplane.postgres import Database
from tests.support.api import CLINIC, NOW, served

KEY = "key-of-one-action"


class Order(Struct, forbid_unknown_fields=True):
    amount: Count
    note: str = ""


class Made(Struct):
    id: UUID


class Desk:
    """Routes that count what they do in a table of their own."""

    def __init__(self) -> None:
        self.routes = Routes(tag="desk")
        self.mood: Exception | None = None
        self.told: list[UUID] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.routes.post("/orders", status=201, idempotent=True)(self.order)
        self.routes.delete("/orders/{id}", idempotent=True)(self.cancel)

    async def order(self, call: Call, body: Order) -> Answer[Made]:
        number = uuid4()
        async with call.transaction() as connection:
            await connection.execute("INSERT INTO effect (id, amount) VALUES ($1, $2)", number, body.amount)
        await self.gate.wait()
        if self.mood is not None:
            raise self.mood

        async def tell() -> None:
            self.told.append(number)

        call.after_commit(tell)
        return Answer(Made(number))

    async def cancel(self, call: Call, id: UUID) -> None:
        async with call.transaction() as connection:
            await connection.execute("DELETE FROM effect WHERE id = $1", id)


@pytest.fixture
async def desk(database: Database) -> Desk:
    async with database.platform() as connection:
        await connection.execute("RESET ROLE")
        await connection.execute("CREATE TABLE effect (id uuid PRIMARY KEY, amount int); GRANT ALL ON effect TO PUBLIC")
    return Desk()


async def effects(database: Database) -> int:
    async with database.tenant(CLINIC.id) as connection:
        return int(await connection.fetchval("SELECT count(*) FROM effect"))


def headers(key: str = KEY, who: str = "amina") -> dict[str, str]:
    return {"Idempotency-Key": key, "Authorization": f"Bearer {who}"}


@pytest.mark.parametrize("key", ["", "short", "with space in it", "ümlaut-key", "k" * 256])
async def test_a_missing_or_odd_key_is_refused(desk: Desk, database: Database, key: str) -> None:
    async with served([desk.routes], database) as client:
        answer = await client.post("/orders", json={"amount": 1}, headers={"Idempotency-Key": key} if key else {})
        assert (answer.status, (await answer.json())["code"]) == (400, "idempotency_key_required")
    assert await effects(database) == 0


async def test_the_same_request_again_gets_the_stored_answer(desk: Desk, database: Database) -> None:
    async with served([desk.routes], database) as client:
        first = await client.post("/orders", json={"amount": 1}, headers=headers())
        again = await client.post(
            "/orders", data=b'{ "note":"", "amount":1 }', headers=headers() | {"Content-Type": "application/json"}
        )
        assert (first.status, again.status) == (201, 201)
        assert await first.read() == await again.read()
        assert again.content_type == "application/json"
        assert "Idempotent-Replayed" not in first.headers
        assert again.headers["Idempotent-Replayed"] == "true"
    assert await effects(database) == 1
    assert len(desk.told) == 1


async def test_the_same_key_for_another_body_is_a_mismatch(desk: Desk, database: Database) -> None:
    async with served([desk.routes], database) as client:
        await client.post("/orders", json={"amount": 1}, headers=headers())
        answer = await client.post("/orders", json={"amount": 2}, headers=headers())
        assert (answer.status, (await answer.json())["code"]) == (422, "idempotency_mismatch")
    assert await effects(database) == 1


async def test_people_and_routes_do_not_share_keys(desk: Desk, database: Database) -> None:
    async with served([desk.routes], database) as client:
        for who in ("amina", "bilal"):
            answer = await client.post("/orders", json={"amount": 1}, headers=headers(who=who))
            assert answer.status == 201
        made = UUID((await answer.json())["id"])
        gone = await client.delete(f"/orders/{made}", headers=headers(who="bilal"))
        assert gone.status == 204
        again = await client.delete(f"/orders/{made}", headers=headers(who="bilal"))
        assert (again.status, again.headers["Idempotent-Replayed"], await again.read()) == (204, "true", b"")
    assert await effects(database) == 1


@pytest.mark.parametrize("mood, status", [(Problem(409, "taken"), 409), (ZeroDivisionError(), 500)])
async def test_a_failure_leaves_neither_effect_nor_answer(
    desk: Desk, database: Database, mood: Exception, status: int
) -> None:
    async with served([desk.routes], database) as client:
        desk.mood = mood
        answer = await client.post("/orders", json={"amount": 1}, headers=headers())
        assert answer.status == status
        assert (await effects(database), desk.told) == (0, [])
        desk.mood = None
        answer = await client.post("/orders", json={"amount": 1}, headers=headers())
        assert answer.status == 201
        assert "Idempotent-Replayed" not in answer.headers
    assert await effects(database) == 1


async def test_a_wrong_body_does_not_use_up_the_key(desk: Desk, database: Database) -> None:
    async with served([desk.routes], database) as client:
        answer = await client.post("/orders", json={"amount": "many"}, headers=headers())
        assert answer.status == 422
        answer = await client.post("/orders", json={"amount": 1}, headers=headers())
        assert answer.status == 201


async def test_while_the_first_is_at_work_the_second_is_told_to_wait(desk: Desk, database: Database) -> None:
    desk.gate.clear()
    async with served([desk.routes], database) as client:
        first = asyncio.create_task(client.post("/orders", json={"amount": 1}, headers=headers()))
        while True:
            async with database.platform() as connection:
                busy = await connection.fetchval(
                    "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted"
                )
            if busy:
                break
        answer = await client.post("/orders", json={"amount": 1}, headers=headers())
        assert (answer.status, (await answer.json())["code"]) == (409, "idempotency_in_progress")
        assert answer.headers["Retry-After"] == "1"
        desk.gate.set()
        assert (await first).status == 201


async def test_twenty_at_once_have_one_effect(desk: Desk, database: Database) -> None:
    async with served([desk.routes], database) as client:
        answers = await asyncio.gather(
            *(client.post("/orders", json={"amount": 1}, headers=headers()) for _ in range(20))
        )
        statuses = Counter(answer.status for answer in answers)
        assert set(statuses) <= {201, 409}
        assert statuses[201] >= 1
        assert len({await answer.read() for answer in answers if answer.status == 201}) == 1
    assert await effects(database) == 1


async def test_an_expired_key_is_a_new_one_and_can_be_swept(desk: Desk, database: Database) -> None:
    async with served([desk.routes], database) as client:
        await client.post("/orders", json={"amount": 1}, headers=headers())
        async with database.tenant(CLINIC.id) as connection:
            await connection.execute("UPDATE idempotency SET expires_at = $1", NOW)
        answer = await client.post("/orders", json={"amount": 7}, headers=headers())
        assert answer.status == 201
        assert "Idempotent-Replayed" not in answer.headers
    assert await effects(database) == 2
    async with database.platform() as connection:
        assert await forget_expired(connection, NOW + KEPT_FOR - timedelta(seconds=1)) == 0
        assert await forget_expired(connection, NOW + KEPT_FOR) == 1


@pytest.mark.parametrize("mood", [None, Problem(409, "taken")])
async def test_who_was_overtaken_between_look_and_lock_gets_the_stored_answer(
    desk: Desk, database: Database, mood: Exception | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with served([desk.routes], database) as client:
        first = await client.post("/orders", json={"amount": 1}, headers=headers())
        desk.mood = mood
        # as with a snapshot that is older than the commit of the first
        blind = idempotency._LOCK_AND_LOOK.replace("expires_at > $4", "expires_at > $4 AND false")
        monkeypatch.setattr(idempotency, "_LOCK_AND_LOOK", blind)
        again = await client.post("/orders", json={"amount": 1}, headers=headers())
        assert (again.status, again.headers["Idempotent-Replayed"]) == (201, "true")
        assert await first.read() == await again.read()
    assert (await effects(database), len(desk.told)) == (1, 1)


async def test_a_handler_may_not_go_on_after_its_transaction_failed(desk: Desk, database: Database) -> None:
    async def careless(call: Call, body: Order) -> Answer[Made]:
        try:
            await desk.order(call, body)
            async with call.transaction():
                raise KeyError("half done")
        except KeyError:
            return Answer(Made(uuid4()))

    desk.routes.post("/careless", status=201, idempotent=True)(careless)
    async with served([desk.routes], database) as client:
        answer = await client.post("/careless", json={"amount": 1}, headers=headers())
        assert answer.status == 500
    assert await effects(database) == 0
