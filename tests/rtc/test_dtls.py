"""DTLS-SRTP associations in fake time: the handshake, hostile input, the end."""

import gc
import random
from pathlib import Path

import pytest

from rtc._dtls import Dtls, DtlsError, Identity
from tests.rtc.dtls_world import (
    ALICE,
    BOB,
    CLIENT,
    CM,
    EVE,
    GCM,
    ONE_WAY_S,
    SERVER,
    SMALL,
    Party,
    assert_connected,
    losing,
    world,
)
from tests.support.heap import allocated_bytes

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


def test_server_says_goodbye_once_and_only_when_asked() -> None:
    w = world()
    w.run()
    w.server.receive(bytes.fromhex("17fefd00010000000000050001ff"), w.now)
    assert w.server.datagrams_to_send() == []
    w.server.close()
    (goodbye,) = w.server.datagrams_to_send()
    assert goodbye[:5] == bytes.fromhex("15fefd0001")  # an alert under the keys of the handshake
    w.server.close()
    assert w.server.datagrams_to_send() == []


def test_finished_server_takes_no_notice_of_a_goodbye() -> None:
    """Who is gone is told by consent (RFC 7675); OpenSSL's state, which could read it, has been let go."""
    w = world()
    w.run()
    w.client.close()
    w.collect()
    while w.step():
        pass
    assert w.server.state == "connected"


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


def test_finished_servers_are_small() -> None:
    count = 50
    servers = []
    world().run()
    gc.collect()
    before = allocated_bytes()
    for _ in range(count):
        w = world()
        w.run()
        servers.append(w.server)
    del w
    gc.collect()
    assert (allocated_bytes() - before) // count < 10 << 10, "OpenSSL alone would be 75 KiB"


def fragment(number: int, sequence: int, total: int, offset: int) -> bytes:
    """A record with one octet of a handshake message of `total` octets."""
    kind = 1 if sequence == 0 else 11  # ClientHello, Certificate
    header = bytes([kind]) + total.to_bytes(3, "big") + sequence.to_bytes(2, "big") + offset.to_bytes(3, "big")
    body = header + (1).to_bytes(3, "big") + b"x"
    return b"\x16\xfe\xfd\0\0" + number.to_bytes(6, "big") + len(body).to_bytes(2, "big") + body


@pytest.mark.parametrize("total", [1000, 16_000, 20_000, 100_000, 0xFFFFFF])
def test_fragments_of_long_messages_cost_little_memory(total: int) -> None:
    """OpenSSL keeps ten messages that came too early, each with room for its whole announced length."""
    count = 40
    servers = [world().server for _ in range(count)]
    before = resident_bytes()
    for server in servers:
        places = ((sequence, at) for sequence in range(12) for at in range(1, min(total, 100_000) - 1, 1000))
        for number, (sequence, at) in enumerate(places):
            server.receive(fragment(number, sequence, total, at), 100)
            assert server.datagrams_to_send() == [] or server.state == "failed"
    assert (resident_bytes() - before) // count < 384 << 10
    assert {server.state for server in servers} == {"handshaking" if total < 17_000 else "failed"}
