"""Texts of queries and paths become values strictly."""

from datetime import UTC, date, datetime
from enum import Enum
from typing import Annotated, Literal
from uuid import UUID

import msgspec
import pytest
from msgspec import Meta

from backplane.parameters import converted, reader

Moment = Annotated[datetime, Meta(tz=True)]


class Colour(Enum):
    RED = "red"


def convert(text: str, kind: object) -> object:
    return converted(text, kind, reader(kind))


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("2026-01-02T03:04:05Z", Moment, datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02", date, date(2026, 1, 2)),
        ("12", int, 12),
        ("-1", int, -1),
        ("12", Annotated[int, Meta(ge=1)] | None, 12),
        ("1.5", float, 1.5),
        ("2", float, 2.0),
        ("true", bool, True),
        ("false", bool | None, False),
        ("2", Literal[1, 2], 2),
        ("red", Colour, Colour.RED),
        ("1e3", str, "1e3"),
        ("12", str | None, "12"),
        ("00000000-0000-0000-0000-000000000001", UUID, UUID(int=1)),
    ],
)
def test_what_is_written_as_it_should_be_is_read(text: str, kind: object, value: object) -> None:
    assert convert(text, kind) == value


@pytest.mark.parametrize(
    ("kind", "texts"),
    [
        (Moment, ["0.5", "1", "1e3", "inf", "-1", "2026-01-02", "2026-01-02T03:04:05", "null", ""]),
        (Moment | None, ["0.5", "null", "NULL", ""]),
        (date, ["1", "20260102", "2026-1-2", "0.5"]),
        (int, ["1e3", "1.0", "+1", " 1", "1_000", "0x10", "007", "-", "٣", "9" * 20, "true", ""]),
        (Annotated[int, Meta(ge=1)] | None, ["1e3", "1.0", "null", "0", ""]),
        (float, ["1e3", "nan", "inf", "-inf", "Infinity", "1_0", "+1", ".5", "5.", "", "1" * 400]),
        (bool, ["1", "0", "True", "TRUE", "on", "yes", "t", "", "null"]),
    ],
)
def test_what_is_written_otherwise_is_refused(kind: object, texts: list[str]) -> None:
    for text in texts:
        with pytest.raises(msgspec.ValidationError):
            convert(text, kind)
