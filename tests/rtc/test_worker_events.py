"""The dispatcher of worker events: who is given what and when; what goes wrong in one thing does not end the next."""

import asyncio
import contextlib
import os
from collections.abc import Collection, Iterator

import pytest

from rtc.worker_events import EVENTS_AT_ONCE, EventKind, WorkerEvent, WorkerEvents

WAIT_S = 15.0


class Worker:
    """Its descriptor says nothing unless `ring` is called."""

    def __init__(self, *events: WorkerEvent) -> None:
        self.events = list(events)
        self.held = 0
        self._descriptor = os.eventfd(0, os.EFD_NONBLOCK)

    def ring(self) -> None:
        os.eventfd_write(self._descriptor, 1)

    def fileno(self) -> int:
        return self._descriptor

    def take_events(self) -> list[WorkerEvent]:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._descriptor)
        events, self.events = self.events, []
        return events

    def hold(self) -> None:
        self.held += 1

    def let_go(self) -> None: ...

    def close(self) -> None:
        os.close(self._descriptor)


class BrokenWorker(Worker):
    def take_events(self) -> list[WorkerEvent]:
        raise MemoryError


class User:
    """Notes what it is told; ``due``: when it wants to hear of the time."""

    def __init__(self, kinds: Collection[EventKind], due: float | None = None) -> None:
        self.event_kinds = kinds
        self.due = due
        self.done: list[object] = []
        self.heard = asyncio.Event()
        self.failing = False

    def handle_event(self, worker: int, event: WorkerEvent, now: float) -> None:
        self.done.append((worker, event))
        self.heard.set()
        if self.failing:
            raise KeyError(event)

    def timer(self) -> float | None:
        return self.due

    def handle_timers(self, now: float) -> None:
        self.done.append("timer")
        if self.failing:
            self.failing = False
            raise KeyError(now)
        self.due = None
        self.heard.set()


@pytest.fixture
def worker() -> Iterator[Worker]:
    worker = Worker()
    yield worker
    worker.close()


async def heard(user: User) -> None:
    async with asyncio.timeout(WAIT_S):
        await user.heard.wait()


async def test_each_event_goes_to_who_takes_its_kind(worker: Worker) -> None:
    media, relay = User([EventKind.DTLS, EventKind.LEVEL]), User([EventKind.REQUEST])
    worker.events = [(EventKind.DTLS, 1, b""), (EventKind.REQUEST, 2), (EventKind.STATS, 3), (99, 4)]
    with WorkerEvents([worker], [media, relay]).running():
        worker.ring()
        await heard(relay)
    assert media.done == [(0, (EventKind.DTLS, 1, b""))]
    assert relay.done == [(0, (EventKind.REQUEST, 2))]


def test_no_two_users_take_the_same() -> None:
    with pytest.raises(ValueError, match="REQUEST"):
        WorkerEvents([], [User([EventKind.REQUEST]), User([EventKind.REQUEST])])


async def test_what_woke_nobody_is_read_before_a_timer(worker: Worker, caplog: pytest.LogCaptureFixture) -> None:
    """And a worker that cannot be read costs the others nothing."""
    user, broken = User([EventKind.LEVEL], due=0.0), BrokenWorker()
    level = (EventKind.LEVEL, 1, 20, True, 0.0)
    worker.events = [level]
    with WorkerEvents([broken, worker], [user]).running():
        user.heard.clear()
        await heard(user)
    broken.close()
    assert user.done == [(1, level), "timer"]
    assert "events could not be read" in caplog.text


async def test_a_timer_that_fails_is_followed_by_the_next(worker: Worker, caplog: pytest.LogCaptureFixture) -> None:
    user = User([], due=0.0)
    user.failing = True
    with WorkerEvents([worker], [user]).running():
        await heard(user)
    assert user.done == ["timer", "timer"]
    assert "a timer failed" in caplog.text


async def test_a_fault_in_one_event_does_not_cost_the_next(worker: Worker, caplog: pytest.LogCaptureFixture) -> None:
    user = User([EventKind.DTLS])
    user.failing = True
    WorkerEvents([worker], [user]).dispatch(0, [(EventKind.DTLS, 1), (EventKind.DTLS, 2)], 0.0)
    assert [event for _, event in user.done] == [(EventKind.DTLS, 1), (EventKind.DTLS, 2)]  # type: ignore[misc]
    assert len(caplog.records) == 2


async def test_what_many_events_lead_to_does_not_wait_for_the_last(worker: Worker) -> None:
    user = User([EventKind.DTLS])
    worker.events = [(EventKind.DTLS, number) for number in range(2 * EVENTS_AT_ONCE + 1)]
    with WorkerEvents([worker], [user]).running():
        worker.ring()
        await heard(user)
    assert worker.held == 3
