"""The clock of the tests: the time that this machine was really there."""

import asyncio
import os
import subprocess
import sys

import pytest

from tests.support import clock
from tests.support.clock import MachineClock


class Machine:
    """A clock on the wall, and cores that are taken away."""

    def __init__(self, cores: int) -> None:
        self.seconds = 100.0
        self.taken = [5.0] * cores  # before anybody looked
        self.clock = MachineClock(lambda: self.seconds, lambda: list(self.taken))

    def passes(self, seconds: float, *taken: float) -> float:
        """What the clock shows after so many seconds, of which each core was away for some."""
        self.seconds += seconds
        self.taken = [before + more for before, more in zip(self.taken, taken, strict=True)]
        return self.clock()


def test_on_a_machine_of_ones_own_it_is_the_clock_on_the_wall() -> None:
    machine = Machine(2)
    assert [machine.passes(seconds, 0, 0) for seconds in (0.0, 0.001, 1.0, 60.0)] == [100.0, 100.001, 101.001, 161.001]
    nobody_counts = MachineClock(lambda: machine.seconds, list)
    machine.seconds += 7
    assert nobody_counts() == machine.seconds


def test_time_in_which_the_worst_core_was_away_is_left_out() -> None:
    machine = Machine(2)
    assert machine.passes(10, 4, 6) == 104
    assert machine.passes(1, 0, 0) == 105


def test_a_run_comes_to_its_end_though_all_is_away() -> None:
    machine = Machine(2)
    assert machine.passes(20, 20, 20) == 105


def test_it_never_goes_back() -> None:
    machine = Machine(1)
    assert machine.passes(0.01, 0.01) == pytest.approx(100.01)  # not looked up yet
    assert machine.passes(0.0102, 0.02) == pytest.approx(100.01), "the kernel counts by its tick, which is coarser"
    assert machine.passes(1, 0) == pytest.approx(101.00505)


def test_every_core_is_looked_up() -> None:
    assert len(clock.stolen()) == os.cpu_count()


async def test_the_loops_of_the_tests_go_by_it() -> None:
    before, loop, after = clock.now(), asyncio.get_running_loop().time(), clock.now()
    assert before <= loop <= after


def test_who_does_not_end_in_time_is_killed() -> None:
    endless = [sys.executable, "-c", "print('here', flush=True); import time; time.sleep(600)"]
    with (
        subprocess.Popen(endless, stdout=subprocess.PIPE, text=True) as process,
        pytest.raises(subprocess.TimeoutExpired),
    ):
        clock.communicate(process, 0.5)
    assert process.returncode < 0
    with subprocess.Popen([sys.executable, "-c", "print('done')"], stdout=subprocess.PIPE, text=True) as process:
        assert clock.communicate(process, 20) == ("done\n", None)
