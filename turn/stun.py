"""STUN messages as TURN uses them (RFC 8489 sections 5, 6 and 14): bytes to a `Message`, attributes to bytes.

The parser is strict where a lie could be told (lengths, the cookie, a wrong FINGERPRINT, anything after it) and takes
the rest as the RFC says: of attributes given twice the first counts, what follows MESSAGE-INTEGRITY is not read, and
unknown attributes that must be understood are listed for the 420. XOR-PEER-ADDRESS alone may be repeated, by
CreatePermission (RFC 8656 section 10.1). Nothing here knows of users or allocations, and values stay bytes until
somebody asks: this code runs thousands of times a second, and its bulk is C (rtc/native/wire_turn.c).
"""

import enum
import socket
import struct
from collections.abc import Iterable
from typing import Final, NamedTuple, TypeAlias

from rtc._wire import turn_build, turn_parse, turn_verify
from turn.attributes import (
    FAMILY_IPV4,
    FAMILY_IPV6,
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
_ADDRESS: Final = struct.Struct("!BBH")
_UINT32: Final = struct.Struct("!I")


class StunError(ValueError):
    """The peer's bytes are not a message, or an attribute's value has not the form of its type."""


class MessageClass(enum.IntEnum):
    REQUEST = 0
    INDICATION = 1
    SUCCESS = 2
    ERROR = 3


_CLASSES: Final = (MessageClass.REQUEST, MessageClass.INDICATION, MessageClass.SUCCESS, MessageClass.ERROR)
_CLASS_BITS: Final = (0x0000, 0x0010, 0x0100, 0x0110)


class Message(NamedTuple):
    """A message that was well formed. ``attributes`` holds the first value of each type that came before (or is)
    MESSAGE-INTEGRITY; ``peers`` the XOR-PEER-ADDRESS values after the first. ``unknown``: types that had to be
    understood. ``integrity_at``: offset of MESSAGE-INTEGRITY, 0 = none."""

    method: int
    kind: MessageClass
    transaction: bytes
    attributes: dict[int, bytes]
    peers: tuple[bytes, ...] = ()
    unknown: tuple[int, ...] = ()
    integrity_at: int = 0
    fingerprinted: bool = False
    data: bytes = b""

    def addresses(self) -> list[Address]:
        """Every XOR-PEER-ADDRESS, in order. StunError when one of them is malformed."""
        first = self.attributes.get(XOR_PEER_ADDRESS)
        if first is None:
            return []
        return [decode_xor_address(value, self.transaction) for value in (first, *self.peers)]


def parse(data: bytes) -> Message:
    """The message that fills ``data`` from its first byte to its last. Raises StunError."""
    try:
        return Message._make(turn_parse(data, UNDERSTOOD, _CLASSES))
    except ValueError as error:
        raise StunError(str(error)) from None


def verify(message: Message, key: bytes) -> bool:
    """Whether MESSAGE-INTEGRITY is there and was made with ``key`` (RFC 8489 section 14.5)."""
    return message.integrity_at > 0 and turn_verify(message.data, message.integrity_at, key)


def build(
    method: int,
    kind: MessageClass,
    transaction: bytes,
    attributes: Iterable[tuple[int, bytes]] = (),
    *,
    key: bytes | None = None,
    fingerprint: bool = False,
) -> bytes:
    """A message with those attributes in that order, then MESSAGE-INTEGRITY by ``key``, then FINGERPRINT. ValueError
    when it is longer than a header can tell."""
    bits = (method & 0x000F) | (method & 0x0070) << 1 | (method & 0x0F80) << 2 | _CLASS_BITS[kind]
    return turn_build(bits, transaction, list(attributes), key, fingerprint)


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
