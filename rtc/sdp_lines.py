"""What a negotiation makes of each m-line; shared by the negotiation and the writer of answers."""

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from rtc.ice import HostCandidate
from rtc.sdp_codecs import Usable
from rtc.sdp_types import Extmap, Media

if TYPE_CHECKING:
    from rtc._worker import Codec, Extensions


class LineRole(Enum):
    PUBLISHING = "publishing"  # the client sends
    SLOT = "slot"  # the client receives
    INACTIVE = "inactive"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class LocalSide:
    """What is ours and does not depend on the offer."""

    session_id: int
    fingerprint: bytes  # SHA-256 of our certificate
    candidates: tuple[HostCandidate, ...]
    cname: str


def _no_extensions() -> "Extensions":
    return {}


@dataclass(frozen=True, slots=True)
class Line:
    """One m-line as negotiated. For publishing lines the SSRCs are the client's (0 = not signalled), for slots ours."""

    mid: str
    kind: str
    role: LineRole
    codecs: "tuple[Codec, ...]" = ()
    extensions: "Extensions" = field(default_factory=_no_extensions)
    ssrc: int = 0
    rtx_ssrc: int = 0


@dataclass(frozen=True, slots=True)
class AnsweredMedia:
    """A line with what only the writer of the answer needs."""

    offered: Media
    line: Line
    payloads: tuple[Usable, ...] = ()
    feedback: tuple[str, ...] = ()
    extmaps: tuple[Extmap, ...] = ()
