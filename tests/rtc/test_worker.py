"""A worker driven by hand: what its class accepts, and that time, datagrams and events are the caller's."""

import ast
import os
import select
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from aioice import stun

from rtc import _worker
from rtc._wire import Srtp, rtcp_nack, rtcp_parse, rtcp_pli, rtcp_rr, rtcp_sr, rtp_parse
from rtc._worker import (
    AUDIO,
    CODECS,
    EVENT_CONSENT_LOST,
    EVENT_DTLS,
    EVENT_LEVEL,
    EVENT_QUIET,
    EVENT_SELECTED,
    VIDEO,
    Worker,
)
from rtc.peer_streams import rtp_packet
from tests.rtc.checks import PASSWORD, UFRAG, answer, check
from tests.support.heap import allocated_bytes

if TYPE_CHECKING:
    from rtc._worker import Codec

SECOND = 1_000_000_000
PEER = ("192.0.2.7", 40_000)
CLIENT_HELLO = bytes([22]) + bytes(99)
KEYS = (7, bytes(16), bytes(12))
KEYFRAME = b"\x10\0" + bytes(800)
VP8: "Codec" = {
    "codec": CODECS["vp8"],
    "variant": 0,
    "payload_type": 96,
    "rtx_payload_type": 97,
    "nack": True,
    "pli": True,
    "clock_rate": 90_000,
}


@pytest.fixture
def worker() -> Iterator[Worker]:
    worker = Worker(threaded=False)
    yield worker
    worker.close()


def connected(worker: Worker, now_ns: int = 1) -> None:
    """One transport, number 1, that PEER has nominated."""
    worker.add_transport(1, UFRAG, PASSWORD)
    worker.receive(check(), PEER, now_ns)
    worker.take_datagrams()
    worker.take_events()


def a_viewer(worker: Worker) -> tuple[str, int]:
    """Transport 2 at the returned address, to which the leg 1 of SSRC 9 sends track 1."""
    viewer = ("192.0.2.8", 40_001)
    worker.add_transport(2, UFRAG + "2", PASSWORD)
    worker.receive(check(ufrag=UFRAG + "2"), viewer, 1)
    worker.set_keys(2, *KEYS, *KEYS[1:])
    worker.add_leg(1, 2, **line(ssrc=9))
    worker.set_source(1, 1)
    worker.take_datagrams()
    return viewer


def line(**changes: Any) -> dict[str, Any]:
    return {"kind": VIDEO, "mid": "v", "codecs": [VP8], "extensions": {"mid": 4}, "ssrc": 1, **changes}


def sound() -> dict[str, Any]:
    opus = codec(codec=CODECS["opus"], payload_type=111, rtx_payload_type=0, clock_rate=48_000)
    return line(kind=AUDIO, mid="a", codecs=[opus], extensions={"audio_level": 1})


def codec(**changes: Any) -> dict[str, Any]:
    return {**VP8, **changes}


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


def readable(worker: Worker) -> bool:
    return bool(select.select([worker.fileno()], [], [], 0)[0])


def test_the_descriptor_is_readable_while_events_wait(worker: Worker) -> None:
    worker.add_transport(1, UFRAG, PASSWORD)
    assert not readable(worker)
    worker.receive(check(), PEER, 1)
    assert readable(worker)
    assert worker.take_events()
    assert not readable(worker)
    worker.receive(CLIENT_HELLO, PEER, 2)
    assert readable(worker)


def test_levels_are_told_with_their_time_and_only_a_voice_that_begins_wakes(worker: Worker) -> None:
    connected(worker)
    worker.set_keys(1, *KEYS, *KEYS[1:])
    worker.add_track(1, 1, **sound())
    sender, woken, told = Srtp(*KEYS), list[int](), list[tuple[int, bool, float]]()
    levels = {20: 0x80 | 30, 40: 0x80 | 50, 60: 70}  # a voice, a lower one, noise: by 20 ms packet
    level = 127
    for number in range(1, 100):
        level = levels.get(number, level)
        now_ns = SECOND + number * SECOND // 50
        worker.receive(
            sender.protect(rtp_packet(111, number, number, 1, b"!", extensions={1: bytes([level])})), PEER, now_ns
        )
        if readable(worker):
            woken.append(number)
        if number % 15 == 0 or readable(worker):
            told += [event[2:] for event in worker.take_events() if event[0] == EVENT_LEVEL]
    assert [event[:2] for event in told] == [(30, True), (50, True), (70, False)]
    assert woken[0] == 1, "the track began"
    assert len(woken) == 3
    assert 20 <= woken[1] <= 25, "the first level of a voice"
    assert 40 <= woken[2] <= 45, "and the second, by which it is judged"
    for (_, _, at), number in zip(told, levels, strict=True):
        assert -0.001 < at - 1 - number / 50 < 0.12
    for step in range(4):
        worker.advance(3 * SECOND + step * SECOND // 10)
    assert [event[2:4] for event in worker.take_events() if event[0] == EVENT_LEVEL] == [(127, False)], (
        "no packets are silence"
    )


@pytest.mark.parametrize(
    ("before", "voice"), [(0x80 | 80, 0x80 | 30), (85, 60), (0x80 | 55, 0x80 | 35), (60, 0x80 | 62)]
)
def test_a_voice_begins_from_noise_too(worker: Worker, before: int, voice: int) -> None:
    """By crossing the level of silence, by a leap, or by being called a voice."""
    connected(worker)
    worker.set_keys(1, *KEYS, *KEYS[1:])
    worker.add_track(1, 1, **sound())
    sender, woken = Srtp(*KEYS), list[int]()
    for number in range(1, 200):
        level = before if number < 150 else voice
        packet = sender.protect(rtp_packet(111, number, number, 1, b"!", extensions={1: bytes([level])}))
        worker.receive(packet, PEER, SECOND + number * SECOND // 50)
        if readable(worker):
            woken.append(number)
            worker.take_events()
    assert len([number for number in woken if 150 <= number <= 156]) == 1
    assert not [number for number in woken if 20 < number < 150]


def test_reports_are_one_packet_a_second_and_wait_for_media_to_follow(worker: Worker) -> None:
    connected(worker)
    worker.set_keys(1, *KEYS, *KEYS[1:])
    worker.add_track(1, 1, **line())
    viewer = a_viewer(worker)
    worker.add_track(2, 2, **line(ssrc=5))
    sender, receiver, other = Srtp(*KEYS), Srtp(*KEYS), Srtp(*KEYS)
    worker.receive(sender.protect_rtcp(rtcp_sr(1, 1 << 32, 1, 1, 1)), PEER, 2)
    reports, media_ns = list[tuple[int, list[int], int]](), 0
    for number in range(1, 150):
        now_ns = SECOND + number * SECOND // 30
        worker.receive(sender.protect(rtp_packet(96, number, number, 1, KEYFRAME, marker=True)), PEER, now_ns)
        worker.receive(other.protect(rtp_packet(96, number, number, 5, KEYFRAME, marker=True)), viewer, now_ns)
        for at_ns in (now_ns, now_ns + SECOND // 60):
            worker.advance(at_ns)
            for datagram, to in worker.take_datagrams():
                if to != viewer or datagram[0] < 128:
                    continue
                if 192 <= datagram[1] <= 223:
                    blocks = [block["type"] for block in rtcp_parse(receiver.unprotect_rtcp(datagram))]
                    reports.append((at_ns, blocks, at_ns - media_ns))
                else:
                    media_ns = at_ns
    assert [blocks for _, blocks, _ in reports] == [[201, 202, 200, 202]] * len(reports)
    assert 4 <= len(reports) <= 6
    assert all(behind_ns == 0 for _, _, behind_ns in reports[1:])
    gaps = [after - before for (before, _, _), (after, _, _) in pairwise(reports)]
    assert all(0.9 * SECOND <= gap <= 1.1 * SECOND for gap in gaps), gaps


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


def test_a_command_for_an_unknown_id_is_dropped_and_counted(worker: Worker) -> None:
    worker.remove_transport(1)
    worker.add_track(1, 1, **line())
    worker.add_leg(1, 1, **line())
    worker.set_source(1, 0)
    worker.request_keyframe(1)
    assert worker.counters()["commands_refused"] == 5
    worker.add_transport(1, UFRAG, PASSWORD)
    worker.add_track(1, 1, **line())
    worker.add_leg(1, 1, **line(ssrc=2))
    worker.set_source(1, 1)
    worker.request_keyframe(1)
    worker.set_source(1, 0)
    worker.remove_leg(1)
    worker.remove_track(1)
    worker.remove_transport(1)
    assert worker.counters()["commands_refused"] == 5


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
    assert (allocated_bytes() - before) // count < 10 << 10
    assert worker.counters()["commands_refused"] == 0


def test_padding_before_the_end_of_a_compound_drops_the_rest_and_what_stood_before_counts(worker: Worker) -> None:
    """RFC 3550 section 6.4.1: only the last block may be padded. Where the next one begins is then anybody's guess."""
    connected(worker)
    worker.set_keys(1, 7, bytes(16), bytes(12), bytes([1] * 16), bytes(12))
    sender, report, pli = Srtp(7, bytes([1] * 16), bytes(12)), rtcp_rr(3, []), rtcp_pli(3, 9)
    padded = bytes([pli[0] | 0x20]) + pli[1:3] + bytes([pli[3] + 1]) + pli[4:] + b"\0\0\0\4"
    for compound, heard, malformed in ((report + pli + padded, 2, 0), (report + pli + padded + pli, 1, 1)):
        before = worker.counters()
        worker.receive(sender.protect_rtcp(compound), PEER, 2)
        after = worker.counters()
        assert after["pli_in"] - before["pli_in"] == heard
        assert after["drop_rtcp_malformed"] - before["drop_rtcp_malformed"] == malformed


def test_the_first_authentic_packet_brings_the_cache_and_the_track_takes_it_along(worker: Worker) -> None:
    connected(worker)
    worker.set_keys(1, 7, bytes(16), bytes(12), bytes([1] * 16), bytes(12))
    worker.add_track(1, 1, **line(mid="a"))
    worker.add_track(2, 1, **line(mid="b", ssrc=2))
    sender, forger = Srtp(7, bytes([1] * 16), bytes(12)), Srtp(7, bytes([2] * 16), bytes(12))
    before = allocated_bytes()
    for _ in range(2):
        worker.receive(forger.protect(rtp_packet(96, 1, 0, 1, b"\x10 picture")), PEER, 2)
    assert allocated_bytes() - before < 32 << 10
    worker.receive(sender.protect(rtp_packet(96, 1, 0, 1, b"\x10 picture")), PEER, 3)
    cache = allocated_bytes() - before
    assert cache > 256 << 10
    worker.receive(sender.protect(rtp_packet(96, 2, 0, 1, b"\x10 picture")), PEER, 4)
    assert allocated_bytes() - before < cache + (32 << 10)
    worker.remove_track(1)
    assert allocated_bytes() - before < 32 << 10
    assert worker.counters()["drop_no_memory"] == 0


def test_what_is_repeated_is_what_was_sent_and_reaches_back_far_enough(worker: Worker) -> None:
    """Packets of all sizes go round the cache several times; then everything is asked for again, the newest first."""
    random = Random(5)
    connected(worker)
    worker.set_keys(1, *KEYS, *KEYS[1:])
    worker.add_track(1, 1, **line())
    viewer = a_viewer(worker)
    sender, receiver = Srtp(*KEYS), Srtp(*KEYS)
    now_ns, sent = 2, dict[int, bytes]()
    for number in range(1, 1500):
        picture = b"\x10" + random.randbytes(random.choice((1, 400, 1100, 1100, 1400)))
        picture = picture[:1] + b"\0" + picture[2:]  # the first octet of a keyframe
        now_ns += 5_000_000
        worker.receive(sender.protect(rtp_packet(96, number, number, 1, picture, marker=True)), PEER, now_ns)
        worker.advance(now_ns)
        for datagram, to in worker.take_datagrams():
            if to == viewer and datagram[0] >= 128 and not 192 <= datagram[1] <= 223:
                packet = rtp_parse(receiver.unprotect(datagram))
                sent[packet["sequence"]] = packet["payload"]
                assert packet["payload"] == picture
    repeated, back = 0, 0
    for number in sorted(sent, reverse=True):
        now_ns += 2_000_000
        worker.receive(receiver.protect_rtcp(rtcp_rr(3, []) + rtcp_nack(3, 9, [number])), viewer, now_ns)
        for datagram, to in worker.take_datagrams():
            if to == viewer and datagram[0] >= 128 and not 192 <= datagram[1] <= 223:
                packet = rtp_parse(Srtp(*KEYS).unprotect(datagram))
                assert (packet["sequence"], packet["payload"]) == (number, sent[number])
                repeated += 1
                back += len(packet["payload"])
    assert back >= 1.5 * 1_800_000 / 8, "1.5 s of 1.8 Mbps"
    assert repeated <= 512
