"""Values of a session description (RFC 8866) as WebRTC uses it (RFC 9429), and what can be wrong with one."""

from dataclasses import dataclass, field
from enum import StrEnum


class SdpError(ValueError):
    """The peer's session description is malformed or cannot be served; the text says why, in a sentence."""


class NoCodecError(SdpError):
    """The offer is sound, but has no codec that we forward on a line that matters."""


class Direction(StrEnum):
    SENDRECV = "sendrecv"
    SENDONLY = "sendonly"
    RECVONLY = "recvonly"
    INACTIVE = "inactive"

    @property
    def sends(self) -> bool:
        return self in (Direction.SENDRECV, Direction.SENDONLY)

    @property
    def receives(self) -> bool:
        return self in (Direction.SENDRECV, Direction.RECVONLY)

    @property
    def reversed(self) -> "Direction":
        return _REVERSED.get(self, self)


_REVERSED = {Direction.SENDONLY: Direction.RECVONLY, Direction.RECVONLY: Direction.SENDONLY}


@dataclass(frozen=True, slots=True)
class PayloadType:
    """One number of an m-line's format list with what rtpmap, fmtp and rtcp-fb say about it."""

    number: int
    name: str  # lower case; "" when there is no rtpmap (static payload types)
    clock_rate: int
    channels: int
    parameters: tuple[tuple[str, str], ...] = ()  # of fmtp, keys in lower case, in order
    feedback: frozenset[str] = frozenset()  # "nack", "nack pli", ...

    def parameter(self, key: str) -> str | None:
        return next((value for name, value in self.parameters if name == key), None)


@dataclass(frozen=True, slots=True)
class Extmap:
    """A header extension (RFC 8285 section 5)."""

    id: int
    uri: str
    direction: Direction = Direction.SENDRECV


@dataclass(frozen=True, slots=True)
class Fingerprint:
    algorithm: str  # lower case, as "sha-256"
    digest: bytes


@dataclass(frozen=True, slots=True)
class Media:
    """One m-line."""

    kind: str  # "audio", "video", "application", ...
    port: int
    protocol: str
    payload_types: tuple[PayloadType, ...]  # in order of preference; empty when the formats are not RTP's
    formats: tuple[str, ...]  # as written
    mid: str  # "" when missing, which only a rejected line may
    direction: Direction
    bundle_only: bool = False
    rtcp_mux: bool = False
    rtcp_rsize: bool = False
    extmap_allow_mixed: bool = False
    setup: str = ""
    ufrag: str = ""
    password: str = ""
    fingerprints: tuple[Fingerprint, ...] = ()
    extensions: tuple[Extmap, ...] = ()
    ssrcs: tuple[int, ...] = ()  # in order of appearance
    ssrc_groups: tuple[tuple[str, tuple[int, ...]], ...] = ()  # ("FID", (media, rtx))
    msid: str = ""
    simulcast: bool = False
    candidates: tuple[str, ...] = ()

    @property
    def rejected(self) -> bool:
        """Port 0 means away, except beside bundle-only, where it means: only as part of the bundle (RFC 9143 section
        6)."""
        return self.port == 0 and not self.bundle_only


@dataclass(frozen=True, slots=True)
class SessionDescription:
    """A whole offer or answer; attributes of the session level are handed down to the m-lines that do not have their
    own."""

    session_id: str
    session_version: int
    media: tuple[Media, ...]
    bundle: tuple[str, ...] = ()  # the first BUNDLE group
    ice_lite: bool = False
    ice_options: frozenset[str] = field(default_factory=frozenset)
    extmap_allow_mixed: bool = False
