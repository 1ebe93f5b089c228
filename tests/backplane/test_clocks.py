"""Arithmetic with a clock that may be set back."""

from datetime import UTC, datetime, timedelta

import pytest

from backplane.clocks import just_now

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@pytest.mark.parametrize(
    ("ago", "believed"), [(timedelta(0), True), (MINUTE / 2, True), (MINUTE, False), (-MINUTE, False)]
)
def test_a_memory_from_the_future_is_not_believed(ago: timedelta, believed: bool) -> None:
    assert just_now(NOW - ago, NOW, MINUTE) is believed
