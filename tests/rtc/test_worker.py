"""A worker driven by hand: what its class accepts, and that time, datagrams and events are the caller's."""

import ast
import os
import socket
from pathlib import Path
from typing import Any

import pytest
from aioice import stun

from rtc import _worker
from rtc._worker import (
    EVENT_CONSENT_LOST,
    EVENT_DTLS,
    EVENT_HEARD,
    EVENT_QUIET,
    EVENT_SELECTED,
    EVENT_STREAM_CLOSED,
    STREAM_ICE,
    VIDEO,
    Worker,
)
from tests.rtc.by_hand import PEER, SECOND, VP8, codec, connected, line, readable
from tests.rtc.checks import PASSWORD, UFRAG, answer, check
from tests.support.heap import allocated_bytes

CLIENT_HELLO = bytes([22]) + bytes(12) + bytes([1]) + bytes(86)


def without(key: str) -> dict[str, Any]:
    return {name: value for name, value in VP8.items() if name != key}


def test_the_stub_and_the_module_name_the_same_things() -> None:
    tree = ast.parse(Path("rtc/_worker.pyi").read_text())
    names = {
        node.target.id for node in tree.body if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }
    assert names <= set(vars(_worker))
    (stub,) = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Worker")
    methods = {node.name for node in stub.body if isinstance(node, ast.FunctionDef)} - {"__init__"}
    assert methods == {name for name in vars(Worker) if not name.startswith("_")}
    for node in tree.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.value, ast.Constant):
            assert getattr(_worker, ast.unparse(node.target)) == node.value.value


def test_a_valid_check_is_answered_and_selects_the_address(worker: Worker) -> None:
    worker.add_transport(1, UFRAG, PASSWORD)
    worker.receive(check(5), PEER, 1)
    ((datagram, to),) = worker.take_datagrams()
    assert to == PEER
    message = answer(datagram)
    assert message.message_class is stun.Class.RESPONSE
    assert message.transaction_id == (5).to_bytes(12, "big")
    assert message.attributes["XOR-MAPPED-ADDRESS"] == PEER
    assert worker.take_events() == [(EVENT_SELECTED, 1, *PEER)]
    assert worker.take_datagrams() == []


def test_a_check_with_the_wrong_password_gets_no_byte_back(worker: Worker) -> None:
    worker.add_transport(1, UFRAG, PASSWORD)
    worker.receive(check(password="another+password+of+good+length"), PEER, 1)
    assert worker.take_datagrams() == []
    assert worker.take_events() == []
    assert worker.counters()["drop_stun_integrity"] == 1


def test_a_mapped_ipv4_address_is_an_ipv4_address(worker: Worker) -> None:
    worker.add_transport(1, UFRAG, PASSWORD)
    worker.receive(check(), (f"::ffff:{PEER[0]}", PEER[1]), 1)
    assert worker.take_events() == [(EVENT_SELECTED, 1, *PEER)]


def test_handshake_datagrams_pass_both_ways_in_order(worker: Worker) -> None:
    connected(worker)
    worker.receive(CLIENT_HELLO, PEER, 2)
    assert worker.take_events() == [(EVENT_DTLS, 1, CLIENT_HELLO)]
    flight = [bytes([22, number]) for number in range(5)]
    worker.send_dtls(1, flight)
    assert worker.take_datagrams() == [(datagram, PEER) for datagram in flight]


@pytest.mark.parametrize("early", [False, True])
def test_a_handshake_is_answered_where_it_came_from_until_a_pair_is_nominated(worker: Worker, early: bool) -> None:
    """Chromium begins it once a path has answered, and nominates afterwards. Its other addresses may not hear us."""
    deaf, hears = PEER, ("192.0.2.8", 40_001)
    worker.add_transport(1, UFRAG, PASSWORD)
    worker.receive(check(1, nominate=False), deaf, 1)
    for datagram in (CLIENT_HELLO, check(2, nominate=False)) if early else (check(2, nominate=False), CLIENT_HELLO):
        worker.receive(datagram, hears, 2)
    worker.receive(check(3, nominate=False), deaf, 3)
    assert worker.take_events() == [(EVENT_DTLS, 1, CLIENT_HELLO)]
    worker.take_datagrams()
    worker.send_dtls(1, [b"hello"])
    assert worker.take_datagrams() == [(b"hello", hears)]
    worker.receive(check(4), deaf, 4)
    worker.take_datagrams()
    worker.send_dtls(1, [b"hello"])
    assert worker.take_datagrams() == [(b"hello", deaf)]


def test_silence_is_told_and_ends_consent_in_fake_time(worker: Worker) -> None:
    connected(worker)
    told: dict[int, float] = {}
    now_ns = 1
    while now_ns < 40 * SECOND:
        wanted_ns = worker.advance(now_ns)
        for event in worker.take_events():
            told.setdefault(event[0], now_ns / SECOND)
        now_ns = max(now_ns + 1, min(wanted_ns, now_ns + SECOND))
    assert told[EVENT_QUIET] == pytest.approx(6, abs=0.1)
    assert 30 <= told[EVENT_CONSENT_LOST] <= 31.1


@pytest.mark.parametrize("silent", [False, True])
def test_the_end_of_a_stream_does_not_bring_back_who_has_fallen_silent(worker: Worker, silent: bool) -> None:
    """Their other address is sent to from then on. To tell of it would show them to the others as connected again."""
    worker.add_transport(1, UFRAG, PASSWORD)
    worker.receive(check(1, nominate=False), PEER, 1)
    theirs, ours = socket.socketpair()
    remote = ("192.0.2.8", 40_001)
    with ours:
        worker.adopt_stream(5, theirs.detach(), STREAM_ICE, remote, ("203.0.113.1", 443))
        nomination = check(2)
        ours.sendall(len(nomination).to_bytes(2, "big") + nomination)
        worker.advance(2)
        assert worker.take_events() == [(EVENT_SELECTED, 1, *remote)]
        worker.advance(7 * SECOND if silent else SECOND)
        assert worker.take_events() == ([(EVENT_QUIET, 1)] if silent else [])
    worker.advance(8 * SECOND if silent else 2 * SECOND)
    moved = [] if silent else [(EVENT_SELECTED, 1, *PEER)]
    assert worker.take_events() == [*moved, (EVENT_STREAM_CLOSED, 5)]
    worker.take_datagrams()
    worker.send_dtls(1, [b"to whom?"])
    assert worker.take_datagrams() == [(b"to whom?", PEER)]
    worker.receive(check(3), PEER, 9 * SECOND)
    assert worker.take_events() == ([(EVENT_HEARD, 1)] if silent else [])


def test_the_descriptor_is_readable_while_events_wait(worker: Worker) -> None:
    worker.add_transport(1, UFRAG, PASSWORD)
    assert not readable(worker)
    worker.receive(check(), PEER, 1)
    assert readable(worker)
    assert worker.take_events()
    assert not readable(worker)
    worker.receive(CLIENT_HELLO, PEER, 2)
    assert readable(worker)


def test_events_nobody_takes_are_lost_and_counted_and_later_ones_are_heard(worker: Worker) -> None:
    connected(worker)
    now_ns, sent = 1, 0
    hello = bytes([22]) + os.urandom(1300)
    while not worker.counters()["drop_event_ring_full"]:
        now_ns += SECOND // 50
        worker.receive(check(), PEER, now_ns)  # consent goes on
        worker.receive(hello, PEER, now_ns)
        sent += 1
        assert sent < 2000
    events = [event for event in worker.take_events() if event[0] == EVENT_DTLS]
    assert events == [(EVENT_DTLS, 1, hello)] * (sent - 1)
    for _ in range(sent):  # again around the ring
        now_ns += SECOND // 50
        worker.receive(hello, PEER, now_ns)
        assert worker.take_events() == [(EVENT_DTLS, 1, hello)]
    assert worker.counters()["drop_event_ring_full"] == 1


def test_what_is_said_again_leaves_room_for_what_is_said_once(worker: Worker) -> None:
    """Handshakes and levels come again. That somebody is there, or gone, is told once: it must not be lost to them."""
    connected(worker)
    now_ns, sent = 1, 0
    while not worker.counters()["drop_event_ring_full"]:
        now_ns += SECOND // 50
        worker.receive(check(), PEER, now_ns)
        worker.receive(CLIENT_HELLO, PEER, now_ns)
        sent += 1
        assert sent < 10_000
    others = [(number, "192.0.2.9", 40_000 + number) for number in range(2, 100)]
    for number, *address in others:
        worker.add_transport(number, f"{UFRAG}{number}", PASSWORD)
        worker.receive(check(ufrag=f"{UFRAG}{number}"), (address[0], address[1]), now_ns)
    events = worker.take_events()
    assert [event[1:] for event in events if event[0] == EVENT_SELECTED] == others
    assert len(events) == len(others) + sent - 1


def test_a_command_for_an_unknown_id_is_dropped_and_counted(worker: Worker) -> None:
    worker.remove_transport(1)
    worker.add_track(1, 1, **line())
    worker.add_leg(1, 1, **line())
    worker.set_source(1, 0)
    assert worker.counters()["commands_refused"] == 4
    worker.add_transport(1, UFRAG, PASSWORD)
    worker.add_track(1, 1, **line())
    worker.add_leg(1, 1, **line(ssrc=2))
    worker.set_source(1, 1)
    worker.set_source(1, 0)
    worker.remove_leg(1)
    worker.remove_track(1)
    worker.remove_transport(1)
    assert worker.counters()["commands_refused"] == 4


@pytest.mark.parametrize(("profile", "salt"), [(7, 12), (1, 14)])
def test_keys_of_both_profiles_are_taken(worker: Worker, profile: int, salt: int) -> None:
    worker.add_transport(1, UFRAG, PASSWORD)
    worker.set_keys(1, profile, bytes(16), bytes(salt), bytes(16), bytes(salt))
    assert worker.counters()["commands_refused"] == 0


def test_time_does_not_go_back(worker: Worker) -> None:
    worker.advance(10)
    with pytest.raises(ValueError, match="back"):
        worker.advance(9)
    with pytest.raises(ValueError, match="back"):
        worker.receive(b"", PEER, 9)
    worker.receive(b"", PEER, 10)


@pytest.mark.parametrize(
    ("error", "arguments"),
    [
        (ValueError, {"address": "localhost"}),
        (ValueError, {"address": ""}),
        (ValueError, {"port": 65_536}),
        (ValueError, {"port": -1}),
        (ValueError, {"cpu": -2}),
        (ValueError, {"max_transports": 0}),
        (OverflowError, {"seed": -1}),
        (OverflowError, {"seed": 2**64}),
        (TypeError, {"unknown": 1}),
        (TypeError, {"port": "5000"}),
    ],
)
def test_a_worker_is_not_made_of_bad_arguments(error: type[Exception], arguments: dict[str, Any]) -> None:
    with pytest.raises(error):
        Worker(**arguments)


@pytest.mark.parametrize(
    ("error", "method", "arguments"),
    [
        (ValueError, "add_transport", (0, UFRAG, PASSWORD)),
        (OverflowError, "add_transport", (-1, UFRAG, PASSWORD)),
        (OverflowError, "add_transport", (2**32, UFRAG, PASSWORD)),
        (TypeError, "add_transport", ("1", UFRAG, PASSWORD)),
        (ValueError, "add_transport", (1, "abc", PASSWORD)),
        (ValueError, "add_transport", (1, "a" * 33, PASSWORD)),
        (ValueError, "add_transport", (1, "ab:cd", PASSWORD)),
        (ValueError, "add_transport", (1, "ab\0cd", PASSWORD)),
        (ValueError, "add_transport", (1, "äöüß", PASSWORD)),
        (ValueError, "add_transport", (1, UFRAG, "p" * 21)),
        (ValueError, "restart_ice", (1, UFRAG, "p" * 65)),
        (TypeError, "restart_ice", (1, UFRAG.encode(), PASSWORD)),
        (ValueError, "set_keys", (1, 2, bytes(16), bytes(14), bytes(16), bytes(14))),
        (ValueError, "set_keys", (1, 2**16 + 7, bytes(16), bytes(12), bytes(16), bytes(12))),
        (ValueError, "set_keys", (1, 7, bytes(16), bytes(14), bytes(16), bytes(12))),
        (ValueError, "set_keys", (1, 7, bytes(16), bytes(12), bytes(15), bytes(12))),
        (ValueError, "set_keys", (1, 1, bytes(16), bytes(14), bytes(16), bytes(12))),
        (TypeError, "set_keys", (1, 7, "k" * 16, bytes(12), bytes(16), bytes(12))),
        (TypeError, "send_dtls", (1, b"one datagram, not a list of them")),
        (TypeError, "send_dtls", (1, [b"ok", "text"])),
        (TypeError, "send_dtls", (1, 5)),
        (ValueError, "send_dtls", (1, [b""])),
        (ValueError, "send_dtls", (1, [bytes(1501)])),
        (ValueError, "remove_transport", (0,)),
        (ValueError, "set_source", (0, 1)),
        (OverflowError, "set_source", (1, 2**32)),
        (ValueError, "receive", (b"", ("example.org", 1), 0)),
        (ValueError, "receive", (b"", ("192.0.2.1", 65_536), 0)),
        (ValueError, "receive", (bytes(65_536), PEER, 0)),
        (TypeError, "receive", (bytearray(1), PEER, 0)),
        (OverflowError, "advance", (-1,)),
        (OverflowError, "advance", (2**63,)),
    ],
)
def test_bad_arguments_are_refused_before_anything_happens(
    worker: Worker, error: type[Exception], method: str, arguments: tuple[Any, ...]
) -> None:
    with pytest.raises(error):
        getattr(worker, method)(*arguments)
    assert not any(worker.counters().values())


@pytest.mark.parametrize(
    ("error", "changes"),
    [
        (ValueError, {"kind": 3}),
        (ValueError, {"mid": "m" * 17}),
        (ValueError, {"mid": "ä" * 9}),
        (ValueError, {"mid": "a\0b"}),
        (TypeError, {"mid": b"v"}),
        (ValueError, {"codecs": []}),
        (ValueError, {"codecs": [VP8] * 17}),
        (TypeError, {"codecs": VP8}),
        (TypeError, {"codecs": 5}),
        (ValueError, {"codecs": [codec(codec=0)]}),
        (ValueError, {"codecs": [codec(codec=6)]}),
        (ValueError, {"codecs": [codec(variant=256)]}),
        (ValueError, {"codecs": [codec(payload_type=128)]}),
        (ValueError, {"codecs": [codec(payload_type=-1)]}),
        (ValueError, {"codecs": [codec(rtx_payload_type=2**70)]}),
        (ValueError, {"codecs": [codec(clock_rate=0)]}),
        (TypeError, {"codecs": [codec(clock_rate=8e3)]}),
        (TypeError, {"codecs": [codec(nack=1)]}),
        (ValueError, {"codecs": [codec(fec=True)]}),
        (ValueError, {"codecs": [without("pli")]}),
        (ValueError, {"codecs": [without("clock_rate")]}),
        (TypeError, {"extensions": [4]}),
        (ValueError, {"extensions": {"mid": 256}}),
        (ValueError, {"extensions": {"mid": -1}}),
        (ValueError, {"extensions": {"midd": 4}}),
        (OverflowError, {"ssrc": 2**32}),
        (OverflowError, {"rtx_ssrc": -1}),
    ],
)
@pytest.mark.parametrize("method", ["add_track", "add_leg"])
def test_a_bad_media_line_is_refused(
    worker: Worker, method: str, error: type[Exception], changes: dict[str, Any]
) -> None:
    with pytest.raises(error):
        getattr(worker, method)(1, 1, **line(**changes))
    assert worker.counters()["commands_refused"] == 0


def test_a_leg_needs_an_ssrc_and_a_line_all_its_keywords(worker: Worker) -> None:
    with pytest.raises(ValueError, match="ssrc"):
        worker.add_leg(1, 1, **line(ssrc=0))
    with pytest.raises(TypeError):
        worker.add_leg(1, 1, kind=VIDEO)  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        worker.add_track(1, 1, VIDEO, "v", [VP8], {})  # type: ignore[call-arg]


def test_a_closed_worker_does_nothing_more(worker: Worker) -> None:
    worker.close()
    worker.close()
    for method in (worker.fileno, worker.take_events, worker.counters, worker.take_datagrams):
        with pytest.raises(RuntimeError, match="closed"):
            method()
    with pytest.raises(RuntimeError, match="closed"):
        worker.add_transport(1, UFRAG, PASSWORD)
    with pytest.raises(RuntimeError, match="closed"):
        worker.send_dtls(1, [])
    with pytest.raises(RuntimeError, match="closed"):
        worker.advance(1)
    with pytest.raises(RuntimeError, match="closed"):
        _ = worker.port


def test_the_class_is_final() -> None:
    with pytest.raises(TypeError):
        type("Sub", (Worker,), {})


def test_what_is_announced_and_never_sent_costs_little(worker: Worker) -> None:
    """Most m-lines of a browser never carry anything; a video track's cache alone is 750 KiB."""
    before, count = allocated_bytes(), 100
    for person in range(count):
        worker.add_transport(1 + person, f"{UFRAG}{person:03}", PASSWORD)
        for track in range(2):
            worker.add_track(1 + 2 * person + track, 1 + person, **line(extensions={"mid": 4, "transport_cc": 3}))
        for leg in range(11):
            worker.add_leg(1 + 11 * person + leg, 1 + person, **line(ssrc=1 + leg))
    assert (allocated_bytes() - before) // count < 11 << 10
    assert worker.counters()["commands_refused"] == 0
