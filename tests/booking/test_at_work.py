"""What a server process does by itself goes on, whatever ends one of its loops."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import pytest

from backplane.bus import LocalBus
from backplane.consumers import Consumer, Worker
from backplane.jobs import Scheduler
from backplane.outbox import OutboxPublisher
from backplane.postgres import Database, DatabaseBusy
from booking import application
from booking.application import Module, at_work

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.mark.parametrize("loop", [OutboxPublisher, Scheduler, Worker])
async def test_a_loop_that_ends_by_an_error_begins_again(
    database: Database, monkeypatch: pytest.MonkeyPatch, loop: type
) -> None:
    starts, again = [DatabaseBusy(), ValueError()], asyncio.Event()
    run: Callable[[object], Awaitable[None]] = loop.run  # type: ignore[attr-defined]

    async def fail_at_first(self: object) -> None:
        if starts:
            raise starts.pop()
        again.set()
        await run(self)

    monkeypatch.setattr(loop, "run", fail_at_first)
    monkeypatch.setattr(application, "PAUSE_S", 0.001)
    parts = [Module(consumers=[Consumer("nobody", {})])]
    async with asyncio.timeout(10), at_work(database, LocalBus(), parts, lambda: NOW):
        await again.wait()
