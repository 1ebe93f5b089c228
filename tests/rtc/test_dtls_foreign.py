"""DTLS-SRTP with a peer that is not ours: pyOpenSSL, as aiortc uses it, at either end."""

import pytest
from OpenSSL import SSL

from rtc._dtls import Dtls
from tests.rtc.dtls_world import ALICE, BOB, CLIENT, CM, GCM, LABEL, SERVER, Party, records

PROFILES = {CM: b"SRTP_AES128_CM_SHA1_80", GCM: b"SRTP_AEAD_AES_128_GCM"}
BOTH = PROFILES[CM] + b":" + PROFILES[GCM]
SALTS = {CM: 14, GCM: 12}


class Foreign:
    """OpenSSL by pyOpenSSL. Its memory BIO forgets where datagrams end, so each record travels alone."""

    def __init__(
        self,
        owner: Party | None,
        *,
        server: bool = False,
        profiles: bytes = BOTH,
        large_hello: bool = False,
        mtu: int = 1200,
    ) -> None:
        context = SSL.Context(SSL.DTLS_METHOD)
        if owner:
            context.use_certificate(owner.certificate)
            context.use_privatekey(owner.key)
        context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, lambda *arguments: True)
        context.set_tlsext_use_srtp(profiles)
        context.set_options(SSL.OP_NO_QUERY_MTU)
        if large_hello:
            context.set_alpn_protos([b"protocol-%03d" % number for number in range(140)])
        self.ssl = SSL.Connection(context, None)
        self.ssl.set_ciphertext_mtu(mtu)
        if server:
            self.ssl.set_accept_state()
        else:
            self.ssl.set_connect_state()
        self.connected = False

    def go_on(self) -> list[bytes]:
        """What it sends now."""
        try:
            self.ssl.do_handshake()
            self.connected = True
        except SSL.WantReadError:
            pass
        try:
            return records(self.ssl.bio_read(65_536))
        except SSL.WantReadError:
            return []


def converse(foreign: Foreign, ours: Dtls) -> list[bytes]:
    """Datagrams both ways until nobody says anything; returns ours."""
    sent: list[bytes] = []
    while True:
        said = foreign.go_on()
        for datagram in said:
            ours.receive(datagram, 100)
        answers = ours.datagrams_to_send()
        for datagram in answers:
            foreign.ssl.bio_write(datagram)
        sent += answers
        if not said and not answers:
            return sent


def assert_same_keys(foreign: Foreign, ours: Dtls, profile: int, *, we_serve: bool) -> None:
    """RFC 5764 section 4.2: client key, server key, client salt, server salt."""
    assert foreign.connected
    assert ours.state == "connected", ours.failure
    assert foreign.ssl.get_selected_srtp_profile() == PROFILES[profile]
    salt = SALTS[profile]
    block = foreign.ssl.export_keying_material(LABEL, 32 + 2 * salt)
    client = (block[:16], block[32 : 32 + salt])
    server = (block[16:32], block[32 + salt :])
    keys = ours.keys
    assert keys is not None
    local, remote = (server, client) if we_serve else (client, server)
    assert keys.profile == profile
    assert (keys.local_key, keys.local_salt) == local
    assert (keys.remote_key, keys.remote_salt) == remote


@pytest.mark.parametrize("profiles, chosen", [(PROFILES[CM], CM), (PROFILES[GCM], GCM), (BOTH, GCM)])
def test_foreign_client_gets_our_preferred_profile(profiles: bytes, chosen: int) -> None:
    client = Foreign(ALICE, profiles=profiles)
    server = Dtls(SERVER, server=True, fingerprints=ALICE.fingerprints())
    converse(client, server)
    assert_same_keys(client, server, chosen, we_serve=True)


@pytest.mark.parametrize("profiles, chosen", [(PROFILES[CM], CM), (PROFILES[GCM], GCM), (BOTH, CM)])
def test_foreign_server_gets_its_preferred_profile(profiles: bytes, chosen: int) -> None:
    server = Foreign(BOB, server=True, profiles=profiles)
    client = Dtls(CLIENT, server=False, fingerprints=BOB.fingerprints())
    client.start(100)
    converse(server, client)
    assert_same_keys(server, client, chosen, we_serve=False)


def test_foreign_client_hello_of_several_datagrams_is_put_together() -> None:
    client = Foreign(ALICE, large_hello=True, mtu=600)
    server = Dtls(SERVER, server=True, fingerprints=ALICE.fingerprints())
    hello = client.go_on()
    assert len(hello) > 2
    assert sum(map(len, hello)) > 1500
    assert max(map(len, hello)) <= 600
    for datagram in hello[:-1]:
        server.receive(datagram, 100)
        assert server.datagrams_to_send() == []
    server.receive(hello[-1], 100)
    for datagram in server.datagrams_to_send():
        client.ssl.bio_write(datagram)
    converse(client, server)
    assert_same_keys(client, server, GCM, we_serve=True)


@pytest.mark.parametrize("we_serve", [True, False])
def test_small_datagrams_are_understood(we_serve: bool) -> None:
    foreign = Foreign(ALICE if we_serve else BOB, server=not we_serve, mtu=300)
    fingerprints = (ALICE if we_serve else BOB).fingerprints()
    ours = Dtls(SERVER if we_serve else CLIENT, server=we_serve, fingerprints=fingerprints, mtu=300)
    if not we_serve:
        ours.start(100)
    sent = converse(foreign, ours)
    assert len(sent) > 2
    assert max(map(len, sent)) <= 300
    assert_same_keys(foreign, ours, GCM if we_serve else CM, we_serve=we_serve)


def test_repeated_flights_are_understood() -> None:
    """Our repetitions under fresh record numbers are a flight like the first one to somebody else's reading."""
    client = Foreign(ALICE)
    server = Dtls(SERVER, server=True, fingerprints=ALICE.fingerprints())
    for datagram in client.go_on():
        server.receive(datagram, 100)
    assert server.datagrams_to_send()  # lost
    for _ in range(3):
        due = server.timer()
        assert due is not None
        server.handle_timer(due)
        flight = server.datagrams_to_send()
        assert flight
    for datagram in flight:
        client.ssl.bio_write(datagram)
    converse(client, server)
    assert_same_keys(client, server, GCM, we_serve=True)


def test_foreign_client_without_a_certificate_fails() -> None:
    client = Foreign(None)
    server = Dtls(SERVER, server=True, fingerprints=ALICE.fingerprints())
    with pytest.raises(SSL.Error):
        converse(client, server)
    assert server.state == "failed"
    assert server.keys is None
