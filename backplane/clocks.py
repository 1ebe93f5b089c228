"""Arithmetic with a wall clock that may be set back.

Who measures a span inside one process uses `time.monotonic`. What outlives the process, or comes from another machine,
has a stamp of the wall clock, and after a step back that stamp lies in the future for as long as the step was. A wait
must not be prolonged by it: there it counts as now (in SQL, ``least(stamp, now)``). Nor may a memory be believed by it.
"""

from datetime import datetime, timedelta


def just_now(then: datetime, now: datetime, span: timedelta) -> bool:
    """Whether ``then`` was less than ``span`` ago; not, when it lies in the future."""
    return timedelta(0) <= now - then < span
