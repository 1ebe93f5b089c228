"""Background work beside requests, in fake time: a bounded share while they come, full speed while they do not."""

import asyncio
from datetime import timedelta

import pytest

from backplane.pace import BUSY, LATE, LISTEN_S, LONGEST_S, SHARE, Pace


class Thread:
    """A thread of which requests take the part ``load``; background work takes as long as it says."""

    def __init__(self) -> None:
        self.now = 0.0
        self.cpu = 0.0
        self.load = 0.0
        self.silences: list[float] = []
        self.pace = Pace(lambda: self.now, lambda: self.cpu, self.sleep)

    async def sleep(self, seconds: float) -> None:
        self.silences.append(seconds)
        self.now += seconds
        self.cpu += seconds * self.load
        await asyncio.sleep(0)

    async def work(self, took_s: float, waited: timedelta = timedelta(0), *, idle: bool = False) -> float:
        """How long the silence after it was."""
        self.silences = [0.0]
        async with self.pace.turn() as turn:
            turn.waited, turn.idle = waited, idle
            self.now += took_s
            self.cpu += took_s
        return self.silences[-1]


@pytest.fixture
def thread() -> Thread:
    return Thread()


async def test_an_idle_process_works_at_full_speed(thread: Thread) -> None:
    thread.load = 0.9 * BUSY
    assert [await thread.work(0.1) for _ in range(3)] == [LISTEN_S] * 3


async def test_beside_requests_a_turn_is_followed_by_a_silence_of_several_times_its_length(thread: Thread) -> None:
    thread.load = 0.9
    await thread.work(0.1)  # hears them afterwards
    assert [await thread.work(0.1) for _ in range(3)] == pytest.approx([SHARE * 0.1] * 3)
    thread.load = 0.0
    await thread.work(0.1)
    assert await thread.work(0.1) == LISTEN_S


async def test_its_own_work_does_not_make_a_process_busy(thread: Thread) -> None:
    for _ in range(3):
        await thread.work(1.0)
    assert not thread.pace.busy


async def test_what_has_waited_for_long_goes_on_at_once(thread: Thread) -> None:
    thread.load = 0.9
    await thread.work(0.1)
    assert await thread.work(0.1, LATE) == LISTEN_S
    assert thread.pace.busy


async def test_no_silence_is_so_long_that_anything_starves(thread: Thread) -> None:
    thread.load = 1.0
    await thread.work(0.1)
    assert await thread.work(60.0) == LONGEST_S


async def test_a_look_at_nothing_has_no_silence(thread: Thread) -> None:
    thread.load = 0.9
    await thread.work(0.1)
    assert await thread.work(0.1, idle=True) == 0.0


async def test_those_who_work_in_a_process_take_turns_and_all_are_served(thread: Thread) -> None:
    thread.load = 0.9
    order: list[str] = []

    async def worker(name: str) -> None:
        for _ in range(3):
            async with thread.pace.turn():
                order.append(f"{name} begins")
                await asyncio.sleep(0)
                order.append(f"{name} ends")

    await asyncio.gather(*(worker(name) for name in "abc"))
    assert order[:6] == [f"{name} {what}" for name in "abc" for what in ("begins", "ends")]
    assert order == 3 * order[:6]


async def test_a_turn_that_fails_lets_the_next_one_begin(thread: Thread) -> None:
    with pytest.raises(KeyError):
        async with thread.pace.turn():
            raise KeyError
    assert await thread.work(0.1) == LISTEN_S


async def test_all_of_an_event_loop_share_a_pace() -> None:
    assert Pace.here() is Pace.here()
