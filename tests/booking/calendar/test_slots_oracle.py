"""The slot generator against a slow, obvious one that looks at every minute."""

from datetime import UTC, date, datetime, time, timedelta

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from booking.calendar import Calendar, Range, Rule, Schedule, ServiceTimes, Span, free_slots, is_free, zones

MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)

# zone and a date around which its clocks move, or do not
PLACES = [
    ("Europe/London", date(2026, 3, 29)),
    ("Europe/London", date(2026, 10, 25)),
    ("America/Toronto", date(2026, 3, 8)),
    ("America/Toronto", date(2026, 11, 1)),
    ("Australia/Lord_Howe", date(2026, 4, 5)),
    ("Australia/Lord_Howe", date(2026, 10, 4)),
    ("Africa/Cairo", date(2026, 4, 24)),
    ("Africa/Cairo", date(2026, 10, 29)),
    ("Asia/Beirut", date(2026, 3, 29)),
    ("Africa/Casablanca", date(2026, 2, 15)),
    ("Africa/Casablanca", date(2026, 3, 22)),
    ("Asia/Kathmandu", date(2026, 5, 1)),
    ("Asia/Karachi", date(2026, 5, 1)),
    ("Pacific/Apia", date(2011, 12, 30)),
]

quarters = st.integers(0, 24 * 4 - 1).map(lambda n: time(n // 4, n % 4 * 15))
# mostly around the hours in which clocks move
nightly = st.builds(
    lambda opens, long: Span(_clock(opens), _clock(opens + long)), st.integers(-8, 12), st.integers(2, 40)
)
spans = st.one_of(nightly, nightly, st.builds(Span, quarters, quarters))


def _clock(quarter: int) -> time:
    return time(quarter // 4 % 24, quarter % 4 * 15)


@st.composite
def rules(draw: st.DrawFn, around: date, closed: bool) -> Rule:
    return Rule(
        span=draw(nightly if closed else spans),
        weekdays=frozenset(draw(st.sampled_from([range(1, 8), range(1, 8), (6, 7), (1, 5, 7)]))),
        valid_from=draw(st.sampled_from([None, None, around])),
        valid_until=draw(st.sampled_from([None, None, around])),
        closed=closed,
    )


@st.composite
def cases(draw: st.DrawFn) -> tuple[Calendar, ServiceTimes, list[Range], datetime, datetime, datetime]:
    zone, around = draw(st.sampled_from(PLACES))
    near = st.integers(-1, 1).map(lambda days: around + timedelta(days=days))
    opened = draw(st.lists(rules(around, False), min_size=1, max_size=3))
    breaks = draw(st.lists(rules(around, True), max_size=1))
    seldom = draw(st.integers(0, 3))
    schedule = Schedule(
        zone,
        rules=(*opened, *breaks),
        overrides=draw(st.dictionaries(near, st.lists(spans, max_size=2).map(tuple), max_size=1))
        if seldom == 1
        else {},
        holidays=frozenset(draw(st.lists(near, max_size=1))) if seldom == 2 else frozenset(),
        daily_cap=draw(st.integers(1, 2)) if seldom == 3 else None,
    )
    midnight = datetime.combine(around, time(), UTC)
    minutes = st.integers(-12 * 4, 36 * 4).map(lambda n: n * 15)
    service = ServiceTimes(
        minutes=draw(st.sampled_from([10, 15, 30, 45, 60, 90])),
        step_minutes=draw(st.sampled_from([5, 15, 20, 25, 60])),
        buffer_before_minutes=draw(st.sampled_from([0, 0, 5, 15])),
        buffer_after_minutes=draw(st.sampled_from([0, 0, 5, 15])),
        notice_minutes=draw(st.sampled_from([0, 60, 601])),
        horizon_days=draw(st.integers(2, 4)),
    )
    taken = []
    for begin_minutes, length, visit in draw(
        st.lists(st.tuples(minutes, st.sampled_from([0, 15, 30, 60]), st.booleans()), max_size=4)
    ):
        begin = midnight + begin_minutes * MINUTE
        taken.append(Range(begin, begin + length * MINUTE, begin if visit else None))
    start = midnight + draw(st.integers(-14 * 60, 2 * 60)) * MINUTE
    end = start + draw(st.integers(6 * 60, 30 * 60)) * MINUTE
    return Calendar((schedule,)), service, taken, start, end, midnight + draw(st.integers(-2500, -300)) * MINUTE


@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(cases())
def test_the_generator_finds_what_looking_at_every_minute_finds(
    case: tuple[Calendar, ServiceTimes, list[Range], datetime, datetime, datetime],
) -> None:
    calendar, service, taken, start, end, now = case
    expected = by_the_minute(calendar.schedules[0], service, taken, start, end, now)
    assert [slot.start for slot in free_slots(calendar, service, taken, start, end, now)] == expected
    for n in range(0, max(0, (end - start) // MINUTE), 7):
        at = start + n * MINUTE
        assert (is_free(calendar, service, taken, at, now) is None) == (at in expected)


def by_the_minute(
    schedule: Schedule, service: ServiceTimes, taken: list[Range], start: datetime, end: datetime, now: datetime
) -> list[datetime]:
    place = zones.zone(schedule.zone)
    first = datetime.combine((start - 4 * DAY).date(), time(), UTC)
    minutes = [first + n * MINUTE for n in range((end - start + 8 * DAY) // MINUTE)]
    walls = [minute.astimezone(place).replace(tzinfo=None) for minute in minutes]

    def stretch(span: Span, day: date) -> tuple[int, int]:
        """From the first minute that reads the opening time or later to the last that reads less than the closing."""
        opens = datetime.combine(day, span.opens)
        closes = datetime.combine(day if span.closes > span.opens else day + DAY, span.closes)
        begin = next((n for n, wall in enumerate(walls) if wall >= opens), len(walls))
        final = next((n for n in range(len(walls) - 1, -1, -1) if walls[n] < closes), -1)
        return begin, final + 1

    opened: list[tuple[int, int]] = []
    shut: set[int] = set()
    for offset in range(1, (end - start).days + 7):
        day = first.date() + offset * DAY
        if day in schedule.overrides:
            opened += [stretch(span, day) for span in schedule.overrides[day]]
            continue
        for rule in schedule.rules:
            if day.isoweekday() not in rule.weekdays:
                continue
            if (rule.valid_from and day < rule.valid_from) or (rule.valid_until and day > rule.valid_until):
                continue
            if rule.closed:
                shut.update(range(*stretch(rule.span, day)))
            elif day not in schedule.holidays:
                opened.append(stretch(rule.span, day))

    # paint minute by minute: whose hours it is, and where they began to count
    owner: dict[int, tuple[int, int]] = {}
    for begin, final in sorted(opened, key=lambda each: (each[0], -each[1])):
        anchor = None
        for n in range(begin, final):
            if n in shut or n in owner:
                anchor = None
                continue
            anchor = n if anchor is None else anchor
            owner[n] = (anchor, final)

    found = []
    for n, at in enumerate(minutes):
        if not (start <= at < end and now + service.notice_minutes * MINUTE <= at <= now + service.horizon_days * DAY):
            continue
        if n not in owner or (n - owner[n][0]) % service.step_minutes:
            continue
        if any(m not in owner for m in range(n, n + service.minutes)):
            continue
        begins = at - service.buffer_before_minutes * MINUTE
        ends = at + (service.minutes + service.buffer_after_minutes) * MINUTE
        if any(each.start < ends and begins < each.end for each in taken if each.start < each.end):
            continue
        visits = sum(
            each.visit is not None and each.visit.astimezone(place).date() == walls[n].date() for each in taken
        )
        if schedule.daily_cap is not None and visits >= schedule.daily_cap:
            continue
        found.append(at)
    return found
