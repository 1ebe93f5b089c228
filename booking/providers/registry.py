"""The port to a medical council's registry of licences, and a registry made up for tests and demonstrations.

Councils differ: a web form, a list by mail once a month, an API. So an adapter answers one question, "is this number
this person's and until when", and whatever goes wrong is UNREACHABLE: a reviewer decides, a registry only advises.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from aiohttp import web

from booking.providers.normalise import distance, keys, script, words


class Standing(enum.Enum):
    """What a registry knows. DIFFERS: the number is somebody else's, or its end is another day."""

    FOUND = "found"
    DIFFERS = "differs"
    UNKNOWN = "unknown"
    UNREACHABLE = "unreachable"
    NOT_ASKED = "not_asked"


@dataclass(frozen=True, slots=True)
class Claim:
    """What the applicant says."""

    country: str
    issuer: str
    number: str
    name: str
    expires_at: datetime | None


class Registry(Protocol):
    async def look_up(self, claim: Claim) -> Standing:
        """Never raises; within ten seconds."""


class NoRegistry:
    """Where none is connected: reviewers look for themselves."""

    async def look_up(self, claim: Claim) -> Standing:
        return Standing.NOT_ASKED


class LocalRegistry:
    """A made-up council. ``entries``: name and end by (country, number)."""

    def __init__(
        self, entries: Mapping[tuple[str, str], tuple[str, datetime | None]], *, reachable: bool = True
    ) -> None:
        self._entries = dict(entries)
        self.reachable = reachable

    async def look_up(self, claim: Claim) -> Standing:
        if not self.reachable:
            return Standing.UNREACHABLE
        entry = self._entries.get((claim.country, claim.number))
        if entry is None:
            return Standing.UNKNOWN
        name, expires_at = entry
        same_day = (expires_at and expires_at.date()) == (claim.expires_at and claim.expires_at.date())
        return Standing.FOUND if same_day and same_name(name, claim.name) else Standing.DIFFERS


def same_name(one: str, other: str) -> bool:
    """Whether every word of the shorter name stands in the other, give or take a letter, in either script."""
    fewer, more = sorted((words(one), words(other)), key=len)
    return bool(fewer) and all(any(_alike(word, candidate) for candidate in more) for word in fewer)


def _alike(word: str, other: str) -> bool:
    if script(word) != script(other):
        return bool(set(keys(word)) & set(keys(other)))
    return distance(word, other, 1) <= (1 if len(word) > 3 else 0)


REGISTRY: Final = web.AppKey[Registry]("registry", Registry)
