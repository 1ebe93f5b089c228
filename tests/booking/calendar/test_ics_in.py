"""Strange calendars read as taken time."""

from datetime import UTC, datetime

import pytest

from backplane.confined import Limits
from booking.calendar.ics_in import MAX_BYTES, BadCalendar, Files, read

START, END = datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 5, 1, tzinfo=UTC)


def ics(*entries: str) -> bytes:
    lines = ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//test//EN"]
    for number, entry in enumerate(entries):
        uid = [] if "UID:" in entry else [f"UID:{number}"]
        lines += ["BEGIN:VEVENT", *uid, "DTSTAMP:20260101T000000Z", *entry.split("\n"), "END:VEVENT"]
    return "\r\n".join([*lines, "END:VCALENDAR", ""]).encode()


def taken(*entries: str, zone: str = "Asia/Karachi") -> list[str]:
    blocks = read(ics(*entries), zone, START, END).blocks
    return [f"{block.start:%m-%d %H:%M}/{block.end:%m-%d %H:%M}" for block in blocks]


@pytest.mark.parametrize(
    ("entry", "expected", "why"),
    [
        ("DTSTART:20260302T040000Z\nDTEND:20260302T050000Z", ["03-02 04:00/03-02 05:00"], "an instant"),
        ("DTSTART:20260302T090000\nDURATION:PT90M", ["03-02 04:00/03-02 05:30"], "floating: the owner's zone"),
        (
            "DTSTART;TZID=Europe/London:20260330T090000\nDTEND;TZID=Europe/London:20260330T100000",
            ["03-30 08:00/03-30 09:00"],
            "summer in London",
        ),
        ("DTSTART;VALUE=DATE:20260302", ["03-01 19:00/03-02 19:00"], "a whole day of the owner"),
        (
            "DTSTART;VALUE=DATE:20260302\nDTEND;VALUE=DATE:20260304",
            ["03-01 19:00/03-03 19:00"],
            "two whole days; the end is not included",
        ),
        (
            "DTSTART;TZID=Europe/London:20260323T090000\nDURATION:PT1H\nRRULE:FREQ=WEEKLY;COUNT=2",
            ["03-23 09:00/03-23 10:00", "03-30 08:00/03-30 09:00"],
            "a weekly hour over the change of clocks keeps its wall-clock time",
        ),
        (
            "DTSTART;TZID=Europe/London:20260328T013000\nDURATION:PT1H\nRRULE:FREQ=DAILY;COUNT=3",
            ["03-28 01:30/03-28 02:30", "03-29 01:30/03-29 02:30", "03-30 00:30/03-30 01:30"],
            "a time in the gap is read with the offset before it",
        ),
        (
            "DTSTART:20200101T040000Z\nDURATION:PT1H\nRRULE:FREQ=MONTHLY;BYMONTHDAY=1\nEXDATE:20260401T040000Z",
            ["03-01 04:00/03-01 05:00"],
            "old rules go on, less their exceptions",
        ),
        (
            "DTSTART;TZID=Asia/Karachi:20260302T230000\nDURATION:PT1H\nRRULE:FREQ=DAILY;UNTIL=20260303T180000Z",
            ["03-02 18:00/03-02 19:00", "03-03 18:00/03-03 19:00"],
            "UNTIL is an instant and included",
        ),
        (
            "DTSTART:20260302T040000Z\nDURATION:PT1H\nRDATE:20260305T040000Z",
            ["03-02 04:00/03-02 05:00", "03-05 04:00/03-05 05:00"],
            "further dates",
        ),
        ("DTSTART:20260302T040000Z\nDURATION:PT1H\nTRANSP:TRANSPARENT", [], "free"),
        ("DTSTART:20260302T040000Z\nDURATION:PT1H\nSTATUS:CANCELLED", [], "cancelled"),
        ("DTSTART:20260302T040000Z", [], "no length"),
        ("DTSTART:20250302T040000Z\nDURATION:PT1H", [], "long ago"),
    ],
    ids=lambda value: str(value)[:60],
)  # fmt: skip
def test_an_entry_takes_this_time(entry: str, expected: list[str], why: str) -> None:
    assert taken(entry) == expected, why


def test_a_changed_instance_replaces_the_one_it_names() -> None:
    master = "UID:a\nDTSTART:20260302T040000Z\nDURATION:PT1H\nRRULE:FREQ=DAILY;COUNT=3"
    moved = "UID:a\nRECURRENCE-ID:20260303T040000Z\nDTSTART:20260303T100000Z\nDURATION:PT1H"
    assert taken(master, moved) == ["03-02 04:00/03-02 05:00", "03-03 10:00/03-03 11:00", "03-04 04:00/03-04 05:00"]


def test_a_zone_that_the_file_describes_itself_is_used() -> None:
    zone = (
        "BEGIN:VTIMEZONE\r\nTZID:Clinic time\r\nBEGIN:STANDARD\r\nDTSTART:19700101T000000\r\n"
        "TZOFFSETFROM:+0300\r\nTZOFFSETTO:+0300\r\nEND:STANDARD\r\nEND:VTIMEZONE\r\nBEGIN:VEVENT"
    )
    content = ics("DTSTART;TZID=Clinic time:20260302T090000\nDURATION:PT1H").replace(b"BEGIN:VEVENT", zone.encode(), 1)
    assert [f"{block.start:%H:%M}" for block in read(content, "UTC", START, END).blocks] == ["06:00"]


def test_a_rule_that_is_not_understood_leaves_its_first_time_and_is_counted() -> None:
    found = read(ics("DTSTART:20260302T040000Z\nDURATION:PT1H\nRRULE:FREQ=HOURLY"), "UTC", START, END)
    assert (len(found.blocks), found.not_understood) == (1, 1)


def test_nothing_but_time_is_kept_of_an_entry() -> None:
    (block,) = read(ics("DTSTART:20260302T040000Z\nDURATION:PT1H\nSUMMARY:Secret\nUID:x"), "UTC", START, END).blocks
    assert (block.uid, "Secret" in repr(block)) == ("x", False)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "not_a_calendar"),
        (b"<html>", "not_a_calendar"),
        (b"BEGIN:VEVENT\r\nEND:VEVENT\r\n", "not_a_calendar"),
        (b"\x00\xff" * 50, "not_a_calendar"),
        (b"A" * (MAX_BYTES + 1), "too_large"),
        (b"BEGIN:VCALENDAR\r\n" + b"BEGIN:VEVENT\r\nEND:VEVENT\r\n" * 6000 + b"END:VCALENDAR", "too_many_entries"),
        (b"BEGIN:VCALENDAR\r\n" * 4000, "not_a_calendar"),
        (ics(*["DTSTART:20260302T040000Z\nDURATION:PT1H\nRRULE:FREQ=DAILY"] * 100), "too_many_entries"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_is_no_calendar_or_too_much_is_refused(content: bytes, code: str) -> None:
    with pytest.raises(BadCalendar, match=code):
        read(content, "UTC", START, END)


def test_a_file_that_takes_too_long_is_given_up() -> None:
    seconds = iter(range(0, 1000, 3))
    with pytest.raises(BadCalendar, match="takes_too_long"):
        read(ics(*["DTSTART:20260302T040000Z\nDURATION:PT1H"] * 5), "UTC", START, END, lambda: next(seconds))


def zone(rule: str, at: str = "20260302T090000") -> bytes:
    """A calendar that describes a time zone by the changes of its clocks, and an entry in it."""
    standard = f"BEGIN:STANDARD\r\nDTSTART:19700101T000000\r\nRRULE:{rule}\r\nTZOFFSETFROM:+0000\r\nTZOFFSETTO:+0100"
    daylight = standard.replace("STANDARD", "DAYLIGHT").replace("+0000", "+0200")
    described = (
        f"BEGIN:VTIMEZONE\r\nTZID:X\r\n{standard}\r\nEND:STANDARD\r\n{daylight}\r\nEND:DAYLIGHT\r\n"
        "END:VTIMEZONE\r\nBEGIN:VEVENT"
    )
    return ics(f"DTSTART;TZID=X:{at}\nDURATION:PT1H").replace(b"BEGIN:VEVENT", described.encode(), 1)


@pytest.mark.parametrize("often", ["SECONDLY", "MINUTELY", "hourly", "SECO\r\n NDLY"])
def test_a_zone_whose_clocks_change_all_the_time_is_refused_before_it_is_written_out(often: str) -> None:
    with pytest.raises(BadCalendar, match="not_a_calendar"):
        read(zone(f"FREQ={often}"), "UTC", START, END)


async def test_a_file_that_never_ends_is_ended_and_the_next_one_is_read() -> None:
    """Whatever it is that takes icalendar so long: here a zone whose clocks change daily, and an entry far ahead."""
    files = Files(Limits(wall_s=10, cpu_s=1))
    with pytest.raises(BadCalendar, match=r"takes_too_long|too_large"):
        await files.read(zone("FREQ=DAILY", "99980101T000000"), "UTC", START, END)
    found = await files.read(ics("DTSTART:20260302T040000Z\nDURATION:PT1H"), "Asia/Karachi", START, END)
    assert [f"{block.start:%H:%M}" for block in found.blocks] == ["04:00"]


async def test_a_zone_of_one_file_is_not_that_of_another() -> None:
    """icalendar remembers the zones of a file by their name as long as its process lives."""
    files = Files()
    for hours, opens in (("+0300", "06:00"), ("+0500", "04:00")):
        described = (
            f"BEGIN:VTIMEZONE\r\nTZID:Here\r\nBEGIN:STANDARD\r\nDTSTART:19700101T000000\r\nTZOFFSETFROM:{hours}\r\n"
            f"TZOFFSETTO:{hours}\r\nEND:STANDARD\r\nEND:VTIMEZONE\r\nBEGIN:VEVENT"
        ).encode()
        content = ics("DTSTART;TZID=Here:20260302T090000\nDURATION:PT1H").replace(b"BEGIN:VEVENT", described, 1)
        found = await files.read(content, "UTC", START, END)
        assert [f"{block.start:%H:%M}" for block in found.blocks] == [opens]
