"""Free slots: days of all lengths, rules of schedules, notice, horizon, buffers, caps and classes."""

import gc
from datetime import UTC, date, datetime, time, timedelta
from time import thread_time
from uuid import UUID, uuid4

import pytest

from booking.calendar import (
    Calendar,
    NotOffered,
    Range,
    Rule,
    Schedule,
    ServiceTimes,
    Span,
    free_slots,
    is_free,
    next_free,
    occupied,
)
from booking.calendar.slots import in_turns

CLIFTON, SADDAR = UUID(int=1), UUID(int=2)
LONG_AGO = datetime(2010, 1, 1, tzinfo=UTC)
HOUR = ServiceTimes(minutes=60, step_minutes=60, horizon_days=10_000)
HALF = ServiceTimes(minutes=30, step_minutes=30, horizon_days=10_000)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def span(text: str) -> Span:
    opens, _, closes = text.partition("-")
    return Span(time.fromisoformat(opens), time.fromisoformat(closes))


def hours(text: str, **rule: object) -> Rule:
    return Rule(span(text), **rule)  # type: ignore[arg-type]


def calendar(zone: str, *rules: Rule, **schedule: object) -> Calendar:
    return Calendar((Schedule(zone, rules=rules, **schedule),))  # type: ignore[arg-type]


def starts(
    calendar: Calendar,
    begin: str,
    end: str,
    service: ServiceTimes = HOUR,
    taken: list[Range] | None = None,
    now: datetime = LONG_AGO,
) -> list[str]:
    found = free_slots(calendar, service, taken or [], utc(begin), utc(end), now)
    for slot in found:
        assert is_free(calendar, service, taken or [], slot.start, now) is None
    return [f"{slot.start:%d %H:%M}" for slot in found]


# zone, hours, the local date asked for as instants, the starts of one-hour slots every hour in UTC, what is special
DAYS = [
    ("Asia/Karachi", "09:00-12:00", "2026-03-28 19:00", "2026-03-29 19:00", "29 04:00, 29 05:00, 29 06:00", "+5"),
    ("Asia/Kathmandu", "09:00-11:00", "2026-03-28 18:15", "2026-03-29 18:15", "29 03:15, 29 04:15", "+5:45"),
    ("Asia/Dubai", "09:00-11:00", "2026-03-28 20:00", "2026-03-29 20:00", "29 05:00, 29 06:00", "+4"),
    ("Asia/Riyadh", "09:00-11:00", "2026-03-28 21:00", "2026-03-29 21:00", "29 06:00, 29 07:00", "+3"),
    ("Africa/Johannesburg", "09:00-11:00", "2026-03-28 22:00", "2026-03-29 22:00", "29 07:00, 29 08:00", "+2"),
    (
        "Europe/London",
        "00:00-03:00",
        "2026-03-28 00:00",
        "2026-03-29 00:00",
        "28 00:00, 28 01:00, 28 02:00",
        "24 hours",
    ),
    ("Europe/London", "00:00-03:00", "2026-03-29 00:00", "2026-03-29 23:00", "29 00:00, 29 01:00", "23 hours"),
    ("Europe/London", "01:15-03:15", "2026-03-29 00:00", "2026-03-29 23:00", "29 01:00", "opens in the gap"),
    ("Europe/London", "00:00-01:30", "2026-03-29 00:00", "2026-03-29 23:00", "29 00:00", "closes in the gap"),
    ("Europe/London", "01:10-01:50", "2026-03-29 00:00", "2026-03-29 23:00", "", "lies in the gap"),
    (
        "Europe/London",
        "00:00-03:00",
        "2026-10-24 23:00",
        "2026-10-26 00:00",
        "24 23:00, 25 00:00, 25 01:00, 25 02:00",
        "25 hours",
    ),
    ("Europe/London", "01:30-02:30", "2026-10-24 23:00", "2026-10-26 00:00", "25 00:30, 25 01:30", "opens twice"),
    ("America/Toronto", "01:00-04:00", "2026-03-08 05:00", "2026-03-09 04:00", "08 06:00, 08 07:00", "23 hours"),
    (
        "America/Toronto",
        "01:00-03:00",
        "2026-11-01 04:00",
        "2026-11-02 05:00",
        "01 05:00, 01 06:00, 01 07:00",
        "25 hours",
    ),
    (
        "Australia/Lord_Howe",
        "01:00-04:00",
        "2026-10-03 13:30",
        "2026-10-04 13:00",
        "03 14:30, 03 15:30",
        "half an hour less, so the third visit does not fit",
    ),
    (
        "Australia/Lord_Howe",
        "01:00-03:30",
        "2026-04-04 13:00",
        "2026-04-05 13:30",
        "04 14:00, 04 15:00, 04 16:00",
        "half an hour more, so a third visit fits",
    ),
    ("Africa/Cairo", "00:00-03:00", "2026-04-23 22:00", "2026-04-24 21:00", "23 22:00, 23 23:00", "begins at 01:00"),
    (
        "Africa/Cairo",
        "22:00-00:00",
        "2026-10-28 21:00",
        "2026-10-29 22:00",
        "29 19:00, 29 20:00, 29 21:00",
        "the hour before midnight comes twice",
    ),
    ("Asia/Beirut", "00:00-02:00", "2026-03-28 22:00", "2026-03-29 21:00", "28 22:00", "begins at 01:00"),
    ("Africa/Casablanca", "09:00-11:00", "2026-02-13 23:00", "2026-02-14 23:00", "14 08:00, 14 09:00", "+1"),
    ("Africa/Casablanca", "09:00-11:00", "2026-02-16 00:00", "2026-02-17 00:00", "16 09:00, 16 10:00", "Ramadan"),
    ("Africa/Casablanca", "02:00-04:00", "2026-03-22 00:00", "2026-03-22 23:00", "22 02:00", "Ramadan ends"),
    (
        "Europe/London",
        "22:00-02:00",
        "2026-03-28 12:00",
        "2026-03-29 12:00",
        "28 22:00, 28 23:00, 29 00:00",
        "short night",
    ),
    ("Asia/Karachi", "00:00-00:00", "2026-06-01 19:00", "2026-06-01 22:00", "01 19:00, 01 20:00, 01 21:00", "all day"),
]


@pytest.mark.parametrize(("zone", "open_", "begin", "end", "expected", "why"), DAYS, ids=lambda value: str(value))
def test_a_day_has_these_slots(zone: str, open_: str, begin: str, end: str, expected: str, why: str) -> None:
    assert ", ".join(starts(calendar(zone, hours(open_)), begin, end)) == expected, why


def test_hours_hold_on_their_weekdays_between_their_dates() -> None:
    weekly = hours(
        "09:00-10:00", weekdays=frozenset({1, 5}), valid_from=date(2026, 1, 6), valid_until=date(2026, 1, 16)
    )
    assert starts(calendar("UTC", weekly), "2026-01-01", "2026-02-01") == ["09 09:00", "12 09:00", "16 09:00"]


def test_hours_follow_a_recurrence_rule_less_its_exceptions() -> None:
    first_mondays = hours(
        "09:00-10:00",
        rrule="FREQ=MONTHLY;BYDAY=1MO",
        valid_from=date(2026, 1, 1),
        exdates=frozenset({date(2026, 2, 2)}),
    )
    found = free_slots(calendar("UTC", first_mondays), HOUR, [], utc("2026-01-01"), utc("2026-05-01"), LONG_AGO)
    assert [f"{slot.start:%m-%d}" for slot in found] == ["01-05", "03-02", "04-06"]


def test_breaks_cut_hours_and_the_grid_begins_anew_after_them() -> None:
    day = calendar("UTC", hours("09:00-12:00"), hours("10:10-10:25", closed=True))
    assert starts(day, "2026-01-05", "2026-01-06", HALF) == ["05 09:00", "05 09:30", "05 10:25", "05 10:55", "05 11:25"]


def test_an_override_replaces_the_hours_of_its_date() -> None:
    day = calendar(
        "UTC",
        hours("09:00-11:00"),
        hours("13:00-13:30", closed=True),
        overrides={date(2026, 1, 6): (span("13:00-15:00"),), date(2026, 1, 7): ()},
    )
    assert starts(day, "2026-01-05", "2026-01-09") == [
        "05 09:00", "05 10:00", "06 13:00", "06 14:00", "08 09:00", "08 10:00",
    ]  # fmt: skip


def test_nothing_opens_on_a_holiday_unless_an_override_says_so() -> None:
    eid = frozenset({date(2026, 3, 20), date(2026, 3, 21)})
    day = calendar("UTC", hours("09:00-10:00"), holidays=eid, overrides={date(2026, 3, 21): (span("15:00-16:00"),)})
    assert starts(day, "2026-03-19", "2026-03-23") == ["19 09:00", "21 15:00", "22 09:00"]


def test_a_night_shift_belongs_to_the_evening_on_which_it_begins() -> None:
    night = calendar("UTC", hours("22:00-02:00"), holidays=frozenset({date(2026, 1, 6)}))
    assert starts(night, "2026-01-05 12:00", "2026-01-07 12:00") == ["05 22:00", "05 23:00", "06 00:00", "06 01:00"]


def test_a_visit_may_run_over_midnight_when_the_doors_stay_open() -> None:
    always = calendar("UTC", hours("00:00-00:00"))
    long = ServiceTimes(minutes=90, step_minutes=60, horizon_days=10_000)
    assert starts(always, "2026-01-05 22:00", "2026-01-06 02:00", long) == [
        "05 22:00",
        "05 23:00",
        "06 00:00",
        "06 01:00",
    ]


def test_the_grid_does_not_depend_on_what_is_asked() -> None:
    crooked = ServiceTimes(minutes=25, step_minutes=35, horizon_days=10_000)
    always = calendar("Europe/London", hours("00:00-00:00"), hours("10:07-10:09", closed=True))
    month = starts(always, "2026-03-20", "2026-04-10", crooked)
    pieces = [
        start
        for day in range(21)
        for start in starts(
            always,
            f"{utc('2026-03-20') + timedelta(days=day):%Y-%m-%d}",
            f"{utc('2026-03-20') + timedelta(days=day + 1):%Y-%m-%d}",
            crooked,
        )
    ]
    assert pieces == month


def test_two_locations_have_their_own_hours() -> None:
    both = Calendar(
        (
            Schedule("Asia/Karachi", CLIFTON, (hours("09:00-11:00"),)),
            Schedule("Asia/Karachi", SADDAR, (hours("10:30-12:30"),)),
            Schedule("Europe/London", None, (hours("18:00-19:00"),)),
        )
    )
    day = ("2026-01-05", "2026-01-06")

    def at(location: UUID | None) -> list[str]:
        return starts(both, *day, ServiceTimes(60, 60, horizon_days=10_000, location=location))

    assert at(CLIFTON) == ["05 04:00", "05 05:00", "05 18:00"]
    assert at(SADDAR) == ["05 05:30", "05 06:30", "05 18:00"]
    assert at(None) == ["05 04:00", "05 05:00", "05 05:30", "05 06:30", "05 18:00"]
    found = free_slots(both, HOUR, [], utc(day[0]), utc(day[1]), LONG_AGO)
    assert [slot.location for slot in found] == [CLIFTON, CLIFTON, SADDAR, SADDAR, None]


def test_notice_and_horizon_count_from_now() -> None:
    service = ServiceTimes(60, 60, notice_minutes=90, horizon_days=1)
    day, now = calendar("UTC", hours("09:00-17:00")), utc("2026-01-05 14:00")
    assert starts(day, "2026-01-01", "2026-02-01", service, now=now) == [
        "05 16:00", "06 09:00", "06 10:00", "06 11:00", "06 12:00", "06 13:00", "06 14:00",
    ]  # fmt: skip


def test_buffers_keep_away_from_what_is_taken_but_may_lie_outside_the_hours() -> None:
    service = ServiceTimes(30, 30, 10, 20, horizon_days=10_000)
    day = calendar("UTC", hours("09:00-12:00"))
    busy = [Range(utc("2026-01-05 10:00"), utc("2026-01-05 10:10"))]
    assert starts(day, "2026-01-05", "2026-01-06", service, busy) == ["05 09:00", "05 10:30", "05 11:00", "05 11:30"]


def test_ranges_that_touch_do_not_collide() -> None:
    day = calendar("UTC", hours("09:00-12:00"))
    visit = [occupied(HOUR, utc("2026-01-05 10:00"))]
    assert starts(day, "2026-01-05", "2026-01-06", HOUR, visit) == ["05 09:00", "05 11:00"]


def test_a_daily_cap_counts_visits_of_the_local_date_and_no_other_business() -> None:
    day = calendar("Asia/Karachi", hours("09:00-12:00"), daily_cap=1)
    visit, meeting = occupied(HOUR, utc("2026-01-05 04:00")), Range(utc("2026-01-06 04:00"), utc("2026-01-06 05:00"))
    assert starts(day, "2026-01-05", "2026-01-07", HOUR, [visit, meeting]) == ["06 05:00", "06 06:00"]


def test_a_class_with_seats_left_offers_itself_at_its_own_time() -> None:
    yoga = ServiceTimes(60, 60, capacity=8, horizon_days=10_000)
    day, ten = calendar("UTC", hours("09:00-12:00")), utc("2026-01-05 10:30")
    begun = Range(ten, ten + timedelta(hours=1), visit=ten, seats_left=3)
    full = Range(ten, ten + timedelta(hours=1), visit=ten, seats_left=0)
    found = free_slots(day, yoga, [begun], utc("2026-01-05"), utc("2026-01-06"), LONG_AGO)
    assert [(f"{slot.start:%H:%M}", slot.seats) for slot in found] == [("09:00", 8), ("10:30", 3)]
    assert starts(day, "2026-01-05", "2026-01-06", yoga, [full]) == ["05 09:00"]
    assert is_free(day, yoga, [begun], ten, LONG_AGO) is None
    assert is_free(day, yoga, [full], ten, LONG_AGO) is NotOffered.NOT_ON_GRID


@pytest.mark.parametrize(
    ("start", "reason"),
    [
        ("2026-01-05 10:00", None),
        ("2026-01-05 09:00", NotOffered.TAKEN),
        ("2026-01-05 08:00", NotOffered.OUTSIDE_HOURS),
        ("2026-01-05 11:30", NotOffered.OUTSIDE_HOURS),
        ("2026-01-05 10:30", NotOffered.NOT_ON_GRID),
        ("2026-01-05 10:00:00.5", NotOffered.NOT_ON_GRID),
        ("2026-01-04 13:00", NotOffered.TOO_SOON),
        ("2026-01-03 10:00", NotOffered.TOO_SOON),
        ("2026-02-05 10:00", NotOffered.TOO_FAR),
        ("2026-01-06 10:00", NotOffered.DAY_FULL),
    ],
)
def test_a_start_that_cannot_be_booked_has_a_reason(start: str, reason: NotOffered | None) -> None:
    service = ServiceTimes(60, 60, notice_minutes=120, horizon_days=30)
    day = calendar("UTC", hours("09:00-12:00"), daily_cap=2)
    taken = [occupied(service, utc(at)) for at in ("2026-01-05 09:00", "2026-01-06 09:00", "2026-01-06 11:00")]
    assert is_free(day, service, taken, utc(start), utc("2026-01-04 12:00")) is reason


async def test_the_next_free_slot_is_the_first_of_all() -> None:
    now = utc("2026-01-05 09:30")
    late = calendar("UTC", hours("09:00-10:00", valid_from=date(2026, 2, 20)))
    service = ServiceTimes(60, 60)
    found = await next_free(late, service, [], now)
    assert found is not None
    assert found.start == utc("2026-02-20 09:00")
    assert await next_free(late, ServiceTimes(60, 60, horizon_days=30), [], now) is None
    taken = await next_free(late, service, [occupied(service, found.start)], now)
    assert taken is not None
    assert taken.start == utc("2026-02-21 09:00")
    assert await next_free(Calendar(), service, [], now) is None


async def test_the_busiest_calendar_is_worked_out_in_short_turns() -> None:
    """As many rules and places as a provider may have, the finest grid, two months, and nothing free in it."""
    rules = tuple(hours("00:00-00:00") for _ in range(5)) + tuple(hours("12:00-12:05", closed=True) for _ in range(5))
    crowd = Calendar(tuple(Schedule("Asia/Karachi", uuid4(), rules) for _ in range(20)))
    service = ServiceTimes(5, 5)
    began = utc("2026-01-05")
    taken = [Range(began + timedelta(minutes=5 * n), began + timedelta(minutes=5 * n + 4)) for n in range(10_000)]
    gc.disable()  # a look at everything that the other tests of this process have left takes longer than a turn
    try:
        longest, last, count = 0.0, thread_time(), 0
        async for part in in_turns(crowd, service, taken, began, began + timedelta(days=20), began):
            longest, last, count = max(longest, thread_time() - last), thread_time(), count + len(part)
    finally:
        gc.enable()
    assert longest < 0.1  # half of it on a machine with nothing else to do
    assert count == 0
