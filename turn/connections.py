"""Connect and ConnectionBind: the transactions of TCP allocations (RFC 6062 sections 5.2 to 5.4).

The sockets are `TcpRelay`'s. A Connect is answered when its connection stands or failed, which may be later; the
request's own allocation may be gone by then, and the answer with it.
"""

from collections.abc import Callable

from turn.attributes import CONNECTION_ID
from turn.relay import Attributes, Relay, Request, TurnError
from turn.stun import decode_uint32, encode_uint32, family_of


def connect(relay: Relay, request: Request, succeed: Callable[[Attributes], None], fail: Callable[[int], None]) -> None:
    """Ends, now or later, with a call of ``succeed`` or ``fail``. TurnError when it is refused at once."""
    allocation = relay.owned(request)
    peers = request.message.addresses()
    if not allocation.tcp or relay.tcp is None or not peers or not peers[0][1]:
        raise TurnError(400)
    peer = peers[0]
    if allocation.of_family(family_of(peer[0]), request.now) is None:
        raise TurnError(443)
    if not relay.peers.reaches(*peer, tcp=True):
        raise TurnError(403)

    def answer(code: int, connection: int) -> None:
        if relay.table.by_number(allocation.number) is not allocation:
            return
        if code:
            fail(code)
        else:
            succeed([(CONNECTION_ID, encode_uint32(connection))])

    relay.tcp.connect(allocation.number, peer, answer)


def connection_bind(relay: Relay, request: Request) -> int:
    """The connection that the client's stream may carry from now on; `TcpRelay.bind` must follow the answer."""
    value = request.message.attributes.get(CONNECTION_ID)
    if value is None or relay.tcp is None or not request.client.stream:
        raise TurnError(400)
    connection = decode_uint32(value)
    allocation = relay.table.by_number(relay.tcp.claim(connection))
    if allocation is None or not allocation.alive(request.now) or relay.find(request.client, request.now) is not None:
        raise TurnError(400)
    if allocation.owner != request.account.owner:
        raise TurnError(441)
    return connection
