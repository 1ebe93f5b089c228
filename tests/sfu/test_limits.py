"""What one person, or one more, may cost: tracks of a participant, people of a worker, a join that fails half-way."""

import string
from contextlib import closing
from typing import Any

import pytest

import sfu.room
from rtc._worker import Worker
from rtc.sdp import parse
from rtc.sdp_types import SdpError
from sfu.media import MAX_TRANSPORTS
from sfu.protocol import MAX_TRACKS, RoomError
from tests.sfu.fakes import ALL_RIGHTS, AUDIO_OFFER, House


def offer(directions: list[str]) -> str:
    """Video lines of these directions."""
    mids = [str(mid) for mid in range(len(directions))]
    text = "v=0\no=- 1 1 IN IP4 0.0.0.0\ns=-\nt=0 0\n"
    text += f"a=ice-ufrag:abcd\na=ice-pwd:{'a' * 22}\na=setup:actpass\n"
    text += f"a=fingerprint:sha-256 {':'.join(['AA'] * 32)}\na=group:BUNDLE {' '.join(mids)}\n"
    for mid, direction in zip(mids, directions, strict=True):
        text += f"m=video 9 UDP/TLS/RTP/SAVPF 96\na=mid:{mid}\na=rtcp-mux\na={direction}\na=rtpmap:96 VP8/90000\n"
    return text


def test_more_tracks_than_may_be_declared_are_not_published() -> None:
    house = House()
    with pytest.raises(RoomError) as refused:
        house.join("amina", offer=offer(["sendonly"] * (MAX_TRACKS + 1)), tracks=[])
    assert refused.value.code == "bad_sdp"
    assert (house.node.participants, house.worker.transports) == (0, {})
    house.join("amina", offer=offer(["sendonly"] * MAX_TRACKS), tracks=[])
    assert len(house.worker.tracks) == MAX_TRACKS


def test_lines_that_rest_count_until_they_are_stopped() -> None:
    """The worker goes on keeping what it knows of them, for they may send again."""
    house = House()
    amina = house.join("amina", offer=offer(["sendonly"] * MAX_TRACKS), tracks=[]).participant_id
    resting = ["inactive"] * MAX_TRACKS
    house.room().offer(amina, offer(resting), [], house.now)
    with pytest.raises(RoomError, match="not stopped"):
        house.room().offer(amina, offer([*resting, "sendonly"]), [], house.now)
    assert len(house.worker.tracks) == MAX_TRACKS
    stopped = (
        offer([*resting, "sendonly"]).replace("m=video 9", "m=video 0", MAX_TRACKS).replace("BUNDLE 0 ", "BUNDLE ")
    )
    stopped = stopped.replace("a=group:BUNDLE " + " ".join(str(mid) for mid in range(1, MAX_TRACKS)), "a=group:BUNDLE")
    house.room().offer(amina, stopped, [], house.now)
    assert len(house.worker.tracks) == 1


def _fail_once(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    make, failed = house._associate, list[bool]()

    def associate(fingerprints: Any) -> Any:
        if not failed:
            failed.append(True)
            raise MemoryError  # OpenSSL may have none
        return make(fingerprints)

    object.__setattr__(house.node._needs, "associate", associate)


def test_a_join_that_fails_inside_leaves_nobody_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """`server_error` says that nothing was changed."""
    house = House()
    _fail_once(house, monkeypatch)
    with pytest.raises(MemoryError):
        house.join("amina", offer=AUDIO_OFFER, tracks=[])
    assert (house.node.participants, house.node.rooms, house.worker.transports) == (0, [], {})
    house.join("amina", offer=AUDIO_OFFER, tracks=[])
    assert house.node.participants == 1


def test_a_join_that_fails_behind_its_transport_leaves_none(monkeypatch: pytest.MonkeyPatch) -> None:
    house = House()

    def refuse(*what: Any) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(house.worker, "set_remote", refuse)
        with pytest.raises(MemoryError):
            house.join("amina", offer=AUDIO_OFFER, tracks=[])
    assert (house.node.participants, house.node.rooms, house.worker.transports) == (0, [], {})
    house.join("amina", offer=AUDIO_OFFER, tracks=[])
    assert len(house.worker.transports) == 1


@pytest.mark.parametrize("what", ["ice-ufrag:abcd", f"ice-pwd:{'a' * 22}"])
def test_the_worker_takes_the_credentials_that_offers_may_have(what: str) -> None:
    """Were an offer let in with what the worker then refuses, there would be a transport that nobody removes."""
    taken = ""
    with closing(Worker(threaded=False)) as worker:
        for letter in map(chr, range(32, 127)):
            try:
                (theirs,) = parse(offer(["sendonly"]).replace(f"a={what}", f"a={what}{letter}")).media
            except SdpError:
                continue
            worker.set_remote(1, theirs.ufrag, theirs.password)
            taken += letter
    assert set(taken) >= set(string.ascii_letters + string.digits + "+/")  # RFC 8839 section 5.4


def test_a_join_anew_that_fails_inside_leaves_the_former_self_in_the_room(monkeypatch: pytest.MonkeyPatch) -> None:
    house = House()
    first = house.join("amina", offer=AUDIO_OFFER, tracks=[])
    _fail_once(house, monkeypatch)
    with pytest.raises(MemoryError):
        house.join("amina", offer=AUDIO_OFFER, tracks=[])
    assert house.mail(first.participant_id, "bye") == []
    assert (house.node.participants, len(house.worker.transports)) == (1, 1)


def test_who_no_longer_fits_into_the_worker_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """And not let in without media."""
    monkeypatch.setattr(sfu.room, "MAX_TRANSPORTS", 3)
    house = House()
    for number in range(3):
        house.join(f"u{number}", room=f"r{number}", offer=AUDIO_OFFER, tracks=[])
    with pytest.raises(RoomError) as refused:
        house.join("one more", room="r3", offer=AUDIO_OFFER, tracks=[])
    assert refused.value.code == "room_full"
    house.join("u0", room="r0", offer=AUDIO_OFFER, tracks=[])  # anew
    assert len(house.worker.transports) == 3
    assert len(house.node.rooms) == 3


def test_places_of_a_worker_can_be_left_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sfu.room, "MAX_TRANSPORTS", 3)
    house = House()

    def join(name: str, room: str, spare: int) -> None:
        house.room(room).join(name, name, "guest", ALL_RIGHTS, AUDIO_OFFER, [], house.now, spare=spare)

    join("u0", "r0", 1)
    join("u1", "r1", 1)
    for name in ("u2", "u3"):
        with pytest.raises(RoomError) as refused:
            join(name, "r2", 1)
        assert refused.value.code == "room_full"
    assert len(house.node.rooms) == 2
    join("visitor", "visit", 0)


def test_the_worker_takes_as_many_as_rooms_let_in_and_some_that_come_anew() -> None:
    with closing(Worker(threaded=False)) as worker:
        for transport in range(1, MAX_TRANSPORTS + 50):
            worker.add_transport(transport, f"user{transport}", "p" * 22)
        assert worker.counters()["commands_refused"] == 0
