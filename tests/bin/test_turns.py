"""Tests that run side by side, and those that want to be alone."""

import fcntl
import threading
import time
from pathlib import Path

from tests.support import clock
from tests.support.turns import turn

WAIT_S = 10
SOON_S = 0.05


class Somebody(threading.Thread):
    """Takes a turn and holds it until told to end."""

    def __init__(self, directory: Path, *, alone: bool) -> None:
        super().__init__(daemon=True)
        self.has_it, self.may_end = threading.Event(), threading.Event()
        self._directory, self._alone = directory, alone
        self.start()

    def run(self) -> None:
        with turn(self._directory, alone=self._alone):
            self.has_it.set()
            self.may_end.wait(WAIT_S)


def wait_until_somebody_stands_at_the_gate(directory: Path) -> None:
    end = clock.now() + WAIT_S
    while clock.now() < end:
        with (directory / "gate.lock").open("a") as gate:
            try:
                fcntl.flock(gate, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
        time.sleep(0.001)
    raise TimeoutError("nobody came to the gate")


def test_tests_run_together_and_one_that_wants_to_be_alone_waits_for_them(tmp_path: Path) -> None:
    first, second = Somebody(tmp_path, alone=False), Somebody(tmp_path, alone=False)
    assert first.has_it.wait(WAIT_S)
    assert second.has_it.wait(WAIT_S)
    lonely = Somebody(tmp_path, alone=True)
    wait_until_somebody_stands_at_the_gate(tmp_path)
    first.may_end.set()
    assert not lonely.has_it.wait(SOON_S)
    second.may_end.set()
    assert lonely.has_it.wait(WAIT_S)
    lonely.may_end.set()


def test_who_comes_later_waits_behind_the_one_that_wants_to_be_alone(tmp_path: Path) -> None:
    first = Somebody(tmp_path, alone=False)
    assert first.has_it.wait(WAIT_S)
    lonely = Somebody(tmp_path, alone=True)
    wait_until_somebody_stands_at_the_gate(tmp_path)
    assert not lonely.has_it.wait(SOON_S)
    later = Somebody(tmp_path, alone=False)
    assert not later.has_it.wait(SOON_S)
    first.may_end.set()
    assert lonely.has_it.wait(WAIT_S)
    assert not later.has_it.wait(SOON_S)
    lonely.may_end.set()
    assert later.has_it.wait(WAIT_S)
    later.may_end.set()
