"""Binding for those who want to know how their NAT behaves (RFC 5780), without I/O: a request in, an answer out.

A server with two addresses and two ports has four places to answer from. A client learns how its NAT filters by asking
for an answer from another place (CHANGE-REQUEST, section 7.2), how it maps by asking at another place (OTHER-ADDRESS,
7.4), how long a mapping lives by an answer to another port of its own (RESPONSE-PORT, 7.5), and whether fragments pass
with PADDING (7.6). Where there is but one address, over streams too, these attributes are unknown ones: 420.

Nobody here has proven an address, so nothing may serve to flood somebody else. A request gets one answer, to the
address that it came from; its port may be another, but not one below 1024, where services live that would answer in
turn. PADDING comes back no longer than it came, within one message of `MAX_BYTES`, and not together with RESPONSE-PORT
(7.5). How often is decided by the shell: `is_steered` tells what a plain client never asks for.
"""

from dataclasses import dataclass
from typing import Final, NamedTuple

from turn.attributes import (
    BINDING,
    CHANGE_REQUEST,
    ERROR_CODE,
    MAPPED_ADDRESS,
    OTHER_ADDRESS,
    PADDING,
    RESPONSE_ORIGIN,
    RESPONSE_PORT,
    UNKNOWN_ATTRIBUTES,
    XOR_MAPPED_ADDRESS,
)
from turn.stun import (
    Address,
    Message,
    MessageClass,
    build,
    encode_address,
    encode_error,
    encode_unknown,
    encode_xor_address,
    family_of,
)

MAX_BYTES: Final = 1500  # the packet plane sends no longer message, and fragments it with its headers
LOWEST_PORT: Final = 1024
_STEERING: Final = (CHANGE_REQUEST, RESPONSE_PORT, PADDING)
_CHANGE_HOST: Final = 0x04
_CHANGE_PORT: Final = 0x02


@dataclass(frozen=True, slots=True)
class Places:
    """The four places: both hosts with both ports. ValueError when they are not four, or of two families."""

    primary: Address
    alternate: Address

    def __post_init__(self) -> None:
        (host, port), (other_host, other_port) = self.primary, self.alternate
        if host == other_host or port == other_port or family_of(host) != family_of(other_host):
            raise ValueError("discovery needs two addresses of one family, and two ports")

    @property
    def all(self) -> tuple[Address, Address, Address, Address]:
        """The primary one first, then the same host, then the same port."""
        (host, port), (other_host, other_port) = self.primary, self.alternate
        return (host, port), (host, other_port), (other_host, port), (other_host, other_port)

    def seen_from(self, place: Address, *, host: bool, port: bool) -> Address:
        """``place`` with its host or port, or both, exchanged for the other."""
        hosts, ports = (self.primary[0], self.alternate[0]), (self.primary[1], self.alternate[1])
        return hosts[hosts.index(place[0]) ^ host], ports[ports.index(place[1]) ^ port]


class Answer(NamedTuple):
    """``origin``: the place to send it from; None when the request came to none of the four, so from there."""

    origin: Address | None
    destination: Address
    message: bytes


def is_steered(request: Message) -> bool:
    """Whether its answer is wanted from elsewhere, to elsewhere, or longer."""
    return any(attribute in request.attributes for attribute in _STEERING)


def answer(request: Message, source: Address, arrived_at: Address | None, places: Places | None) -> Answer:
    """The answer to a Binding request. ``arrived_at``: the place that it came to, None if none of the four."""
    attributes = request.attributes
    here = arrived_at if places is not None else None
    unknown = list(request.unknown)
    if here is None:
        unknown += [attribute for attribute in _STEERING if attribute in attributes]
    if unknown:
        return Answer(here, source, _error(request, 420, [(UNKNOWN_ATTRIBUTES, encode_unknown(unknown))]))
    if places is None or here is None:
        return Answer(None, source, _success(request, [_mapped(request, source)]))

    change = attributes.get(CHANGE_REQUEST, bytes(4))
    port = attributes.get(RESPONSE_PORT, source[1].to_bytes(2, "big"))
    destination = source[0], int.from_bytes(port[:2], "big")
    if len(change) != 4 or len(port) not in (2, 4):
        return Answer(here, source, _error(request, 400))
    if RESPONSE_PORT in attributes and (PADDING in attributes or destination[1] < LOWEST_PORT):
        return Answer(here, source, _error(request, 400))
    change_host, change_port = bool(change[3] & _CHANGE_HOST), bool(change[3] & _CHANGE_PORT)
    origin = places.seen_from(here, host=change_host, port=change_port)
    content = [
        _mapped(request, source),
        (MAPPED_ADDRESS, encode_address(source)),
        (RESPONSE_ORIGIN, encode_address(origin)),
        (OTHER_ADDRESS, encode_address(places.seen_from(here, host=True, port=True))),
    ]
    message = _success(request, content)
    if PADDING in attributes:
        room = MAX_BYTES - len(message) - 4
        message = _success(request, [*content, (PADDING, bytes(min(len(attributes[PADDING]), room) & ~3))])
    return Answer(origin, destination, message)


def _mapped(request: Message, source: Address) -> tuple[int, bytes]:
    return XOR_MAPPED_ADDRESS, encode_xor_address(source, request.transaction)


def _success(request: Message, attributes: list[tuple[int, bytes]]) -> bytes:
    return build(BINDING, MessageClass.SUCCESS, request.transaction, attributes, fingerprint=request.fingerprinted)


def _error(request: Message, code: int, attributes: list[tuple[int, bytes]] | None = None) -> bytes:
    content = [(ERROR_CODE, encode_error(code)), *(attributes or [])]
    return build(BINDING, MessageClass.ERROR, request.transaction, content, fingerprint=request.fingerprinted)
