"""DTLS of a participant: datagrams, keys, timers, and when OpenSSL's state is let go."""

import pytest

from rtc.worker_events import EventKind
from sfu.connection import GRACE_S, SILENT_GRACE_S
from tests.rtc.offers import session
from tests.sfu.fakes import KEYS, OFFER, House


@pytest.fixture
def house() -> House:
    house = House()
    house.join("ann", offer=session("chromium")[0])
    house.join("bob")
    return house


def closed(house: House, index: int) -> bool:
    return house.associations[index].closed


def sent(house: House) -> list[bytes]:
    return [datagram for command in house.worker.named("send_dtls") for datagram in command.args[1]]


def test_association_expects_the_offers_fingerprints(house: House) -> None:
    text = OFFER.split("a=fingerprint:sha-256 ")[1].split("\r\n")[0]
    assert house.associations[1].fingerprints == [("sha-256", bytes.fromhex(text.replace(":", "")))]


def test_handshake_is_answered_and_keys_are_set_once(house: House) -> None:
    house.event(EventKind.DTLS, house.transport(0), b"hello")
    house.event(EventKind.DTLS, house.transport(0), b"finished")
    house.event(EventKind.DTLS, house.transport(0), b"finished")
    assert sent(house) == [b"re:hello", b"re:finished", b"re:finished"]
    assert house.worker.keys == {house.transport(0): tuple(KEYS)}
    assert len(house.worker.named("set_keys")) == 1


def test_lost_flight_is_repeated_by_the_clock(house: House) -> None:
    assert house.node.timer() is None
    house.event(EventKind.DTLS, house.transport(0), b"hello")
    assert house.node.timer() == pytest.approx(house.now + 0.2)
    house.node.handle_timers(house.now + 0.1)
    assert house.associations[0].timers == 0
    house.now += 0.2
    house.node.handle_timers(house.now)
    assert sent(house)[-1] == b"again"
    assert house.node.timer() == pytest.approx(house.now + 0.4)
    house.event(EventKind.DTLS, house.transport(0), b"finished")
    assert house.node.timer() is None


def test_leaving_in_the_middle_of_a_handshake_stops_its_timer(house: House) -> None:
    house.event(EventKind.DTLS, house.transport(0), b"hello")
    (ann, _) = house.room().participants_for(house.join("cid").participant_id)
    house.room().leave(ann.id, "left", house.now)
    assert house.node.timer() is None
    assert closed(house, 0)
    assert sent(house)[-1] == b"close_notify"


def test_association_is_let_go_after_media_was_heard_and_without_goodbye(house: House) -> None:
    house.connect(0)
    house.pass_time(5)
    house.event(EventKind.TRACK_STARTED, house.track_of(0, "0"))
    house.pass_time(GRACE_S - 0.5)
    assert not closed(house, 0)
    house.event(EventKind.DTLS, house.transport(0), b"finished")
    assert sent(house)[-1] == b"re:finished", "a repeated last flight is still answered"
    house.pass_time(1)
    assert closed(house, 0)
    assert b"close_notify" not in sent(house)
    house.event(EventKind.DTLS, house.transport(0), b"late")
    assert b"re:late" not in sent(house)


def test_later_media_does_not_put_off_the_release(house: House) -> None:
    house.connect(0)
    house.event(EventKind.TRACK_STARTED, house.track_of(0, "0"))
    for _ in range(12):
        house.event(EventKind.STATS, house.transport(0), 10_000, 64_000, 0, 0, 0, 0, 0)
        house.pass_time(1)
    assert closed(house, 0)


def test_association_of_who_only_listens_is_let_go_later(house: House) -> None:
    house.connect(1)
    house.pass_time(SILENT_GRACE_S - 1)
    assert not closed(house, 1)
    house.pass_time(2)
    assert closed(house, 1)


def test_unfinished_handshake_is_kept(house: House) -> None:
    house.event(EventKind.DTLS, house.transport(0), b"hello")
    house.pass_time(2 * SILENT_GRACE_S)
    assert not closed(house, 0)


def test_ice_restart_while_dtls_is_half_done_keeps_the_handshake(house: House) -> None:
    """Trap of REALTIME.md 3.4: the association belongs to the transport, not to the ICE generation."""
    house.event(EventKind.DTLS, house.transport(0), b"hello")
    (ann, _) = house.room().participants_for(house.join("cid").participant_id)
    offer = session("chromium")[0].replace("a=ice-ufrag:", "a=ice-ufrag:new").replace("a=ice-pwd:", "a=ice-pwd:new")
    house.room().offer(ann.id, offer, [], house.now)
    assert len(house.worker.named("restart_ice")) == 1
    assert len(house.associations) == 3
    house.event(EventKind.DTLS, house.transport(0), b"finished")
    assert house.transport(0) in house.worker.keys


def test_slot_ssrcs_are_never_given_out_twice_in_a_transport(house: House) -> None:
    """GCM must not see an SSRC start twice under one key."""
    seen: list[int] = [command.options["ssrc"] for command in house.worker.named("add_leg")]
    seen += [command.options["rtx_ssrc"] for command in house.worker.named("add_leg") if command.options["rtx_ssrc"]]
    assert len(set(seen)) == len(seen)
