"""What mails say: in every language, in both zones, with calendars that an independent parser reads alike."""

import io
import re
import string
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Final, cast
from uuid import UUID

import msgspec
import pytest
from dateutil.tz import tzical

from backplane.hosts import PublicUrls
from backplane.mail import envelope
from booking.links.link import Links
from booking.mail.addresses import PublicAddresses
from booking.mail.invites import FILE_NAME, Method, fill, invite
from booking.mail.letters import Visit, isolated, write, write_plain
from booking.mail.texts import CANCELLING, LABELS, WORDS, direction_of, language_of
from booking.policy import DEFAULT, steps
from tests.booking.mail_world import part

SENDER: Final = "Wadud <visits@mail.example>"
TO: Final = "zarqana@patients.example"
NOW: Final = datetime(2026, 3, 1, tzinfo=UTC)
LINK: Final = "https://clinics.example/j/noor#AbC-1_2"
VISIT: Final = Visit(
    appointment=UUID("0194fdc2-fa2f-7cc0-81d3-ff1212345678"),
    tenant=7,
    slug="noor",
    clinic="Noor <b>Clinic</b> {x}",
    status="confirmed",
    kind="video",
    start=datetime(2026, 3, 23, 9, 30, tzinfo=UTC),
    end=datetime(2026, 3, 23, 10, 0, tzinfo=UTC),
    sequence=3,
    epoch=4,
    patient=UUID(int=1),
    patient_zone="America/Toronto",
    provider="Dr. Ayesha <i>Khan</i>",
    provider_zone="Asia/Karachi",
    service="First visit",
)
VALUES: Final = {"code": "123456", "until": "17:30"}


def at(start: datetime, zone: str, **facts: str | int) -> Visit:
    end = start + timedelta(minutes=30)
    return msgspec.structs.replace(VISIT, start=start, end=end, patient_zone=zone, **facts)


@pytest.mark.parametrize("language", sorted(WORDS))
def test_every_language_is_whole_and_fills_the_same_gaps(language: str) -> None:
    assert WORDS[language].keys() == WORDS["en"].keys()
    assert language in LABELS
    assert {key: fields(text) for key, text in CANCELLING[language].items()} == {
        key: fields(text) for key, text in CANCELLING["en"].items()
    }
    for kind, words in WORDS[language].items():
        for ours, english in ((words.heading, WORDS["en"][kind].heading), (words.body, WORDS["en"][kind].body)):
            assert fields(ours) >= fields(english) - {"clinic"}
        assert fields(words.subject) == set()


def fields(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


@pytest.mark.parametrize("language", sorted(WORDS))
@pytest.mark.parametrize("kind", sorted(WORDS["en"]))
def test_every_mail_can_be_written_and_escapes_what_people_entered(kind: str, language: str) -> None:
    letter = write(kind, language, VISIT.clinic, visit=VISIT, link=LINK, values=VALUES)
    assert f'<html lang="{language}" dir="{direction_of(language)}">' in letter.html
    assert "<i>" not in letter.html
    assert "<b>" not in letter.html
    assert "<bdi>Dr. Ayesha &lt;i&gt;Khan&lt;/i&gt;</bdi>" in letter.html
    assert "<bdi>Noor &lt;b&gt;Clinic&lt;/b&gt; {x}</bdi>" in letter.html
    assert isolated("Dr. Ayesha <i>Khan</i>") in letter.text
    assert isolated("Noor <b>Clinic</b> {x}") in letter.text
    assert LINK in letter.text
    assert f'href="{LINK}"' in letter.html
    assert not any(word in letter.subject for word in ("Ayesha", "Noor", "First"))


def test_times_are_told_in_both_zones_and_in_one_where_clocks_agree() -> None:
    letter = write("confirmation", "en", "Noor", visit=VISIT)
    lines = [line for line in letter.text.splitlines() if line.startswith("When")]
    assert lines == [
        f"When: {isolated('Monday 23 March 2026, 05:30–06:00 (Toronto)')}",
        f"When: {isolated('Monday 23 March 2026, 14:30–15:00 (Karachi)')}",
    ]
    same = at(VISIT.start, "Asia/Tashkent")
    assert write("confirmation", "en", "Noor", visit=same).text.count("When:") == 1
    assert "<bdi>پیر 23 مارچ 2026، 14:30–15:00 (کراچی)</bdi>" in write("changed", "ur-PK", "Noor", visit=VISIT).html
    assert "<bdi>الاثنين 23 مارس 2026، 14:30–15:00 (كراتشي)</bdi>" in write("changed", "ar", "Noor", visit=VISIT).html


@pytest.mark.parametrize(
    "language, said",
    [
        (
            "en",
            [
                "If you cancel: \u2068Free until \u2068Sunday 22 March 2026, 05:30 (Toronto)\u2069.\u2069",
                "it costs \u2068PKR\xa0750\u2069; the rest, \u2068PKR\xa0750\u2069, goes back to you.",
                "After that it costs the whole price, \u2068PKR\xa01,500\u2069; nothing goes back.",
            ],
        ),
        ("ur", ["منسوخ کرنے پر", "\u2068Rs\xa0750\u2069", "\u2068Rs\xa01,500\u2069"]),
        ("ar", ["عند الإلغاء", "750", "1,500"]),
    ],
)
def test_what_cancelling_costs_is_in_the_mail_in_plain_words(language: str, said: list[str]) -> None:
    visit = msgspec.structs.replace(VISIT, currency="PKR", cancelling=steps(DEFAULT, VISIT.start, 150_000))
    letter = write("confirmation", language, VISIT.clinic, visit=visit, link=LINK)
    assert [each for each in said if each not in letter.text] == []
    assert "750" in letter.html


def test_a_visit_in_the_house_says_where() -> None:
    here = at(VISIT.start, "Asia/Karachi", kind="in_person", place="Main house, 1 Mall Road")
    assert f"Where: {isolated('Main house, 1 Mall Road')}" in write("confirmation", "en", "Noor", visit=here).text


@pytest.mark.parametrize(
    "locale, language", [("ur-PK", "ur"), ("AR", "ar"), ("en_GB", "en"), ("fr", "en"), ("", "en"), ("arz", "en")]
)
def test_a_locale_leads_to_a_language_that_is_there(locale: str, language: str) -> None:
    assert language_of(locale) == language


def test_plain_letters_keep_braces_and_markup_as_text() -> None:
    letter = write_plain("Code", "{code} <b>\n\nsecond")
    assert "{code} <b>" in letter.text
    assert "{code} &lt;b&gt;" in letter.html
    assert "second" in letter.html


@pytest.mark.parametrize(
    "base_url, page",
    [
        ("https://clinics.example", "https://noor.clinics.example/visits"),
        ("http://localhost:8080", "http://noor.localhost:8080/visits"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080/visits"),
        ("https://[2001:db8::1]", "https://[2001:db8::1]/visits"),
    ],
)
def test_a_page_of_a_clinic_is_on_its_own_host_where_hosts_have_names(base_url: str, page: str) -> None:
    addresses = PublicAddresses(Links({0: b"k" * 32}), PublicUrls(base_url))
    assert addresses.page("noor", (), "/visits") == page
    assert addresses.join(VISIT, UUID(int=1), "ur-PK").startswith(f"{base_url}/j/noor#")


# ---- calendars ----


class Reader:
    """A reader of calendar files that shares nothing with the library that writes them: lines unfolded here, zones
    worked out by dateutil from the VTIMEZONE in the file."""

    def __init__(self, content: bytes) -> None:
        text = content.decode()
        assert re.search(r"(?<!\r)\n|\r(?!\n)", text) is None
        assert max(len(line) for line in content.split(b"\r\n")) <= 75
        unfolded = text.replace("\r\n ", "")
        self.zones = tzical(io.StringIO(text.replace("\r\n", "\n")))
        self.method = re.findall(r"^METHOD:(.*?)\r$", unfolded, re.MULTILINE)
        (event,) = re.findall(r"BEGIN:VEVENT\r\n(.*)END:VEVENT", unfolded, re.DOTALL)
        self.lines = {
            re.split("[;:]", line)[0]: line.partition(":")[2] if ";" not in line.split(":")[0] else line
            for line in event.splitlines()
        }

    def instant(self, name: str) -> datetime:
        match = re.fullmatch(rf"{name};TZID=([^:]+):(\d{{8}}T\d{{6}})", self.lines[name])
        assert match is not None
        zone = self.zones.get(match[1])
        return datetime.strptime(match[2], "%Y%m%dT%H%M%S").replace(tzinfo=zone).astimezone(UTC)


def calendar(visit: Visit, method: Method = "REQUEST", language: str = "en") -> bytes:
    return invite(visit, method, language, sender=SENDER, to=TO, link=LINK, manage=None, now=NOW)


@pytest.mark.parametrize(
    "zone, start",
    [
        ("Asia/Karachi", "2026-03-23T09:30Z"),
        ("Asia/Kathmandu", "2026-03-23T09:30Z"),
        ("Europe/London", "2026-03-29T00:59Z"),
        ("Europe/London", "2026-03-29T01:01Z"),
        ("Europe/London", "2026-10-25T02:30Z"),
        ("America/Toronto", "2026-03-08T06:59Z"),
        ("America/Toronto", "2026-03-08T07:00Z"),
        ("America/Toronto", "2026-11-01T08:00Z"),
        ("Australia/Lord_Howe", "2026-04-04T14:00Z"),
        ("Australia/Lord_Howe", "2026-04-04T16:00Z"),
        ("Australia/Lord_Howe", "2026-10-03T15:29Z"),
        ("Australia/Lord_Howe", "2026-10-03T15:31Z"),
        ("Africa/Cairo", "2026-04-23T21:59Z"),
        ("Africa/Cairo", "2026-04-23T22:30Z"),
        ("Africa/Cairo", "2026-10-29T23:00Z"),
        ("Africa/Casablanca", "2026-02-14T12:00Z"),
        ("Africa/Casablanca", "2026-03-01T12:00Z"),
        ("Africa/Casablanca", "2026-04-01T12:00Z"),
        ("Asia/Beirut", "2026-03-28T22:30Z"),
        ("UTC", "2026-12-31T23:45Z"),
        ("Pacific/Apia", "2026-12-31T10:00Z"),
    ],
)
def test_an_independent_reader_finds_the_same_instants(zone: str, start: str) -> None:
    visit = at(datetime.fromisoformat(start), zone)
    content = calendar(visit)
    if zone == "UTC":
        assert b"DTSTART:20261231T234500Z" in content
        return
    reader = Reader(content)
    assert (reader.instant("DTSTART"), reader.instant("DTEND")) == (visit.start, visit.end)


def test_an_entry_has_what_calendars_need_to_update_it_and_nothing_personal() -> None:
    first = Reader(calendar(VISIT))
    second = Reader(calendar(at(VISIT.start + timedelta(days=1), "Asia/Karachi", sequence=4)))
    off = Reader(calendar(at(VISIT.start, "Asia/Karachi", sequence=5, status="cancelled_by_clinic"), "CANCEL"))
    assert first.lines["UID"] == second.lines["UID"] == off.lines["UID"] == f"{VISIT.appointment}@mail.example"
    assert [each.lines["SEQUENCE"] for each in (first, second, off)] == ["3", "4", "5"]
    assert [each.method for each in (first, second, off)] == [["REQUEST"], ["REQUEST"], ["CANCEL"]]
    assert [each.lines["STATUS"] for each in (first, off)] == ["CONFIRMED", "CANCELLED"]
    assert first.lines["ORGANIZER"] == "mailto:visits@mail.example"
    assert first.lines["SUMMARY"] == "Appointment"
    assert first.lines["ATTENDEE"].endswith(f":mailto:{TO}")
    assert LINK in first.lines["DESCRIPTION"]
    assert not any(word in str(first.lines) for word in ("Ayesha", "Noor", "First visit"))
    assert "URL" not in off.lines


@pytest.mark.parametrize("language", sorted(WORDS))
@pytest.mark.parametrize("method", ["REQUEST", "CANCEL"])
def test_the_message_carries_the_entry_as_a_part_and_as_a_file(language: str, method: Method) -> None:
    content = calendar(VISIT, method, language)
    message = envelope(SENDER, TO, "x", "<1@mail.example>", NOW)
    fill(message, write("confirmation", language, "Noor", visit=VISIT, link=LINK), content, method)
    read = cast(EmailMessage, message_from_bytes(message.as_bytes(), policy=policy.default))
    kinds = [each.get_content_type() for each in read.walk()]
    assert kinds == [
        "multipart/mixed",
        "multipart/alternative",
        "text/plain",
        "text/html",
        "text/calendar",
        "application/ics",
    ]
    entry, file = part(read, "text/calendar"), part(read, "application/ics")
    assert (entry.get_param("method"), entry.get_content_charset()) == (method, "utf-8")
    assert entry.get_payload(decode=True) == file.get_payload(decode=True) == content
    assert file.get_filename() == FILE_NAME
    assert read["Content-Language"] == language
    html = part(read, "text/html").get_content()
    assert ('dir="rtl"' in html) == (language != "en")
    assert Reader(content).lines["SUMMARY"] == LABELS[language].summary
