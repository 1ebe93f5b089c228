"""What viewers wish and what their publisher hears of it, with a worker driven by hand."""

from typing import Any

import pytest

from rtc._wire import Srtp, rtcp_parse, rtcp_pli, rtcp_remb, rtcp_rr, rtcp_sr
from rtc._worker import CODECS, EVENT_CONSENT_LOST, EVENT_QUIET, EVENT_SELECTED, Worker
from rtc.peer_streams import rtp_packet
from tests.rtc.by_hand import KEYFRAME, KEYS, PEER, SECOND, a_viewer, codec, connected, line
from tests.rtc.checks import PASSWORD, UFRAG, check

MS = SECOND // 1000
STEP = 10
DELTA = b"\x10\1" + bytes(300)
TOO_MANY = 100  # lost at once to be repaired one by one
NO_LIMIT = 10_000_000


class Show:
    """A publisher's picture each 10 ms to one viewer. What the publisher is asked for, by the millisecond."""

    def __init__(self, worker: Worker, name: str = "vp8", first: bytes = KEYFRAME) -> None:
        self.worker, self.ms, self.number = worker, 0, 0
        self.asked = list[int]()
        self.limits = list[tuple[int, int]]()
        self.reports = list[dict[str, Any]]()
        connected(worker)
        worker.set_keys(1, *KEYS, *KEYS[1:])
        codecs = [codec(codec=CODECS[name])]
        worker.add_track(1, 1, **line(codecs=codecs))
        self.viewer = a_viewer(worker, codecs=codecs)
        self.sender, self.talker = Srtp(*KEYS), Srtp(*KEYS)
        self.hearing = {PEER: Srtp(*KEYS), self.viewer: Srtp(*KEYS)}
        self.send(first)
        self.wait()

    @property
    def now_ns(self) -> int:
        return 2 * SECOND + self.ms * MS

    def send(self, payload: bytes, *, lost: int = 0) -> None:
        """One packet, behind so many that never arrive."""
        for _ in range(lost + 1):
            self.number += 1
            packet = self.sender.protect(rtp_packet(96, self.number, self.ms * 90, 1, payload))
        self.worker.receive(packet, PEER, self.now_ns)
        self.collect()

    def say(self, block: bytes) -> None:
        self.worker.receive(self.talker.protect_rtcp(block), self.viewer, self.now_ns)
        self.collect()

    def wish(self, how: str = "viewer") -> None:
        if how == "viewer":
            self.say(rtcp_pli(3, 9))
        else:
            self.send(DELTA, lost=TOO_MANY)

    def until(self, ms: int) -> None:
        while self.ms < ms:
            self.send(DELTA)
            self.wait()

    def wait(self) -> None:
        self.ms += STEP
        if self.ms % 1000 == 0:
            self.worker.receive(check(), PEER, self.now_ns)
            self.worker.receive(check(ufrag=UFRAG + "2"), self.viewer, self.now_ns)
        self.worker.advance(self.now_ns)
        self.collect()

    def collect(self) -> None:
        for datagram, to in self.worker.take_datagrams():
            if datagram[0] >= 128 and 192 <= datagram[1] <= 223 and to in self.hearing:
                for block in rtcp_parse(self.hearing[to].unprotect_rtcp(datagram)):
                    self.note(block)

    def note(self, block: dict[str, Any]) -> None:
        match block["type"], block["count"]:
            case 206, 1:
                self.asked.append(self.ms)
            case 206, 15:
                self.limits.append((self.ms, block["bitrate"]))
            case 200, _:
                self.reports.append(block)

    def move_viewer_away(self, round_trip_ms: int) -> None:
        self.worker.receive(self.sender.protect_rtcp(rtcp_sr(1, 1 << 32, 1, 1, 1)), PEER, self.now_ns)
        while not self.reports:
            self.until(self.ms + STEP)
        self.until(self.ms + round_trip_ms)
        answer = {"ssrc": 9, "fraction_lost": 0, "lost": 0, "highest": 1, "jitter": 0, "dlsr": 0}
        self.say(rtcp_rr(3, [answer | {"lsr": self.reports[0]["ntp"] >> 16 & 0xFFFFFFFF}]))


def test_a_keyframe_answers_the_wishes_before_it(worker: Worker) -> None:
    show = Show(worker)
    for ms in (1000, 1050, 1090):
        show.until(ms)
        show.wish()
    show.until(1100)
    show.send(KEYFRAME)
    show.until(3000)
    assert show.asked == [1000]


@pytest.mark.parametrize("how", ["viewer", "losses"])
@pytest.mark.parametrize(("wished", "asked"), [(1110, 1500), (1450, 1500), (1600, 1600)])
def test_a_wish_behind_the_keyframe_is_asked_for_as_soon_as_the_throttle_allows(
    worker: Worker, how: str, wished: int, asked: int
) -> None:
    show = Show(worker)
    show.until(1000)
    show.wish()
    show.until(1100)
    show.send(KEYFRAME)
    show.until(wished)
    show.wish(how)
    show.until(1900)
    assert show.asked == [1000, asked]


@pytest.mark.parametrize("how", ["viewer", "losses"])
def test_a_keyframe_is_asked_for_until_there_is_one(worker: Worker, how: str) -> None:
    show = Show(worker)
    show.until(1000)
    show.wish(how)
    show.until(2300)
    show.send(KEYFRAME)
    show.until(5000)
    assert show.asked == [1000, 1500, 2000]


def test_the_rest_of_the_picture_in_whose_midst_too_much_was_lost_is_no_answer(worker: Worker) -> None:
    parameters, a_slice, delta = b"\x67" + bytes(20), b"\x65" + bytes(900), b"\x41" + bytes(300)
    show = Show(worker, "h264", parameters)
    show.until(1000)
    show.send(parameters)
    show.send(a_slice)
    show.send(a_slice, lost=TOO_MANY)
    show.send(a_slice)
    show.until(1700)
    assert show.asked == [1000, 1500]
    show.send(parameters)
    show.send(a_slice)
    show.send(delta)
    show.until(4000)
    assert show.asked == [1000, 1500]


def test_who_sends_nothing_is_asked_less_and_less_and_soon_again_when_something_comes(worker: Worker) -> None:
    """The camera is off, or the screen at rest: the request may still have been lost."""
    show = Show(worker)
    show.until(1000)
    show.wish()
    while show.ms < 20_000:
        show.wait()
    assert show.asked == [1000, 1500, 2500, *range(4500, 20_000, 2000)]
    show.asked.clear()
    show.until(22_000)
    assert show.asked == [20_100, 20_600, 21_100, 21_600]


def test_nobody_is_asked_for_who_has_gone(worker: Worker) -> None:
    show = Show(worker)
    show.until(1000)
    show.wish()
    show.until(1200)
    worker.remove_transport(2)
    show.until(3000)
    assert show.asked == [1000]


@pytest.mark.parametrize(("behind", "asked"), [(250, []), (350, [True])])
def test_who_asks_before_the_newest_keyframe_can_have_arrived_is_served_by_it(
    worker: Worker, behind: int, asked: list[bool]
) -> None:
    show = Show(worker)
    show.move_viewer_away(300)
    show.send(KEYFRAME)
    show.until(show.ms + behind)
    show.wish()
    show.until(show.ms + 300)
    assert [True for _ in show.asked] == asked


def limited(worker: Worker) -> Show:
    show = Show(worker)
    show.until(4000)
    show.say(rtcp_remb(3, 100_000, [9]))
    show.until(4900)
    assert [bitrate for _, bitrate in show.limits] == [100_000]
    show.limits.clear()
    return show


def test_the_end_of_a_limit_is_told_more_than_once_and_not_for_ever(worker: Worker) -> None:
    """Nothing answers it: were it told once and lost, the publisher would keep the limit of somebody who has gone."""
    show = limited(worker)
    worker.remove_transport(2)
    show.until(20_000)
    assert all(bitrate > NO_LIMIT for _, bitrate in show.limits)
    times = [ms for ms, _ in show.limits]
    assert len(times) == 5
    assert times[-1] - times[0] >= 3900


@pytest.mark.parametrize("other", ["recovers", "leaves"])
def test_the_end_of_a_limit_is_told_though_the_track_it_was_for_is_another_now(worker: Worker, other: str) -> None:
    """A sender keeps a limit for its whole connection."""
    show = limited(worker)
    worker.remove_track(1)
    show.until(8000)
    worker.add_track(2, 1, **line(codecs=[codec(codec=CODECS["vp8"])], ssrc=1))
    worker.set_source(1, 2)
    show.until(9000)
    show.limits.clear()
    if other == "recovers":
        show.say(rtcp_remb(3, 20_000_000, [9]))
    else:
        worker.remove_transport(2)
    show.until(20_000)
    assert all(bitrate > NO_LIMIT for _, bitrate in show.limits)
    assert len(show.limits) >= 5


def test_the_end_of_a_limit_waits_for_a_publisher_who_is_away(worker: Worker) -> None:
    show = limited(worker)
    worker.remove_transport(2)
    show.ms += 40_000  # without consent
    worker.advance(show.now_ns)
    worker.take_datagrams()
    for _ in range(1000):
        show.ms += STEP
        worker.advance(show.now_ns)
    assert worker.take_datagrams() == []
    worker.receive(check(), PEER, show.now_ns)
    show.until(show.ms + 10_000)
    assert len(show.limits) == 5


def test_a_viewer_that_was_never_short_of_anything_limits_nobody(worker: Worker) -> None:
    show = Show(worker)
    for ms in range(1000, 8000, 500):
        show.until(ms)
        show.say(rtcp_remb(3, NO_LIMIT, [9]))
    assert show.limits == []


def test_who_nominates_two_addresses_in_turns_costs_nobody_an_event(worker: Worker) -> None:
    """Of a change of address there is no second word, so it is never left out of a full ring for others."""
    connected(worker)
    worker.add_transport(2, UFRAG + "2", PASSWORD)
    addresses = [("192.0.2.8", 1), ("192.0.2.8", 2)]
    message = check(ufrag=UFRAG + "2")
    for number in range(20_001):
        worker.receive(message, addresses[number % 2], 2 * SECOND + number * MS // 100)
    worker.advance(4 * SECOND)
    told = [event for event in worker.take_events() if event[0] == EVENT_SELECTED]
    assert 2 <= len(told) <= 12
    assert told[-1] == (EVENT_SELECTED, 2, *addresses[0])
    worker.advance(40 * SECOND)  # nobody is there any more
    assert worker.counters()["drop_event_ring_full"] == 0
    assert {event[:2] for event in worker.take_events()} >= {(EVENT_QUIET, 1), (EVENT_CONSENT_LOST, 1)}
