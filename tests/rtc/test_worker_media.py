"""Media through a worker driven by hand: levels, reports, what is kept for repetition."""

from collections import deque
from itertools import pairwise
from random import Random

import pytest

from rtc._wire import Srtp, rtcp_nack, rtcp_parse, rtcp_pli, rtcp_remb, rtcp_rr, rtcp_sr, rtp_parse
from rtc._worker import (
    CODECS,
    EVENT_CONSENT_LOST,
    EVENT_HEARD,
    EVENT_LEVEL,
    EVENT_QUIET,
    EVENT_STATS,
    Worker,
)
from rtc.peer_streams import rtp_packet
from tests.rtc.by_hand import KEYFRAME, KEYS, PEER, SECOND, a_viewer, check, codec, connected, line, readable, sound
from tests.support.heap import allocated_bytes


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


def test_a_path_is_told_when_it_has_changed_and_else_each_ten_seconds(worker: Worker) -> None:
    connected(worker)
    worker.set_keys(1, *KEYS, *KEYS[1:])
    worker.add_track(1, 1, **sound())
    sender, told = Srtp(*KEYS), list[tuple[float, int, int]]()
    for number in range(1, 60 * 50):
        seconds, now_ns = number / 50, SECOND + number * SECOND // 50
        lost = 24 < seconds < 40 and number % 10 == 0
        packet = sender.protect(rtp_packet(111, number, number * 960, 1, b"!"))
        if not lost:
            worker.receive(packet, PEER, now_ns)
        estimate = {2100: 1_000_000, 2300: 1_100_000, 2500: 2_000_000}.get(number)
        if estimate:
            worker.receive(sender.protect_rtcp(rtcp_remb(1, estimate, [9])), PEER, now_ns)
        worker.advance(now_ns)
        for event in worker.take_events():
            if event[0] == EVENT_STATS:
                _, transport, _, in_bps, _, loss_in, _, estimate_bps, _ = event
                assert transport == 1
                assert in_bps
                told.append((seconds, loss_in, estimate_bps))
    calm = [seconds for seconds, _, _ in told if seconds < 24]
    assert calm[0] < 2.2
    assert [round(after - before) for before, after in pairwise(calm)] == [10] * (len(calm) - 1)
    assert len(calm) == 3
    lossy = next((seconds, loss) for seconds, loss, _ in told if loss)
    assert lossy[0] < 28
    assert 800 < lossy[1] < 1100
    assert any(loss == 0 for seconds, loss, _ in told if 40 < seconds < 44)
    assert [estimate for seconds, _, estimate in told if 42 <= seconds < 54] == [1_000_000, 2_000_000]


@pytest.mark.parametrize("pause", [False, True])
def test_who_sends_but_takes_nothing_is_heard_again_with_their_next_check(worker: Worker, pause: bool) -> None:
    """We send nothing without consent, so media from them does not make the path whole."""
    connected(worker)
    worker.set_keys(1, *KEYS, *KEYS[1:])
    worker.add_track(1, 1, **sound())
    sender, told = Srtp(*KEYS), list[tuple[int, int]]()
    for second in range(1, 60):
        now_ns = second * SECOND
        if second == 50:
            worker.receive(check(2), PEER, now_ns)
        if not (pause and 35 <= second < 45):
            worker.receive(sender.protect(rtp_packet(111, second, second * 48_000, 1, b"!")), PEER, now_ns)
        worker.advance(now_ns)
        told += [
            (event[0], second)
            for event in worker.take_events()
            if event[0] in (EVENT_CONSENT_LOST, EVENT_HEARD, EVENT_QUIET)
        ]
    silence = [(EVENT_QUIET, 36)] if pause else []
    assert told == [(EVENT_CONSENT_LOST, 31), *silence, (EVENT_HEARD, 50)]


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


PARAMETERS = b"\x78\0\4\x67\x42\0\x1f\0\2\x68\xce"  # STAP-A of SPS and PPS
PICTURE = [b"\x7c\x85" + bytes(900), b"\x7c\5" + bytes(900), b"\x7c\x45" + bytes(700)]  # an IDR slice in FU-As
DELTA = b"\x41" + bytes(500)


class Film:
    """A publisher of H.264 at PEER and a viewer of it; `seen`: payloads as they arrive there, by sequence number."""

    def __init__(self, worker: Worker) -> None:
        h264 = codec(codec=CODECS["h264"])
        self.worker, self.number, self.time, self.now_ns = worker, 0, 0, SECOND
        connected(worker)
        worker.set_keys(1, *KEYS, *KEYS[1:])
        worker.add_track(1, 1, **line(codecs=[h264], rtx_ssrc=2))
        self.viewer = a_viewer(worker, codecs=[h264], rtx_ssrc=10)
        self.sender, self.receiver = Srtp(*KEYS), Srtp(*KEYS)
        self.seen = dict[int, bytes]()
        self.order = list[bytes]()

    def send(self, payload: bytes, *, marker: bool = False, lost: bool = False) -> bytes:
        """One packet, unless it gets lost; returns its repetition (RFC 4588)."""
        self.number += 1
        packet = self.sender.protect(rtp_packet(96, self.number, self.time, 1, payload, marker=marker))
        if not lost:
            self.worker.receive(packet, PEER, self.now_ns)
        original = self.number.to_bytes(2, "big") + payload
        return self.sender.protect(rtp_packet(97, self.number, self.time, 2, original, marker=marker))

    def frame(self, *payloads: bytes) -> None:
        self.time += 3000
        for payload in payloads:
            self.send(payload, marker=payload is payloads[-1])
        self.settle()

    def settle(self) -> None:
        self.now_ns += SECOND // 30
        self.worker.advance(self.now_ns)
        for datagram, to in self.worker.take_datagrams():
            if to != self.viewer or datagram[0] < 128 or 192 <= datagram[1] <= 223:
                continue
            packet = rtp_parse(self.receiver.unprotect(datagram))
            again = packet["ssrc"] == 10
            number = int.from_bytes(packet["payload"][:2], "big") if again else packet["sequence"]
            self.seen[number] = packet["payload"][2:] if again else packet["payload"]
            self.order.append(self.seen[number])

    def complain(self) -> None:
        """The viewer asks for what lies between what it has seen."""
        lost = [number for number in range(min(self.seen), max(self.seen)) if number not in self.seen]
        self.worker.receive(
            self.receiver.protect_rtcp(rtcp_rr(3, []) + rtcp_nack(3, 9, lost)), self.viewer, self.now_ns
        )
        self.settle()


@pytest.mark.parametrize("slices", [PICTURE, [b"\x65" + bytes(900), b"\x65" + bytes(901)]])
def test_a_film_begins_with_its_parameter_sets_also_when_they_were_lost_on_the_way(
    worker: Worker, slices: list[bytes]
) -> None:
    """They travel in-band, in packets of their own (RFC 7742 section 6.2). No decoder can begin without them."""
    film = Film(worker)
    film.frame(DELTA)
    film.time += 3000
    repeated = film.send(PARAMETERS, lost=True)
    for payload in slices:
        film.send(payload, marker=payload is slices[-1])
    film.settle()
    assert film.order == []
    worker.receive(repeated, PEER, film.now_ns)
    film.frame(DELTA)
    assert film.order == [PARAMETERS, DELTA]
    film.complain()
    assert [payload for _, payload in sorted(film.seen.items())] == [PARAMETERS, *slices, DELTA]


@pytest.mark.parametrize("missed", [1, 2])
def test_who_comes_in_the_midst_of_a_keyframe_waits_for_the_next(worker: Worker, missed: int) -> None:
    film, keyframe = Film(worker), [PARAMETERS, b"\x65" + bytes(900), b"\x65" + bytes(901)]
    film.frame(DELTA)
    worker.set_source(1, 0)
    film.time += 3000
    for at, payload in enumerate(keyframe):
        if at == missed:
            worker.set_source(1, 1)
        film.send(payload, marker=at == 2)
    film.settle()
    film.frame(DELTA)
    assert film.order == []
    film.frame(*keyframe)
    assert film.order == keyframe


def test_a_film_whose_first_packet_of_all_was_lost_begins_with_its_next_keyframe(worker: Worker) -> None:
    film = Film(worker)
    film.frame(*PICTURE)
    film.frame(DELTA)
    assert film.order == []
    film.frame(PARAMETERS, *PICTURE)
    assert film.order == [PARAMETERS, *PICTURE]


def test_a_film_begins_with_a_picture_whose_parameter_sets_were_sent_before(worker: Worker) -> None:
    film = Film(worker)
    film.frame(DELTA)
    film.frame(*PICTURE)
    assert film.order == PICTURE


@pytest.mark.parametrize("first", ["keyframe", "else"])
def test_a_new_ssrc_is_asked_for_the_keyframe_that_it_did_not_begin_with(worker: Worker, first: str) -> None:
    """The former SSRC is nobody's any more: a request to it is unheard, and delays the next by half a second."""
    connected(worker)
    worker.set_keys(1, *KEYS, *KEYS[1:])
    worker.add_track(1, 1, **line())
    a_viewer(worker)
    sender, receiver = Srtp(*KEYS), Srtp(*KEYS)

    def asked(now_ns: int) -> list[int]:
        worker.advance(now_ns)
        blocks = list[int]()
        for datagram, to in worker.take_datagrams():
            if to == PEER and datagram[0] >= 128:
                blocks += [
                    block["media"] for block in rtcp_parse(receiver.unprotect_rtcp(datagram)) if block["type"] == 206
                ]
        return blocks

    def shown(ssrc: int, number: int, payload: bytes, now_ns: int) -> list[int]:
        packet = rtp_packet(96, number, number, ssrc, payload, marker=True, extensions={4: b"v"})
        worker.receive(sender.protect(packet), PEER, now_ns)
        return asked(now_ns)

    now_ns = 2 * SECOND
    shown(1, 1, KEYFRAME, now_ns)
    assert asked(3 * SECOND) == []
    delta = b"\x10\1" + bytes(800)
    requests = shown(2, 1, KEYFRAME if first == "keyframe" else delta, 4 * SECOND)
    for number in range(2, 10):
        requests += shown(2, number, delta, 4 * SECOND + number * SECOND // 100)
    assert requests == ([] if first == "keyframe" else [2])


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
    """Packets of all sizes go round the cache several times; each is asked for when it is 1.5 s of 1.8 Mbps old."""
    random = Random(5)
    connected(worker)
    worker.set_keys(1, *KEYS, *KEYS[1:])
    worker.add_track(1, 1, **line())
    viewer = a_viewer(worker)
    sender, receiver = Srtp(*KEYS), Srtp(*KEYS)
    now_ns, sent, newest, waiting, repeated = 2, dict[int, bytes](), 0, deque[int](), 0

    def say(block: bytes) -> None:
        worker.receive(receiver.protect_rtcp(rtcp_rr(3, []) + block), viewer, now_ns)

    for number in range(1, 1500):
        picture = b"\x10" + random.randbytes(random.choice((1, 400, 1100, 1100, 1400)))
        picture = picture[:1] + b"\0" + picture[2:]  # the first octet of a keyframe
        now_ns += 5_000_000
        worker.receive(sender.protect(rtp_packet(96, number, number, 1, picture, marker=True)), PEER, now_ns)
        worker.advance(now_ns)
        for datagram, to in worker.take_datagrams():
            if to == viewer and datagram[0] >= 128 and not 192 <= datagram[1] <= 223:
                packet = rtp_parse(receiver.unprotect(datagram))
                newest = packet["sequence"]
                sent[newest] = packet["payload"]
                waiting.append(newest)
                assert packet["payload"] == picture
        if number == 2:
            say(rtcp_remb(3, 100_000_000, [9]))  # there is room to repeat all
        if sum(len(sent[each]) for each in waiting) < 1.5 * 1_800_000 / 8:
            continue
        oldest = waiting.popleft()
        say(rtcp_nack(3, 9, [oldest]))
        for datagram, to in worker.take_datagrams():
            if to == viewer and datagram[0] >= 128 and not 192 <= datagram[1] <= 223:
                packet = rtp_parse(Srtp(*KEYS).unprotect(datagram))
                assert (packet["sequence"], packet["payload"]) == (oldest, sent[oldest])
                repeated += 1
    assert repeated > 900
    assert len(sent) - len(waiting) - repeated < 0.05 * repeated


@pytest.mark.parametrize("signalled", [True, False])
def test_a_line_that_comes_back_as_another_track_goes_on_with_its_rollover_counter(
    worker: Worker, signalled: bool
) -> None:
    """As when it is offered again with one codec more. Its sender counts on (RFC 3711 section 3.3.1)."""
    connected(worker)
    worker.set_keys(1, *KEYS, *KEYS[1:])
    worker.add_track(1, 1, **line(ssrc=5 if signalled else 0))
    sender = Srtp(*KEYS)

    def packet(index: int) -> bytes:
        return sender.protect(rtp_packet(96, index & 0xFFFF, index, 5, KEYFRAME, extensions={4: b"v"}))

    newest = 3 * 65_536
    for index in range(1, newest, 20_000):
        worker.receive(packet(index), PEER, SECOND)
    last = packet(newest)
    worker.receive(last, PEER, SECOND)
    worker.remove_track(1)
    worker.add_track(2, 1, **line(ssrc=5 if signalled else 0))
    before = worker.counters()
    worker.receive(last, PEER, 2 * SECOND)
    for number in range(1, 51):
        worker.receive(packet(newest + number), PEER, 2 * SECOND)
    counted = {name: after - before[name] for name, after in worker.counters().items()}
    assert (counted["rtp_in"], counted["keyframes_in"]) == (51, 50)
    assert (counted["drop_srtp_auth"], counted["drop_srtp_replay"]) == (0, 1)
