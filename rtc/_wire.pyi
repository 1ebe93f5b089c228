"""The C wire formats for Python: what tests, the bare client and tools need. Malformed input raises ValueError."""

from typing import Any, Self, TypeVar, final

_Class = TypeVar("_Class")

@final
class Srtp:
    """One direction of an SRTP session with its own stream states (any number of SSRCs, for tests and clients)."""

    def __init__(self, profile: int, key: bytes, salt: bytes) -> None: ...
    def protect(self, packet: bytes, rollover: int = -1) -> bytes:
        """``rollover`` -1: kept per SSRC by sequence order, starting at 0."""
    def unprotect(self, packet: bytes) -> bytes:
        """ValueError with the reason: "short", "auth", "replay", "too old"."""
    def protect_rtcp(self, packet: bytes) -> bytes: ...
    def unprotect_rtcp(self, packet: bytes) -> bytes:
        """ValueError like `unprotect`. Past 32 sender SSRCs the one not heard for longest gives way: its packets up to the newest are "too old" from then on."""
    @property
    def backend(self) -> str:
        """Who encrypts: "ipsec-mb", where the library is installed, for AEAD_AES_128_GCM; else, and always with WADUD_CRYPTO=openssl in the environment, "openssl"."""
    @classmethod
    def from_session_keys(cls, profile: int, keys: dict[str, bytes]) -> Self:
        """From session keys, named as `derive_keys` names them, instead of master keys (for vectors)."""

def derive_keys(profile: int, key: bytes, salt: bytes) -> dict[str, bytes]:
    """Session keys by RFC 3711 section 4.3: rtp_key, rtp_auth, rtp_salt, rtcp_key, rtcp_auth, rtcp_salt (for vectors)."""

def stun_parse(data: bytes) -> dict[str, Any]:
    """method: int; class: "request", "indication", "success" or "error"; transaction: 12 bytes; username: bytes or None; integrity, fingerprint, use_candidate, controlling,
    controlled: bool (present); tiebreaker, priority, error_code: int, 0 = absent; mapped: (host, port) or None; unknown: types of comprehension-required attributes, at most 8."""
def turn_parse(
    data: bytes, understood: frozenset[int], classes: tuple[_Class, _Class, _Class, _Class]
) -> tuple[int, _Class, bytes, dict[int, bytes], tuple[bytes, ...], tuple[int, ...], int, bool, bytes]:
    """Method, class (of ``classes``), transaction, first values by type up to MESSAGE-INTEGRITY, further XOR-PEER-ADDRESS values, types that must be understood
    and are not in ``understood``, offset of MESSAGE-INTEGRITY or 0, FINGERPRINT present, and ``data``. ValueError; see turn/stun.py."""
def turn_verify(data: bytes, integrity_at: int, key: bytes) -> bool:
    """Was MESSAGE-INTEGRITY, which is at that offset, made with this key?"""
def turn_build(type: int, transaction: bytes, attributes: list[tuple[int, bytes]], key: bytes | None, fingerprint: bool) -> bytes:
    """``type``: method and class as in the header. MESSAGE-INTEGRITY follows the attributes when there is a ``key``. ValueError when it is longer than a header can tell."""
def stun_verify(data: bytes, password: bytes) -> bool:
    """Is MESSAGE-INTEGRITY present and right under this key?"""
def stun_success(transaction: bytes, mapped: tuple[str, int], password: bytes) -> bytes: ...
def stun_error(transaction: bytes, code: int, reason: str, unknown: list[int], password: bytes) -> bytes: ...
def stun_check(transaction: bytes, username: bytes, password: bytes, *, priority: int, controlling: bool, tiebreaker: int, use_candidate: bool) -> bytes: ...
def rtp_parse(packet: bytes) -> dict[str, Any]:
    """ssrc, timestamp, sequence, payload_type, header_length: int; marker, padding: bool; extensions: {id: bytes}, the first of equal ids; payload: bytes without padding."""
def rtcp_parse(packet: bytes) -> list[dict[str, Any]]:
    """One dict per block. All: type, count (or feedback format), data (the block without padding). SR: ntp, rtp, packets, octets. SR and RR: sender, reports: [{ssrc,
    fraction_lost, lost, highest, jitter, lsr, dlsr}]. Feedback: sender, media, and one of lost: [sequence] (NACK), twcc: {base, count, received, feedback}, bitrate
    (REMB, bit/s), fir: [(ssrc, sequence)]; a malformed one of these has none."""
def rtcp_pli(sender: int, media: int) -> bytes: ...
def rtcp_nack(sender: int, media: int, lost: list[int]) -> bytes: ...
def rtcp_remb(sender: int, bitrate: int, ssrcs: list[int]) -> bytes: ...
def rtcp_sr(ssrc: int, ntp: int, rtp: int, packets: int, octets: int) -> bytes: ...
def rtcp_rr(reporter: int, reports: list[dict[str, int]]) -> bytes: ...
def twcc_feedback(arrivals: list[tuple[int, int]], sender: int, media: int) -> list[bytes]:
    """Feedback blocks for (sequence, arrival in us) pairs, as the receiver in C writes them."""
def payload_parse(codec: int, payload: bytes) -> dict[str, Any]:
    """``codec``: 1 Opus, 2 VP8, 3 H.264, 4 VP9, 5 AV1. keyframe: a decoder can start here. VP8 only: picture_id_bits (0, 7, 15), picture_id, tl0, tid; picture_id_at, tl0_at:
    offsets, 0 = absent."""
def vp8_patch(payload: bytes, picture_id: int, tl0: int) -> bytes:
    """The payload with another PictureID, modulo its own width, and TL0PICIDX; fields that are absent stay so."""
