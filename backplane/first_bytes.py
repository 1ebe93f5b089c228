"""Which protocol a client speaks, told from its first bytes.

All that share the port have the client speak first: TLS with a handshake record (RFC 8446 section 5.1), HTTP with a
method in capitals (RFC 9112 section 3), TURN over TCP with a STUN request whose magic cookie stands at offset 4
(RFC 8489 section 5), ICE over TCP with the same behind the two bytes of length of RFC 4571 (RFC 6544 section 3). No
opening fits two of them: a frame whose cookie's place was taken by a STUN header's would be longer than we take.
"""

from enum import Enum
from typing import Final

COOKIE: Final = b"\x21\x12\xa4\x42"
LONGEST_FRAME: Final = 600  # RFC 4571 length included; a first connectivity check has about 150 bytes
_TLS_HANDSHAKE: Final = 0x16
_STUN_HEADER: Final = 20


class Kind(Enum):
    TLS = "tls"
    HTTP = "http"
    TURN = "turn"
    ICE = "ice"
    JUNK = "junk"


def tell(first: bytes) -> Kind | int:
    """The protocol, or how many bytes must be there before more can be said (always more than there are).

    ICE is told only when its whole first frame is there: whose call it is stands inside.
    """
    if not first:
        return 1
    lead = first[0]
    if lead == _TLS_HANDSHAKE:
        return Kind.TLS
    if ord("A") <= lead <= ord("Z"):
        return Kind.HTTP
    if lead > LONGEST_FRAME >> 8:  # neither a STUN request of any method in use nor the length of a frame
        return Kind.JUNK
    if len(first) < 8:
        return 8
    if first[4:8] == COOKIE:
        return Kind.JUNK if first[3] & 3 else Kind.TURN
    size = 2 + int.from_bytes(first[:2])
    if not 2 + _STUN_HEADER <= size <= LONGEST_FRAME or first[2] > 0x3F or first[6:8] != COOKIE[:2]:
        return Kind.JUNK
    if len(first) < 10:
        return 10
    if first[6:10] != COOKIE:
        return Kind.JUNK
    return Kind.ICE if len(first) >= size else size
