"""Recurrence rules: their dates, and what is refused."""

from datetime import date, datetime, timedelta
from time import process_time

import pytest
from dateutil.rrule import rrule, rrulestr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from booking.calendar import recurrence

FIRST = date(2026, 1, 7)  # a Wednesday


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("FREQ=WEEKLY", ["2026-01-07", "2026-01-14", "2026-01-21", "2026-01-28"]),
        ("FREQ=WEEKLY;INTERVAL=2;BYDAY=MO,WE", ["2026-01-07", "2026-01-19", "2026-01-21"]),
        ("FREQ=MONTHLY;BYDAY=-1FR", ["2026-01-30"]),
        ("FREQ=MONTHLY", ["2026-01-07"]),
        ("FREQ=DAILY;INTERVAL=10", ["2026-01-07", "2026-01-17", "2026-01-27"]),
        ("FREQ=DAILY;COUNT=2", ["2026-01-07", "2026-01-08"]),
        ("FREQ=WEEKLY;UNTIL=20260114", ["2026-01-07", "2026-01-14"]),
        ("FREQ=YEARLY", ["2026-01-07"]),
    ],
)
def test_a_rule_has_these_dates_in_january(text: str, expected: list[str]) -> None:
    rule = recurrence.parse(text)
    found = recurrence.dates(rule, FIRST, date(2026, 1, 1), date(2026, 2, 1), recurrence.until_date(rule))
    assert [day.isoformat() for day in found] == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "FREQ=HOURLY",
        "FREQ=SECONDLY;COUNT=9",
        "FREQ=DAILY;BYHOUR=1",
        "FREQ=DAILY;INTERVAL=0",
        "FREQ=DAILY;INTERVAL=9999",
        "FREQ=DAILY;COUNT=100000",
        "FREQ=DAILY;FREQ=DAILY",
        "FREQ=WEEKLY;BYDAY=XX",
        "FREQ=MONTHLY;BYMONTHDAY=32",
        "FREQ=DAILY;UNTIL=tomorrow",
        "FREQ=DAILY;BYMONTHDAY=" + ",".join(["1"] * 40),
        "DTSTART:20260101\nRRULE:FREQ=DAILY",
        "FREQ=DAILY;" * 100,
        "FREQ=DAILY;UNTIL=20261301",
        "FREQ=DAILY;UNTIL=00000101",
        "FREQ=MONTHLY;BYDAY=99MO",
        "FREQ=MONTHLY;BYDAY=0MO",
        "FREQ=YEARLY;BYYEARDAY=367",
        "FREQ=YEARLY;BYWEEKNO=54",
        "FREQ=YEARLY;BYSETPOS=0",
        "FREQ=DAILY;INTERVAL=" + "9" * 200,
    ],
)
def test_what_is_no_rule_of_dates_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        recurrence.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30",
        "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=31",
        "FREQ=YEARLY;BYDAY=53SU;BYMONTH=1",
        "FREQ=YEARLY;BYYEARDAY=366;BYWEEKNO=1",
        "FREQ=YEARLY;INTERVAL=1000;BYYEARDAY=-366",
        "FREQ=YEARLY;BYDAY=MO,TU,WE,TH,FR,SA,SU;BYSETPOS=" + ",".join(str(n) for n in range(336, 367)),
        "FREQ=MONTHLY;BYDAY=-5MO,-5TU,-5WE,-5TH,-5FR,-5SA,-5SU;BYSETPOS=-366",
        "FREQ=DAILY;UNTIL=99991231",
        "FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR,SA,SU;BYMONTHDAY=31;BYSETPOS=7",
    ],
)
@pytest.mark.parametrize("first", [date(2026, 1, 7), date(9998, 1, 1), date(1, 1, 1)])
def test_what_a_rule_says_does_not_make_its_expansion_long(text: str, first: date) -> None:
    """A rule that never happens, or seldom, once sent the expansion through four centuries, on the event loop."""
    rule = recurrence.parse(text)
    last = min(first.toordinal() + 731, date.max.toordinal())
    began = process_time()
    found = list(recurrence.occurrences(rule, first, first, date.fromordinal(last), recurrence.until_date(rule)))
    assert process_time() - began < 0.1
    assert len(found) <= 731


def test_an_expansion_has_an_end_whatever_is_asked_for() -> None:
    with pytest.raises(ValueError, match="too many days"):
        recurrence.occurrences(recurrence.parse("FREQ=DAILY"), FIRST, FIRST, date(9999, 1, 1))
    with pytest.raises(ValueError, match="too long ago"):
        recurrence.occurrences(recurrence.parse("FREQ=DAILY;COUNT=9"), FIRST, date(2050, 1, 1), date(2050, 1, 2))


RULES = st.builds(
    lambda frequency, interval, parts, week: ";".join(
        [f"FREQ={frequency}", f"INTERVAL={interval}", f"WKST={week}", *parts.get(frequency, ())]
    ),
    st.sampled_from(["DAILY", "WEEKLY", "MONTHLY", "YEARLY"]),
    st.integers(1, 5),
    st.fixed_dictionaries(
        {
            "WEEKLY": st.sampled_from([(), ("BYDAY=MO",), ("BYDAY=SU,TU",), ("BYMONTH=1,7",)]),
            "MONTHLY": st.sampled_from(
                [
                    (),
                    ("BYDAY=1MO",),
                    ("BYDAY=FR;BYMONTHDAY=13",),
                    ("BYMONTHDAY=-1",),
                    ("BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1,2",),
                    ("BYDAY=-5SA,+2SU",),
                ]
            ),
            "YEARLY": st.sampled_from(
                [
                    (),
                    ("BYMONTH=3",),
                    ("BYDAY=2TU;BYMONTH=5",),
                    ("BYYEARDAY=100,-1",),
                    ("BYWEEKNO=1,20;BYDAY=TU",),
                    ("BYDAY=-20MO,10FR",),
                    ("BYDAY=SU;BYMONTH=2,6;BYSETPOS=1,-1",),
                ]
            ),
        }
    ),
    st.sampled_from(["MO", "SU"]),
)


@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(RULES, st.dates(date(2020, 1, 1), date(2024, 12, 31)), st.integers(0, 2000))
def test_beginning_late_in_a_rule_gives_the_same_dates(text: str, first: date, after: int) -> None:
    start = first + timedelta(days=after)
    end = start + timedelta(days=60)
    plain = rrulestr(text, dtstart=datetime(first.year, first.month, first.day))
    assert isinstance(plain, rrule)
    expected = [
        at.date() for at in plain.replace(until=datetime(end.year, end.month, end.day)) if start <= at.date() < end
    ]
    assert list(recurrence.dates(recurrence.parse(text), first, start, end)) == expected
