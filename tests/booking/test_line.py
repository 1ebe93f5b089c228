"""The waiting line: order, places kept, and honest waits."""

from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import pytest

from booking.waiting_room.line import GRACE, Wait, Waiting, in_order, line_days, position, queue_day, wait

NOW = datetime(2026, 11, 21, 10, 0, tzinfo=UTC)


def person(n: int, rank: int, gone: timedelta = timedelta(0)) -> Waiting:
    return Waiting(UUID(int=n), NOW.date(), n, rank, NOW - gone)


def minutes(*lengths: float) -> list[timedelta]:
    return [timedelta(minutes=length) for length in lengths]


def test_rank_orders_and_the_number_decides_between_equals() -> None:
    line = [person(1, 30), person(3, 10), person(2, 10)]
    assert [each.no for each in in_order(line, NOW)] == [2, 3, 1]
    assert position(line, UUID(int=1), NOW) == 3


def test_who_is_gone_keeps_the_place_for_the_grace_and_then_stands_before_nobody() -> None:
    line = [person(1, 10, GRACE - timedelta(seconds=1)), person(2, 20)]
    assert position(line, UUID(int=2), NOW) == 2
    line = [person(1, 10, GRACE), person(2, 20)]
    assert position(line, UUID(int=2), NOW) == 1
    assert position(line, UUID(int=1), NOW) is None


@pytest.mark.parametrize(
    ("at", "zone", "day"),
    [
        (datetime(2026, 11, 21, 19, 30, tzinfo=UTC), "Asia/Karachi", date(2026, 11, 21)),  # half past midnight
        (datetime(2026, 11, 21, 21, 59, tzinfo=UTC), "Asia/Karachi", date(2026, 11, 21)),
        (datetime(2026, 11, 21, 22, 0, tzinfo=UTC), "Asia/Karachi", date(2026, 11, 22)),
        (datetime(2026, 11, 21, 12, 0, tzinfo=UTC), "America/New_York", date(2026, 11, 21)),
    ],
)
def test_the_day_of_a_line_turns_at_three_in_the_morning(at: datetime, zone: str, day: date) -> None:
    assert queue_day(at, zone) == day


@pytest.mark.parametrize(
    ("hours", "days"), [(-0.01, [21]), (0, [21, 22]), (5.99, [21, 22]), (6, [22]), (23.99, [22]), (24, [22, 23])]
)
def test_in_a_night_the_line_is_that_of_both_days(hours: float, days: list[int]) -> None:
    turn = datetime(2026, 11, 21, 22, 0, tzinfo=UTC)
    assert line_days(turn + timedelta(hours=hours), "Asia/Karachi") == [date(2026, 11, day) for day in days]


def test_who_came_before_a_clock_was_turned_back_is_still_in_line() -> None:
    """The one zone whose clocks pass three in the morning twice: 3:45 becomes 2:45."""
    came = datetime(2026, 4, 4, 13, 20, tzinfo=UTC)
    for later in range(0, 120, 5):
        assert queue_day(came, "Pacific/Chatham") in line_days(came + timedelta(minutes=later), "Pacific/Chatham")


@pytest.mark.parametrize("visits", [[], minutes(10), minutes(10, 12)])
def test_too_few_visits_today_promise_nothing(visits: list[timedelta]) -> None:
    assert wait(2, visits, None) is None


def test_the_wait_is_a_range_from_todays_visits() -> None:
    visits = minutes(8, 10, 12, 20)
    assert wait(1, visits, None) == Wait(0, 0)
    assert wait(2, visits, None) == Wait(10, 20)
    assert wait(3, visits, None) == Wait(20, 40)


def test_the_running_visit_counts_with_what_is_left_of_it() -> None:
    visits = minutes(8, 10, 12, 20)
    assert wait(1, visits, timedelta(minutes=4)) == Wait(6, 16)
    assert wait(1, visits, timedelta(minutes=90)) == Wait(0, 5)


def test_an_announced_delay_is_the_least() -> None:
    assert wait(1, minutes(8, 10, 12, 20), None, timedelta(minutes=25)) == Wait(25, 25)


def test_a_wait_of_many_hours_is_no_promise() -> None:
    assert wait(20, minutes(30, 30, 30), None) is None


def test_only_the_latest_visits_count() -> None:
    assert wait(2, minutes(*[60] * 5, *[10] * 12), None) == Wait(10, 10)
