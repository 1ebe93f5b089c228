"""One mail as a person reads it: text and HTML in their language and direction, times in their zone and the doctor's.

Names, times and addresses may run the other way than the sentence, so each is isolated: <bdi> in HTML, the isolate
characters of Unicode (UAX #9 section 2.4) in text. Digits are Latin in every language, as in the addresses and codes
that stand beside them.
"""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from html import escape
from pathlib import Path
from typing import Final
from uuid import UUID
from zoneinfo import ZoneInfo

from babel.dates import format_date, get_timezone_location
from babel.numbers import format_currency, get_currency_precision
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from msgspec import Struct

from booking.mail.texts import CANCELLING, LABELS, WORDS, direction_of, language_of
from booking.policy import Step

_ISOLATE: Final = "\N{FIRST STRONG ISOLATE}"
_END: Final = "\N{POP DIRECTIONAL ISOLATE}"


class Visit(Struct, frozen=True, kw_only=True):
    """An appointment as its mails tell it. ``reason`` of the appointment is not here on purpose. ``cancelling``: what
    it will cost the patient, in ``currency`` (ISO 4217)."""

    appointment: UUID
    tenant: int
    slug: str
    clinic: str
    status: str
    kind: str
    start: datetime
    end: datetime
    sequence: int
    epoch: int
    patient: UUID | None
    patient_zone: str
    provider: str
    provider_zone: str
    service: str
    place: str = ""
    cancelling: tuple[Step, ...] = ()
    currency: str = ""


class Letter(Struct, frozen=True):
    """What a mail says. ``language`` and ``direction`` for its HTML part."""

    subject: str
    text: str
    html: str
    language: str


def isolated(text: str) -> str:
    """``text`` so that its direction does not spill over into what stands around it."""
    return f"{_ISOLATE}{text}{_END}"


_DIRECTORY: Final = Path(__file__).with_name("templates")
_HTML: Final = Environment(loader=FileSystemLoader(_DIRECTORY), autoescape=True, undefined=StrictUndefined)
_TEXT: Final = Environment(
    loader=FileSystemLoader(_DIRECTORY),
    autoescape=False,  # plain text
    undefined=StrictUndefined,
    keep_trailing_newline=True,
)
_TEXT.filters["isolated"] = isolated


def write(
    kind: str,
    locale: str,
    clinic: str,
    *,
    visit: Visit | None = None,
    link: str | None = None,
    manage: str | None = None,
    values: Mapping[str, str] | None = None,
) -> Letter:
    """The mail of ``kind``. ``link`` is its one button, ``manage`` leads to where a visit is moved or cancelled;
    ``values`` fills what the words of this kind leave open, such as {code}.

    Raises KeyError: there is no such kind, or ``values`` lacks something.
    """
    language = language_of(locale)
    words, labels = WORDS[language][kind], LABELS[language]
    open_ = {"clinic": clinic, **(values or {})}
    joining = visit is not None and visit.status != "held"
    common = {
        "language": language,
        "direction": direction_of(language),
        "facts": _facts(visit, language) if visit is not None else [],
        "link": link,
        "link_label": labels.join if joining else labels.open,
        "link_note": labels.link_note if joining else "",
        "manage": manage,
        "manage_label": labels.manage,
    }
    return _put_together(words.subject, [words.heading, words.body], labels.footer, open_, common)


def write_plain(subject: str, body: str) -> Letter:
    """A mail whose words come from elsewhere, in whatever language; its direction is that of its first letter."""
    common: dict[str, object] = {"language": "und", "direction": "auto", "facts": [], "link": None}
    common |= {"link_label": "", "link_note": "", "manage": None, "manage_label": ""}
    # braces of a foreign text are text
    parts = [each.replace("{", "{{").replace("}", "}}") for each in body.split("\n") if each.strip()]
    return _put_together(subject, parts or [subject], "", {}, common)


def _put_together(
    subject: str, parts: list[str], footer: str, open_: Mapping[str, str], common: Mapping[str, object]
) -> Letter:
    def plain(words: str) -> str:
        return words.format_map({name: isolated(value) for name, value in open_.items()})

    def marked(words: str) -> str:
        return escape(words).format_map({name: f"<bdi>{escape(value)}</bdi>" for name, value in open_.items()})

    html = _HTML.get_template("letter.html").render(
        subject=subject, heading=marked(parts[0]), paragraphs=[marked(each) for each in parts[1:]],
        footer=marked(footer), **common,
    )  # fmt: skip
    text = _TEXT.get_template("letter.txt").render(
        subject=subject, heading=plain(parts[0]), paragraphs=[plain(each) for each in parts[1:]],
        footer=plain(footer), **common,
    )  # fmt: skip
    return Letter(subject, text, html, str(common["language"]))


def local_times(visit: Visit, language: str) -> list[str]:
    """The time of the visit in the patient's zone, and in the doctor's where clocks there show another time."""
    zones = [visit.patient_zone, visit.provider_zone]
    here, there = (visit.start.astimezone(ZoneInfo(zone)).replace(tzinfo=None) for zone in zones)
    return [local_time(visit.start, zone, language, visit.end) for zone in (zones if here != there else zones[:1])]


def local_time(at: datetime, zone: str, language: str, end: datetime | None = None) -> str:
    """Day, time (until ``end``) and place, as people of that language write them."""
    start = at.astimezone(ZoneInfo(zone))
    date = format_date(start.date(), "EEEE d MMMM y", locale=language)
    place = get_timezone_location(zone, locale=language, return_city=True) if "/" in zone else zone
    comma = "،" if direction_of(language) == "rtl" else ","
    until = f"–{end.astimezone(ZoneInfo(zone)):%H:%M}" if end else ""
    return f"{date}{comma} {start:%H:%M}{until} ({place})"


def _facts(visit: Visit, language: str) -> list[tuple[str, list[str]]]:
    labels = LABELS[language]
    facts = [
        (labels.when, local_times(visit, language)),
        (labels.provider, [visit.provider]),
        (labels.service, [visit.service]),
    ]
    if visit.kind == "in_person" and visit.place:
        facts.append((labels.place, [visit.place]))
    if visit.cancelling:
        facts.append((labels.cancelling, _cancelling(visit, language)))
    return facts


def _cancelling(visit: Visit, language: str) -> list[str]:
    """What cancelling costs, a line for each time in which it costs the same."""
    lines = []
    for index, step in enumerate(visit.cancelling):
        what = "free" if step.fee_minor == 0 else "part" if step.refund_minor else "whole"
        words = CANCELLING[language][what if index == 0 else f"then_{what}"]
        lines.append(
            words.format(
                until=isolated(local_time(step.until, visit.patient_zone, language)),
                fee=isolated(_amount(step.fee_minor, visit.currency, language)),
                refund=isolated(_amount(step.refund_minor, visit.currency, language)),
            )
        )
    return lines


def _amount(amount_minor: int, currency: str, language: str) -> str:
    digits = get_currency_precision(currency)
    value = Decimal(amount_minor).scaleb(-digits)
    unit = "¤¤" if language == "ar" else "¤"  # few readers know the Arabic signs of foreign money
    pattern = f"{unit}\N{NO-BREAK SPACE}#,##0" + ("" if value == value.to_integral_value() else f".{'0' * digits}")
    return format_currency(value, currency, pattern, locale=language, currency_digits=False, numbering_system="latn")
