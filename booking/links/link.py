"""Join links: what a person clicks to come to a visit, `/j/<clinic>#<token>`.

The token stands behind the `#`, so it reaches no log, no referrer and no mail scanner's request. It is signed, not
secretly stored (`backplane.signed`), and 94 characters long.

A link may be used again and again inside its window: mail scanners and second devices must not spend it. What ends it
is the appointment's `join_epoch`, raised by every move and cancellation, and for an invited third person the withdrawal
of the invitation. The window in the token is what was true when it was signed; the appointment decides.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from typing import Final
from uuid import UUID

from backplane.signed import BadSignature, Signed

OPENS_BEFORE: Final = timedelta(minutes=30)
CLOSES_AFTER: Final = timedelta(minutes=60)
_LANGUAGE = re.compile(r"[a-z]{2,3}")


class Seat(IntEnum):
    """A place in a visit. The numbers stand in signed links and never change."""

    PATIENT = 1
    DOCTOR = 2
    THIRD = 3

    @property
    def word(self) -> str:
        return self.name.lower()


class BadLink(Exception):
    """Not a link of ours, or altered."""


@dataclass(frozen=True, slots=True)
class Link:
    """What a link says. ``holder`` is a person, for `Seat.THIRD` an invitation; ``language`` an ISO 639 code."""

    tenant: int
    appointment: UUID
    seat: Seat
    holder: UUID
    epoch: int
    opens_at: datetime
    closes_at: datetime
    language: str


@dataclass(frozen=True, slots=True)
class Window:
    """When a visit can be entered: half-open, both aware."""

    opens_at: datetime
    closes_at: datetime

    @classmethod
    def around(cls, start: datetime, end: datetime, reopened_until: datetime | None = None) -> "Window":
        """From half an hour before the visit to an hour after it, longer when the doctor calls once more."""
        closes = end + CLOSES_AFTER
        return cls(start - OPENS_BEFORE, max(closes, reopened_until or closes))

    def state(self, now: datetime) -> str:
        """early, open or over."""
        if now < self.opens_at:
            return "early"
        return "open" if now < self.closes_at else "over"


class Links:
    """Signs and reads links. ``masters`` by key id: all of them read, the ``current`` one signs.

    links = Links({0: authority.key})
    token = links.sign(Link(...)); link = links.read(token)
    """

    def __init__(self, masters: Mapping[int, bytes], current: int = 0) -> None:
        self._signed = Signed(masters, current, "wadud join link", 1, ">BI16s16sIII3s")

    def sign(self, link: Link) -> str:
        """ValueError when a value does not fit: the tenant 32 bits, the language two or three small letters."""
        if not _LANGUAGE.fullmatch(link.language):
            raise ValueError("this language does not fit")
        return self._signed.sign(
            link.seat,
            link.tenant,
            link.appointment.bytes,
            link.holder.bytes,
            link.epoch,
            int(link.opens_at.timestamp()),
            int(link.closes_at.timestamp()),
            link.language.encode(),
        )

    def read(self, token: str) -> Link:
        """What ``token`` says, whatever the time. BadLink when it is not ours."""
        try:
            facts = self._signed.read(token)
        except BadSignature:
            raise BadLink from None
        match facts:
            case (
                int(seat),
                int(tenant),
                bytes(appointment),
                bytes(holder),
                int(epoch),
                int(opens),
                int(closes),
                bytes(language),
            ):
                return Link(
                    tenant,
                    UUID(bytes=appointment),
                    Seat(seat),
                    UUID(bytes=holder),
                    epoch,
                    datetime.fromtimestamp(opens, UTC),
                    datetime.fromtimestamp(closes, UTC),
                    language.rstrip(b"\0").decode(),
                )
        raise AssertionError("the layout of links has changed without its version")


def link_path(slug: str, token: str) -> str:
    """The path of a link, for the clinic of that slug."""
    return f"/j/{slug}#{token}"


def link_language(locale: str) -> str:
    """The language of a locale, as far as a link carries it."""
    language = locale.partition("-")[0].partition("_")[0].lower()
    return language if _LANGUAGE.fullmatch(language) else "en"
