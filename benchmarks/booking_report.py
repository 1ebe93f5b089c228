"""The figures of `booking.py`, their bars, and how they read as text."""

from dataclasses import dataclass
from typing import Final

from msgspec import Struct


class Figures(Struct):
    """One size. ``others``: share of the machine that was at work before we began."""

    providers: int
    others: float = 0.0
    search_kinds: dict[str, tuple[float, float]] = {}
    """Median and 95th percentile by kind of question, in milliseconds."""
    search_p50_ms: float = 0.0
    search_p95_ms: float = 0.0
    search_http_p50_ms: float = 0.0
    search_http_p95_ms: float = 0.0
    month_p50_ms: float = 0.0
    month_p95_ms: float = 0.0
    bookings_per_s: float = 0.0
    booking_p50_ms: float = 0.0
    booking_p95_ms: float = 0.0
    booking_cpu_ms: float = 0.0
    """CPU time of the servers per booking, without Postgres and Redis."""
    booking_postgres_ms: float = 0.0
    """CPU time of Postgres per booking, with what the consumers did meanwhile."""
    booking_whole_ms: float = 0.0
    """CPU time of servers and Postgres per booking until all that it set off was done: mails, reminders, search."""
    settled_s: float = 0.0
    """After the last booking, until the consumers had dealt with everything."""
    events_per_s: float = 0.0
    event_p50_ms: float = 0.0
    event_p95_ms: float = 0.0
    plain_per_cpu_s: float = 0.0
    plain_per_s: float = 0.0
    plain_share: float = 0.0
    """Of the bare handler's requests per CPU second; median of the rounds' own ratios."""
    bare_per_cpu_s: float = 0.0
    bare_per_s: float = 0.0

    @property
    def search_worst(self) -> tuple[str, float]:
        """The kind of question with the highest 95th percentile."""
        kind = max(self.search_kinds, key=lambda each: self.search_kinds[each][1], default="")
        return kind, self.search_kinds[kind][1] if kind else 0.0


@dataclass(frozen=True, slots=True)
class Bar:
    """What issue 3 asks for. ``below``: the figure has to stay under it."""

    name: str
    value: float
    unit: str
    below: bool


BARS: Final = {
    "search": Bar("search p95, worst kind", 50, "ms", True),
    "month": Bar("slot month view p95", 20, "ms", True),
    "bookings": Bar("bookings", 1_000, "/s", False),
    "events": Bar("events through outbox to Redis", 10_000, "/s", False),
    "plain": Bar("plain authenticated reads per core", 5_000, "/s", False),
}


@dataclass(frozen=True, slots=True)
class Verdict:
    met: bool
    line: str


def value_of(figures: Figures, bar: str) -> float:
    return {
        "search": figures.search_worst[1],
        "month": figures.month_p95_ms,
        "bookings": figures.bookings_per_s,
        "events": figures.events_per_s,
        "plain": figures.plain_per_cpu_s,
    }[bar]


def verdicts(figures: Figures) -> list[Verdict]:
    """A line for every bar."""
    judged = []
    for key, bar in BARS.items():
        value = value_of(figures, key)
        met = value < bar.value if bar.below else value >= bar.value
        word, relation = ("met   ", "<" if bar.below else ">=") if met else ("MISSED", "not <" if bar.below else "<")
        text = f"{word} {bar.name}: {value:,.1f} {bar.unit} {relation} {bar.value:,.0f} {bar.unit}"
        judged.append(Verdict(met, f"{text} at {figures.providers:,} providers"))
    return judged


def report(figures: Figures) -> str:
    kind, worst = figures.search_worst
    lines = [
        f"{figures.providers:,} providers (others use {figures.others:.0%} of the machine)",
        f"  search, in process      p50 {figures.search_p50_ms:8.1f} ms   p95 {figures.search_p95_ms:8.1f} ms"
        f"   worst kind {kind}: p95 {worst:.1f} ms",
        f"  search, over HTTP       p50 {figures.search_http_p50_ms:8.1f} ms"
        f"   p95 {figures.search_http_p95_ms:8.1f} ms",
        f"  slot month view         p50 {figures.month_p50_ms:8.1f} ms   p95 {figures.month_p95_ms:8.1f} ms",
        f"  bookings                {figures.bookings_per_s:12,.0f} /s   p50 {figures.booking_p50_ms:.1f} ms,"
        f" p95 {figures.booking_p95_ms:.1f} ms; CPU each: servers {figures.booking_cpu_ms:.2f} ms,"
        f" Postgres {figures.booking_postgres_ms:.2f} ms, {figures.booking_whole_ms:.2f} ms with"
        f" all that follows; consumers done {figures.settled_s:.0f} s later",
        f"  events to Redis         {figures.events_per_s:12,.0f} /s   one alone p50 {figures.event_p50_ms:.1f} ms,"
        f" p95 {figures.event_p95_ms:.1f} ms",
        f"  plain reads             {figures.plain_per_cpu_s:12,.0f} per CPU second, {figures.plain_per_s:,.0f} /s",
        f"  bare aiohttp            {figures.bare_per_cpu_s:12,.0f} per CPU second, {figures.bare_per_s:,.0f} /s;"
        f" ours is {figures.plain_share:.0%} of it",
    ]
    return "\n".join(lines)
