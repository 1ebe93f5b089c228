"""The structure of rtc/native, read from its files: no cycle, one convention for success, one layout.

A source depends on another when it includes that one's header, or uses a function that it defines: a header that
several sources share must not hide a cycle. Headers depend on the headers that they include. The rules and the
layers stand in docs/decisions/0005-packet-plane.md.
"""

import graphlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
NATIVE = ROOT / "rtc" / "native"
C_FOLDERS = ("rtc/native", "benchmarks/native", "tests/fuzz", "tests/rtc/native")
ALLOWED_CYCLES: set[frozenset[str]] = set()
"""Those that the decision names: none."""
PRESCRIBED = re.compile(r"_module\.c$|worker_relay_methods\.c$|worker_arguments\.[ch]$|^association\.c$|^identity\.c$")
"""Files with callbacks whose type CPython or OpenSSL prescribes: there int functions and -1 are theirs."""
COMMENT_OR_TEXT = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"', re.DOTALL)
DEFINITION = re.compile(r"^(?!static\b|typedef\b|#)[A-Za-z][\w \t*]*?\b(wd_\w+|wire_\w+)\([^;{}]*\)\s*\{", re.MULTILINE)
NAME = re.compile(r"\b(?:wd|wire)_\w+\b")


def _sources() -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted(NATIVE.glob("*.[ch]"))}


def _code(text: str) -> str:
    return COMMENT_OR_TEXT.sub(" ", text)


def _dependencies(sources: dict[str, str]) -> dict[str, set[str]]:
    """File -> the files that it includes or calls. For others than the source itself, its header stands for it."""
    defined = {
        function: name
        for name, text in sources.items()
        if name.endswith(".c")
        for function in DEFINITION.findall(_code(text))
    }
    graph: dict[str, set[str]] = {}
    for name, text in sources.items():
        graph[name] = set(re.findall(r'^#include "(\w+\.h)"', text, re.MULTILINE))
        if name.endswith(".c"):
            graph[name] |= {source for header in graph[name] if (source := f"{header[:-2]}.c") in sources}
            graph[name] |= {defined[used] for used in NAME.findall(_code(text)) if used in defined}
        graph[name].discard(name)
    return graph


def _cycle(graph: dict[str, set[str]]) -> list[str] | None:
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return None


def test_c_modules_form_no_cycle() -> None:
    cycle = _cycle(_dependencies(_sources()))
    assert cycle is None or frozenset(cycle) in ALLOWED_CYCLES, " <- ".join(cycle or [])


@pytest.mark.parametrize(
    "change",
    [
        {"keyframes.c": '#include "path.h"\n'},
        {"core.h": '#include "keyframes.h"\n'},
        {"trial.c": "static void f(void) { wd_ice_tick(0, 0); }\n"},
    ],
    ids=["include", "header", "call"],
)
def test_a_new_cycle_is_noticed(change: dict[str, str]) -> None:
    sources = _sources()
    for name, line in change.items():
        sources[name] += line
    assert _cycle(_dependencies(sources))


def test_functions_say_success_by_bool_or_enum() -> None:
    wrong = []
    for name, text in _sources().items():
        if PRESCRIBED.search(name):
            continue
        for number, line in enumerate(_code(text).split("\n"), 1):
            if re.search(r"\breturn -1\b|^(static )?(inline )?int (wd_\w+)\(", line) and "wd_ring_fd" not in line:
                wrong.append(f"{name}:{number}: {line.strip()}")
    assert not wrong, "\n".join(wrong)


def test_c_is_laid_out_by_clang_format() -> None:
    files = sorted(str(path) for folder in C_FOLDERS for path in (ROOT / folder).glob("*.[ch]"))
    clang_format = Path(sys.executable).with_name("clang-format")
    done = subprocess.run([clang_format, "--dry-run", "-Werror", *files], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
