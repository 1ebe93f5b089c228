"""What viewers wish and what their publisher hears of it, with a worker driven by hand."""

import pytest

from rtc._wire import rtcp_remb
from rtc._worker import CODECS, EVENT_CONSENT_LOST, EVENT_QUIET, EVENT_SELECTED, Worker
from tests.rtc.by_hand import KEYFRAME, MS, PEER, SECOND, STEP, TOO_MANY, Show, codec, connected, line
from tests.rtc.checks import PASSWORD, UFRAG, check

NO_LIMIT = 10_000_000


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


@pytest.mark.parametrize("estimate_bps", [1_000, 20_000, 100_000])
def test_a_limit_ends_when_pictures_end(worker: Worker, estimate_bps: int) -> None:
    """The camera goes off; when it is on again, the limit of long ago says nothing."""
    show = Show(worker)
    show.until(4000)
    show.say(rtcp_remb(3, estimate_bps, [9]))
    while show.ms < 20_000:
        show.wait()
    assert show.limits[-1][1] > NO_LIMIT


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
