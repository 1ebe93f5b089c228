"""How booking grows with the number of providers: one small picture per bar, drawn beside its bar."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks.booking_report import BARS, Figures, value_of

_OURS, _BARE, _BAR = "#0b7a75", "#b56b45", "#a33b3b"
_TITLES: Final = {
    "search": "Search, p95 of the slowest kind of question",
    "month": "Month of free slots over HTTP, p95",
    "bookings": "Bookings per second",
    "events": "Events per second, outbox to Redis",
    "plain": "Plain authenticated reads per core and second",
}


def write_plot(rows: Sequence[Figures], path: Path) -> None:
    """An SVG of small multiples, providers on a logarithmic axis; nothing when there are no rows."""
    if not rows:
        return
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams |= {"svg.hashsalt": "wadud", "font.size": 10, "svg.fonttype": "none"}
    from matplotlib import pyplot

    figure, places = pyplot.subplots(2, 3, figsize=(13, 7), layout="constrained")
    sizes = [row.providers for row in rows]
    for place, (key, bar) in zip(places.flat, BARS.items()):
        values = [value_of(row, key) for row in rows]
        place.axhline(bar.value, color=_BAR, linestyle="--", linewidth=1.2)
        side = "below" if bar.below else "above"
        place.annotate(
            f"bar: {side} {bar.value:,.0f}", (0.02, bar.value), xycoords=("axes fraction", "data"), color=_BAR,
            xytext=(0, 4), textcoords="offset points",
        )  # fmt: skip
        place.plot(sizes, values, marker="o", color=_OURS, linewidth=2)
        for size, value in zip(sizes, values):
            place.annotate(
                f"{value:,.0f}" if value >= 100 else f"{value:,.1f}", (size, value), xytext=(0, 7),
                textcoords="offset points", ha="center", color=_OURS, fontweight="bold",
            )  # fmt: skip
        top = max(bar.value, *values)
        if key == "plain":
            bare = [row.bare_per_cpu_s for row in rows]
            place.plot(sizes, bare, marker="s", color=_BARE, linewidth=1.2)
            place.annotate("bare aiohttp", (sizes[0], bare[0]), xytext=(0, 6), textcoords="offset points", color=_BARE)
            top = max(top, *bare)
        place.set(xscale="log", ylim=(0, 1.25 * top), title=_TITLES[key], ylabel="ms" if bar.unit == "ms" else "per s")
        place.set_xlim(sizes[0] / 2, sizes[-1] * 2)
        place.set_xticks(sizes, [f"{size:,}" for size in sizes])
        place.minorticks_off()
        place.set_xlabel("providers")
        place.spines[["top", "right"]].set_visible(False)
        place.grid(axis="y", color="#e7e5e0")
        place.set_axisbelow(True)
    for place in list(places.flat)[len(BARS) :]:
        place.axis("off")
    figure.savefig(path, format="svg", metadata={"Date": None})
    pyplot.close(figure)
