"""Cases of schemathesis without control characters: JSON Schema cannot say that they are refused everywhere."""

from __future__ import annotations

from typing import Any

from backplane.lines import has_control


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        # a generator reads the $ of a pattern as Python does, where a line break may follow it
        return "".join("x" if has_control(letter) else letter for letter in value.removesuffix("\n"))
    if isinstance(value, dict):
        return {_plain(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return value


def printable(case: Any) -> Any:
    """``case`` with another letter in place of each control character."""
    for part in ("path_parameters", "query", "body"):
        value = getattr(case, part)
        if isinstance(value, str | dict | list):
            setattr(case, part, _plain(value))
    return case
