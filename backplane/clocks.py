"""Arithmetic with a wall clock that may be set back.

Who measures a span inside one process uses `time.monotonic`. What outlives the process, or comes from another machine,
has a stamp of the wall clock, and after a step back that stamp lies in the future for as long as the step was. Such a
stamp counts as now where a wait would be prolonged by it (`since`), and as long ago where a memory would be believed by
it (`just_now`).
"""

from datetime import datetime, timedelta


def since(then: datetime, now: datetime) -> timedelta:
    """The time that has passed; none, when ``then`` lies in the future."""
    return max(timedelta(0), now - then)


def just_now(then: datetime, now: datetime, span: timedelta) -> bool:
    """Whether ``then`` was less than ``span`` ago; not, when it lies in the future."""
    return timedelta(0) <= now - then < span
