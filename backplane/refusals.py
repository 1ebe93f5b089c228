"""Why something was not done, in words of the domain that refuses; nothing here knows HTTP.

A refusal is the caller's affair and no fault of ours: it is told to whoever asked, and not logged. Every domain has its
own family on top of `Refusal` (`booking.refusals`); `backplane.problems.problem_of` makes answers of them.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import ClassVar


class Kind(StrEnum):
    """What a caller can make of a refusal, whatever its code."""

    MALFORMED = "malformed"  # it cannot be read
    INVALID = "invalid"  # it can be read, but makes no sense
    UNAUTHENTICATED = "unauthenticated"  # say who you are
    DENIED = "denied"  # not for you
    NOT_FOUND = "not_found"  # or not for you to know of
    CONFLICT = "conflict"  # not as things stand now
    GONE = "gone"  # it was there, and will not come back
    TOO_LARGE = "too_large"
    UNSUPPORTED = "unsupported"  # no kind of thing that is taken
    TOO_MANY = "too_many"  # wait
    UNAVAILABLE = "unavailable"  # we cannot now: wait
    UPSTREAM_FAILED = "upstream_failed"  # somebody whom we had to ask did not answer
    FAILED = "failed"  # we cannot, and waiting will not help


class Refusal(Exception):
    """``code`` is stable and for programs, ``detail`` says to people what to do; ``facts`` are for programs.

    ``retry_after_s``: after how many seconds it is worth another try.
    """

    kind: ClassVar[Kind] = Kind.CONFLICT

    def __init__(
        self,
        code: str,
        detail: str = "",
        *,
        facts: Mapping[str, object] | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(code)
        self.code = code
        self.detail = detail
        self.facts = dict(facts or {})
        self.retry_after_s = retry_after_s
