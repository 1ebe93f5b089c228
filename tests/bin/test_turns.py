"""Tests that run side by side, and those that want to be alone."""

import threading
from pathlib import Path

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


def test_tests_run_together_and_one_that_wants_to_be_alone_waits_for_them(tmp_path: Path) -> None:
    first, second = Somebody(tmp_path, alone=False), Somebody(tmp_path, alone=False)
    assert first.has_it.wait(WAIT_S)
    assert second.has_it.wait(WAIT_S)
    lonely = Somebody(tmp_path, alone=True)
    first.may_end.set()
    assert not lonely.has_it.wait(SOON_S)
    second.may_end.set()
    assert lonely.has_it.wait(WAIT_S)
    lonely.may_end.set()


def test_who_comes_later_waits_behind_the_one_that_wants_to_be_alone(tmp_path: Path) -> None:
    first = Somebody(tmp_path, alone=False)
    assert first.has_it.wait(WAIT_S)
    lonely = Somebody(tmp_path, alone=True)
    assert not lonely.has_it.wait(SOON_S)
    later = Somebody(tmp_path, alone=False)
    assert not later.has_it.wait(SOON_S)
    first.may_end.set()
    assert lonely.has_it.wait(WAIT_S)
    assert not later.has_it.wait(SOON_S)
    lonely.may_end.set()
    assert later.has_it.wait(WAIT_S)
    later.may_end.set()
