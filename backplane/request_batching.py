"""Runs concurrent idempotent requests of one route in one transaction.

A booking of its own costs seven round trips and a commit; a batch of ten costs as many. The first requests run alone.
Whoever comes while `LANES` transactions of the route are under way waits for the next one, and all who wait for it
share it: one statement locks and looks up their keys (see `idempotency`), the route's ``batch`` handler does what it
can for all of them, one statement keeps their answers. A request that does not fit in, because it is refused, known
already or of a rarer kind, runs alone afterwards, and so does every request if the transaction fails. Alone means with
the effects, the answers and the refusals that the route always has.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from aiohttp import web

from backplane.idempotency import Names, Overtaken, keep, lock_and_look
from backplane.logs import Log
from backplane.postgres import Connection, DatabaseUnavailable
from backplane.problems import Problem
from backplane.refusals import Refusal
from backplane.routes import Call

_log = Log(__name__)

LANES: Final = 2
MOST: Final = 32


class CannotBatch(Exception):
    """Raised by a `Handler`: what it has done must be rolled back, and every request of the batch runs alone."""


# Gets a connection in a transaction, and the calls with their bodies; gives for each what the handler would return, or
# None to have the handler run alone, in which case it has changed nothing for that call.
Handler = Callable[[Connection, Sequence[tuple[Call, Any]]], Awaitable[Sequence[object | None]]]


@dataclass(eq=False, slots=True)
class BatchedRequest:
    """One request. ``respond`` makes the answer of what the handler returned."""

    call: Call
    names: Names
    fingerprint: bytes
    body: object
    respond: Callable[[object], web.StreamResponse]
    answer: "asyncio.Future[web.StreamResponse | None]" = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class RequestBatcher:
    """Batches the requests of one route."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._waiting: dict[int, list[BatchedRequest]] = {}  # by tenant
        self._running: Counter[int] = Counter()  # by tenant, so that nobody waits for another clinic's locks
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(
        self, asked: BatchedRequest, alone: Callable[[], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """The answer to ``asked``; ``alone`` gives it without anybody else."""
        tenant = asked.call.tenant.id
        if self._running[tenant] < LANES:
            self._running[tenant] += 1
            try:
                return await alone()
            finally:
                self._ended(tenant)
        self._waiting.setdefault(tenant, []).append(asked)
        answer = await asked.answer
        if answer is not None:
            return answer
        asked.call.undone()
        return await alone()

    def _ended(self, tenant: int) -> None:
        self._running[tenant] -= 1
        waiting = self._waiting.pop(tenant, [])
        if waiting and self._running[tenant] < LANES:
            if len(waiting) > MOST:
                self._waiting[tenant] = waiting[MOST:]
            self._running[tenant] += 1
            task = asyncio.create_task(self._serve(tenant, waiting[:MOST]))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        elif waiting:
            self._waiting[tenant] = waiting
        if not self._running[tenant]:
            del self._running[tenant]

    async def _serve(self, tenant: int, batch: list[BatchedRequest]) -> None:
        try:
            for each, answer in await self._run(batch):
                if not each.answer.done():
                    each.answer.set_result(answer)
        except (CannotBatch, DatabaseUnavailable, Overtaken, Problem, Refusal):
            pass  # each finds out by itself
        except Exception:
            _log.warning("requests go one by one")
        finally:
            for each in batch:
                if not each.answer.done():
                    each.answer.set_result(None)
            self._ended(tenant)

    async def _run(self, batch: list[BatchedRequest]) -> list[tuple[BatchedRequest, web.StreamResponse]]:
        call = batch[0].call
        async with call.db.tenant(call.tenant.id) as connection, connection.transaction():
            rows = await lock_and_look(connection, [each.names for each in batch], call.now)
            first: dict[Names, BatchedRequest] = {}
            for each, row in zip(batch, rows):
                if row["ours"] and row["fingerprint"] is None:
                    first.setdefault(each.names, each)
            asked = list(first.values())
            results = await self._handler(connection, [(each.call, each.body) for each in asked])
            done = [(each, each.respond(result)) for each, result in zip(asked, results) if result is not None]
            if done:
                await keep(connection, [(each.names, each.fingerprint, answer) for each, answer in done], call.now)
        return done
