"""Ids of version 7: sortable by time, increasing within the process, hard to guess."""

from datetime import UTC, datetime, timedelta

import pytest

from backplane import ids

NOON = datetime(2030, 6, 1, 12, 0, 0, 123_000, tzinfo=UTC)


def milliseconds(now: datetime) -> int:
    return int(now.timestamp() * 1000)


def test_an_id_is_a_uuid_of_version_7_that_carries_the_time() -> None:
    made = ids.uuid7(NOON)
    assert (made.version, made.variant) == (7, "specified in RFC 4122")
    assert made.int >> 80 == milliseconds(NOON)


def test_ids_of_one_millisecond_increase() -> None:
    made = [ids.uuid7(NOON) for _ in range(5000)]
    assert made == sorted(set(made))


def test_a_clock_put_back_a_little_does_not_break_the_order() -> None:
    later = NOON + timedelta(seconds=60)
    first = ids.uuid7(later)
    second = ids.uuid7(later - timedelta(seconds=9))
    assert first < second


def test_a_clock_put_back_far_is_believed() -> None:
    ids.uuid7(NOON + timedelta(days=400))
    assert ids.uuid7(NOON).int >> 80 == milliseconds(NOON)


def test_neighbours_cannot_be_told_from_an_id() -> None:
    steps = {(ids.uuid7(NOON).int - ids.uuid7(NOON).int) for _ in range(200)}
    assert len(steps) == 200


def test_a_sequence_that_is_full_moves_to_the_next_millisecond(monkeypatch: pytest.MonkeyPatch) -> None:
    sequence = ids._Sequence()
    monkeypatch.setattr(ids.secrets, "randbits", lambda bits: (1 << bits) - 1)
    sequence.next(1000)
    sequence._chance = (1 << 74) - 1
    assert sequence.next(1000)[0] == 1001
    assert sequence.next(1000)[0] == 1001


@pytest.mark.parametrize("now", [datetime(2030, 1, 1), datetime(1969, 12, 31, tzinfo=UTC)])
def test_a_time_without_zone_or_before_1970_is_refused(now: datetime) -> None:
    with pytest.raises(ValueError, match=r"zone|1970"):
        ids.uuid7(now)
