"""The quality score."""

import pytest

from sfu.quality import PathSample, mos, rating, score


def test_perfect_path_scores_five() -> None:
    assert score(PathSample()) == 5
    assert rating(PathSample()) == pytest.approx(92.24)
    assert mos(PathSample()) == pytest.approx(4.39, abs=0.01)


@pytest.mark.parametrize(
    "sample, expected",
    [
        (PathSample(rtt_ms=100, jitter_ms=5), 5),
        (PathSample(rtt_ms=250, jitter_ms=10), 5),
        (PathSample(loss_percent=1), 4),
        (PathSample(rtt_ms=400, jitter_ms=20, loss_percent=1), 2),
        (PathSample(rtt_ms=400, jitter_ms=30, loss_percent=3), 1),
        (PathSample(loss_percent=2), 3),
        (PathSample(loss_percent=10), 1),
        (PathSample(rtt_ms=2000), 1),
    ],
)
def test_scores_of_typical_paths(sample: PathSample, expected: int) -> None:
    assert score(sample) == expected


def test_more_of_anything_bad_never_raises_the_score() -> None:
    for field in ("rtt_ms", "jitter_ms", "loss_percent"):
        ratings = [rating(PathSample(**{field: float(value)})) for value in range(0, 101, 5)]
        assert ratings == sorted(ratings, reverse=True)


def test_scale_ends_at_one() -> None:
    assert mos(PathSample(rtt_ms=5000, loss_percent=100)) == 1.0
