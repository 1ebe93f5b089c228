"""The table of all settings in docs/operations.md, made from their declaration: `python -m backplane.settings_table`.

It stands between two comments; tests/backplane/test_config.py fails where it is not up to date. Standard library only.
"""

from pathlib import Path
from typing import Final

from backplane.settings import SETTINGS

DOCUMENT: Final = Path(__file__).resolve().parent.parent / "docs" / "operations.md"
_BEGIN, _END = "<!-- settings: made by python -m backplane.settings_table -->", "<!-- end of settings -->"


def table() -> str:
    """Markdown: a line for each setting. * marks those without an option on the command line."""
    lines = ["| setting | default | |", "|---|---|---|"]
    for setting in SETTINGS.values():
        mark = "" if setting.command_line else " \\*"
        lines.append(f"| `{setting.name}`{mark} | {setting.default_in_words()} | {setting.help} |".replace("<", "&lt;"))
    return "\n".join(lines)


def updated(document: str) -> str:
    """The document with the table of today."""
    before, begin, rest = document.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise ValueError("the comments around the table are missing")
    return f"{before}{begin}\n{table()}\n{end}{after}"


if __name__ == "__main__":
    DOCUMENT.write_text(updated(DOCUMENT.read_text()))
