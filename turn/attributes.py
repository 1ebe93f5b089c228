"""The numbers of STUN and TURN: methods, attribute types, address families, error codes and their phrases.

From the IANA registry "STUN Parameters": RFC 8489 section 18, RFC 8656 section 18, RFC 6062 (TCP allocations), RFC 8016
(mobility), RFC 5780 (NAT behaviour discovery), RFC 8445 (the ICE attributes, which a check may bring to this port).
"""

from typing import Final

BINDING: Final = 0x001
ALLOCATE: Final = 0x003
REFRESH: Final = 0x004
SEND: Final = 0x006
DATA_INDICATION: Final = 0x007
CREATE_PERMISSION: Final = 0x008
CHANNEL_BIND: Final = 0x009
CONNECT: Final = 0x00A
CONNECTION_BIND: Final = 0x00B
CONNECTION_ATTEMPT: Final = 0x00C

# comprehension required
MAPPED_ADDRESS: Final = 0x0001
CHANGE_REQUEST: Final = 0x0003
USERNAME: Final = 0x0006
MESSAGE_INTEGRITY: Final = 0x0008
ERROR_CODE: Final = 0x0009
UNKNOWN_ATTRIBUTES: Final = 0x000A
CHANNEL_NUMBER: Final = 0x000C
LIFETIME: Final = 0x000D
XOR_PEER_ADDRESS: Final = 0x0012
DATA: Final = 0x0013
REALM: Final = 0x0014
NONCE: Final = 0x0015
XOR_RELAYED_ADDRESS: Final = 0x0016
REQUESTED_ADDRESS_FAMILY: Final = 0x0017
EVEN_PORT: Final = 0x0018
REQUESTED_TRANSPORT: Final = 0x0019
DONT_FRAGMENT: Final = 0x001A
MESSAGE_INTEGRITY_SHA256: Final = 0x001C
PASSWORD_ALGORITHM: Final = 0x001D
USERHASH: Final = 0x001E
XOR_MAPPED_ADDRESS: Final = 0x0020
RESERVATION_TOKEN: Final = 0x0022
PRIORITY: Final = 0x0024
USE_CANDIDATE: Final = 0x0025
PADDING: Final = 0x0026
RESPONSE_PORT: Final = 0x0027
CONNECTION_ID: Final = 0x002A

# comprehension optional
ADDITIONAL_ADDRESS_FAMILY: Final = 0x8000
ADDRESS_ERROR_CODE: Final = 0x8001
PASSWORD_ALGORITHMS: Final = 0x8002
ALTERNATE_DOMAIN: Final = 0x8003
ICMP: Final = 0x8004
SOFTWARE: Final = 0x8022
ALTERNATE_SERVER: Final = 0x8023
CACHE_TIMEOUT: Final = 0x8027
FINGERPRINT: Final = 0x8028
ICE_CONTROLLED: Final = 0x8029
ICE_CONTROLLING: Final = 0x802A
RESPONSE_ORIGIN: Final = 0x802B
OTHER_ADDRESS: Final = 0x802C
MOBILITY_TICKET: Final = 0x8030  # as IANA assigned it to RFC 8016

COMPREHENSION_OPTIONAL: Final = 0x8000  # this and above (RFC 8489 section 14)
UNDERSTOOD: Final = frozenset(
    {
        MAPPED_ADDRESS,
        CHANGE_REQUEST,
        USERNAME,
        MESSAGE_INTEGRITY,
        ERROR_CODE,
        UNKNOWN_ATTRIBUTES,
        CHANNEL_NUMBER,
        LIFETIME,
        XOR_PEER_ADDRESS,
        DATA,
        REALM,
        NONCE,
        XOR_RELAYED_ADDRESS,
        REQUESTED_ADDRESS_FAMILY,
        EVEN_PORT,
        REQUESTED_TRANSPORT,
        DONT_FRAGMENT,
        MESSAGE_INTEGRITY_SHA256,
        PASSWORD_ALGORITHM,
        USERHASH,
        XOR_MAPPED_ADDRESS,
        RESERVATION_TOKEN,
        PRIORITY,
        USE_CANDIDATE,
        PADDING,
        RESPONSE_PORT,
        CONNECTION_ID,
    }
)

FAMILY_IPV4: Final = 0x01
FAMILY_IPV6: Final = 0x02

TRANSPORT_TCP: Final = 6  # IANA protocol numbers, as REQUESTED-TRANSPORT carries them
TRANSPORT_UDP: Final = 17

FIRST_CHANNEL: Final = 0x4000  # RFC 8656 section 12
LAST_CHANNEL: Final = 0x7FFE  # RFC 8656 ends at 0x4FFF, but clients of RFC 5766 (section 11) draw from all of these

REASONS: Final[dict[int, str]] = {
    300: "Try Alternate",
    400: "Bad Request",
    401: "Unauthenticated",
    403: "Forbidden",
    405: "Mobility Forbidden",
    420: "Unknown Attribute",
    437: "Allocation Mismatch",
    438: "Stale Nonce",
    440: "Address Family not Supported",
    441: "Wrong Credentials",
    442: "Unsupported Transport Protocol",
    443: "Peer Address Family Mismatch",
    446: "Connection Already Exists",
    447: "Connection Timeout or Failure",
    486: "Allocation Quota Reached",
    500: "Server Error",
    508: "Insufficient Capacity",
}
