"""A disk that is full: told to the peer as 503, to the balancer by /readyz, wherever in a handler it was met.

Nobody who writes a file or a row looks for it by himself: the border (`backplane.web.problem_of`) knows what the kernel
(ENOSPC, EDQUOT) and Postgres (SQLSTATE 53100) say. What was half done is undone by whoever was doing it; the next
request may meet a disk that somebody has emptied, so nothing has to be started anew.
"""

import errno
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import asyncpg

from backplane.postgres import DatabaseFull
from backplane.problems import Problem

RESERVE_BYTES: Final = 32 * 1024 * 1024  # two segments of the embedded database's log: without one it stops
REMEMBERED_S: Final = 5.0
RETRY_AFTER_S: Final = 30
CODE: Final = "storage_full"
DETAIL: Final = "There is no room left to keep this; nothing was changed. Try again later."
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)


def is_full(error: BaseException) -> bool:
    """Whether ``error`` says that no space is left."""
    return isinstance(error, DatabaseFull | asyncpg.DiskFullError) or (
        isinstance(error, OSError) and error.errno in _FULL
    )


def problem_of(error: BaseException) -> Problem | None:
    """503 storage_full, when that is what ``error`` says."""
    if not is_full(error):
        return None
    return Problem(503, CODE, DETAIL, {"Retry-After": str(RETRY_AFTER_S)})


class Storage:
    """Whether there is room in ``directory`` (None: not looked at), and in the database as far as its errors tell."""

    def __init__(self, directory: Path | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._directory = directory
        self._clock = clock
        self._refused_at = float("-inf")

    def refused(self) -> None:
        """Something could not be written a moment ago."""
        self._refused_at = self._clock()

    def has_room(self) -> bool:
        """False while less than `RESERVE_BYTES` are free, and for a moment after something was refused."""
        if self._clock() - self._refused_at < REMEMBERED_S:
            return False
        if self._directory is None:
            return True
        try:
            found = os.statvfs(self._directory)
        except OSError:
            return False
        return found.f_bavail * found.f_frsize >= RESERVE_BYTES
