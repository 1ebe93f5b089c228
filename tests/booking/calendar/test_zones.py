"""Wall clocks turned into instants, one fact of a zone per row."""

from datetime import UTC, datetime, timedelta

import pytest

from booking.calendar import zones

# zone, wall clock, the instant of an opening edge, the instant of a closing edge, what is special
EDGES = [
    # where clocks never move
    ("Asia/Karachi", "2026-03-29 09:00", "2026-03-29 04:00", "2026-03-29 04:00", "+5"),
    ("Asia/Dubai", "2026-03-29 09:00", "2026-03-29 05:00", "2026-03-29 05:00", "+4"),
    ("Asia/Qatar", "2026-03-29 09:00", "2026-03-29 06:00", "2026-03-29 06:00", "+3"),
    ("Asia/Riyadh", "2026-03-29 09:00", "2026-03-29 06:00", "2026-03-29 06:00", "+3"),
    ("Africa/Johannesburg", "2026-03-29 09:00", "2026-03-29 07:00", "2026-03-29 07:00", "+2"),
    ("Asia/Kathmandu", "2026-03-29 09:00", "2026-03-29 03:15", "2026-03-29 03:15", "+5:45"),
    # London: forward over 01:00-02:00 on 29 March, back over 02:00-01:00 on 25 October
    ("Europe/London", "2026-03-29 00:59", "2026-03-29 00:59", "2026-03-29 00:59", "last minute of winter"),
    ("Europe/London", "2026-03-29 01:00", "2026-03-29 01:00", "2026-03-29 01:00", "begin of the gap"),
    ("Europe/London", "2026-03-29 01:30", "2026-03-29 01:00", "2026-03-29 01:00", "in the gap"),
    ("Europe/London", "2026-03-29 02:00", "2026-03-29 01:00", "2026-03-29 01:00", "end of the gap"),
    ("Europe/London", "2026-03-29 02:30", "2026-03-29 01:30", "2026-03-29 01:30", "summer"),
    ("Europe/London", "2026-10-25 01:00", "2026-10-25 00:00", "2026-10-25 00:00", "begin of the overlap"),
    ("Europe/London", "2026-10-25 01:30", "2026-10-25 00:30", "2026-10-25 01:30", "in the overlap"),
    ("Europe/London", "2026-10-25 02:00", "2026-10-25 02:00", "2026-10-25 02:00", "winter again"),
    # Toronto: 8 March 02:00, 1 November 02:00
    ("America/Toronto", "2026-03-08 02:30", "2026-03-08 07:00", "2026-03-08 07:00", "in the gap"),
    ("America/Toronto", "2026-11-01 01:30", "2026-11-01 05:30", "2026-11-01 06:30", "in the overlap"),
    # Lord Howe moves by thirty minutes: 4 October 02:00 forward, 5 April 02:00 back
    ("Australia/Lord_Howe", "2026-10-04 02:15", "2026-10-03 15:30", "2026-10-03 15:30", "in the half-hour gap"),
    ("Australia/Lord_Howe", "2026-10-04 02:30", "2026-10-03 15:30", "2026-10-03 15:30", "end of the gap"),
    ("Australia/Lord_Howe", "2026-04-05 01:45", "2026-04-04 14:45", "2026-04-04 15:15", "in the half-hour overlap"),
    # clocks that move at midnight
    ("Africa/Cairo", "2026-04-24 00:00", "2026-04-23 22:00", "2026-04-23 22:00", "the day begins at 01:00"),
    ("Africa/Cairo", "2026-04-24 00:30", "2026-04-23 22:00", "2026-04-23 22:00", "in the gap at midnight"),
    ("Africa/Cairo", "2026-10-29 23:30", "2026-10-29 20:30", "2026-10-29 21:30", "an hour before midnight comes twice"),
    ("Asia/Beirut", "2026-03-29 00:30", "2026-03-28 22:00", "2026-03-28 22:00", "in the gap at midnight"),
    ("Asia/Beirut", "2026-10-24 23:30", "2026-10-24 20:30", "2026-10-24 21:30", "an hour before midnight comes twice"),
    ("America/Havana", "2026-03-08 00:30", "2026-03-08 05:00", "2026-03-08 05:00", "in the gap at midnight"),
    (
        "America/Havana",
        "2024-11-03 00:30",
        "2024-11-03 04:30",
        "2024-11-03 05:30",
        "an hour after midnight comes twice",
    ),
    # Casablanca leaves +1 for the month of Ramadan: 15 February to 22 March 2026
    ("Africa/Casablanca", "2026-02-14 09:00", "2026-02-14 08:00", "2026-02-14 08:00", "+1"),
    ("Africa/Casablanca", "2026-02-15 02:30", "2026-02-15 01:30", "2026-02-15 02:30", "in the overlap"),
    ("Africa/Casablanca", "2026-02-20 09:00", "2026-02-20 09:00", "2026-02-20 09:00", "Ramadan"),
    ("Africa/Casablanca", "2026-03-22 02:30", "2026-03-22 02:00", "2026-03-22 02:00", "in the gap"),
    # Apia slept over a whole day
    ("Pacific/Apia", "2011-12-30 12:00", "2011-12-30 10:00", "2011-12-30 10:00", "a date that never was"),
]


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(("name", "wall", "opens", "closes", "why"), EDGES, ids=lambda value: str(value))
def test_an_edge_of_hours_is_this_instant(name: str, wall: str, opens: str, closes: str, why: str) -> None:
    place, at = zones.zone(name), datetime.fromisoformat(wall)
    assert (zones.opening(at, place), zones.closing(at, place)) == (utc(opens), utc(closes)), why


@pytest.mark.parametrize(
    ("name", "day", "hours"),
    [
        ("Europe/London", "2026-03-29", 23),
        ("Europe/London", "2026-10-25", 25),
        ("America/Toronto", "2026-11-01", 25),
        ("Australia/Lord_Howe", "2026-10-04", 23.5),
        ("Australia/Lord_Howe", "2026-04-05", 24.5),
        ("Africa/Cairo", "2026-04-24", 23),
        ("Asia/Karachi", "2026-03-29", 24),
    ],
)
def test_a_day_has_this_many_hours(name: str, day: str, hours: float) -> None:
    place, midnight = zones.zone(name), datetime.fromisoformat(day)
    long = zones.closing(midnight + timedelta(days=1), place) - zones.opening(midnight, place)
    assert long == timedelta(hours=hours)


def test_a_wall_clock_time_in_a_gap_does_not_exist() -> None:
    london = zones.zone("Europe/London")
    assert [zones.exists(datetime(2026, 3, 29, hour, 30), london) for hour in (0, 1, 2)] == [True, False, True]
    assert zones.exists(datetime(2026, 10, 25, 1, 30), london)


@pytest.mark.parametrize("name", ["", "Europe/Lundon", "../../etc/passwd", "europe/london", "UTC\n", "+05:00"])
def test_a_zone_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(zones.UnknownZone):
        zones.zone(name)


def test_an_agreed_time_is_known_to_have_moved() -> None:
    at = utc("2026-10-01 06:00")
    assert zones.local_text(at, "Asia/Beirut") == "2026-10-01 09:00"
    assert zones.moved(at, "Asia/Beirut", "2026-10-01 09:00") is None
    assert zones.moved(at, "Asia/Beirut", "2026-10-01 08:00") == "2026-10-01 09:00"


def test_the_release_of_the_data_is_known() -> None:
    assert zones.VERSION[:2] == "20"
