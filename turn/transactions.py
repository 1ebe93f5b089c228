"""The transactions on an allocation that exists: Refresh, CreatePermission, ChannelBind (RFC 8656 sections 8, 10, 12).

A Refresh with a mobility ticket takes an allocation along to another five-tuple (RFC 8016 section 3.2). Its client has
proved the new address with a nonce that was sent there, so the allocation moves at once. A ticket is worth one move.
"""

from typing import Final

from turn.allocate import family_value, new_ticket
from turn.allocations import Allocation, Relayed
from turn.attributes import (
    CHANNEL_NUMBER,
    FIRST_CHANNEL,
    LAST_CHANNEL,
    LIFETIME,
    MOBILITY_TICKET,
    REQUESTED_ADDRESS_FAMILY,
)
from turn.peers import Verdict
from turn.relay import CHANNEL_S, MAX_CHANNELS, MAX_PERMISSIONS, PERMISSION_S, Attributes, Relay, Request, TurnError
from turn.stun import Address, encode_uint32, family_of

_NANOSECONDS: Final = 1_000_000_000


def refresh(relay: Relay, request: Request) -> Attributes:
    """Also deletes (a lifetime of 0) and moves."""
    ticket = request.message.attributes.get(MOBILITY_TICKET)
    if ticket is None:
        allocation = relay.owned(request)
    else:
        allocation = _ticketed(relay, request, ticket)
    concerned = _concerned(allocation, request)
    if request.ends():
        _end(relay, allocation, concerned, request.now)
        return [(LIFETIME, encode_uint32(0))]
    lifetime = request.lifetime()
    if ticket is not None and allocation.client != request.client:
        _move(relay, allocation, request)
    for relayed in concerned:
        relayed.expires_at = request.now + lifetime
    relay.table.reschedule(allocation)
    relay.counters.refreshed += 1
    answer = [(LIFETIME, encode_uint32(lifetime))]
    if ticket is not None:
        relay.table.replace_ticket(allocation, new_ticket(relay))
        answer.append((MOBILITY_TICKET, allocation.ticket))
    return answer


def _ticketed(relay: Relay, request: Request, ticket: bytes) -> Allocation:
    if not relay.settings.mobility:
        raise TurnError(405)
    allocation = relay.table.by_ticket(ticket)
    if allocation is None or not allocation.alive(request.now):
        raise TurnError(400)  # never given out, used before, or for an allocation that is gone
    if allocation.owner != request.account.owner:
        raise TurnError(441)
    there = relay.find(request.client, request.now)
    if there is not None and there is not allocation:
        raise TurnError(437)
    return allocation


def _move(relay: Relay, allocation: Allocation, request: Request) -> None:
    client = request.client
    elsewhere = client.host != allocation.client.host
    if elsewhere and relay.quotas.of_address(client.host) >= relay.settings.quota_address:
        raise TurnError(486)
    relay.table.move(allocation, client)
    relay.plane.move_allocation(allocation.number, client)
    relay.counters.moved += 1


def _concerned(allocation: Allocation, request: Request) -> list[Relayed]:
    """The relayed addresses that a Refresh is about."""
    value = request.message.attributes.get(REQUESTED_ADDRESS_FAMILY)
    if value is None:
        return [relayed for relayed in allocation.relayed if relayed.expires_at > request.now]
    found = allocation.of_family(family_value(value), request.now)
    if found is None:
        raise TurnError(443)
    return [found]


def _end(relay: Relay, allocation: Allocation, concerned: list[Relayed], now: float) -> None:
    if all(relayed in concerned for relayed in allocation.relayed if relayed.expires_at > now):
        relay.remove(allocation)
        relay.counters.removed += 1
        return
    for relayed in concerned:
        relay.withdraw(allocation, relayed, now)
    relay.table.reschedule(allocation)


def create_permission(relay: Relay, request: Request) -> Attributes:
    """All peers or none (RFC 8656 section 10.2)."""
    allocation = relay.owned(request)
    peers = request.message.addresses()
    if not peers:
        raise TurnError(400)
    wanted = {host: _verdict(relay, allocation, host, request.now) for host, _ in peers}
    _permit(relay, allocation, wanted, request.now)
    return []


def _verdict(relay: Relay, allocation: Allocation, host: str, now: float) -> Verdict:
    if allocation.of_family(family_of(host), now) is None:
        raise TurnError(443)
    verdict = relay.peers.decide(host)
    if verdict is Verdict.FORBIDDEN or (allocation.tcp and verdict is not Verdict.ALLOWED):
        raise TurnError(403)
    return verdict


def _permit(relay: Relay, allocation: Allocation, wanted: dict[str, Verdict], now: float) -> None:
    """Install or renew permissions; 508 when they are too many, or a foreign peer needs a socket that there is not."""
    held = allocation.permissions
    if len(held) + len(wanted) > MAX_PERMISSIONS:
        for host in [host for host, until in held.items() if until <= now]:
            del held[host]
        if len(held.keys() | wanted.keys()) > MAX_PERMISSIONS:
            raise TurnError(508)
    if not allocation.tcp:
        for host, verdict in wanted.items():
            if verdict is not Verdict.MEDIA_ONLY:
                relayed = allocation.of_family(family_of(host), now)
                if relayed is not None:
                    relay.open(allocation, relayed)
    until = now + PERMISSION_S
    for host, verdict in wanted.items():
        held[host] = until
        if not allocation.tcp:
            media_only = verdict is not Verdict.ALLOWED
            relay.plane.permit(allocation.number, host, int(until * _NANOSECONDS), media_only=media_only)
    relay.counters.permissions += len(wanted)


def channel_bind(relay: Relay, request: Request) -> Attributes:
    allocation, now = relay.owned(request), request.now
    value = request.message.attributes.get(CHANNEL_NUMBER)
    peers = request.message.addresses()
    if value is None or len(value) != 4 or not peers or allocation.tcp:
        raise TurnError(400)
    number, peer = int.from_bytes(value[:2], "big"), peers[0]
    if not FIRST_CHANNEL <= number <= LAST_CHANNEL or not peer[1]:
        raise TurnError(400)
    verdict = _verdict(relay, allocation, peer[0], now)
    if not relay.peers.reaches(*peer):
        raise TurnError(403)
    _check_binding(allocation, number, peer, now)
    _permit(relay, allocation, {peer[0]: verdict}, now)
    until = now + CHANNEL_S
    allocation.channels[number] = (peer, until)
    relay.plane.bind_channel(allocation.number, number, peer, int(until * _NANOSECONDS))
    relay.counters.channels += 1
    return []


def _check_binding(allocation: Allocation, number: int, peer: Address, now: float) -> None:
    """A number has one peer and a peer one number, as long as the binding lasts (RFC 8656 section 12.2)."""
    channels = allocation.channels
    for each, (bound, until) in channels.items():
        if (each == number) != (bound == peer) and until > now:
            raise TurnError(400)
    if number not in channels and len(channels) >= MAX_CHANNELS:
        for each in [each for each, (_, until) in channels.items() if until <= now]:
            del channels[each]
        if len(channels) >= MAX_CHANNELS:
            raise TurnError(508)
