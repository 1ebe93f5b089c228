"""Tables as pictures: one bar per server and load, each on the scale of what its load allows."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

from benchmarks.rounds import Row

_WIDTH, _LEFT, _BAR, _GAP = 900, 250, 18, 8
_COLOURS = {"wadud": "#0b7a75", "janus": "#b56b45", "coturn": "#b56b45"}


def write_plot(rows: Sequence[Row], path: Path) -> None:
    """The table of forwarding.py as an SVG; no bars when there are no rows."""
    bars = []
    for row in rows:
        figure = f"{row.packets_per_cpu_s:,.0f} ({row.share_of_limit:.0%})"
        bars.append((f"{row.scenario}, {row.server}", row.server, row.share_of_limit, figure))
    write_bars(
        "Packets forwarded per CPU second; the grey bar is what a bare C loop reached in the same run", bars, path
    )


def write_bars(title: str, bars: Sequence[tuple[str, str, float, str]], path: Path) -> None:
    """An SVG of bars: label, server, share of the whole width (0 to 1) and the figure behind it."""
    scale = _WIDTH - _LEFT - 130
    parts, y = [], 40
    for label, server, share, figure in bars:
        colour = _COLOURS.get(server, "#555555")
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 13}" text-anchor="end">{escape(label)}</text>')
        parts.append(f'<rect x="{_LEFT}" y="{y}" width="{scale}" height="{_BAR}" fill="#e7e5e0"/>')
        parts.append(
            f'<rect x="{_LEFT}" y="{y}" width="{scale * min(share, 1.0):.0f}" height="{_BAR}" fill="{colour}"/>'
        )
        parts.append(f'<text x="{_LEFT + scale + 8}" y="{y + 13}">{figure}</text>')
        y += _BAR + _GAP
    size = f'width="{_WIDTH}" height="{y + 20}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12">'
    body = f'<rect width="100%" height="100%" fill="#ffffff"/><text x="12" y="22" font-size="14">{escape(title)}</text>'
    path.write_text("\n".join([head, body, *parts, "</svg>\n"]))
