"""Where uv finds packages: as pip is configured on this machine, since uv reads neither pip.conf nor ``PIP_*``.

What is set for uv itself (``UV_*``) goes first. Standard library only.
"""

import ast
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

# pip's option -> uv's variable, and what uv puts between several values, which pip has white space between
_SAME: Final[Mapping[str, tuple[str, str]]] = {
    "index-url": ("UV_DEFAULT_INDEX", " "),
    "extra-index-url": ("UV_INDEX", " "),
    "find-links": ("UV_FIND_LINKS", ","),
    "no-index": ("UV_NO_INDEX", " "),
    "trusted-host": ("UV_INSECURE_HOST", " "),
    "cert": ("SSL_CERT_FILE", " "),
    "proxy": ("ALL_PROXY", " "),
    "default-timeout": ("UV_HTTP_TIMEOUT", " "),
    "timeout": ("UV_HTTP_TIMEOUT", " "),
}
_SECTIONS: Final = ("global", "install", ":env:")  # the later counts


def uv_environment(pip_config: str, environment: Mapping[str, str]) -> dict[str, str]:
    """Variables for uv, from what `pip config list` prints.

    Of several indexes the best match counts, as for pip: uv would take the first that has any version of a package.
    Hashes are required, so no index can exchange a package.
    """
    found = {"UV_INDEX_STRATEGY": "unsafe-best-match", "UV_PYTHON_DOWNLOADS": "never", "UV_SYSTEM_CERTS": "true"}
    lines = [line.partition("=") for line in pip_config.splitlines()]
    for section in _SECTIONS:
        for name, _, value in lines:
            place, _, option = name.rpartition(".")
            if place == section and option in _SAME:
                variable, between = _SAME[option]
                found[variable] = between.join(str(ast.literal_eval(value)).split())
    if not _writable(environment.get("XDG_CACHE_HOME") or "~/.cache"):
        found["UV_NO_CACHE"] = "true"
    return {name: value for name, value in found.items() if name not in environment}


def _writable(place: str) -> bool:
    """Whether we may write there, or make it."""
    try:
        folder = Path(place).expanduser()
        there = next(path for path in (folder, *folder.parents) if path.exists())
    except (OSError, RuntimeError):  # the home is another's, or there is none
        return False
    return os.access(there, os.W_OK)
