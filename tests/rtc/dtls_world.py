"""Two DTLS ends on a network in fake time, for the DTLS tests."""

import datetime
import hashlib
import heapq
import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from rtc._dtls import Dtls, Identity

CM, GCM = 1, 7
ONE_WAY_S = 0.02
GIVE_UP_S = 30.0
LABEL = b"EXTRACTOR-dtls_srtp"


@dataclass(frozen=True)
class Party:
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    def identity(self, profiles: Iterable[int] = (GCM, CM)) -> Identity:
        pem = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return Identity(self.certificate.public_bytes(Encoding.PEM), pem, profiles=tuple(profiles))

    def digest(self, name: str = "sha256") -> bytes:
        return hashlib.new(name, self.certificate.public_bytes(Encoding.DER)).digest()

    def fingerprints(self) -> list[tuple[str, bytes]]:
        return [("sha-256", self.digest())]


def party() -> Party:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + datetime.timedelta(days=9))
    return Party(builder.sign(key, hashes.SHA256()), key)


ALICE, BOB, EVE = party(), party(), party()  # Alice is always the client, Bob the server

Fate = Callable[[int, bytes], list[float]]
"""Of the n-th datagram sent by anybody: after how many seconds it arrives; empty = lost, two = duplicated."""


def delivered(number: int, datagram: bytes) -> list[float]:
    return [ONE_WAY_S]


@dataclass
class World:
    """A client and a server, the datagrams between them, and the time."""

    client: Dtls
    server: Dtls
    fate: Fate = delivered
    now: float = 100.0
    sent: list[tuple[bool, bytes]] = field(default_factory=list)  # (by the client?, datagram)
    _under_way: list[tuple[float, int, Dtls, bytes]] = field(default_factory=list)
    _order: Iterable[int] = field(default_factory=itertools.count)

    def collect(self) -> None:
        for side, other in ((self.client, self.server), (self.server, self.client)):
            for datagram in side.datagrams_to_send():
                self.sent.append((side is self.client, datagram))
                for delay in self.fate(len(self.sent) - 1, datagram):
                    heapq.heappush(self._under_way, (self.now + delay, next(iter(self._order)), other, datagram))

    def step(self) -> bool:
        """The next arrival or timer; False when nothing will ever happen again."""
        self.collect()
        timers = [timer for side in (self.client, self.server) if (timer := side.timer()) is not None]
        due = [*timers, *(self._under_way[0][:1] if self._under_way else ())]
        if not due:
            return False
        self.now = max(self.now, min(due))
        while self._under_way and self._under_way[0][0] <= self.now:
            _, _, side, datagram = heapq.heappop(self._under_way)
            side.receive(datagram, self.now)
        for side in (self.client, self.server):
            side.handle_timer(self.now)
        return True

    def run(self, seconds: float = 40.0) -> float:
        """Until both are connected, or nothing moves, or the time is over; returns the seconds that it took."""
        began = self.now
        if self.client.state == "new":
            self.client.start(self.now)
        while (self.client.state, self.server.state) != ("connected", "connected"):
            if self.now - began > seconds or not self.step():
                break
        return self.now - began


def world(
    fate: Fate = delivered, *, mtu: int = 1200, client: Identity | None = None, server: Identity | None = None
) -> World:
    return World(
        Dtls(client or CLIENT, server=False, fingerprints=BOB.fingerprints(), mtu=mtu),
        Dtls(server or SERVER, server=True, fingerprints=ALICE.fingerprints(), mtu=mtu),
        fate,
    )


CLIENT, SERVER = ALICE.identity(), BOB.identity()


def assert_connected(w: World) -> None:
    assert (w.client.state, w.server.state) == ("connected", "connected"), (w.client.failure, w.server.failure)
    ours, theirs = w.client.keys, w.server.keys
    assert ours is not None
    assert theirs is not None
    assert ours.profile == theirs.profile
    assert (ours.local_key, ours.local_salt) == (theirs.remote_key, theirs.remote_salt)
    assert (ours.remote_key, ours.remote_salt) == (theirs.local_key, theirs.local_salt)
    assert ours.local_key != ours.remote_key
    assert len(ours.local_key) == 16
    assert len(ours.local_salt) == (12 if ours.profile == GCM else 14)
    assert w.client.timer() is None
    assert w.server.timer() is None


SMALL = 400  # bytes: makes enough datagrams to lose


def losing(numbers: Iterable[int]) -> Fate:
    lost = frozenset(numbers)
    return lambda number, datagram: [] if number in lost else [ONE_WAY_S]


def records(data: bytes) -> list[bytes]:
    result = []
    while data:
        end = 13 + int.from_bytes(data[11:13], "big")
        result.append(data[:end])
        data = data[end:]
    return result
