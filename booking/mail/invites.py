"""The calendar entry in a mail (RFC 5545, RFC 5546, RFC 6047).

Calendars update an entry instead of doubling it only when everything fits: the same UID, a higher SEQUENCE, an
organizer that is the sending address, the method said alike in the part's header and inside, lines that end in CRLF,
and the zone described (VTIMEZONE). The summary is neutral, because calendars are shared and shown on screens.
"""

from datetime import date, datetime
from email.message import EmailMessage
from functools import lru_cache
from typing import Final, Literal
from zoneinfo import ZoneInfo

from icalendar import Calendar, Event, Timezone, vCalAddress, vText

from backplane.mail import bare_address
from booking.mail.letters import Letter, Visit
from booking.mail.texts import LABELS

Method = Literal["REQUEST", "CANCEL"]
PRODUCT: Final = "-//Wadud//booking//EN"
FILE_NAME: Final = "appointment.ics"


# Working a description out takes up to 25 ms; it is read only, so entries share it.
@lru_cache(maxsize=256)
def _described(zone: str, year: int) -> Timezone:
    """The changes of a zone's clocks around that year, not those of seventy years."""
    return Timezone.from_tzid(zone, first_date=date(year - 1, 1, 1), last_date=date(year + 2, 1, 1))


def uid_of(visit: Visit, sender: str) -> str:
    """Stays the same for the life of an appointment, whatever moves."""
    return f"{visit.appointment}@{bare_address(sender).rpartition('@')[2]}"


def invite(
    visit: Visit,
    method: Method,
    language: str,
    *,
    sender: str,
    to: str,
    link: str | None,
    manage: str | None,
    now: datetime,
) -> bytes:
    """The entry as it stands in a file."""
    labels = LABELS[language]
    event = Event()
    event.add("uid", uid_of(visit, sender))
    event.add("sequence", visit.sequence)
    event.add("dtstamp", now)
    # in the patient's zone: an entry in UTC would be right as well but shows nothing when that zone's law changes
    zone = ZoneInfo(visit.patient_zone)
    event.add("dtstart", visit.start.astimezone(zone))
    event.add("dtend", visit.end.astimezone(zone))
    event.add("summary", labels.summary)
    event.add("status", "CANCELLED" if method == "CANCEL" else "CONFIRMED")
    event.add("class", "PRIVATE")
    organizer = vCalAddress(f"mailto:{bare_address(sender)}")
    event.add("organizer", organizer)
    attendee = vCalAddress(f"mailto:{to}")
    attendee.params["partstat"] = vText("ACCEPTED")
    attendee.params["rsvp"] = vText("FALSE")
    event.add("attendee", attendee)
    links = [f"{label}: {url}" for label, url in ((labels.join, link), (labels.manage, manage)) if url]
    if method == "REQUEST" and links:
        event.add("description", "\n".join(links))
        event.add("url", link or manage)
    if visit.kind == "in_person" and visit.place:
        event.add("location", visit.place)
    calendar = Calendar()
    calendar.add("prodid", PRODUCT)
    calendar.add("version", "2.0")
    calendar.add("calscale", "GREGORIAN")
    calendar.add("method", method)
    if visit.patient_zone != "UTC":
        calendar.add_component(_described(visit.patient_zone, visit.start.year))
    calendar.add_component(event)
    return bytes(calendar.to_ical())


def fill(message: EmailMessage, letter: Letter, calendar: bytes | None = None, method: Method = "REQUEST") -> None:
    """Puts the letter into the message: text, HTML, and the entry both as a part of its own and as a file to keep."""
    message.set_content(letter.text, charset="utf-8", cte="base64")
    message.add_alternative(letter.html, subtype="html", charset="utf-8", cte="base64")
    if calendar is not None:
        message.add_alternative(
            calendar.decode(), subtype="calendar", charset="utf-8", cte="base64", params={"method": method}
        )
        message.add_attachment(
            calendar, maintype="application", subtype="ics", filename=FILE_NAME, params={"method": method}
        )
    message["Content-Language"] = letter.language  # at the end: what begins with Content- moves into the first part
