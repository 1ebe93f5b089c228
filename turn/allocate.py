"""The Allocate transaction (RFC 8656 section 7.2, with RFC 6062 section 5.1 and RFC 8016 section 3.1).

The checks come in the order of the RFC. A normal allocation gets a port's number and no socket; EVEN-PORT is asked for
by clients whose peers are strangers, so those ports are opened at once, and another pair is tried when a port turns out
to be another program's.
"""

import base64
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from turn.allocations import Allocation, Relayed
from turn.attributes import (
    ADDITIONAL_ADDRESS_FAMILY,
    ADDRESS_ERROR_CODE,
    ALTERNATE_SERVER,
    DONT_FRAGMENT,
    EVEN_PORT,
    FAMILY_IPV4,
    FAMILY_IPV6,
    LIFETIME,
    MOBILITY_TICKET,
    REQUESTED_ADDRESS_FAMILY,
    REQUESTED_TRANSPORT,
    RESERVATION_TOKEN,
    TRANSPORT_TCP,
    TRANSPORT_UDP,
    XOR_MAPPED_ADDRESS,
    XOR_RELAYED_ADDRESS,
)
from turn.plane import Client
from turn.ports import RESERVATION_S, TOKEN_BYTES, PortPool, Reservation
from turn.relay import Attributes, Relay, Request, TurnError
from turn.stun import Address, encode_address, encode_address_error, encode_uint32, encode_xor_address, family_of

TRIES: Final = 8  # ports to try where each must be opened at once
TICKET_BYTES: Final = 18  # of chance; as text without padding 24 characters, for clients that take a ticket for a text
NEXT_PORT: Final = 0x80  # the R bit of EVEN-PORT


@dataclass(frozen=True, slots=True)
class Wish:
    """What an Allocate asks for, once it is known to be well formed."""

    families: tuple[int, ...]
    tcp: bool
    even: bool
    pair: bool
    token: bytes | None
    mobile: bool


@dataclass(slots=True)
class Choice:
    """A relayed address that was found. ``fd``: its socket, when it is open already."""

    pool: PortPool
    port: int
    fd: int | None = None
    reserved_fd: int | None = None  # of the next port


def family_value(value: bytes) -> int:
    """The family in REQUESTED-ADDRESS-FAMILY and ADDITIONAL-ADDRESS-FAMILY."""
    if len(value) != 4:
        raise TurnError(400)
    return value[0]


def new_ticket(relay: Relay) -> bytes:
    """A mobility ticket: chance, worth something only in our table, to its owner, once."""
    return base64.urlsafe_b64encode(relay.entropy(TICKET_BYTES))


def allocate(relay: Relay, request: Request) -> Attributes:
    client, now = request.client, request.now
    if relay.find(client, now) is not None:
        raise TurnError(437)
    wish = _wish(relay, request)
    lifetime = request.lifetime()
    if relay.draining:
        raise _elsewhere(relay, client)
    if relay.quotas.of_owner(request.account.owner) >= relay.settings.quota:
        raise TurnError(486)
    if relay.quotas.of_address(client.host) >= relay.settings.quota_address:
        raise TurnError(486)
    if len(relay.table) >= relay.settings.max_allocations:
        raise TurnError(508)

    number = relay.table.new_number()
    choices, failures = _choose(relay, request, wish, number)
    allocation = Allocation(
        number,
        client,
        request.account.owner,
        tuple(Relayed(choice.pool, choice.port, now + lifetime) for choice in choices),
        tcp=wish.tcp,
        ticket=new_ticket(relay) if wish.mobile else b"",
    )
    relay.table.add(allocation)
    if not wish.tcp:
        try:
            _establish(relay, allocation, choices)
        except Exception:
            _abandon(relay, allocation, choices)
            raise
    relay.counters.allocated += 1

    transaction = request.message.transaction
    answer = [(XOR_RELAYED_ADDRESS, encode_xor_address(relayed.address, transaction)) for relayed in allocation.relayed]
    answer.append((LIFETIME, encode_uint32(lifetime)))
    answer.append((XOR_MAPPED_ADDRESS, encode_xor_address((client.host, client.port), transaction)))
    if choices[0].reserved_fd is not None:
        token = relay.entropy(TOKEN_BYTES)
        pool, port, fd = choices[0].pool, choices[0].port + 1, choices[0].reserved_fd
        relay.reservations.put(token, Reservation(pool, port, fd, allocation.owner, now + RESERVATION_S))
        answer.append((RESERVATION_TOKEN, token))
    if allocation.ticket:
        answer.append((MOBILITY_TICKET, allocation.ticket))
    answer.extend((ADDRESS_ERROR_CODE, encode_address_error(family, code)) for family, code in failures)
    return answer


def _establish(relay: Relay, allocation: Allocation, choices: list[Choice]) -> None:
    """Tell the packet plane."""
    relay.plane.add_allocation(allocation.number, allocation.client, bandwidth_bps=relay.settings.bandwidth_bps)
    for relayed, choice in zip(allocation.relayed, choices):
        relay.plane.add_relayed(allocation.number, relayed.address)
        if choice.fd is not None:
            relay.plane.open_relayed(allocation.number, relayed.address, choice.fd)
            relayed.opened = True
            relay.counters.relay_ports_opened += 1


def _abandon(relay: Relay, allocation: Allocation, choices: list[Choice]) -> None:
    """After a failure of ours: nothing may stay, or the client would be told 437 until it runs out."""
    relay.remove(allocation)
    for relayed, choice in zip(allocation.relayed, choices):
        if choice.fd is not None and not relayed.opened:
            relay.sockets.close(choice.fd)
        if choice.reserved_fd is not None:
            relay.sockets.close(choice.reserved_fd)
            choice.pool.release(choice.port + 1)


def _wish(relay: Relay, request: Request) -> Wish:
    attributes = request.message.attributes
    transport = attributes.get(REQUESTED_TRANSPORT)
    if transport is None or len(transport) != 4:
        raise TurnError(400)
    tcp = transport[0] == TRANSPORT_TCP
    if (tcp and relay.tcp is None) or (not tcp and transport[0] != TRANSPORT_UDP):
        raise TurnError(442)
    if tcp and (
        not request.client.stream
        or EVEN_PORT in attributes
        or RESERVATION_TOKEN in attributes
        or DONT_FRAGMENT in attributes
    ):
        raise TurnError(400)
    token, even_port = attributes.get(RESERVATION_TOKEN), attributes.get(EVEN_PORT)
    requested = attributes.get(REQUESTED_ADDRESS_FAMILY)
    additional = attributes.get(ADDITIONAL_ADDRESS_FAMILY)
    if token is not None and (
        len(token) != TOKEN_BYTES or even_port is not None or requested is not None or additional is not None
    ):
        raise TurnError(400)
    if even_port is not None and len(even_port) != 1:
        raise TurnError(400)
    pair = even_port is not None and bool(even_port[0] & NEXT_PORT)
    families: tuple[int, ...] = (FAMILY_IPV4,)
    if additional is not None:
        if requested is not None or pair or family_value(additional) != FAMILY_IPV6:
            raise TurnError(400)
        families = (FAMILY_IPV4, FAMILY_IPV6)
    elif requested is not None:
        families = (family_value(requested),)
    ticket = attributes.get(MOBILITY_TICKET)
    if ticket is not None:
        if not relay.settings.mobility or tcp:
            raise TurnError(405)
        if ticket:
            raise TurnError(400)
    return Wish(families, tcp, even_port is not None, pair, token, ticket is not None)


def _elsewhere(relay: Relay, client: Client) -> TurnError:
    """No new allocations here (RFC 8489 section 10: an alternate server is of the client's own family)."""
    for alternate in relay.settings.alternates:
        if family_of(alternate[0]) == family_of(client.host):
            return TurnError(300, [(ALTERNATE_SERVER, encode_address(alternate))])
    return TurnError(508)


def _choose(relay: Relay, request: Request, wish: Wish, number: int) -> tuple[list[Choice], list[tuple[int, int]]]:
    """Relayed addresses, and of a dual request the family that there is none of, with the code. TurnError when there is
    none at all."""
    if wish.token is not None:
        reservation = relay.reservations.claim(wish.token, request.account.owner, request.now)
        if reservation is None:
            raise TurnError(508)
        return [Choice(reservation.pool, reservation.port, reservation.fd)], []
    if wish.pair and not relay.reservations.has_room(request.account.owner):
        raise TurnError(508)
    choices: list[Choice] = []
    failures: list[tuple[int, int]] = []
    for family in wish.families:
        pool = relay.pools.get(family)
        if pool is None:
            failures.append((family, 440))
            continue
        choice = _port(relay, pool, wish, number)
        if choice is None:
            failures.append((family, 508))
        else:
            choices.append(choice)
    if not choices:
        raise TurnError(failures[0][1])
    return choices, failures


def _port(relay: Relay, pool: PortPool, wish: Wish, number: int) -> Choice | None:
    """A port of ``pool``; opened, and the next with it, where that was asked for."""
    futile: list[int] = []  # stay taken for now, so that none is drawn twice
    found: Choice | None = None
    for _ in range(TRIES):
        port = pool.take(even=wish.even, pair=wish.pair)
        if port is None:
            break
        found = _opened(relay, pool, port, wish, number)
        if found is not None:
            break
        futile.extend((port, port + 1) if wish.pair else (port,))
    for port in futile:
        pool.release(port)
    return found


def _opened(relay: Relay, pool: PortPool, port: int, wish: Wish, number: int) -> Choice | None:
    address: Address = (pool.host, port)
    if wish.tcp:
        assert relay.tcp is not None, "asked for only where there is one"
        return Choice(pool, port) if relay.tcp.listen(number, address) else None
    if not wish.even:
        return Choice(pool, port) if relay.sockets.is_free(address) else None
    with suppress(OSError):
        fd = relay.sockets.open(address)
        if not wish.pair:
            return Choice(pool, port, fd)
        try:
            return Choice(pool, port, fd, relay.sockets.open((pool.host, port + 1)))
        except OSError:
            relay.sockets.close(fd)
    return None
