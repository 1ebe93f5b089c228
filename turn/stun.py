"""STUN messages as TURN uses them (RFC 8489 sections 5, 6 and 14): bytes to a `Message`, attributes to bytes.

The parser is strict where a lie could be told (lengths, the cookie, a wrong FINGERPRINT, anything after it) and takes
the rest as the RFC says: of attributes given twice the first counts, what follows MESSAGE-INTEGRITY is not read, and
unknown attributes that must be understood are listed for the 420. XOR-PEER-ADDRESS alone may be repeated, by
CreatePermission (RFC 8656 section 10.1). Nothing here knows of users or allocations, and values stay bytes until
somebody asks: this code runs thousands of times a second.
"""

import enum
import hmac
import socket
import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from turn.attributes import (
    COMPREHENSION_OPTIONAL,
    FAMILY_IPV4,
    FAMILY_IPV6,
    FINGERPRINT,
    MESSAGE_INTEGRITY,
    REASONS,
    UNDERSTOOD,
    XOR_PEER_ADDRESS,
)

Address: TypeAlias = tuple[str, int]

MAX_BYTES: Final = 4096  # names of 508 bytes, realm and nonce of 763 (RFC 8489 section 14) and room for many peers
MAX_ATTRIBUTES: Final = 64
HEADER_BYTES: Final = 20
COOKIE: Final = 0x2112A442
_COOKIE_BYTES: Final = COOKIE.to_bytes(4, "big")
_PORT_MASK: Final = COOKIE >> 16
_FINGERPRINT_MASK: Final = 0x5354554E
_INTEGRITY_BYTES: Final = 24  # the attribute with its header
_FINGERPRINT_BYTES: Final = 8
_HEADER: Final = struct.Struct("!HHI")
_ATTRIBUTE: Final = struct.Struct("!HH")
_ADDRESS: Final = struct.Struct("!BBH")
_UINT32: Final = struct.Struct("!I")
_PADS: Final = (b"", b"\0\0\0", b"\0\0", b"\0")


class StunError(ValueError):
    """The peer's bytes are not a message, or an attribute's value has not the form of its type."""


class MessageClass(enum.IntEnum):
    REQUEST = 0
    INDICATION = 1
    SUCCESS = 2
    ERROR = 3


_CLASSES: Final = tuple(MessageClass)
_CLASS_BITS: Final = (0x0000, 0x0010, 0x0100, 0x0110)


@dataclass(frozen=True, slots=True)
class Message:
    """A message that was well formed. ``attributes`` holds the first value of each type that came before (or is)
    MESSAGE-INTEGRITY; ``peers`` the XOR-PEER-ADDRESS values after the first."""

    method: int
    kind: MessageClass
    transaction: bytes
    attributes: dict[int, bytes]
    peers: tuple[bytes, ...] = ()
    unknown: tuple[int, ...] = ()  # types that had to be understood
    integrity_at: int = 0  # offset of MESSAGE-INTEGRITY, 0 = none
    fingerprinted: bool = False
    data: bytes = field(default=b"", repr=False)

    def addresses(self) -> list[Address]:
        """Every XOR-PEER-ADDRESS, in order. StunError when one of them is malformed."""
        first = self.attributes.get(XOR_PEER_ADDRESS)
        if first is None:
            return []
        return [decode_xor_address(value, self.transaction) for value in (first, *self.peers)]


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


def family_of(host: str) -> int:
    return FAMILY_IPV6 if ":" in host else FAMILY_IPV4


def _packed(host: str) -> bytes:
    try:
        return socket.inet_pton(socket.AF_INET6 if ":" in host else socket.AF_INET, host)
    except OSError:
        raise ValueError(f"{host!r} is not an IP address") from None


def encode_address(address: Address) -> bytes:
    """The value of MAPPED-ADDRESS and its kin (RFC 8489 section 14.1). ValueError when the host is not an IP address
    or the port not a port."""
    host, port = address
    if not 0 <= port <= 0xFFFF:
        raise ValueError(f"{port} is not a port")
    return _ADDRESS.pack(0, family_of(host), port) + _packed(host)


def encode_xor_address(address: Address, transaction: bytes) -> bytes:
    """The value of XOR-MAPPED-ADDRESS and its kin (RFC 8489 section 14.2). ValueError as above."""
    host, port = address
    if not 0 <= port <= 0xFFFF:
        raise ValueError(f"{port} is not a port")
    packed = _packed(host)
    if len(packed) == 4:
        masked = (int.from_bytes(packed, "big") ^ COOKIE).to_bytes(4, "big")
        return _ADDRESS.pack(0, FAMILY_IPV4, port ^ _PORT_MASK) + masked
    mask = int.from_bytes(_COOKIE_BYTES + transaction, "big")
    masked = (int.from_bytes(packed, "big") ^ mask).to_bytes(16, "big")
    return _ADDRESS.pack(0, FAMILY_IPV6, port ^ _PORT_MASK) + masked


def decode_address(value: bytes) -> Address:
    """The inverse of `encode_address`; the host in its canonical text form. Raises StunError."""
    size = len(value)
    if size == 8 and value[1] == FAMILY_IPV4:
        return socket.inet_ntop(socket.AF_INET, value[4:]), value[2] << 8 | value[3]
    if size == 20 and value[1] == FAMILY_IPV6:
        return socket.inet_ntop(socket.AF_INET6, value[4:]), value[2] << 8 | value[3]
    raise StunError("not an address")


def decode_xor_address(value: bytes, transaction: bytes) -> Address:
    """The inverse of `encode_xor_address`. Raises StunError."""
    size = len(value)
    if size == 8 and value[1] == FAMILY_IPV4:
        packed = (int.from_bytes(value[4:], "big") ^ COOKIE).to_bytes(4, "big")
        return socket.inet_ntop(socket.AF_INET, packed), (value[2] << 8 | value[3]) ^ _PORT_MASK
    if size == 20 and value[1] == FAMILY_IPV6:
        mask = int.from_bytes(_COOKIE_BYTES + transaction, "big")
        packed = (int.from_bytes(value[4:], "big") ^ mask).to_bytes(16, "big")
        return socket.inet_ntop(socket.AF_INET6, packed), (value[2] << 8 | value[3]) ^ _PORT_MASK
    raise StunError("not an address")


def encode_error(code: int) -> bytes:
    """The value of ERROR-CODE (RFC 8489 section 14.8)."""
    return bytes((0, 0, code // 100, code % 100)) + REASONS[code].encode()


def decode_error(value: bytes) -> int:
    """The code of ERROR-CODE or ADDRESS-ERROR-CODE. Raises StunError."""
    if len(value) < 4 or not 3 <= value[2] & 7 <= 6 or value[3] > 99:
        raise StunError("not an error code")
    return (value[2] & 7) * 100 + value[3]


def encode_address_error(family: int, code: int) -> bytes:
    """The value of ADDRESS-ERROR-CODE (RFC 8656 section 18.12)."""
    return bytes((family, 0, code // 100, code % 100)) + REASONS[code].encode()


def encode_unknown(types: Iterable[int]) -> bytes:
    """The value of UNKNOWN-ATTRIBUTES (RFC 8489 section 14.9)."""
    return b"".join(number.to_bytes(2, "big") for number in types)


def encode_uint32(value: int) -> bytes:
    """The value of LIFETIME, CONNECTION-ID and the like."""
    return _UINT32.pack(value)


def decode_uint32(value: bytes) -> int:
    """The inverse. Raises StunError."""
    if len(value) != 4:
        raise StunError("not a number of four bytes")
    return int.from_bytes(value, "big")
