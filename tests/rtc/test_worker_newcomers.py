"""How soon newcomers see somebody's picture, and what that costs the encoder; with a worker driven by hand."""

import math

import pytest

from rtc._wire import Srtp, rtcp_parse, rtcp_pli
from rtc._worker import Worker
from rtc.peer_streams import rtp_packet
from tests.rtc.by_hand import KEYFRAME, KEYS, PEER, SECOND, connected, line
from tests.rtc.checks import PASSWORD, UFRAG, check

MS = SECOND // 1000
DELTA = b"\x10\1" + bytes(300)
FRAME_MS, ENCODING_MS = 33, 30


class Stage:
    """Somebody who sends a picture each 33 ms and answers requests with a keyframe 30 ms later, as encoders do; and an
    audience that comes one by one. libwebrtc ignores requests within 300 ms of the last that it heard (`deaf_ms`)."""

    def __init__(self, worker: Worker, deaf_ms: int) -> None:
        self.worker, self.deaf_ms, self.ms, self.number = worker, deaf_ms, 0, 0
        self.asked = list[int]()
        self.heard = list[int]()
        self.keyframes = list[int]()
        self.ready = dict[tuple[str, int], int]()
        self.seen = dict[tuple[str, int], int]()
        connected(worker)
        worker.set_keys(1, *KEYS, *KEYS[1:])
        worker.add_track(1, 1, **line())
        self.sender, self.hearing = Srtp(*KEYS), Srtp(*KEYS)
        self._answer_at: int | None = 0

    def until(self, ms: int) -> None:
        while self.ms < ms:
            self.ms += 1
            if self.ms % FRAME_MS == 0:
                key = self._answer_at is not None and self.ms >= self._answer_at
                if key:
                    self.keyframes.append(self.ms)
                    self._answer_at = None
                self.number += 1
                packet = rtp_packet(96, self.number, self.ms * 90, 1, KEYFRAME if key else DELTA, marker=True)
                self.worker.receive(self.sender.protect(packet), PEER, self.now_ns)
            if self.ms % 1000 == 0:
                self.worker.receive(check(), PEER, self.now_ns)
            self.worker.advance(self.now_ns)
            for datagram, to in self.worker.take_datagrams():
                self._leaves(datagram, to)

    @property
    def now_ns(self) -> int:
        return 2 * SECOND + self.ms * MS

    def _leaves(self, datagram: bytes, to: tuple[str, int]) -> None:
        if datagram[0] < 128:
            return
        if not 192 <= datagram[1] <= 223:
            self.seen.setdefault(to, self.ms)
        elif to == PEER and any(block["type"] == 206 for block in rtcp_parse(self.hearing.unprotect_rtcp(datagram))):
            self.asked.append(self.ms)
            if not self.heard or self.ms - self.heard[-1] >= self.deaf_ms:
                self.heard.append(self.ms)
                self._answer_at = self._answer_at or self.ms + ENCODING_MS

    def join(self) -> None:
        number = len(self.ready) + 2
        ufrag, address = f"{UFRAG}{number}", ("192.0.2.9", 40_000 + number)
        self.worker.add_transport(number, ufrag, PASSWORD)
        self.worker.add_leg(number, number, **line(ssrc=1000 + number))
        self.worker.set_source(number, 1)
        self.worker.receive(check(ufrag=ufrag), address, self.now_ns)
        self.worker.set_keys(number, *KEYS, *KEYS[1:])
        self.ready[address] = self.ms

    def waits(self) -> list[int]:
        return sorted(self.seen[address] - at for address, at in self.ready.items())


def quantile(values: list[int], share: float) -> int:
    return values[math.ceil(share * len(values)) - 1]


@pytest.mark.parametrize(
    ("deaf_ms", "p50", "p95"), [(0, 150, 250), (300, 220, 350)], ids=["any encoder", "libwebrtc's"]
)
def test_fifty_viewers_who_come_within_a_second_have_a_picture_soon(
    worker: Worker, deaf_ms: int, p50: int, p95: int
) -> None:
    stage = Stage(worker, deaf_ms)
    stage.until(1000)
    for number in range(50):
        stage.until(1000 + 20 * number)
        stage.join()
    stage.until(3500)
    waits = stage.waits()
    assert len(waits) == 50
    assert quantile(waits, 0.5) <= p50
    assert quantile(waits, 0.95) <= p95
    assert len(stage.keyframes) <= 10


def test_who_is_ready_before_the_keyframe_that_another_asked_for_begins_is_served_by_it(worker: Worker) -> None:
    stage = Stage(worker, 0)
    stage.until(1000)
    for ms in (1000, 1010, 1020):
        stage.until(ms)
        stage.join()
    stage.until(2500)
    assert stage.asked == [1001]
    assert len(set(stage.seen.values())) == 1


def test_a_crowd_that_never_ends_costs_the_encoder_two_keyframes_a_second(worker: Worker) -> None:
    """Who comes and goes all the time must not ruin the picture for those who stay."""
    stage = Stage(worker, 0)
    stage.until(1000)
    stage.join()
    for number in range(400):
        stage.until(1000 + 50 * number)
        worker.set_source(2, 0)
        worker.set_source(2, 1)
    lasting = [ms for ms in stage.keyframes if ms > 6000]
    assert 25 <= len(lasting) <= 32
    assert len(stage.keyframes) - len(lasting) <= 20


def test_who_sees_and_asks_for_more_keyframes_gets_two_a_second(worker: Worker) -> None:
    stage = Stage(worker, 0)
    stage.until(1000)
    stage.join()
    viewer, talker = next(iter(stage.ready)), Srtp(*KEYS)
    stage.until(2000)
    before = len(stage.keyframes)
    for number in range(60):
        stage.until(2000 + 50 * number)
        worker.receive(talker.protect_rtcp(rtcp_pli(3, 1002)), viewer, stage.now_ns)
    assert 4 <= len(stage.keyframes) - before <= 7
