"""What the benchmarks' commands share: bars met or missed, progress, the machine in words, quantiles of buckets."""

import math
import os
import platform
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Verdict:
    text: str
    met: bool


def show_verdicts(verdicts: Iterable[Verdict]) -> bool:
    """Prints them; True when every bar is met."""
    found = list(verdicts)
    print()
    for verdict in found:
        print(f"{'met   ' if verdict.met else 'MISSED'} {verdict.text}")
    return all(verdict.met for verdict in found)


def progress(text: str) -> None:
    """What is being done now, "" = nothing: on a terminal one line that changes."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
    elif text:
        print(f"  {text}", file=sys.stderr, flush=True)


def machine() -> str:
    """Processor, cores and kernel."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return f"{model}, {os.cpu_count()} cores, Linux {platform.release()}"


def quantile_of(buckets: Sequence[int], over: int, share: float, width: float) -> float:
    """The upper end of the bucket that holds the quantile; buckets are ``width`` wide from 0, and ``over`` lie beyond
    the last. Infinite when it is one of those, NaN when there is nothing."""
    wanted = share * (sum(buckets) + over)
    passed = 0
    for index, count in enumerate(buckets):
        passed += count
        if passed >= wanted and passed:
            return (index + 1) * width
    return math.inf if over else math.nan
