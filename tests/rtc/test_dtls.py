"""DTLS-SRTP handshakes in fake time through an emulated network: any loss, order and forgery, and a foreign client."""

import datetime
import gc
import hashlib
import heapq
import itertools
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from OpenSSL import SSL

from rtc._dtls import Dtls, DtlsError, Identity

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


# --- the handshake ---


def test_handshake_takes_two_round_trips() -> None:
    w = world()
    assert w.run() == pytest.approx(4 * ONE_WAY_S)
    assert_connected(w)


@pytest.mark.parametrize(
    "offered, accepted, chosen",
    [
        ((GCM, CM), (GCM, CM), GCM),
        ((CM, GCM), (GCM, CM), GCM),
        ((GCM, CM), (CM, GCM), CM),
        ((GCM,), (CM, GCM), GCM),
        ((CM,), (GCM, CM), CM),
        ((GCM, CM), (CM,), CM),
    ],
)
def test_server_chooses_the_profile_by_its_own_preference(
    offered: tuple[int, ...], accepted: tuple[int, ...], chosen: int
) -> None:
    w = world(client=ALICE.identity(offered), server=BOB.identity(accepted))
    w.run()
    assert_connected(w)
    assert w.server.keys is not None
    assert w.server.keys.profile == chosen


def test_no_profile_in_common_fails() -> None:
    w = world(client=ALICE.identity([CM]), server=BOB.identity([GCM]))
    w.run()
    assert w.server.state == "failed"
    assert w.server.keys is None
    assert w.client.keys is None


def test_fingerprint_is_that_of_the_certificate() -> None:
    assert CLIENT.fingerprint == ALICE.digest()


def test_states_follow_the_handshake() -> None:
    w = world()
    assert (w.client.state, w.server.state) == ("new", "new")
    assert (w.server.timer(), w.server.keys, w.server.failure) == (None, None, None)
    w.client.start(w.now)
    w.step()
    assert (w.client.state, w.server.state) == ("handshaking", "handshaking")


@pytest.mark.parametrize("mtu", [280, 300, 330, 400, 500, 700, 1200])
def test_no_datagram_is_larger_than_the_mtu(mtu: int) -> None:
    w = world(mtu=mtu)
    w.run()
    assert_connected(w)
    w.client.close()
    w.collect()
    assert max(len(datagram) for _, datagram in w.sent) <= mtu


@pytest.mark.parametrize("mtu", [0, 279, 4097])
def test_impossible_mtu_is_refused(mtu: int) -> None:
    with pytest.raises(ValueError):
        world(mtu=mtu)


def test_repetitions_carry_fresh_record_numbers() -> None:
    """RFC 6347 section 4.2.4: a record that came too early, and was dropped, would pass for a replay."""
    w = world(losing(range(1000)))
    w.run(4)
    numbers = [datagram[3:11] for _, datagram in w.sent]
    assert len(numbers) >= 5
    assert len(set(numbers)) == len(numbers)


# --- a bad network ---

SMALL = 400  # bytes: makes enough datagrams to lose


def losing(numbers: Iterable[int]) -> Fate:
    lost = frozenset(numbers)
    return lambda number, datagram: [] if number in lost else [ONE_WAY_S]


def count_of_datagrams(mtu: int) -> int:
    w = world(mtu=mtu)
    w.run()
    w.collect()
    return len(w.sent)


@pytest.mark.parametrize("mtu", [SMALL, 1200])
def test_any_one_datagram_may_be_lost(mtu: int) -> None:
    for number in range(count_of_datagrams(mtu)):
        w = world(losing([number]), mtu=mtu)
        assert w.run() < 1.0, number
        assert_connected(w)


def test_any_two_datagrams_may_be_lost() -> None:
    for numbers in itertools.combinations(range(count_of_datagrams(SMALL) + 4), 2):
        w = world(losing(numbers), mtu=SMALL)
        assert w.run() < 3.0, numbers
        assert_connected(w)


@pytest.mark.parametrize("count", range(1, 12))
def test_first_datagrams_may_all_be_lost(count: int) -> None:
    w = world(losing(range(count)))
    w.run()
    assert_connected(w)


def test_everything_may_arrive_twice() -> None:
    w = world(lambda number, datagram: [ONE_WAY_S, 3 * ONE_WAY_S], mtu=SMALL)
    w.run()
    assert_connected(w)


def test_flights_may_arrive_in_reverse_order() -> None:
    w = world(lambda number, datagram: [ONE_WAY_S * (1 + 1 / (number + 1))], mtu=SMALL)
    w.run()
    assert_connected(w)


def test_round_trip_longer_than_the_timeout_still_connects() -> None:
    w = world(lambda number, datagram: [0.7])
    w.run()
    assert_connected(w)


def test_lossy_jittering_duplicating_networks(rng: random.Random) -> None:
    def fate(number: int, datagram: bytes) -> list[float]:
        return [rng.uniform(0.005, 0.1) for _ in range(2 if rng.random() < 0.1 else 1) if rng.random() >= 0.2]

    for _ in range(150):
        w = world(fate, mtu=rng.choice((SMALL, 1200)))
        assert w.run() < GIVE_UP_S
        assert_connected(w)


def test_lost_last_flight_is_repeated_when_the_client_asks_again() -> None:
    """RFC 6347 section 4.2.4: the server is done, the client is not."""
    w = world(mtu=SMALL)
    w.fate = lambda number, datagram: [] if w.server.state == "connected" and w.now < 100.5 else [ONE_WAY_S]
    w.run()
    assert_connected(w)


def test_silence_fails_after_half_a_minute_and_few_repetitions() -> None:
    w = world(losing(range(10_000)))
    w.run(60)
    assert (w.client.state, w.client.failure) == ("failed", "no answer within 30 s")
    assert GIVE_UP_S <= w.now - 100.0 <= GIVE_UP_S + 4
    assert len(w.sent) < 20
    assert w.client.timer() is None


def test_half_open_association_of_a_server_ends_by_itself() -> None:
    w = world(lambda number, datagram: [ONE_WAY_S] if number == 0 else [])
    w.run(60)
    assert w.server.state == "failed"
    assert w.server.timer() is None


# --- fragments ---


def fragments(hello: bytes, size: int) -> list[bytes]:
    """A ClientHello in one record, cut into records of one fragment each (RFC 6347 section 4.2.3)."""
    record, handshake, body = hello[:13], hello[13:25], hello[25:]
    assert (record[0], handshake[0]) == (22, 1)
    assert len(body) == int.from_bytes(handshake[1:4], "big")
    cut = []
    for number, at in enumerate(range(0, len(body), size)):
        part = body[at : at + size]
        header = handshake[:6] + at.to_bytes(3, "big") + len(part).to_bytes(3, "big")
        cut.append(record[:5] + number.to_bytes(6, "big") + (12 + len(part)).to_bytes(2, "big") + header + part)
    return cut


def records(data: bytes) -> list[bytes]:
    result = []
    while data:
        end = 13 + int.from_bytes(data[11:13], "big")
        result.append(data[:end])
        data = data[end:]
    return result


def renumbered(datagram: bytes, offset: int) -> bytes:
    """Clear records take the numbers after the fragments', or they would be replays."""
    result = b""
    for record in records(datagram):
        if record[3:5] == b"\0\0":
            record = record[:5] + (int.from_bytes(record[5:11], "big") + offset).to_bytes(6, "big") + record[11:]
        result += record
    return result


@pytest.mark.parametrize("size", [5, 20, 50, 120])
@pytest.mark.parametrize("order", ["in order", "reversed", "shuffled", "each twice"])
def test_fragmented_client_hello_is_put_together(size: int, order: str, rng: random.Random) -> None:
    w = world()
    w.client.start(w.now)
    (hello,) = w.client.datagrams_to_send()
    parts = fragments(hello, size)
    count = len(parts)
    if order == "reversed":
        parts.reverse()
    elif order == "shuffled":
        rng.shuffle(parts)
    elif order == "each twice":
        parts = [part for part in parts for _ in range(2)]
    for part in parts:
        w.server.receive(part, w.now)
    while (w.client.state, w.server.state) != ("connected", "connected"):
        answers = w.server.datagrams_to_send()
        assert answers, "the server must have heard the whole hello"
        for datagram in answers:
            w.client.receive(datagram, w.now)
        for datagram in w.client.datagrams_to_send():
            w.server.receive(renumbered(datagram, count), w.now)
    assert_connected(w)


def test_missing_fragment_is_waited_for() -> None:
    w = world()
    w.client.start(w.now)
    (hello,) = w.client.datagrams_to_send()
    parts = fragments(hello, 40)
    for part in parts[:2] + parts[3:]:
        w.server.receive(part, w.now)
    assert (w.server.datagrams_to_send(), w.server.state) == ([], "handshaking")
    w.server.receive(parts[2], w.now)
    assert w.server.datagrams_to_send()


# --- hostile input ---


def test_junk_neither_raises_nor_connects_nor_answers(rng: random.Random) -> None:
    server = world().server
    for number in range(3000):
        junk = bytes([rng.randrange(20, 64)]) + rng.randbytes(rng.randrange(1500))
        server.receive(junk, 100 + number / 1000)
        assert server.state == "handshaking"
        assert server.datagrams_to_send() == []
    server.receive(b"", 104)
    server.receive(bytes(65_535), 104)


def test_junk_during_the_handshake_does_no_harm(rng: random.Random) -> None:
    for _ in range(20):
        w = world(mtu=SMALL)
        w.client.start(w.now)
        while (w.client.state, w.server.state) != ("connected", "connected"):
            for side in (w.client, w.server):
                side.receive(bytes([rng.randrange(20, 64)]) + rng.randbytes(rng.randrange(200)), w.now)
            assert w.step()
        for side in (w.client, w.server):
            side.receive(bytes([rng.randrange(20, 64)]) + rng.randbytes(rng.randrange(200)), w.now)
        assert_connected(w)


def test_datagrams_changed_on_the_way_never_raise_nor_give_unequal_keys(rng: random.Random) -> None:
    for _ in range(300):
        w = world(mtu=SMALL)
        target = rng.randrange(12)
        w.client.start(w.now)
        for number in range(60):
            w.collect()
            for entry, (at, order, side, datagram) in enumerate(w._under_way):
                if order == target:
                    changed = bytearray(datagram)
                    changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
                    w._under_way[entry] = (at, order, side, bytes(changed))
                    target = -1
            if not w.step() or number == 59:
                break
        if (w.client.state, w.server.state) == ("connected", "connected"):
            assert_connected(w)


def test_datagrams_cut_anywhere_never_raise() -> None:
    w = world()
    w.client.start(w.now)
    (hello,) = w.client.datagrams_to_send()
    for length in range(len(hello)):
        server = world().server
        server.receive(hello[:length], w.now)
        assert server.datagrams_to_send() == []


def test_wrong_certificate_of_the_client_fails_on_both_sides() -> None:
    w = world(client=EVE.identity())
    w.run()
    assert w.server.state == "failed"
    assert w.server.failure == "the certificate does not match the signalled fingerprint"
    assert w.client.state == "failed"
    assert (w.client.keys, w.server.keys) == (None, None)


def test_wrong_certificate_of_the_server_fails_on_both_sides() -> None:
    w = world(server=EVE.identity())
    w.run()
    assert w.client.state == "failed"
    assert w.client.failure == "the certificate does not match the signalled fingerprint"
    assert w.server.state == "failed"
    assert (w.client.keys, w.server.keys) == (None, None)


def test_failed_association_stays_failed() -> None:
    w = world(client=EVE.identity())
    w.run()
    good = world()
    good.client.start(good.now)
    for datagram in good.client.datagrams_to_send():
        w.server.receive(datagram, w.now)
    assert w.server.state == "failed"
    assert w.server.timer() is None


@pytest.mark.parametrize("name, hash_name", [("SHA-256", "sha256"), ("sha-384", "sha384"), ("Sha-512", "sha512")])
def test_any_strong_hash_in_any_case_is_taken(name: str, hash_name: str) -> None:
    w = world()
    w.server = Dtls(SERVER, server=True, fingerprints=[("sha-256", bytes(32)), (name, ALICE.digest(hash_name))])
    w.run()
    assert_connected(w)


@pytest.mark.parametrize(
    "fingerprints",
    [
        pytest.param([], id="none"),
        pytest.param([("sha-1", ALICE.digest("sha1"))], id="sha-1"),
        pytest.param([("md5", ALICE.digest("md5")), ("sha-1", ALICE.digest("sha1"))], id="md5 and sha-1"),
        pytest.param([("sha-256", ALICE.digest()[:16])], id="half a digest"),
    ],
)
def test_weak_hashes_alone_are_refused(fingerprints: list[tuple[str, bytes]]) -> None:
    with pytest.raises(ValueError):
        Dtls(SERVER, server=True, fingerprints=fingerprints)


def test_weak_hash_beside_a_strong_one_proves_nothing() -> None:
    w = world(client=EVE.identity())
    w.server = Dtls(SERVER, server=True, fingerprints=[("sha-1", EVE.digest("sha1")), ("sha-256", ALICE.digest())])
    w.run()
    assert w.server.state == "failed"


def test_key_that_does_not_belong_to_the_certificate_is_refused() -> None:
    with pytest.raises(DtlsError):
        Party(ALICE.certificate, BOB.key).identity()
    with pytest.raises(DtlsError):
        Identity(b"no certificate", b"no key")


# --- the end ---


def test_close_is_heard() -> None:
    w = world()
    w.run()
    w.server.close()
    assert w.server.state == "closed"
    w.collect()
    while w.step():
        pass
    assert w.client.state == "closed"
    w.client.receive(b"\x16" * 100, w.now)
    w.client.close()


def test_closed_association_ignores_everything() -> None:
    w = world()
    w.client.start(w.now)
    (hello,) = w.client.datagrams_to_send()
    w.server.close()
    w.server.receive(hello, w.now)
    assert (w.server.state, w.server.timer(), w.server.datagrams_to_send()) == ("closed", None, [])


def test_forged_close_is_not_believed() -> None:
    w = world()
    w.run()
    w.client.receive(bytes.fromhex("15fefd0000000000000009000201 00"), w.now)
    assert w.client.state == "connected"


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def test_memory_of_half_open_associations_comes_back() -> None:
    client = world().client
    client.start(100)
    (hello,) = client.datagrams_to_send()

    def open_half(count: int) -> list[Dtls]:
        associations = [world().server for _ in range(count)]
        for association in associations:
            association.receive(hello, 100)
            assert association.datagrams_to_send()
        return associations

    for _ in range(3):
        open_half(300)
    gc.collect()
    before = resident_bytes()
    for _ in range(4):
        open_half(300)
    gc.collect()
    assert resident_bytes() - before < 8 << 20, "1200 leaked ones would be more than 24 MiB"


# --- a foreign implementation ---


class ForeignClient:
    """OpenSSL by pyOpenSSL; its memory BIO forgets datagrams, so each record travels alone."""

    def __init__(self, owner: Party, *, large_hello: bool = False, mtu: int = 1200) -> None:
        context = SSL.Context(SSL.DTLS_METHOD)
        context.use_certificate(owner.certificate)
        context.use_privatekey(owner.key)
        context.set_verify(SSL.VERIFY_PEER, lambda *arguments: True)
        context.set_tlsext_use_srtp(b"SRTP_AES128_CM_SHA1_80")
        context.set_options(SSL.OP_NO_QUERY_MTU)
        if large_hello:
            context.set_alpn_protos([b"protocol-%03d" % number for number in range(140)])
        self.ssl = SSL.Connection(context, None)
        self.ssl.set_ciphertext_mtu(mtu)
        self.ssl.set_connect_state()
        self.connected = False

    def go_on(self) -> list[bytes]:
        try:
            self.ssl.do_handshake()
            self.connected = True
        except SSL.WantReadError:
            pass
        try:
            return records(self.ssl.bio_read(65_536))
        except SSL.WantReadError:
            return []


@pytest.mark.parametrize("large_hello", [False, True])
def test_foreign_client_connects(large_hello: bool) -> None:
    client = ForeignClient(ALICE, large_hello=large_hello, mtu=600)
    server = Dtls(SERVER, server=True, fingerprints=ALICE.fingerprints())
    hello = client.go_on()
    if large_hello:
        assert len(hello) > 2
        assert sum(map(len, hello)) > 1500
    outgoing = hello
    for _ in range(10):
        for datagram in outgoing:
            assert len(datagram) <= 600
            server.receive(datagram, 100)
        for datagram in server.datagrams_to_send():
            client.ssl.bio_write(datagram)
        outgoing = client.go_on()
        if client.connected and server.state == "connected":
            break
    assert client.connected
    assert server.state == "connected"
    keys = server.keys
    assert keys is not None
    assert client.ssl.get_selected_srtp_profile() == b"SRTP_AES128_CM_SHA1_80"
    # RFC 5764 section 4.2: client key, server key, client salt, server salt
    block = client.ssl.export_keying_material(LABEL, 60)
    assert (keys.profile, keys.remote_key, keys.local_key) == (CM, block[:16], block[16:32])
    assert (keys.remote_salt, keys.local_salt) == (block[32:46], block[46:])


def test_foreign_client_without_a_certificate_fails() -> None:
    context = SSL.Context(SSL.DTLS_METHOD)
    context.set_tlsext_use_srtp(b"SRTP_AES128_CM_SHA1_80")
    client = ForeignClient(ALICE)
    client.ssl = SSL.Connection(context, None)
    client.ssl.set_ciphertext_mtu(1200)
    client.ssl.set_connect_state()
    server = Dtls(SERVER, server=True, fingerprints=ALICE.fingerprints())
    for _ in range(5):
        for datagram in client.go_on():
            server.receive(datagram, 100)
        if server.state == "failed":
            break
        for datagram in server.datagrams_to_send():
            client.ssl.bio_write(datagram)
    assert server.state == "failed"
    assert server.keys is None
