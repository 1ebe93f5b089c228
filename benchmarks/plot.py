"""The table of forwarding.py as a picture: one bar per server and scenario, on the scale of that scenario's limit."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

from benchmarks.rounds import Row

_WIDTH, _LEFT, _BAR, _GAP = 900, 230, 18, 8
_COLOURS = {"wadud": "#0b7a75", "janus": "#b56b45"}


def write_plot(rows: Sequence[Row], path: Path) -> None:
    """An SVG; nothing when there are no rows."""
    scale = _WIDTH - _LEFT - 130
    parts, y = [], 40
    for row in rows:
        share = min(row.share_of_limit, 1.0)
        label = escape(f"{row.scenario}, {row.server}")
        colour = _COLOURS.get(row.server, "#555555")
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 13}" text-anchor="end">{label}</text>')
        parts.append(f'<rect x="{_LEFT}" y="{y}" width="{scale}" height="{_BAR}" fill="#e7e5e0"/>')
        parts.append(f'<rect x="{_LEFT}" y="{y}" width="{scale * share:.0f}" height="{_BAR}" fill="{colour}"/>')
        figure = f"{row.packets_per_cpu_s:,.0f} ({row.share_of_limit:.0%})"
        parts.append(f'<text x="{_LEFT + scale + 8}" y="{y + 13}">{figure}</text>')
        y += _BAR + _GAP
    title = "Packets forwarded per CPU second; the grey bar is what a bare C loop reached in the same run"
    size = f'width="{_WIDTH}" height="{y + 20}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12">'
    body = f'<rect width="100%" height="100%" fill="#ffffff"/><text x="12" y="22" font-size="14">{title}</text>'
    path.write_text("\n".join([head, body, *parts, "</svg>\n"]))
