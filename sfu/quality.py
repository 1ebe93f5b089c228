"""How good a participant's connection is, from 1 (bad) to 5 (good), version 1.

The E-model of ITU-T G.107 reduced to what a server can measure, with delay, jitter and loss as inputs:

    d  = rtt / 2 + 2 * jitter + 40 ms         one way: path, playout buffer, 20 ms frame and encoder look-ahead
    Id = 0.024 d + 0.11 (d - 177.3) when d > 177.3 ms
    Ie = 95 * loss / (loss + 10)              loss in percent; Ie = 0 and Bpl = 10 for Opus with in-band FEC
    R  = 93.2 - Id - Ie
    MOS = 1 + 0.035 R + R (R - 60) (100 - R) 7e-6, between 1 and 4.5

The score is the band of R in ITU-T G.109, table 1. It describes the path of speech; it is not a clinical measure.
"""

from dataclasses import dataclass

VERSION = 1
BASE_R = 93.2
BUFFERING_MS = 40.0
DELAY_KNEE_MS = 177.3
LOSS_ROBUSTNESS_PERCENT = 10.0  # Bpl
BANDS = ((87.0, 5), (80.0, 4), (70.0, 3), (60.0, 2))
"""Least R of each score. G.109 has 90 for the best; the constant 40 ms here are what keeps a perfect path from it."""


@dataclass(frozen=True, slots=True)
class PathSample:
    """One second of one participant's path, the worse of its two directions. Zero: unknown or none."""

    rtt_ms: float = 0.0
    jitter_ms: float = 0.0
    loss_percent: float = 0.0


def rating(sample: PathSample) -> float:
    """The transmission rating factor R, 0..93.2."""
    delay_ms = sample.rtt_ms / 2 + 2 * sample.jitter_ms + BUFFERING_MS
    delay_impairment = 0.024 * delay_ms + 0.11 * max(0.0, delay_ms - DELAY_KNEE_MS)
    loss_impairment = 95 * sample.loss_percent / (sample.loss_percent + LOSS_ROBUSTNESS_PERCENT)
    return max(0.0, BASE_R - delay_impairment - loss_impairment)


def mos(sample: PathSample) -> float:
    """Estimated mean opinion score, 1..4.5."""
    r = rating(sample)
    return min(4.5, max(1.0, 1 + 0.035 * r + r * (r - 60) * (100 - r) * 7e-6))


def score(sample: PathSample) -> int:
    """1..5, what participants are shown."""
    r = rating(sample)
    return next((value for least, value in BANDS if r >= least), 1)
