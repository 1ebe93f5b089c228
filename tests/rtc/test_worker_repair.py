"""What is sent again to a viewer, how often, and what happens where that is of no use; with a worker driven by hand."""

from collections import Counter
from itertools import pairwise

import pytest

from rtc._wire import rtcp_nack, rtcp_remb
from rtc._worker import Worker
from tests.rtc.by_hand import DELTA, KEYFRAME, Show

LONG = b"\x10\1" + bytes(1100)


def miss(show: Show, *numbers: int) -> None:
    """The viewer says that these never came."""
    show.say(rtcp_nack(3, 9, sorted(numbers)))


def test_two_packets_asked_for_in_turns_do_not_make_each_other_forgotten(worker: Worker) -> None:
    show = Show(worker)
    show.until(4000)
    newest = max(show.shown)
    for _ in range(20):
        for number in (newest, newest - 128):  # so far apart that they shared a place
            miss(show, number)
    assert Counter(number for _, number in show.again) == {newest: 1, newest - 128: 1}


@pytest.mark.parametrize("round_trip_ms", [60, 400])
def test_nothing_is_sent_twice_within_a_round_trip(worker: Worker, round_trip_ms: int) -> None:
    """Also behind a queue that holds half a second: what was sent again is in it."""
    show = Show(worker)
    show.move_viewer_away(round_trip_ms)
    newest, until = max(show.shown), show.ms + 1000
    while show.ms < until:
        miss(show, newest)
        show.until(show.ms + 10)
    times = [ms for ms, number in show.again if number == newest]
    assert 2 <= len(times) <= 10
    assert min(after - before for before, after in pairwise(times)) >= round_trip_ms


@pytest.mark.parametrize("estimate_bps", [0, 100_000, 250_000])
def test_whoever_asks_for_everything_all_the_time_gets_less_than_a_third(worker: Worker, estimate_bps: int) -> None:
    """The pictures are 240 kbit/s."""
    show = Show(worker)
    show.until(2000)
    begun = len(show.shown)
    while show.ms < 12_000:
        show.until(show.ms + 50)
        if estimate_bps:
            show.say(rtcp_remb(3, estimate_bps, [9]))
        miss(show, *sorted(show.shown)[-200:])
    again = [number for ms, number in show.again if ms > 2100]
    assert 50 < len(again) < (len(show.shown) - begun) / 3
    assert worker.counters()["drop_rtx_budget"] > 1000


def test_an_estimate_with_room_in_it_is_room_for_repetitions(worker: Worker) -> None:
    show = Show(worker)
    show.until(2000)
    for _ in range(20):
        show.until(show.ms + 200)
        show.say(rtcp_remb(3, 2_000_000, [9]))
        miss(show, *sorted(show.shown)[-20:])
    assert len(show.again) > 350, "a burst of losses is repaired at once"


def test_where_not_all_can_be_sent_again_the_newest_is(worker: Worker) -> None:
    show = Show(worker)
    while show.ms < 1000:
        show.send(LONG)
        show.wait()
    numbers = sorted(show.shown)[-60:]
    miss(show, *numbers)
    sent = [number for _, number in show.again]
    assert 3 <= len(sent) < 40
    assert sent == numbers[: -len(sent) - 1 : -1]


def test_a_viewer_who_misses_what_is_too_old_to_be_sent_again_gets_a_keyframe(worker: Worker) -> None:
    show = Show(worker)
    show.until(1000)
    lost = max(show.shown)
    show.until(4000)
    miss(show, lost)
    assert show.again == []
    assert show.asked == [4000]
    show.until(5200)
    assert show.asked == [4000, 4500, 5000], "until it comes"
    show.send(KEYFRAME)
    miss(show, lost)
    show.until(7000)
    assert show.asked == [4000, 4500, 5000], "what was lost before a keyframe matters no more"


def test_a_viewer_whose_packet_is_lost_again_and_again_gets_a_keyframe_before_it_gives_up(worker: Worker) -> None:
    show = Show(worker)
    show.until(1000)
    lost = max(show.shown)
    while not show.asked:
        assert show.ms < 4000
        show.until(show.ms + 20)
        miss(show, lost)
    assert 1500 <= show.ms <= 2000
    assert 4 <= len(show.again) <= 10


def test_what_a_publisher_does_not_repair_is_replaced_by_a_keyframe(worker: Worker) -> None:
    """Else nobody sees anything until a viewer's own patience ends, after 3 s."""
    show = Show(worker)
    show.until(1000)
    show.send(DELTA, lost=1)
    lost = show.number - 1
    show.until(2600)
    assert show.missed.count(lost) >= 4
    assert 1600 < show.asked[0] < 2000
    assert len(show.asked) == 2, "until it comes"
    show.send(KEYFRAME)
    show.send(DELTA, lost=1)  # of that keyframe, perhaps
    show.until(3200)
    assert len(show.asked) == 2
    show.until(3800)
    assert len(show.asked) == 3
    show.send(KEYFRAME)
    show.until(7000)
    assert len(show.asked) == 3


def test_what_a_screen_at_rest_lost_long_ago_is_sent_again(worker: Worker) -> None:
    """Its next packet, which shows that one is missing, may come 10 s later."""
    show = Show(worker)
    show.until(1000)
    lost = max(show.shown)
    for _ in range(1000):
        show.wait()
    show.send(DELTA)
    show.wait()
    miss(show, lost)
    assert [number for _, number in show.again] == [lost]
    assert show.asked == []


def test_a_packet_that_is_repaired_in_time_costs_no_keyframe(worker: Worker) -> None:
    show = Show(worker)
    show.until(1000)
    held = show.protect(DELTA)
    show.until(1500)
    show.deliver(held)
    show.until(4000)
    assert show.asked == []
