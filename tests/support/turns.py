"""Whose turn it is when tests run over several processes.

Tests share the machine, but one that measures time, memory or load (marked ``alone``) has it to itself: it waits until
no other test runs, and none begins before it has ended. A lock of the file system is held by all together or by one
alone. Before it is a gate that everybody passes, so that those who want to be alone are not kept waiting for ever. Only
tests wait: what a fixture of another file keeps running meanwhile goes on.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def turn(directory: Path, *, alone: bool) -> Iterator[None]:
    """Waits for it; ``directory`` is common to all processes of the run."""
    with (directory / "gate.lock").open("a") as gate, (directory / "machine.lock").open("a") as machine:
        fcntl.flock(gate, fcntl.LOCK_EX)
        fcntl.flock(machine, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(gate, fcntl.LOCK_UN)
        yield
