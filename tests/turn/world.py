"""A TURN server in fake time: a packet plane and sockets that record, clients that build real requests."""

import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from turn import attributes as names
from turn.credentials import Credentials, Secrets, issue, long_term_key
from turn.peers import PeerPolicy
from turn.plane import Client, TcpRelay
from turn.ports import PortPool
from turn.relay import TurnSettings
from turn.server import TurnServer
from turn.stun import (
    Address,
    Message,
    MessageClass,
    build,
    decode_error,
    decode_xor_address,
    encode_uint32,
    encode_xor_address,
    parse,
    verify,
)

REALM = "wadud"
SECRET, PREVIOUS = "the secret of today", "the secret of yesterday"
RELAYED_IPV4, RELAYED_IPV6 = "203.0.113.9", "2001:db8::9"  # ours, so never peers
MEDIA = (RELAYED_IPV4, 5000)
NODE = ("10.9.0.1", 443)  # where another node receives media
FOREIGN, FOREIGN_IPV6 = "8.8.8.8", "2606:4700:4700::1111"
UNIX = 1_800_000_000
NONCE = b"given by the packet plane"
UDP, TCP = b"\x11\0\0\0", b"\x06\0\0\0"


@dataclass
class RecordingPlane:
    """Remembers every command; see `turn.plane.RelayPlane`."""

    commands: list[tuple[Any, ...]] = field(default_factory=list)
    replies: list[tuple[Client, bytes]] = field(default_factory=list)
    failing: bool = False

    def reply(self, client: Client, message: bytes) -> None:
        self.replies.append((client, message))

    def add_allocation(self, allocation: int, client: Client, *, bandwidth_bps: int = 0) -> None:
        if self.failing:
            raise RuntimeError("the worker is closed")
        self.commands.append(("add_allocation", allocation, client, bandwidth_bps))

    def add_relayed(self, allocation: int, relayed: Address) -> None:
        self.commands.append(("add_relayed", allocation, relayed))

    def open_relayed(self, allocation: int, relayed: Address, fd: int) -> None:
        self.commands.append(("open_relayed", allocation, relayed, fd))

    def permit(self, allocation: int, host: str, until_ns: int, *, media_only: bool = False) -> None:
        self.commands.append(("permit", allocation, host, until_ns, media_only))

    def bind_channel(self, allocation: int, number: int, peer: Address, until_ns: int) -> None:
        self.commands.append(("bind_channel", allocation, number, peer, until_ns))

    def move_allocation(self, allocation: int, client: Client) -> None:
        self.commands.append(("move_allocation", allocation, client))

    def remove_allocation(self, allocation: int) -> None:
        self.commands.append(("remove_allocation", allocation))

    def named(self, name: str) -> list[tuple[Any, ...]]:
        return [command[1:] for command in self.commands if command[0] == name]


@dataclass
class RecordingSockets:
    """Gives out made-up descriptors; ``taken`` are another program's ports."""

    open_fds: dict[int, Address] = field(default_factory=dict)
    taken: Callable[[Address], bool] = lambda address: False
    fds: "itertools.count[int]" = field(default_factory=lambda: itertools.count(100))

    def open(self, address: Address) -> int:
        if self.taken(address):
            raise OSError("Address already in use")
        fd = next(self.fds)
        self.open_fds[fd] = address
        return fd

    def is_free(self, address: Address) -> bool:
        return not self.taken(address)

    def close(self, fd: int) -> None:
        del self.open_fds[fd]


@dataclass
class RecordingTcp:
    """TCP allocations whose connections stand when the test says so."""

    listening: dict[int, Address] = field(default_factory=dict)
    pending: list[Callable[[int, int], None]] = field(default_factory=list)
    waiting: dict[int, int] = field(default_factory=dict)  # connection to allocation
    bound: list[tuple[int, Client]] = field(default_factory=list)
    removed: list[int] = field(default_factory=list)

    def listen(self, allocation: int, relayed: Address) -> bool:
        self.listening[allocation] = relayed
        return True

    def connect(self, allocation: int, peer: Address, answer: Callable[[int, int], None]) -> None:
        self.pending.append(answer)

    def claim(self, connection: int) -> int:
        return self.waiting.get(connection, 0)

    def bind(self, connection: int, client: Client) -> None:
        self.bound.append((connection, client))

    def remove(self, allocation: int) -> None:
        self.removed.append(allocation)


@dataclass
class Answer:
    """A response, its integrity checked."""

    message: Message

    @property
    def code(self) -> int:
        """0 for success."""
        value = self.message.attributes.get(names.ERROR_CODE)
        assert (value is not None) == (self.message.kind is MessageClass.ERROR)
        return 0 if value is None else decode_error(value)

    @property
    def lifetime(self) -> int:
        return int.from_bytes(self.message.attributes[names.LIFETIME], "big")

    @property
    def relayed(self) -> Address:
        return decode_xor_address(self.message.attributes[names.XOR_RELAYED_ADDRESS], self.message.transaction)

    def __getitem__(self, number: int) -> bytes:
        return self.message.attributes[number]

    def __contains__(self, number: int) -> bool:
        return number in self.message.attributes


class World:
    """One server and its surroundings. ``now`` is the world's clock. ``beside``: another worker's in one process.
    ``public``: the internet is open."""

    def __init__(
        self,
        settings: TurnSettings | None = None,
        *,
        families: tuple[int, ...] = (names.FAMILY_IPV4, names.FAMILY_IPV6),
        ports: tuple[int, int] = (50000, 50099),
        allow: tuple[str, ...] = (),
        public: bool = True,
        tcp: TcpRelay | None = None,
        beside: "World | None" = None,
        seed: int = 1,
    ) -> None:
        self.rng = random.Random(seed)
        self.now = 1000.0
        self.plane, self.sockets = RecordingPlane(), RecordingSockets()
        self.credentials = Credentials(REALM, {"nurse": "pass word", "porter": "other"}, Secrets(SECRET, PREVIOUS))
        hosts = {names.FAMILY_IPV4: RELAYED_IPV4, names.FAMILY_IPV6: RELAYED_IPV6}
        self.pools = {family: PortPool(hosts[family], *ports, self.rng) for family in families}
        self.peers = PeerPolicy(allow, [RELAYED_IPV4, RELAYED_IPV6], [MEDIA], [NODE], public=public)
        self.server = TurnServer(
            self.plane,
            settings or TurnSettings(),
            credentials=self.credentials,
            peers=self.peers,
            pools=self.pools.values(),
            sockets=self.sockets,
            entropy=self.rng.randbytes,
            unix_offset=UNIX - self.now,
            tcp=tcp,
            quotas=beside.server._relay.quotas if beside else None,
            reservations=beside.server._relay.reservations if beside else None,
        )
        self.transactions = itertools.count(1)

    def client(self, number: int = 1, *, stream: int = 0, host: str = "198.51.100.7") -> Client:
        return Client(stream, host, 40000 + number, RELAYED_IPV4, 443)

    def user(self, name: str = "nurse", password: str = "pass word") -> tuple[str, bytes]:
        """User name and key."""
        return name, long_term_key(name, REALM, password)

    def visitor(self, subject: str, lives_s: int = 3600, secret: str = SECRET) -> tuple[str, bytes]:
        """The same of a time-limited credential that lives ``lives_s`` from now on."""
        name, password = issue(secret, subject, int(UNIX - 1000 + self.now) + lives_s)
        return name, long_term_key(name, REALM, password)

    def request(
        self,
        method: int,
        *attributes: tuple[int, bytes],
        user: tuple[str, bytes] | None = None,
        transaction: bytes | None = None,
        fingerprint: bool = False,
    ) -> bytes:
        name, key = user or self.user()
        transaction = transaction or next(self.transactions).to_bytes(12, "big")
        head = [(names.USERNAME, name.encode()), (names.REALM, REALM.encode()), (names.NONCE, NONCE)]
        return build(method, MessageClass.REQUEST, transaction, [*head, *attributes], key=key, fingerprint=fingerprint)

    def send(self, client: Client, message: bytes, key: bytes | None = None) -> Answer | None:
        """Its answer, if there was one; with ``key`` the answer must carry an integrity made with it."""
        before = len(self.plane.replies)
        self.server.handle_request(client, message, self.now)
        assert len(self.plane.replies) <= before + 1
        if len(self.plane.replies) == before:
            return None
        recipient, data = self.plane.replies[-1]
        reply = parse(data)
        assert recipient == client
        assert (reply.method, reply.transaction) == (parse(message).method, message[8:20])
        assert key is None or verify(reply, key)
        return Answer(reply)

    def ask(self, method: int, *attributes: tuple[int, bytes], client: Client | None = None, **options: Any) -> Answer:
        """The answer to an authenticated request."""
        key = (options.get("user") or self.user())[1]
        answer = self.send(client or self.client(), self.request(method, *attributes, **options), key)
        assert answer is not None
        return answer

    def allocate(self, *attributes: tuple[int, bytes], transport: bytes = UDP, **options: Any) -> Answer:
        return self.ask(names.ALLOCATE, (names.REQUESTED_TRANSPORT, transport), *attributes, **options)

    def refresh(self, lifetime: int | None = None, *attributes: tuple[int, bytes], **options: Any) -> Answer:
        asked = [] if lifetime is None else [(names.LIFETIME, encode_uint32(lifetime))]
        return self.ask(names.REFRESH, *asked, *attributes, **options)

    def permit(self, *hosts: str, **options: Any) -> Answer:
        transaction = next(self.transactions).to_bytes(12, "big")
        peers = [(names.XOR_PEER_ADDRESS, encode_xor_address((host, 9), transaction)) for host in hosts]
        return self.ask(names.CREATE_PERMISSION, *peers, transaction=transaction, **options)

    def bind(self, number: int, peer: Address, **options: Any) -> Answer:
        transaction = next(self.transactions).to_bytes(12, "big")
        return self.ask(
            names.CHANNEL_BIND,
            (names.CHANNEL_NUMBER, number.to_bytes(2, "big") + b"\0\0"),
            (names.XOR_PEER_ADDRESS, encode_xor_address(peer, transaction)),
            transaction=transaction,
            **options,
        )

    def pass_time(self, seconds: float) -> None:
        """The clock goes on, and the server is swept as its shell would."""
        self.now += seconds
        self.server.sweep(self.now)
