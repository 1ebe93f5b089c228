"""Public ids: UUID version 7 (RFC 9562 section 5.7), so that rows made one after the other lie side by side.

Within one process every id is larger than the one before it: ids of the same millisecond count up from a random start
by random steps (section 6.2, method 2), which keeps them hard to guess. A clock that is put back a little does not
break the order, the last time is used on; one that is put back further than `MAX_STEP_BACK_MS` is believed.
"""

import secrets
import threading
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

MAX_STEP_BACK_MS: Final = 10_000
_CHANCE_BITS: Final = 74
_STEP_BITS: Final = 32
_VERSION: Final = 7 << 76
_VARIANT: Final = 2 << 62
_LOW_MASK: Final = (1 << 62) - 1
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class _Sequence:
    """Time and chance of the last id given."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ms = 0
        self._chance = 0

    def next(self, ms: int) -> tuple[int, int]:
        with self._lock:
            if self._ms - MAX_STEP_BACK_MS <= ms <= self._ms:
                self._chance += 1 + secrets.randbits(_STEP_BITS)
                if self._chance >> _CHANCE_BITS:  # once in about 2**40 ids of one millisecond
                    self._ms, self._chance = self._ms + 1, secrets.randbits(_CHANCE_BITS - 1)
            else:
                self._ms, self._chance = ms, secrets.randbits(_CHANCE_BITS - 1)
            return self._ms, self._chance


_sequence = _Sequence()


def uuid7(now: datetime) -> UUID:
    """An id that carries ``now`` (aware) to the millisecond. Raises ValueError: a time before 1970 or without zone."""
    if now.tzinfo is None:
        raise ValueError("now needs a time zone")
    since = now - _EPOCH
    ms = (since.days * 86_400 + since.seconds) * 1000 + since.microseconds // 1000
    if ms < 0:
        raise ValueError("now lies before 1970")
    ms, chance = _sequence.next(ms)
    return UUID(int=ms << 80 | _VERSION | chance >> 62 << 64 | _VARIANT | chance & _LOW_MASK)
