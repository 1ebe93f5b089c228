"""The codec of turn/stun.py as it was before it moved to C (rtc/native/wire_turn.c): slow, short, and the oracle."""

import hmac
import struct
import zlib
from collections.abc import Iterable

from turn.attributes import COMPREHENSION_OPTIONAL, FINGERPRINT, MESSAGE_INTEGRITY, UNDERSTOOD, XOR_PEER_ADDRESS
from turn.stun import COOKIE, HEADER_BYTES, MAX_ATTRIBUTES, MAX_BYTES, Message, MessageClass, StunError

_COOKIE_BYTES = COOKIE.to_bytes(4, "big")
_FINGERPRINT_MASK = 0x5354554E
_INTEGRITY_BYTES = 24
_FINGERPRINT_BYTES = 8
_HEADER = struct.Struct("!HHI")
_ATTRIBUTE = struct.Struct("!HH")
_UINT32 = struct.Struct("!I")
_PADS = (b"", b"\0\0\0", b"\0\0", b"\0")
_CLASSES = tuple(MessageClass)
_CLASS_BITS = (0x0000, 0x0010, 0x0100, 0x0110)


def parse(data: bytes) -> Message:
    """The message that fills ``data`` from its first byte to its last. Raises StunError."""
    size = len(data)
    if not HEADER_BYTES <= size <= MAX_BYTES:
        raise StunError("not the length of a message")
    first, length, cookie = _HEADER.unpack_from(data)
    if first > 0x3FFF or cookie != COOKIE or length + HEADER_BYTES != size or length & 3:
        raise StunError("not the header of a message")
    attributes: dict[int, bytes] = {}
    peers: list[bytes] = []
    unknown: list[int] = []
    integrity_at = 0
    fingerprinted = False
    at, seen = HEADER_BYTES, 0
    while at < size:
        kind, length = _ATTRIBUTE.unpack_from(data, at)  # sizes are multiples of four, so four bytes are there
        start = at + 4
        end = start + length
        seen += 1
        if end > size or seen > MAX_ATTRIBUTES:
            raise StunError("an attribute ends behind the message, or there are too many")
        if fingerprinted:
            raise StunError("FINGERPRINT is not the last attribute")
        if kind == FINGERPRINT:
            if length != 4 or _UINT32.unpack_from(data, start)[0] != zlib.crc32(data[:at]) ^ _FINGERPRINT_MASK:
                raise StunError("FINGERPRINT is wrong")
            fingerprinted = True
        elif integrity_at:
            pass  # anybody on the way could have added it (RFC 8489 section 14.5)
        elif kind not in attributes:
            attributes[kind] = data[start:end]
            if kind == MESSAGE_INTEGRITY:
                if length != 20:
                    raise StunError("MESSAGE-INTEGRITY is not a SHA-1")
                integrity_at = at
            elif kind < COMPREHENSION_OPTIONAL and kind not in UNDERSTOOD:
                unknown.append(kind)
        elif kind == XOR_PEER_ADDRESS:
            peers.append(data[start:end])
        at = end + (-length & 3)
    return Message(
        (first & 0x000F) | (first & 0x00E0) >> 1 | (first & 0x3E00) >> 2,
        _CLASSES[(first & 0x0010) >> 4 | (first & 0x0100) >> 7],
        data[8:20],
        attributes,
        tuple(peers),
        tuple(unknown),
        integrity_at,
        fingerprinted,
        data,
    )


def verify(message: Message, key: bytes) -> bool:
    """Whether MESSAGE-INTEGRITY is there and was made with ``key`` (RFC 8489 section 14.5)."""
    at = message.integrity_at
    if not at:
        return False
    data = message.data
    covered = data[:2] + (at - HEADER_BYTES + _INTEGRITY_BYTES).to_bytes(2, "big") + data[4:at]
    return hmac.compare_digest(hmac.digest(key, covered, "sha1"), message.attributes[MESSAGE_INTEGRITY])


def build(
    method: int,
    kind: MessageClass,
    transaction: bytes,
    attributes: Iterable[tuple[int, bytes]] = (),
    *,
    key: bytes | None = None,
    fingerprint: bool = False,
) -> bytes:
    """A message with those attributes in that order, then MESSAGE-INTEGRITY by ``key``, then FINGERPRINT."""
    parts = [b"", _COOKIE_BYTES, transaction]
    length = 0
    for number, value in attributes:
        size = len(value)
        parts.append(_ATTRIBUTE.pack(number, size))
        parts.append(value)
        if size & 3:
            parts.append(_PADS[size & 3])
        length += 4 + (size + 3 & ~3)
    bits = (method & 0x000F) | (method & 0x0070) << 1 | (method & 0x0F80) << 2 | _CLASS_BITS[kind]
    if key is not None:
        length += _INTEGRITY_BYTES
        parts[0] = _ATTRIBUTE.pack(bits, length)
        parts.append(_ATTRIBUTE.pack(MESSAGE_INTEGRITY, 20) + hmac.digest(key, b"".join(parts), "sha1"))
    if fingerprint:
        length += _FINGERPRINT_BYTES
        parts[0] = _ATTRIBUTE.pack(bits, length)
        check = zlib.crc32(b"".join(parts)) ^ _FINGERPRINT_MASK
        parts.append(_ATTRIBUTE.pack(FINGERPRINT, 4) + _UINT32.pack(check))
    parts[0] = _ATTRIBUTE.pack(bits, length)
    return b"".join(parts)
