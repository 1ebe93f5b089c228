"""The TURN server (RFC 8656, 8489, 8016, 6062) without I/O: requests in, commands to the packet plane out.

The packet plane has answered those without credentials, and a nonce that arrives here was given to that very address.
So everything here is about somebody who can be reached where the request came from; what is left to check is
MESSAGE-INTEGRITY, with every request anew. What fails there learns the realm and its own nonce, nothing else; every
later answer carries MESSAGE-INTEGRITY.

Time is an argument: monotonic seconds, of which ``unix_offset`` makes Unix time for the expiry of credentials. The
shell around it calls `sweep` about once a second.
"""

from collections.abc import Callable, Iterable
from typing import Final

from backplane.logs import Log
from turn.allocate import allocate
from turn.allocations import Allocation, AllocationTable
from turn.attributes import (
    ALLOCATE,
    BINDING,
    CHANNEL_BIND,
    CONNECT,
    CONNECTION_ATTEMPT,
    CONNECTION_BIND,
    CONNECTION_ID,
    CREATE_PERMISSION,
    ERROR_CODE,
    MESSAGE_INTEGRITY,
    NONCE,
    PASSWORD_ALGORITHM,
    PASSWORD_ALGORITHMS,
    REALM,
    REFRESH,
    UNKNOWN_ATTRIBUTES,
    USERNAME,
    XOR_MAPPED_ADDRESS,
    XOR_PEER_ADDRESS,
)
from turn.connections import connect, connection_bind
from turn.counters import TurnCounters
from turn.credentials import Credentials
from turn.peers import PeerPolicy, Verdict
from turn.plane import Client, RelayPlane, Sockets, TcpRelay
from turn.ports import PortPool, Reservations
from turn.quotas import Quotas
from turn.relay import Attributes, Relay, Request, TurnError, TurnSettings
from turn.replies import Replies
from turn.stun import (
    Address,
    Message,
    MessageClass,
    StunError,
    build,
    encode_error,
    encode_uint32,
    encode_unknown,
    encode_xor_address,
    family_of,
    parse,
)
from turn.transactions import channel_bind, create_permission, refresh

_log: Final = Log(__name__)

_TRANSACTIONS: Final[dict[int, Callable[[Relay, Request], Attributes]]] = {
    ALLOCATE: allocate,
    REFRESH: refresh,
    CREATE_PERMISSION: create_permission,
    CHANNEL_BIND: channel_bind,
}
_TCP_TRANSACTIONS: Final = (CONNECT, CONNECTION_BIND)


class TurnServer:
    """All transactions of one packet plane. ``pools`` holds at most one per address family. ``entropy(n)`` gives n
    unpredictable bytes (`secrets.token_bytes`). The servers of one process share credentials, policy, pools, quotas and
    reservations."""

    def __init__(
        self,
        plane: RelayPlane,
        settings: TurnSettings,
        *,
        credentials: Credentials,
        peers: PeerPolicy,
        pools: Iterable[PortPool],
        sockets: Sockets,
        entropy: Callable[[int], bytes],
        unix_offset: float,
        tcp: TcpRelay | None = None,
        quotas: Quotas | None = None,
        reservations: Reservations | None = None,
    ) -> None:
        quotas = Quotas() if quotas is None else quotas
        self.counters = TurnCounters()
        self.unix_offset = unix_offset  # Unix time less monotonic time; the shell keeps it right
        self._relay = Relay(
            plane=plane,
            settings=settings,
            peers=peers,
            pools={family_of(pool.host): pool for pool in pools},
            sockets=sockets,
            entropy=entropy,
            tcp=tcp,
            table=AllocationTable(quotas),
            quotas=quotas,
            reservations=Reservations() if reservations is None else reservations,
            counters=self.counters,
        )
        self._credentials = credentials
        self._realm = credentials.realm.encode()
        self._replies = Replies()

    @property
    def allocations(self) -> int:
        """How many there are, those included that ended since the last sweep."""
        return len(self._relay.table)

    @property
    def drained(self) -> bool:
        """Draining, and no allocation is left."""
        return self._relay.draining and not len(self._relay.table)

    def use_tcp(self, tcp: TcpRelay) -> None:
        """Serve TCP allocations from now on. For a relay that is made with this server in hand."""
        self._relay.tcp = tcp

    def handle_request(self, client: Client, message: bytes, now: float) -> None:
        """Carry out what ``client`` sent. Never raises for what a peer sends."""
        self.counters.requests += 1
        try:
            request = parse(message)
        except StunError:
            self.counters.malformed += 1
            return
        if request.kind is not MessageClass.REQUEST:
            self.counters.malformed += 1
        elif request.method in _TRANSACTIONS or (self._relay.tcp is not None and request.method in _TCP_TRANSACTIONS):
            self._transact(client, request, now)
        elif request.method == BINDING and self._relay.settings.answer_binding:
            self._bind(client, request)
        else:
            self.counters.malformed += 1

    def stream_closed(self, stream: int) -> None:
        """End the stream's allocation, unless its client may come back with a ticket."""
        allocation = self._relay.table.by_stream(stream)
        if allocation is not None and not allocation.ticket:
            self._remove(allocation)

    def serves(self, stream: int) -> bool:
        """Whether the connection has an allocation."""
        return self._relay.table.by_stream(stream) is not None

    def sweep(self, now: float) -> None:
        """End what has run out."""
        relay = self._relay
        for allocation in relay.table.take_due(now):
            if allocation.alive(now):
                for relayed in allocation.relayed:
                    if relayed.expires_at <= now:
                        relay.withdraw(allocation, relayed, now)
                relay.table.requeue(allocation, max(relayed.expires_at for relayed in allocation.relayed))
            else:
                relay.remove(allocation)
                self.counters.expired += 1
        for reservation in relay.reservations.take_expired(now):
            relay.give_back(reservation)
        self._replies.forget(now)

    def drain(self) -> None:
        """Refuse new allocations from now on; `drained` tells when the last one ended."""
        self._relay.draining = True

    def revoke(self, subject: str) -> None:
        """Refuse the time-limited credentials of ``subject`` and end its allocations at once."""
        self._credentials.revoke(subject)
        owner = f":{subject}"
        if self._relay.quotas.of_owner(owner):  # most have none, and tables are long
            for allocation in [each for each in self._relay.table if each.owner == owner]:
                self._remove(allocation)

    def close(self) -> None:
        """End everything, the ports that wait included."""
        for allocation in list(self._relay.table):
            self._remove(allocation)
        for reservation in self._relay.reservations.take_expired(float("inf")):
            self._relay.give_back(reservation)

    def permitted(self, allocation: int, host: str, now: float) -> bool:
        """Whether a peer may connect to that TCP allocation."""
        found = self._relay.table.by_number(allocation)
        if found is None or found.of_family(family_of(host), now) is None:
            return False
        return found.permissions.get(host, 0.0) > now and self._relay.peers.decide(host) is Verdict.ALLOWED

    def connection_attempt(self, allocation: int, connection: int, peer: Address) -> None:
        """Tell the client that a permitted peer has connected (RFC 6062 section 5.3)."""
        found = self._relay.table.by_number(allocation)
        if found is None:
            return
        transaction = self._relay.entropy(12)
        attributes = [
            (CONNECTION_ID, encode_uint32(connection)),
            (XOR_PEER_ADDRESS, encode_xor_address(peer, transaction)),
        ]
        indication = build(CONNECTION_ATTEMPT, MessageClass.INDICATION, transaction, attributes)
        self._relay.plane.reply(found.client, indication)

    def _remove(self, allocation: Allocation) -> None:
        self._relay.remove(allocation)
        self.counters.removed += 1

    def _bind(self, client: Client, request: Message) -> None:
        """Binding (RFC 8489 section 12), for planes that leave it to us."""
        if request.unknown:
            self.counters.refuse(420)
            attributes = [(ERROR_CODE, encode_error(420)), (UNKNOWN_ATTRIBUTES, encode_unknown(request.unknown))]
            kind = MessageClass.ERROR
        else:
            attributes = [(XOR_MAPPED_ADDRESS, encode_xor_address(client[1:3], request.transaction))]
            kind = MessageClass.SUCCESS
        reply = build(BINDING, kind, request.transaction, attributes, fingerprint=request.fingerprinted)
        self._relay.plane.reply(client, reply)

    def _transact(self, client: Client, message: Message, now: float) -> None:
        kept = self._replies.find(client, message.transaction, message.data, now)
        if kept is not None:
            self.counters.retransmitted += 1
            self._relay.plane.reply(client, kept)
            return
        unix = now + self.unix_offset
        account = self._credentials.authenticate(message, unix)
        if account is None:
            self._refuse_stranger(client, message)
            return
        request = Request(client, message, account, now, unix)
        try:
            if message.unknown:
                raise TurnError(420, [(UNKNOWN_ATTRIBUTES, encode_unknown(message.unknown))])
            transaction = _TRANSACTIONS.get(message.method)
            if transaction is not None:
                self._succeed(request, transaction(self._relay, request))
            elif message.method == CONNECT:
                connect(
                    self._relay,
                    request,
                    lambda attributes: self._succeed(request, attributes),
                    lambda code: self._fail(request, TurnError(code)),
                )
            else:
                connection = connection_bind(self._relay, request)
                self._succeed(request, [])
                assert self._relay.tcp is not None, "connection_bind refuses without"
                self._relay.tcp.bind(connection, client)
        except TurnError as refusal:
            self._fail(request, refusal)
        except StunError:
            self._fail(request, TurnError(400))
        except Exception:
            _log.error("a TURN transaction failed", code=message.method)
            self._fail(request, TurnError(500))

    def _refuse_stranger(self, client: Client, message: Message) -> None:
        """RFC 8489 section 9.2.4. The nonce is the client's own, still good; without one this answer would be no
        challenge, and the packet plane has let none through."""
        self.counters.auth_failures += 1
        attributes = message.attributes
        nonce = attributes.get(NONCE)
        if nonce is None:
            return
        answer: Attributes
        complete = USERNAME in attributes and REALM in attributes
        plain = PASSWORD_ALGORITHM not in attributes and PASSWORD_ALGORITHMS not in attributes  # we offered none
        if MESSAGE_INTEGRITY in attributes and not (complete and plain):
            code, answer = 400, []
        else:
            code, answer = 401, [(REALM, self._realm), (NONCE, nonce)]
        self.counters.refuse(code)
        reply = build(
            message.method,
            MessageClass.ERROR,
            message.transaction,
            [(ERROR_CODE, encode_error(code)), *answer],
            fingerprint=message.fingerprinted,
        )
        self._relay.plane.reply(client, reply)

    def _succeed(self, request: Request, attributes: Attributes) -> None:
        self._answer(request, MessageClass.SUCCESS, attributes)

    def _fail(self, request: Request, refusal: TurnError) -> None:
        self.counters.refuse(refusal.code)
        attributes = [(ERROR_CODE, encode_error(refusal.code)), *refusal.attributes]
        if refusal.code == 401:
            attributes.append((REALM, self._realm))
            attributes.append((NONCE, request.message.attributes.get(NONCE, b"")))
        self._answer(request, MessageClass.ERROR, attributes)

    def _answer(self, request: Request, kind: MessageClass, attributes: Attributes) -> None:
        message, client = request.message, request.client
        reply = build(
            message.method,
            kind,
            message.transaction,
            attributes,
            key=request.account.key,
            fingerprint=message.fingerprinted,
        )
        self._replies.keep(client, message.transaction, message.data, reply, request.now)
        self._relay.plane.reply(client, reply)
