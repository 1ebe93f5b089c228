"""Stalls of a real event loop, uvloop's and asyncio's: which are noticed, with what stack and cause."""

import asyncio
import io
import logging
import re
import threading
import time
from collections.abc import Awaitable, Callable, Iterator

import msgspec
import pytest
import uvloop

from backplane import logs, loop_watch
from backplane.loop_watch import LoopWatch, Stall, watched
from backplane.metrics import Metrics


def computes(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def matches() -> None:
    """Keeps the interpreter's lock for a tenth of a second of processor time or more."""
    end = time.thread_time() + 0.1
    tries = 18
    while time.thread_time() < end:
        re.match("(a+)+$", "a" * tries + "b")
        tries += 1


@pytest.fixture(params=[uvloop.new_event_loop, asyncio.new_event_loop], ids=["uvloop", "asyncio"])
def run(request: pytest.FixtureRequest) -> Callable[[Callable[[], Awaitable[None]]], list[Stall]]:
    """Runs a coroutine under the watch; the stalls."""

    def run(work: Callable[[], Awaitable[None]]) -> list[Stall]:
        noticed: list[Stall] = []

        async def main() -> None:
            watch = LoopWatch(noticed.append)
            watch.start()
            await asyncio.sleep(0.05)
            await work()
            await asyncio.sleep(0.15)
            watch.stop()

        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(main())
        return noticed

    return run


Run = Callable[[Callable[[], Awaitable[None]]], list[Stall]]


@pytest.mark.parametrize(
    ("work", "name"), [(lambda: computes(0.15), "computes"), (matches, "matches")], ids=["python", "c"]
)
def test_work_on_the_loop_is_noticed_with_its_stack_and_its_processor_time(
    run: Run, work: Callable[[], None], name: str
) -> None:
    async def stalls() -> None:
        work()

    stall = max(run(stalls), key=lambda each: each.cpu_s)
    assert 0.05 <= stall.cpu_s <= stall.seconds + 0.01
    assert stall.cause == "computing"
    if name == "computes":
        assert any(f"test_loop_watch.py:{line} computes" in each for each in stall.stack for line in range(21, 26)), (
            stall
        )


def test_a_call_that_blocks_is_noticed_as_having_used_no_processor(run: Run) -> None:
    async def blocks() -> None:
        time.sleep(0.2)  # noqa: ASYNC251

    stall = max(run(blocks), key=lambda each: each.seconds)
    assert stall.seconds >= 0.1
    assert stall.cause == "no_cpu"
    assert any(each.endswith(" blocks") for each in stall.stack)


def test_another_thread_that_keeps_the_lock_is_told_apart(run: Run) -> None:
    async def waits() -> None:
        other = threading.Thread(target=matches)
        other.start()
        while other.is_alive():  # noqa: ASYNC110 (the loop is to be at work)
            await asyncio.sleep(0)

    assert "computing" not in {stall.cause for stall in run(waits)}


def test_a_sleeping_loop_is_no_stall_and_is_not_woken(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_watch, "_CALM_AFTER_S", 0.05)
    beats: list[int] = []
    beat = LoopWatch._beat
    monkeypatch.setattr(LoopWatch, "_beat", lambda self: [beats.append(1), beat(self)])

    async def sleeps() -> None:
        await asyncio.sleep(0.3)
        beats.clear()
        await asyncio.sleep(0.4)
        assert len(beats) <= 2

    assert run(sleeps) == []


def test_many_short_callbacks_are_no_stall(run: Run) -> None:
    counted = [0.0]

    async def many() -> None:
        for _ in range(60):
            began = time.thread_time()
            computes(0.004)
            counted.append(time.thread_time() - began)
            await asyncio.sleep(0)

    assert max(counted) < 0.05
    assert [stall for stall in run(many) if stall.cause == "computing" and stall.stack] == []


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    root, stream = logging.getLogger(), io.StringIO()
    before, level = root.handlers[:], root.level
    logs.configure("info", stream)
    yield stream
    root.handlers[:] = before
    root.setLevel(level)


def test_a_stall_is_counted_and_logged_even_before_it_ends(log: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_watch, "_TOLD_AFTER_S", (0.1,))
    metrics = Metrics()

    async def main() -> None:
        with watched(metrics):
            await asyncio.sleep(0.03)
            secret = "a name of somebody"
            end = time.monotonic() + 20
            while "stands still" not in log.getvalue() and time.monotonic() < end:
                hash(secret)
            await asyncio.sleep(0.1)

    asyncio.run(main())
    first, last = (msgspec.json.decode(line) for line in log.getvalue().splitlines())
    assert (first["event"], last["event"]) == ("event loop stands still", "event loop stalled")
    assert first["duration_ms"] >= 100
    assert last["cpu_ms"] > 0
    assert any("test_loop_watch.py" in each and each.endswith(" main") for each in last["stack"])
    assert "somebody" not in log.getvalue()
    assert f'wadud_loop_stall_seconds_count{{cause="{last["kind"]}"}} 1.0' in metrics.exposition().decode()
